package eap

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// maxRemembered bounds the users that may resume without a password.
	maxRemembered = 1 << 16

	ticketIDLen = 16
)

// ticketMark is what a ticket holds beside the state of TLS: the method that it was
// given in, when the user was authenticated in full, and an id of that.
var ticketMark = []byte("openmpa eap ticket 1")

// Sessions is what a server needs to let TLS sessions be resumed: the keys of tickets,
// and who was authenticated inside the tunnels. A ticket alone tells of neither, since
// TLS 1.3 hands it out before: only the methods EAP-TTLS and PEAP that have succeeded
// are remembered, in memory. It may be used by several goroutines at once.
type Sessions struct {
	// fixed
	life time.Duration
	rand io.Reader

	// guarded by mu
	mu    sync.Mutex
	keys  [][32]byte // the first new ones; one more, of before
	until time.Time  // of the first
	known map[ticketID]remembered
	order []ticketID // oldest first
}

type ticketID [ticketIDLen]byte

// remembered is a user that has been authenticated inside a tunnel.
type remembered struct {
	kind    Type
	user    string
	version string
	at      time.Time
}

// NewSessions lets sessions be resumed for that long after a full authentication. A nil
// source of randomness is crypto/rand.
func NewSessions(life time.Duration, r io.Reader) *Sessions {
	if r == nil {
		r = rand.Reader
	}
	return &Sessions{life: life, rand: r, known: make(map[ticketID]remembered)}
}

// ticketKeys are those that count now.
func (s *Sessions) ticketKeys(now time.Time) ([][32]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 0 && now.Before(s.until) {
		return slices.Clone(s.keys), nil
	}
	var key [32]byte
	if _, err := io.ReadFull(s.rand, key[:]); err != nil {
		return nil, fmt.Errorf("eap: randomness for tickets: %w", err)
	}
	s.keys = append([][32]byte{key}, s.keys[:min(1, len(s.keys))]...)
	s.until = now.Add(s.life)
	return slices.Clone(s.keys), nil
}

// remember notes that a user was authenticated inside the tunnel whose tickets have that id.
func (s *Sessions) remember(id ticketID, r remembered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.order) > 0 && (len(s.order) >= maxRemembered || r.at.Sub(s.known[s.order[0]].at) > s.life) {
		delete(s.known, s.order[0])
		s.order = s.order[1:]
	}
	if _, ok := s.known[id]; !ok {
		s.order = append(s.order, id)
	}
	s.known[id] = r
}

func (s *Sessions) recall(id ticketID) (remembered, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.known[id]
	return r, ok
}

// ticketing is what one conversation has of Sessions.
type ticketing struct {
	all  *Sessions
	kind Type
	now  func() time.Time
	// current says whether that user may still have what was remembered of it.
	current func(remembered) bool

	id   ticketID
	at   time.Time  // of the full authentication
	from remembered // of a session that is being resumed
}

// install makes cfg give tickets and take them back.
func (t *ticketing) install(cfg *tls.Config) error {
	cfg.SessionTicketsDisabled = t.all == nil
	if t.all == nil {
		return nil
	}
	now := t.now()
	keys, err := t.all.ticketKeys(now)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(t.all.rand, t.id[:]); err != nil {
		return fmt.Errorf("eap: randomness for tickets: %w", err)
	}
	t.at = now
	cfg.SetSessionTicketKeys(keys)
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, t.mark())
		return cfg.EncryptTicket(cs, ss)
	}
	cfg.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := cfg.DecryptTicket(identity, cs)
		if err != nil || ss == nil || !t.take(ss.Extra) {
			return nil, nil // what is not right makes a full handshake
		}
		return ss, nil
	}
	return nil
}

func (t *ticketing) mark() []byte {
	b := append(bytes.Clone(ticketMark), byte(t.kind))
	b = binary.BigEndian.AppendUint64(b, uint64(t.at.Unix()))
	return append(b, t.id[:]...)
}

// take says whether a ticket may be taken, and goes on under its id.
func (t *ticketing) take(extra [][]byte) bool {
	for _, b := range extra {
		rest, ok := bytes.CutPrefix(b, ticketMark)
		if !ok || len(rest) != 1+8+ticketIDLen || Type(rest[0]) != t.kind {
			continue
		}
		at := time.Unix(int64(binary.BigEndian.Uint64(rest[1:])), 0)
		if age := t.now().Sub(at); age >= t.all.life || age < -time.Minute {
			return false
		}
		id := ticketID(rest[9:])
		if t.kind != TypeTLS { // whose ticket has the certificate, which is looked at again
			r, known := t.all.recall(id)
			if !known || r.kind != t.kind || !t.current(r) {
				return false
			}
			t.from = r
		}
		t.id, t.at = id, at
		return true
	}
	return false
}

// authenticated remembers the user of a tunnel.
func (t *ticketing) authenticated(a Account) {
	if t.all != nil {
		t.all.remember(t.id, remembered{kind: t.kind, user: a.Name, version: a.Version, at: t.at})
	}
}
