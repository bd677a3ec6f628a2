package aaa

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"openmpa/aaa/radius"
)

// NewRADIUS makes a Backend of one operator's RADIUS servers. The client stays the
// caller's to close.
func NewRADIUS(client *radius.Client) Backend {
	return &Realms{operators: []Operator{{Name: "radius", Carrier: NewRADIUSCarrier(client)}}}
}

// NewRADIUSCarrier makes a Carrier of RADIUS servers, over UDP or TLS. The client stays
// the caller's to close.
func NewRADIUSCarrier(client *radius.Client) Carrier { return &radiusCarrier{client} }

type radiusCarrier struct{ client *radius.Client }

// maxSession is what Acct-Session-Id can carry, in octets (RFC 2866 section 5.5).
const maxSession = 253

func (c *radiusCarrier) Open(info SessionInfo, identity string) (Conversation, error) {
	req := radius.Request{
		UserName: identity, NASPort: info.NASPort, CallingStation: info.CallingStation, CalledStation: info.CalledStation,
		Passed: info.Passed,
	}
	switch g := info.Again; {
	case g != nil:
		req.Session, req.Handle = g.Session, g.Handle
	case info.Session != "" && len(info.Session) <= maxSession:
		req.Session = info.Session
	default:
		var id [12]byte
		if _, err := rand.Read(id[:]); err != nil {
			return nil, fmt.Errorf("aaa: name of a session: %w", err)
		}
		req.Session = hex.EncodeToString(id[:])
	}
	return &radiusConversation{client: c.client, req: req}, nil
}

// Account implements Carrier. Where no server takes records, nobody misses them.
func (c *radiusCarrier) Account(ctx context.Context, r Record) error {
	if r.Kind == RecordStop && r.Number == 0 {
		return nil // of a session that never began
	}
	accepted, _ := netip.ParseAddrPort(r.Grant.Server)
	_, err := c.client.Account(ctx, radiusRecord(r), accepted.Addr())
	switch silent := (*radius.TimeoutError)(nil); {
	case err == nil, errors.Is(err, radius.ErrNoAccounting):
		return nil
	case errors.Is(err, radius.ErrNotTaken):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.As(err, &silent):
		return &timeoutError{err}
	}
	return fmt.Errorf("aaa: %w", err)
}

// Run implements Carrier.
func (c *radiusCarrier) Run(ctx context.Context, o Orders) error {
	if o == nil {
		return c.client.Run(ctx, nil)
	}
	return c.client.Run(ctx, func(order radius.Order) radius.Cause { return carryOut(o, order) })
}

// carryOut has sessions do what a server wants, and says what came of it.
func carryOut(o Orders, order radius.Order) radius.Cause {
	m := Match{
		Session: order.Session, Identity: order.UserName, Station: order.CallingStation, Handle: order.Handle, Class: order.Class,
	}
	if order.NASPort != "" || order.CalledStation != "" {
		return radius.CauseUnsupportedAttribute // sessions are not found by these
	}
	done, n := radius.CauseNone, 0
	switch {
	case order.Code == radius.DisconnectRequest:
		n = o.End(m, "the server "+order.Server.Addr().String()+" wants its end")
	case order.Again:
		done, n = radius.CauseInitiated, o.Again(m)
	case order.Life > 0:
		n = o.Extend(m, order.Life)
	}
	if n == 0 {
		return radius.CauseNotFound
	}
	return done
}

type radiusConversation struct {
	client *radius.Client
	req    radius.Request // State and Server are those of the last challenge
}

func (c *radiusConversation) Ask(ctx context.Context, response []byte) (Answer, error) {
	c.req.EAP = response
	r, err := c.client.Exchange(ctx, c.req)
	if err != nil {
		return Answer{}, c.failed(err)
	}
	c.req.State, c.req.Server = r.State, r.Server
	a := Answer{EAP: r.EAP, MSK: r.MSK, Message: r.ReplyMessage, Server: r.Server.String()}
	switch r.Code {
	case radius.AccessAccept:
		a.Decision, a.Timeout = Accept, r.SessionTimeout
		a.Grant = Grant{Session: c.req.Session, Identity: r.UserName, Class: r.Class, Handle: r.Handle, Interim: r.Interim}
	case radius.AccessReject:
		if r.EAP == nil && r.ErrorCause == radius.CauseUnroutable {
			// It forwards, to a home server that it has lost; to another it may succeed.
			return Answer{}, &LostError{Server: a.Server, Next: a.Server, Err: fmt.Errorf("the server behind it is gone: %v", r.ErrorCause)}
		}
		a.Decision = Reject
	}
	return a, nil
}

