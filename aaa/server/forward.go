package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/event"
)

// forwards is the realm of an identity, in lower case, if others serve it; empty: this
// server does.
func (s *Server) forwards(identity string) string {
	realm := aaa.RealmOf(identity)
	if s.cfg.Forward == nil || realm == "" || slices.ContainsFunc(s.cfg.Realms, func(own string) bool { return strings.EqualFold(own, realm) }) {
		return ""
	}
	return realm
}

// markSuffix makes a name that no host has out of random letters (RFC 2606 section 2), which
// RADIUS and Diameter can carry.
const markSuffix = ".loop.invalid"

// CircleError says that servers pass a request on to one another.
type CircleError struct {
	Identity string
	Hops     int // servers that have passed it on; all of them others when it is too many
	Back     bool
}

// Error implements error in one line.
func (e *CircleError) Error() string {
	if !e.Back {
		return fmt.Sprintf("server: passed on %d times, at most %d: see which servers forward the realm of %q, and to whom", e.Hops, radius.MaxPassed, e.Identity)
	}
	return fmt.Sprintf("server: forwarded in a circle, by %d servers: whom this one asks for the realm of %q asks this one", e.Hops, e.Identity)
}

// circle finds this server among those who have passed something on. The error is a *CircleError.
func (s *Server) circle(before [][]byte, identity string) error {
	for i, mark := range before {
		if bytes.Equal(mark, s.mark) {
			return &CircleError{identity, len(before) - i, true}
		}
	}
	return nil
}

// pass is what the next server is told of those before it. The error is a *CircleError.
func (s *Server) pass(before [][]byte, identity string) ([][]byte, error) {
	if err := s.circle(before, identity); err != nil {
		return nil, err
	}
	if len(before) >= radius.MaxPassed {
		return nil, &CircleError{identity, len(before), false}
	}
	return append(slices.Clip(before), s.mark), nil
}

// beginForward makes a session whose responses go to another operator's servers.
func (s *Server) beginForward(a Ask, pkt eap.Packet) (*session, error) {
	identity := string(pkt.Data)
	passed, err := s.pass(a.Passed, identity)
	if err != nil {
		return nil, err
	}
	info := aaa.SessionInfo{NASPort: a.NASPort, CallingStation: a.Station, CalledStation: a.Called, Session: a.Session, Passed: passed}
	s.mu.Lock()
	if l := s.live[Entry{Client: a.Client, Session: a.Session}.key()]; l != nil && a.Session != "" && l.Home != nil {
		again := *l.Home
		info.Again = &again
	}
	s.mu.Unlock()
	with, err := s.cfg.Forward.Open(info, identity)
	if err != nil {
		return nil, err
	}
	c := &session{client: a.Client, identity: identity, with: with}
	return c, s.add(c, a)
}

// passOn carries one response of a session to its servers; the caller is its owner.
func (s *Server) passOn(ctx context.Context, c *session, a Ask) (Reply, error) {
	if c.lost != nil {
		s.put(c)
		return Reply{}, c.lost
	}
	answer, err := c.with.Ask(ctx, a.EAP)
	if err != nil {
		// It cannot go on elsewhere: its router hears nothing, and asks somebody else.
		c.lost = err
		s.put(c)
		return Reply{}, err
	}
	r := Reply{Decision: answer.Decision, EAP: answer.EAP, Message: answer.Message}
	switch answer.Decision {
	case aaa.Continue:
		if len(answer.EAP) < 4 || eap.Code(answer.EAP[0]) != eap.CodeRequest {
			s.finish(c, fmt.Errorf("server: %s goes on without an EAP request", answer.Server))
			return Reply{Decision: aaa.Reject, EAP: failure(a.EAP)}, nil
		}
		c.last, r.State = answer.EAP, c.state[:]
		s.put(c)
		return r, nil
	case aaa.Reject:
		why := "its home's log has the reason"
		if answer.Message != "" {
			why = fmt.Sprintf("%q", answer.Message)
		}
		s.finish(c, fmt.Errorf("server: %s rejected it: %s", answer.Server, why))
		return r, nil
	}
	g := answer.Grant
	r.MSK, r.Timeout, r.Identity, r.Handle, r.Interim = answer.MSK, answer.Timeout, g.Identity, g.Handle, g.Interim
	if err := s.granted(a, "", &r, &g); err != nil {
		r.MSK.Clear()
		s.finish(c, err)
		return Reply{}, err
	}
	s.finish(c, nil)
	return r, nil
}

// nobody answers for a realm that no operator serves, as far as this server can find.
func (s *Server) nobody(a Ask, pkt eap.Packet, err error, said string) Reply {
	span := s.cfg.Recorder.Begin(event.HandoverID{}, event.PhaseAuth, "identity", string(pkt.Data), "client", a.Client, "nas", a.NAS, "station", a.Station)
	span.End(err)
	s.count.rejected.Add(1)
	r := refuse(pkt)
	r.Message = said
	return r
}

// forwardRecord brings a record to the servers of the session's home, as they know it.
func (s *Server) forwardRecord(ctx context.Context, e Entry, r aaa.Record) error {
	home := e.Home
	if home == nil {
		if s.forwards(r.Grant.Identity) == "" {
			return nil
		}
		home = &r.Grant // of before this server began; its home may know it by its name
	}
	g := *home
	if g.Identity == "" {
		g.Identity = r.Grant.Identity
	}
	r.Grant = g
	var err error
	if r.Passed, err = s.pass(r.Passed, r.Grant.Identity); err != nil {
		return err
	}
	err = s.cfg.Forward.Account(ctx, r)
	if unknown := (*aaa.RealmError)(nil); errors.As(err, &unknown) {
		s.cfg.Log.Error("a record stays here: nobody serves its realm any more", "session", e.Session, "identity", e.Identity, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("server: forward the %v of %s: %w", r.Kind, e.Identity, err)
	}
	return nil
}
