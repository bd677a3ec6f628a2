package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"openmpa/aaa"
)

const (
	maxLive   = 1 << 16
	maxOrders = 256              // under way at once, of those nobody waits for
	orderTime = 15 * time.Second // that a router has
	classLen  = 16

	// lateness is how long a session may go on after its end before its record comes.
	lateness = 10 * time.Minute
)

// Session is a session of a node at a router that has not ended, as far as is known.
type Session struct {
	Client   string     `json:"client"`
	Session  string     `json:"session"` // at that router; empty: it has not said
	Identity string     `json:"identity"`
	Method   string     `json:"method,omitzero"`
	Station  string     `json:"station,omitzero"`
	Called   string     `json:"called,omitzero"`
	NASPort  string     `json:"nas_port,omitzero"`
	Since    time.Time  `json:"since"`
	Expires  time.Time  `json:"expires,omitzero"`
	Heard    time.Time  `json:"heard,omitzero"` // its last record
	Usage    aaa.Usage  `json:"usage"`
	Class    [][]byte   `json:"class,omitempty"`
	Handle   []byte     `json:"handle,omitempty"`
	Home     *aaa.Grant `json:"home,omitzero"` // as the servers of another operator know it

	ended bool // kept for a while, for a record that comes again to find its Home
}

// key is that of its records.
func (s Session) key() string { return Entry{Client: s.Client, Session: s.Session}.key() }

// grant is the session as its router knows it.
func (s Session) grant() aaa.Grant {
	return aaa.Grant{
		Session: s.Session, Identity: s.Identity, Realm: aaa.RealmOf(s.Identity), Station: s.Station, Called: s.Called,
		NASPort: s.NASPort, Class: s.Class, Handle: s.Handle, Began: s.Since, Expires: s.Expires,
	}
}

// matches says whether m chooses it: a server of another operator by what that knows.
func (s Session) matches(m aaa.Match) bool {
	if m.Operator == "" {
		return m.Matches(s.grant())
	}
	return s.Home != nil && m.Matches(*s.Home)
}

// Sessions are those that have not ended, the oldest first.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Session, 0, len(s.live))
	for _, l := range s.live {
		if !l.ended {
			out = append(out, *l)
		}
	}
	slices.SortFunc(out, func(a, b Session) int { return a.Since.Compare(b.Since) })
	return out
}

// recall knows sessions from the books of before.
func (s *Server) recall() {
	if s.cfg.Books == nil {
		return
	}
	now := time.Now()
	for _, e := range s.cfg.Books.Open() {
		l := &Session{Client: e.Client, Session: e.Session, Since: e.At}
		l.hear(e)
		if l.Expires.IsZero() || now.Before(l.Expires.Add(lateness)) {
			s.live[l.key()] = l
		}
	}
}

// hear takes what a record says.
func (l *Session) hear(e Entry) {
	l.Client, l.Session, l.Identity, l.Heard, l.Usage = e.Client, e.Session, e.Identity, e.Time, e.Usage
	l.Station, l.Called, l.NASPort, l.Class, l.Handle = e.Station, e.Called, e.NASPort, e.Class, e.Handle
	if e.Kind == kindStart {
		l.Since = e.At
	}
	if e.Life > 0 && l.Expires.IsZero() {
		l.Expires = e.At.Add(e.Life)
	}
	if e.Home != nil {
		l.Home = e.Home
	}
}

