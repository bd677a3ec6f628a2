package aaa

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"openmpa/aaa/diameter"
	"openmpa/aaa/eap"
)

// eapMTU is what an EAP packet may fill on our access link.
const eapMTU = eap.DefaultFragmentSize

// terminations are the causes as Diameter has them (RFC 6733 section 8.15, RFC 7155
// section 4.6.11).
var terminations = map[Cause]diameter.Termination{
	CauseUser:     diameter.Logout,
	CauseMoved:    diameter.UserMoved,
	CauseLost:     diameter.LinkBroken,
	CauseExpired:  diameter.SessionTimeout,
	CauseAdmin:    diameter.Administrative,
	CauseShutdown: diameter.AdminReboot,
	CauseCrash:    diameter.NASReboot,
	CauseError:    diameter.NASError,
}

// NewDiameterCarrier makes a Carrier of Diameter servers, of the EAP application (RFC
// 4072) and base accounting. It runs the client.
func NewDiameterCarrier(client *diameter.Client) Carrier { return &diameterCarrier{client} }

type diameterCarrier struct{ client *diameter.Client }

func (c *diameterCarrier) Open(info SessionInfo, identity string) (Conversation, error) {
	o := diameter.Opening{
		UserName: identity, Realm: RealmOf(identity), MTU: eapMTU,
		Access: diameter.Access{NASPort: info.NASPort, CallingStation: info.CallingStation, CalledStation: info.CalledStation},
		Route:  route(info.Passed),
	}
	switch {
	case info.Again != nil:
		o.Session, o.Server = info.Again.Session, info.Again.Server
	case isSessionID(info.Session):
		o.Session = info.Session
	}
	return &diameterConversation{with: c.client.Open(o)}, nil
}

// route is what may be names among marks.
func route(marks [][]byte) (names []string) {
	for _, m := range marks {
		strange := func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.'
		}
		if bytes.ContainsRune(m, '.') && !bytes.ContainsFunc(m, strange) {
			names = append(names, string(m))
		}
	}
	return names
}

// isSessionID reports whether a name of a session may be a Session-Id: its parts are divided
// by semicolons (RFC 6733 section 8.8).
func isSessionID(name string) bool {
	return strings.Count(name, ";") >= 2 && !strings.HasPrefix(name, ";") && len(name) <= maxSession
}

func (c *diameterCarrier) Account(ctx context.Context, r Record) error {
	var refused error
	// A stop with the number of a start is of a session that never began.
	if r.Kind != RecordStop || r.Number != 0 {
		_, err := c.client.Account(ctx, diameterRecord(r), r.Grant.Server)
		if err = diameterError(err); errors.Is(err, ErrRefused) {
			refused, err = err, nil // its end is another matter
		}
		if err != nil {
			return err
		}
	}
	if r.Kind == RecordStop && r.Grant.Stateful {
		g := r.Grant
		err := diameterError(c.client.Terminate(ctx, diameter.Ended{
			Session: g.Session, Realm: g.Realm, UserName: g.Identity, Class: g.Class, Cause: terminations[r.Cause],
		}, g.Server))
		if err != nil {
			return err
		}
	}
	return refused
}

// diameterRecord is a record as Diameter has it.
func diameterRecord(r Record) diameter.Record {
	g := r.Grant
	kind := map[RecordKind]diameter.RecordType{RecordStart: diameter.StartRecord, RecordInterim: diameter.InterimRecord, RecordStop: diameter.StopRecord}[r.Kind]
	out := diameter.Record{
		Session: g.Session, Realm: g.Realm, Type: kind, Number: r.Number, UserName: g.Identity, Handle: g.Handle, Class: g.Class,
		Access: diameter.Access{NASPort: g.NASPort, CallingStation: g.Station, CalledStation: g.Called},
		Time:   r.Time, Length: r.Usage.Time, Interim: g.Interim,
		OctetsIn: r.Usage.OctetsIn, OctetsOut: r.Usage.OctetsOut, PacketsIn: r.Usage.PacketsIn, PacketsOut: r.Usage.PacketsOut,
		Route: route(r.Passed),
	}
	if !r.Time.IsZero() {
		out.Delay = max(0, time.Since(r.Time)).Truncate(time.Second)
	}
	if r.Kind == RecordStop {
		out.Cause = terminations[r.Cause]
	}
	return out
}

func (c *diameterCarrier) Run(ctx context.Context, o Orders) error {
	if o == nil {
		return c.client.Run(ctx, nil)
	}
	return c.client.Run(ctx, diameterOrders{o})
}

// Servers implements Watched.
func (c *diameterCarrier) Servers() []ServerStatus {
	var out []ServerStatus
	for _, p := range c.client.Node().Peers() {
		s := ServerStatus{Protocol: "diameter", Server: p.Identity, Alive: p.State == "okay" || p.State == "reopen", Since: p.Since}
		if p.Addr != "" {
			s.Server += " at " + p.Addr
		}
		if !s.Alive {
			s.Why = p.Error
		}
		out = append(out, s)
	}
	return out
}

// diameterOrders hands on orders by Session-Id, which no other session ever has.
type diameterOrders struct{ to Orders }

func (o diameterOrders) End(session, why string) int { return o.to.End(Match{Session: session}, why) }
func (o diameterOrders) Again(session string) int    { return o.to.Again(Match{Session: session}) }
func (o diameterOrders) Extend(session string, life time.Duration) int {
	return o.to.Extend(Match{Session: session}, life)
}

type diameterConversation struct{ with *diameter.Conversation }

func (c *diameterConversation) Ask(ctx context.Context, response []byte) (Answer, error) {
	r, err := c.with.Ask(ctx, response)
	if err != nil {
		return Answer{}, diameterError(err)
	}
	a := Answer{EAP: r.EAP, MSK: r.MSK, Message: r.Message, Server: r.Origin.Host}
	switch r.Result {
	case diameter.MultiRoundAuth:
	case diameter.Success:
		if r.MSK.Len() != mskLen {
			c.with.GiveBack(r) // for nobody takes it
		}
		a.Decision, a.Timeout = Accept, r.Limit()
		a.Grant = Grant{
			Session: c.with.Session(), Identity: r.UserName, Class: r.Class, Handle: r.Handle, Interim: r.Interim, Stateful: r.Stateful,
		}
	default:
		if a.Decision = Reject; a.Message == "" && a.EAP == nil {
			a.Message = r.Result.String() + ": " + r.Result.Advice()
		}
	}
	return a, nil
}

func (c *diameterConversation) Close() {}

// diameterError is an error in the terms of this package.
func diameterError(err error) error {
	var again *diameter.RestartError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &again):
		return &LostError{Server: again.Server, Next: again.Next, Err: again.Err}
	case errors.Is(err, diameter.ErrNoAnswer):
		return &timeoutError{err}
	case errors.Is(err, diameter.ErrRefused):
		return &refusedError{err}
	}
	return fmt.Errorf("aaa: %w", err)
}

// refusedError is ErrRefused with the words of the server.
type refusedError struct{ err error }

func (e *refusedError) Error() string        { return "aaa: refused for good: " + e.err.Error() }
func (e *refusedError) Is(target error) bool { return target == ErrRefused }
func (e *refusedError) Unwrap() error        { return e.err }
