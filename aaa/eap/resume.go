package eap

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// maxRemembered bounds the sessions that may be resumed; each has the client's
	// certificates with it, some 1500 octets.
	maxRemembered = 1 << 14

	ticketIDLen = 16
)

// Sessions is what a server needs to let TLS sessions be resumed. They are kept here,
// in memory, and a ticket only names one: with a client's certificates inside it would
// cost a packet more each way, and a round trip to the home server. What is kept is of
// methods that have succeeded, since TLS 1.3 hands out tickets before. It may be used by
// several goroutines at once.
type Sessions struct {
	// fixed
	life time.Duration
	rand io.Reader

	// guarded by mu
	mu    sync.Mutex
	known map[ticketID]remembered
	order []ticketID // oldest first
}

type ticketID [ticketIDLen]byte

// remembered is a session that may be resumed.
type remembered struct {
	kind    Type
	user    string // inside a tunnel
	version string
	at      time.Time // of the full authentication
	state   []byte    // of TLS
}

// NewSessions lets sessions be resumed for that long after a full authentication. A nil
// source of randomness is crypto/rand.
func NewSessions(life time.Duration, r io.Reader) *Sessions {
	if r == nil {
		r = rand.Reader
	}
	return &Sessions{life: life, rand: r, known: make(map[ticketID]remembered)}
}

// remember takes over r's state.
func (s *Sessions) remember(id ticketID, r remembered, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.order) > 0 && (len(s.order) >= maxRemembered || now.Sub(s.known[s.order[0]].at) >= s.life) {
		clear(s.known[s.order[0]].state)
		delete(s.known, s.order[0])
		s.order = s.order[1:]
	}
	s.order = append(s.order, id)
	s.known[id] = r
}

// forget lets go of a session in the place of which its client has another.
func (s *Sessions) forget(id ticketID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.known[id]
	if !ok {
		return
	}
	clear(r.state)
	delete(s.known, id)
	if i := slices.Index(s.order, id); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
	}
}

// recall gives a session, with a state that nobody else has.
func (s *Sessions) recall(ticket []byte) (r remembered, state *tls.SessionState, ok bool) {
	if len(ticket) != ticketIDLen {
		return remembered{}, nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok = s.known[ticketID(ticket)]; !ok {
		return remembered{}, nil, false
	}
	state, err := tls.ParseSessionState(slices.Clone(r.state)) // certificates in it go on being parts of what was parsed
	r.state = nil
	return r, state, err == nil
}

// ticketing is what one conversation has of Sessions.
type ticketing struct {
	all  *Sessions
	kind Type
	now  func() time.Time
	// current says whether that user may still have what was remembered of it.
	current func(remembered) bool

	from    remembered // what tickets of this conversation stand for: all but the state
	resumed *ticketID  // the session that this one goes on with; nil: none
	given   map[ticketID][]byte
}

// install makes cfg give tickets and take them back.
func (t *ticketing) install(cfg *tls.Config) error {
	cfg.SessionTicketsDisabled = t.all == nil
	if t.all == nil {
		return nil
	}
	t.from, t.given = remembered{kind: t.kind, at: t.now()}, make(map[ticketID][]byte)
	cfg.WrapSession = func(_ tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		var id ticketID
		if _, err := io.ReadFull(t.all.rand, id[:]); err != nil {
			return nil, fmt.Errorf("eap: randomness for tickets: %w", err)
		}
		state, err := ss.Bytes()
		if err != nil {
			return nil, err
		}
		t.given[id] = state
		return id[:], nil
	}
	cfg.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		r, state, ok := t.all.recall(ticket)
		if !ok || !t.may(r) {
			return nil, nil // what is not right makes a full handshake
		}
		id := ticketID(ticket)
		t.from, t.resumed = r, &id
		return state, nil
	}
	return nil
}

// may says whether a session may be resumed here and now.
func (t *ticketing) may(r remembered) bool {
	age := t.now().Sub(r.at)
	if r.kind != t.kind || age >= t.all.life || age < -time.Minute {
		return false
	}
	return t.kind == TypeTLS || t.current(r) // the certificate is looked at again by TLS
}

// authenticated notes the user of a tunnel.
func (t *ticketing) authenticated(a Account) { t.from.user, t.from.version = a.Name, a.Version }

// settle is for the end of the conversation, when TLS has ended: after a success its
// tickets count.
func (t *ticketing) settle(success bool) {
	for id, state := range t.given {
		if !success {
			clear(state)
			continue
		}
		r := t.from
		r.state = state
		t.all.remember(id, r, t.now())
		if t.resumed != nil { // a ticket is good once where there is a new one (RFC 8446 appendix C.4)
			t.all.forget(*t.resumed)
			t.resumed = nil
		}
	}
	t.given = nil
}