// granted notes an accept, and gives the session its class: the one it has, if it
// authenticates again.
func (s *Server) granted(a Ask, method string, r *Reply, home *aaa.Grant) error {
	l := &Session{
		Client: a.Client, Session: a.Session, Identity: r.Identity, Method: method, Station: a.Station, Called: a.Called, NASPort: a.NASPort,
		Since: time.Now(), Handle: r.Handle, Home: home,
	}
	if r.Timeout > 0 {
		l.Expires = l.Since.Add(r.Timeout)
	}
	var own [classLen]byte
	if err := s.fill(own[:]); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := l.key()
	if a.Session == "" { // found by its class when its first record comes
		key = string(own[:])
	} else if before := s.live[key]; before != nil {
		l.Since, l.Usage, l.Heard = before.Since, before.Usage, before.Heard
		if home == nil && before.Home == nil {
			r.Class = before.Class
		}
	}
	if home != nil {
		r.Class = home.Class
	}
	if len(r.Class) == 0 {
		r.Class = [][]byte{own[:]}
	}
	l.Class = r.Class
	s.room()
	s.live[key] = l
	return nil
}

// room forgets the session that has been silent for longest, where there are too many.
func (s *Server) room() {
	if len(s.live) < maxLive {
		return
	}
	var oldest string
	var at time.Time
	for key, l := range s.live {
		seen := l.Since
		if l.Heard.After(seen) {
			seen = l.Heard
		}
		if oldest == "" || seen.Before(at) {
			oldest, at = key, seen
		}
	}
	delete(s.live, oldest)
	s.count.forgotten.Add(1)
}

// overdue forgets sessions that must have ended long ago.
func (s *Server) overdue(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.live {
		if l.ended && now.After(l.Heard.Add(lateness)) || !l.Expires.IsZero() && now.After(l.Expires.Add(lateness)) && now.After(l.Heard.Add(lateness)) {
			delete(s.live, key)
		}
	}
}

// Account puts a record into the books, and hands it to the servers of the node's home
// if that is another's. It returns nil when all have it: else it comes again.
func (s *Server) Account(ctx context.Context, client string, r aaa.Record) error {
	if r.Grant.Session == "" || r.Kind < aaa.RecordStart || r.Kind > aaa.RecordStop {
		return fmt.Errorf("server: record of %s without a session, or of no kind that there is", client)
	}
	if err := s.circle(r.Passed, r.Grant.Identity); err != nil {
		return err // the book has it from the first time
	}
	e := entryOf(client, r, time.Now())
	s.mu.Lock()
	l := s.ofRecord(e)
	if l != nil {
		if !l.Expires.IsZero() {
			e.Life = max(0, l.Expires.Sub(e.At))
		}
		e.Home = l.Home
	}
	s.mu.Unlock()
	if l == nil {
		s.cfg.Books.remind(&e)
	}
	if s.cfg.Books != nil {
		if err := s.cfg.Books.Add(e); err != nil {
			return err
		}
	} else if e.Home == nil && s.forwards(r.Grant.Identity) == "" {
		return fmt.Errorf("server: no books are kept here, name a file for them: the %v of %s from %s is not taken", r.Kind, r.Grant.Session, client)
	}
	s.heard(e)
	return s.forwardRecord(ctx, e, r)
}

// ofRecord is the session of a record; the caller has mu.
func (s *Server) ofRecord(e Entry) *Session {
	if l := s.live[e.key()]; l != nil {
		return l
	}
	for _, c := range e.Class {
		if l := s.live[string(c)]; l != nil && owner(l.Client) == owner(e.Client) {
			delete(s.live, string(c)) // it has a name now
			s.live[e.key()] = l
			return l
		}
	}
	return nil
}

// heard follows a record.
func (s *Server) heard(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.live[e.key()]
	switch {
	case e.Kind == kindStop && l != nil && l.Home != nil:
		l.ended, l.Heard = true, e.Time
		return
	case e.Kind == kindStop:
		delete(s.live, e.key())
		return
	case l != nil && l.ended:
		return
	case l == nil:
		s.room()
		l = &Session{Since: e.At}
		s.live[e.key()] = l
	}
	l.hear(e)
}