// failed says what an error means to the node: one that began with a server that is gone
// may begin anew with another.
func (c *radiusConversation) failed(err error) error {
	var silent *radius.TimeoutError
	if !errors.As(err, &silent) {
		return fmt.Errorf("aaa: %w", err)
	}
	if begun := c.req.Server; begun.IsValid() {
		if next, ok := c.client.Next(begun); ok {
			return &LostError{Server: begun.String(), Next: next.String(), Err: err}
		}
	}
	e := &SilentError{Waited: silent.Waited, Refused: silent.Refused, Err: err}
	for _, a := range silent.Tried {
		e.Servers = append(e.Servers, a.String())
	}
	return e
}

func (c *radiusConversation) Close() {}

// radiusCauses are the values of Acct-Terminate-Cause (RFC 2866 section 5.10).
var radiusCauses = map[Cause]uint32{
	CauseUser: 1, CauseLost: 2, CauseExpired: 5, CauseAdmin: 6, CauseShutdown: 7,
	CauseError: 9, CauseMoved: 10, CauseCrash: 11,
}

var radiusKinds = map[RecordKind]radius.RecordKind{
	RecordStart: radius.RecordStart, RecordInterim: radius.RecordInterim, RecordStop: radius.RecordStop,
}

// radiusRecord is a record as RADIUS has it.
func radiusRecord(r Record) radius.Record {
	return radius.Record{
		Kind: radiusKinds[r.Kind], Session: r.Grant.Session, UserName: r.Grant.Identity,
		NASPort: r.Grant.NASPort, CallingStation: r.Grant.Station, CalledStation: r.Grant.Called,
		Class: r.Grant.Class, Handle: r.Grant.Handle, Time: r.Time,
		SessionTime: r.Usage.Time, InputOctets: r.Usage.OctetsIn, OutputOctets: r.Usage.OctetsOut,
		InputPackets: uint32(r.Usage.PacketsIn), OutputPackets: uint32(r.Usage.PacketsOut),
		Cause: radiusCauses[r.Cause], Passed: r.Passed,
	}
}

// RecordOfRADIUS is a record as it came by RADIUS at a time; ok is false for what is of no
// session. RADIUS has no numbers: the seconds of its Event-Timestamp are in their place.
func RecordOfRADIUS(r *radius.Record, now time.Time) (out Record, ok bool) {
	for kind, number := range radiusKinds {
		if number == r.Kind {
			out.Kind = kind
		}
	}
	if out.Kind == 0 {
		return Record{}, false
	}
	if out.Time = r.Time; out.Time.IsZero() {
		out.Time = now.Add(-r.Delay)
	}
	if out.Kind != RecordStart {
		if out.Number = uint32(out.Time.Unix()); r.Time.IsZero() { // a copy has another Delay
			out.Number = 1 + uint32(r.SessionTime/time.Second)
		}
	}
	for cause, number := range radiusCauses {
		if number == r.Cause && out.Kind == RecordStop {
			out.Cause = cause
		}
	}
	out.Grant = Grant{
		Session: r.Session, Identity: r.UserName, Realm: RealmOf(r.UserName), Station: r.CallingStation,
		Called: r.CalledStation, NASPort: r.NASPort, Class: r.Class, Handle: r.Handle,
	}
	out.Usage = Usage{
		Time: r.SessionTime, OctetsIn: r.InputOctets, OctetsOut: r.OutputOctets,
		PacketsIn: uint64(r.InputPackets), PacketsOut: uint64(r.OutputPackets),
	}
	out.Passed = r.Passed
	return out, true
}

// Servers implements Watched.
func (c *radiusCarrier) Servers() []ServerStatus {
	var out []ServerStatus
	for _, s := range c.client.Servers() {
		one := ServerStatus{Protocol: "radius", Server: s.Addr.String(), Alive: s.State != radius.Dead, Since: s.Since, Why: s.Err}
		if s.Name != "" {
			one.Protocol = "radsec"
		}
		if s.Accounting {
			one.Server += " (accounting)"
		}
		if !one.Alive && one.Why == "" {
			one.Why = "no answer"
		}
		out = append(out, one)
	}
	return out
}
