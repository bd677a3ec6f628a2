package server

import (
	"errors"
	"fmt"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/internal/event"
)

const (
	// sessionIdle and sessionLife bound a conversation: between two packets, and in all.
	sessionIdle = 30 * time.Second
	sessionLife = 2 * time.Minute
	// maxInvalid bounds its invalid packets (RFC 3579 section 2.2).
	maxInvalid = 5
)

// stateLen is the length of State, in octets.
const stateLen = 16

// session is one conversation. Its worker owns it while busy is set; busy, idleAt and
// endAt are guarded by Server.mu.
type session struct {
	// fixed
	state    [stateLen]byte
	client   string
	identity string           // claimed
	eap      *eap.Server      // nil: with is asked
	with     aaa.Conversation // with servers of another operator; nil: eap answers
	span     *event.Span

	// owner
	last    []byte // request out
	invalid int
	lost    error // why with cannot go on; nil: it can

	// guarded by Server.mu
	busy   bool
	idleAt time.Time
	endAt  time.Time
}

// begin makes a session out of a first request.
func (s *Server) begin(a Ask, pkt eap.Packet) (*session, error) {
	identity := string(pkt.Data)
	cfg := s.method(identity)
	if mtu := a.MTU; mtu >= eap.MinFragmentSize && (cfg.FragmentSize == 0 || mtu < cfg.FragmentSize) {
		cfg.FragmentSize = min(mtu, eap.DefaultFragmentSize)
	}
	method, err := eap.NewServer(cfg)
	if err != nil {
		return nil, err
	}
	c := &session{client: a.Client, identity: identity, eap: method, last: method.Start(pkt.ID + 1)}
	return c, s.add(c, a)
}

// add gives a session its State, and its first request to the caller, who owns it.
func (s *Server) add(c *session, a Ask) (err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := s.fill(c.state[:]); err != nil {
		return err
	}
	c.busy, c.endAt = true, time.Now().Add(sessionLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sessions) >= s.cfg.MaxSessions {
		return ErrOverload
	}
	s.sessions[c.state] = c
	c.span = s.cfg.Recorder.Begin(event.HandoverID{}, event.PhaseAuth,
		"identity", c.identity, "client", a.Client, "nas", a.NAS, "station", a.Station)
	return nil
}

func (c *session) close() {
	if c.with != nil {
		c.with.Close()
		return
	}
	_ = c.eap.Close()
}

// attrs is what the timeline says of its end.
func (c *session) attrs() []any {
	if c.with != nil {
		return []any{"forwarded", true}
	}
	attrs := []any{"method", c.eap.Method().String()}
	if _, success, _, _, user := c.eap.Result(); success && user != c.identity {
		attrs = append(attrs, "user", user)
	}
	if c.eap.Resumed() {
		attrs = append(attrs, "resumed", true)
	}
	if v := c.eap.TLSVersion(); v != "" {
		attrs = append(attrs, "tls", v)
	}
	return attrs
}

// err is why it cannot succeed any more; nil: it may.
func (c *session) err() error {
	if c.with != nil {
		return c.lost
	}
	return c.eap.Err()
}

// take finds the session of a State and makes the caller its owner. The error is
// errUnknownState, or ErrPending.
func (s *Server) take(state []byte, client string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(state) != stateLen {
		return nil, errUnknownState
	}
	c := s.sessions[[stateLen]byte(state)]
	if c == nil || c.client != client {
		return nil, errUnknownState
	}
	if c.busy {
		return nil, ErrPending
	}
	c.busy = true
	return c, nil
}

var errShutdown = errors.New("server: shutting down")

var errUnknownState = errors.New("server: State of no session; it has expired, or this server was restarted")

// put gives the session back for its next request, which there is none of once the
// server has ended.
func (s *Server) put(c *session) {
	s.mu.Lock()
	closed := s.closed
	c.busy = closed
	c.idleAt = time.Now().Add(sessionIdle)
	s.mu.Unlock()
	if closed {
		s.count.expired.Add(1)
		s.finish(c, errShutdown)
	}
}

// finish forgets a session of which the caller is the owner.
func (s *Server) finish(c *session, err error) {
	s.mu.Lock()
	delete(s.sessions, c.state)
	s.mu.Unlock()
	if err != nil {
		s.count.rejected.Add(1)
	} else {
		s.count.accepted.Add(1)
	}
	// The recorder logs it.
	c.span.End(err, c.attrs()...)
	c.close()
}

// expire ends the sessions whose time is over, all of them when the server stops.
func (s *Server) expire(now time.Time, all bool) {
	var gone []*session
	s.mu.Lock()
	for _, c := range s.sessions {
		if !c.busy && (all || !now.Before(c.idleAt) || !now.Before(c.endAt)) {
			c.busy = true // ours now
			gone = append(gone, c)
		}
	}
	s.mu.Unlock()
	for _, c := range gone {
		err := fmt.Errorf("server: the node or its router went silent")
		switch known := c.err(); {
		case known != nil: // the alert is out, and nobody came for the Failure
			err = known
		case all:
			err = errShutdown
		case !now.Before(c.endAt):
			err = fmt.Errorf("server: no result after %v", sessionLife)
		}
		s.count.expired.Add(1)
		s.finish(c, err)
	}
}