// Ended says that a session is over, of which a record may have come or not. The servers
// of its home hear so here if there was none, and they keep it until they do.
func (s *Server) Ended(ctx context.Context, client, session string, cause aaa.Cause) error {
	key := Entry{Client: client, Session: session}.key()
	s.mu.Lock()
	l := s.live[key]
	if l == nil || l.Home == nil {
		delete(s.live, key)
		s.mu.Unlock()
		return nil
	}
	unused := !l.ended && l.Heard.IsZero() && l.Home.Stateful
	l.ended, l.Heard = true, time.Now() // its last record may come again
	home := *l.Home
	s.mu.Unlock()
	if !unused {
		return nil
	}
	err := s.cfg.Forward.Account(ctx, aaa.Record{Grant: home, Kind: aaa.RecordStop, Time: time.Now(), Cause: cause})
	if err != nil {
		s.cfg.Log.Warn("the home of a session does not know that it is over", "identity", home.Identity, "session", home.Session, "err", err)
	}
	return err
}

// Ordered is what became of an order to one session.
type Ordered struct {
	Session Session `json:"session"`
	Err     string  `json:"error,omitzero"` // empty: its router has taken it
}

// Order carries an order to the routers of all sessions that match, and returns when
// they have answered, or have had their time.
func (s *Server) Order(ctx context.Context, m aaa.Match, o Order) []Ordered {
	chosen := s.match(m)
	out := make([]Ordered, len(chosen))
	limit := make(chan struct{}, 16)
	for i, l := range chosen {
		limit <- struct{}{}
		go func() {
			defer func() { <-limit }()
			out[i] = Ordered{Session: l}
			if err := s.order(ctx, l, o); err != nil {
				out[i].Err = err.Error()
			}
		}()
	}
	for range cap(limit) {
		limit <- struct{}{}
	}
	return out
}

func (s *Server) match(m aaa.Match) []Session {
	var out []Session
	for _, l := range s.Sessions() {
		if l.matches(m) {
			out = append(out, l)
		}
	}
	return out
}

// order carries one.
func (s *Server) order(ctx context.Context, l Session, o Order) error {
	name, _, _ := strings.Cut(l.Client, ":")
	s.mu.Lock()
	front := s.fronts[name]
	s.mu.Unlock()
	if front == nil {
		return fmt.Errorf("server: %v of %s: nothing here speaks %s to its router any more", o.Kind, l.Identity, name)
	}
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	o.Grant = l.grant()
	err := front.Order(ctx, l.Client, o)
	if err == nil && o.Kind == OrderExtend {
		s.mu.Lock()
		if known := s.live[l.key()]; known != nil {
			known.Expires = time.Now().Add(o.Life)
		}
		s.mu.Unlock()
	}
	if err != nil {
		s.cfg.Log.Warn("a router has not taken an order", "order", o.Kind, "client", l.Client, "identity", l.Identity, "session", l.Session, "err", err)
		return err
	}
	s.cfg.Log.Info("order", "order", o.Kind, "client", l.Client, "identity", l.Identity, "session", l.Session, "why", o.Why)
	return nil
}

// later carries an order that nobody waits for to all that match, and says how many.
func (s *Server) later(m aaa.Match, o Order) int {
	chosen := s.match(m)
	for _, l := range chosen {
		o.Grant = l.grant()
		select {
		case s.orders <- pendingOrder{l, o}:
		default:
			s.count.ordersLost.Add(1)
			s.cfg.Log.Error("an order is lost: too many are under way", "order", o.Kind, "identity", l.Identity)
		}
	}
	return len(chosen)
}

type pendingOrder struct {
	to Session
	Order
}

// End implements aaa.Orders, for servers of other operators.
func (s *Server) End(m aaa.Match, why string) int {
	return s.later(m, Order{Kind: OrderEnd, Why: why})
}

// Again implements aaa.Orders.
func (s *Server) Again(m aaa.Match) int { return s.later(m, Order{Kind: OrderAgain}) }

// Extend implements aaa.Orders.
func (s *Server) Extend(m aaa.Match, life time.Duration) int {
	return s.later(m, Order{Kind: OrderExtend, Life: life})
}
