package diameter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// Opening is what a conversation begins with.
type Opening struct {
	UserName string
	Realm    string // of the servers; empty: the client's own
	Session  string // that is open, and authenticates again; empty: a new one
	Server   string // of that session: asked first
	MTU      int    // octets an EAP packet may have; 0: not said
	Access   Access // NASIdentifier is the client's
	Route    []string
}

// Conversation is one authentication with one server, from its first answer on. It must
// not be used by several goroutines at once.
type Conversation struct {
	c      *Client
	req    EAPRequest // State is of the last answer
	prefer string     // the server to ask first
	server string     // that is bound; empty: none has answered yet
	last   []byte     // EAP request that is out
}

// Open begins a conversation. It asks nobody yet.
func (c *Client) Open(o Opening) *Conversation {
	v := &Conversation{c: c, prefer: o.Server, req: EAPRequest{
		Session: o.Session, Origin: c.self, Realm: c.realm(o.Realm), UserName: o.UserName, MTU: o.MTU, Access: o.Access, Route: o.Route,
	}}
	v.req.Access.NASIdentifier = c.cfg.NASIdentifier
	if v.req.Session == "" {
		v.req.Session = c.ids.make()
	}
	return v
}

func (c *Client) realm(r string) string {
	if r == "" {
		return c.self.Realm
	}
	return strings.ToLower(r)
}

// Session is the Session-Id.
func (v *Conversation) Session() string { return v.req.Session }

// Ask carries one EAP response. Without an error the Result is MultiRoundAuth, with an
// EAP request to send; Success; or a rejection. A server that answers with another error
// gives a *ResultError.
func (v *Conversation) Ask(ctx context.Context, eap []byte) (EAPAnswer, error) {
	v.req.EAP = eap
	patience := v.c.cfg.Timeout
	if v.server != "" {
		if _, ok := v.c.via.Reaches(v.req.Realm, v.server); ok {
			patience = min(patience, spareTimeout) // rather begin anew there
		}
	}
	mine, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	host := v.server
	if host == "" {
		host = v.prefer
	}
	a, err := v.try(mine, host)
	if v.server == "" && host != "" && lost(err) && mine.Err() == nil {
		v.prefer = ""
		a, err = v.try(mine, "") // any server may begin anew
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return EAPAnswer{}, context.Cause(ctx)
	case v.server != "" && (lost(err) || mine.Err() != nil):
		if mine.Err() != nil {
			v.c.shun(v.server)
		}
		return EAPAnswer{}, v.gone(err)
	case lost(err) || mine.Err() != nil:
		return EAPAnswer{}, &silentError{what: "Diameter-EAP-Request for realm " + v.req.Realm, err: err}
	default:
		return EAPAnswer{}, err
	}
	v.req.State = a.State
	if a.Result == MultiRoundAuth {
		v.server = strings.ToLower(a.Origin.Host)
		switch {
		case a.EAP != nil:
		case a.Reissued != nil:
			a.EAP = a.Reissued
		default:
			a.EAP = v.last // the response before was not taken (RFC 4072 section 2.4)
		}
		v.last = a.EAP
	}
	return a, nil
}

// try asks once; an answer that says no without a decision on the node is an error.
func (v *Conversation) try(ctx context.Context, host string) (EAPAnswer, error) {
	to := Target{Host: host, Realm: v.req.Realm}
	if host == "" {
		to.Not = v.c.shunned(to.Realm)
	}
	m, peer, err := v.c.via.Send(ctx, v.req.message(), to)
	if err != nil {
		return EAPAnswer{}, err
	}
	a, err := parseEAPAnswer(m)
	if err != nil {
		return EAPAnswer{}, err
	}
	if a.Origin.Host == "" {
		a.Origin.Host = peer
	}
	if id := fields(m.AVP).text(avp.SessionID); id != "" && id != v.req.Session {
		a.MSK.Clear()
		return EAPAnswer{}, fmt.Errorf("diameter: %s answers for Session-Id %q, expected %q", a.Origin.Host, id, v.req.Session)
	}
	switch {
	case a.Result == MultiRoundAuth, a.Result == Success:
		return a, nil
	case a.Result == AuthenticationRejected, a.Result == AuthorizationRejected, a.Result == ResourcesExceeded,
		a.Result.class() >= 4 && a.EAP != nil:
		return a, nil
	}
	a.MSK.Clear()
	return EAPAnswer{}, &ResultError{Request: "Diameter-EAP-Request", Server: a.Origin.Host, Result: a.Result, Message: a.Message, Failed: a.Failed}
}

// lost holds for what says that a server has not got a message, or has not got the
// session it is about.
func lost(err error) bool {
	var gone *LostError
	var no *ResultError
	switch {
	case errors.Is(err, ErrNoPeer), errors.As(err, &gone):
		return true
	case errors.As(err, &no):
		switch no.Result {
		case UnableToDeliver, RealmNotServed, TooBusy, LoopDetected, UnknownSession:
			return true
		}
	}
	return false
}

// gone is what becomes of a conversation whose server is.
func (v *Conversation) gone(err error) error {
	var no *ResultError
	if errors.As(err, &no) && strings.EqualFold(no.Server, v.server) && (no.Result == UnknownSession || no.Result == UnableToDeliver) {
		// It is there, but has begun anew; or it has passed the conversation on, and somebody
		// behind it is gone for whom another stands.
		return &RestartError{Server: v.server, Next: v.server, Err: err}
	}
	if next, ok := v.c.via.Reaches(v.req.Realm, v.server); ok {
		return &RestartError{Server: v.server, Next: next, Err: err}
	}
	return &silentError{what: "Diameter-EAP-Request to " + v.server, err: err}
}

// GiveBack tells the server that what it has granted is not used. It does not wait.
func (v *Conversation) GiveBack(a EAPAnswer) {
	if a.Stateful {
		v.c.Release(Ended{Session: v.req.Session, Realm: v.req.Realm, UserName: a.UserName, Class: a.Class, Cause: BadAnswer}, a.Origin.Host)
	}
}
