package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/internal/event"
)

const (
	defaultSessions = 1024
	queueSize       = 512 // steps that wait for a processor
	sweep           = time.Second
)

// Config configures a Server. TLS is required.
type Config struct {
	TLS            eap.ServerConfig // Methods, Authorize, Accounts and Sessions are the server's own
	Methods        []string         // of Methods, in the order they are offered; none: tls
	Users          *Users           // nil: nobody has a password, and nobody is blocked
	Resume         time.Duration    // how long after a full authentication TLS sessions are resumed; 0: never
	Realms         []string         // its own, where Forward serves others; identities without a realm are its own
	Forward        *aaa.Realms      // who serves the other realms; nil: every realm is its own
	Books          *Books           // of records; nil: none are kept
	Interim        time.Duration    // told in every accept: between records of a session; 0: none
	SessionTimeout time.Duration    // told in every accept; 0: none
	MaxSessions    int              // conversations at once; default 1024
	Workers        int              // steps computed at once; default one per processor, at least two

	Recorder *event.Recorder // nil: no records
	Log      *slog.Logger    // nil: none
	Rand     io.Reader       // default crypto/rand
}

// Server is what all fronts ask. It knows no protocol but EAP.
type Server struct {
	// fixed
	cfg   Config
	slots chan struct{} // one for each step under way
	mark  []byte        // of what it passes on

	resumable *eap.Sessions // nil: none

	orders chan pendingOrder

	// atomic
	count   counters
	waiting atomic.Int32 // for a slot

	randMu sync.Mutex // guards cfg.Rand

	// guarded by mu
	mu       sync.Mutex
	sessions map[[stateLen]byte]*session
	fronts   map[string]Front
	live     map[string]*Session // by key, or by class until the first record
	closed   bool
}

type counters struct {
	accepted, rejected, expired              atomic.Uint64
	overload, unknownState, pending, invalid atomic.Uint64
	forgotten, ordersLost                    atomic.Uint64
}

// Counters is a snapshot of what a server has done and dropped.
type Counters struct {
	Accepted   uint64 `json:"accepted"`
	Rejected   uint64 `json:"rejected"`    // conversations, for whatever reason
	Expired    uint64 `json:"expired"`     // of them, without a last packet
	Sessions   int    `json:"sessions"`    // under way
	Live       int    `json:"live"`        // sessions of nodes that have not ended
	Forgotten  uint64 `json:"forgotten"`   // of them: there were too many
	OrdersLost uint64 `json:"orders_lost"` // of servers elsewhere: too many at once

	// Asked in vain, by reason.
	Overload uint64 `json:"overload"`
	Pending  uint64 `json:"pending"` // for a session busy with another

	// Refused, or answered by the last request again.
	UnknownState uint64 `json:"unknown_state"`
	Invalid      uint64 `json:"invalid"`
}

// New makes a server.
func New(cfg Config) (*Server, error) {
	if len(cfg.Methods) == 0 {
		cfg.Methods = []string{"tls"}
	}
	for _, name := range cfg.Methods {
		if _, ok := methodTypes[name]; !ok {
			return nil, fmt.Errorf("server: method %q, expected %s", name, strings.Join(Methods, ", "))
		}
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = defaultSessions
	}
	if cfg.Workers <= 0 {
		cfg.Workers = max(2, runtime.GOMAXPROCS(0))
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, slots: make(chan struct{}, cfg.Workers), mark: []byte(strings.ToLower(rand.Text()) + markSuffix),
		sessions: make(map[[stateLen]byte]*session), fronts: make(map[string]Front),
		live: make(map[string]*Session), orders: make(chan pendingOrder, maxOrders),
	}
	if cfg.Resume > 0 {
		s.resumable = eap.NewSessions(cfg.Resume, lockedRand{s})
	}
	probe, err := eap.NewServer(s.method("")) // says now what would fail later
	if err != nil {
		return nil, err
	}
	s.recall()
	return s, probe.Close()
}

// lockedRand is the randomness for who may ask at any time.
type lockedRand struct{ s *Server }

func (r lockedRand) Read(b []byte) (int, error) {
	if err := r.s.fill(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Attach tells the server of a front, whose clients' names begin with that name and a
// colon. It is called before Run.
func (s *Server) Attach(name string, f Front) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fronts[name] = f
}

// Run lets time pass for conversations, and carries orders of others' servers, until ctx
// is done; then it ends all. After it there is no Answer any more.
func (s *Server) Run(ctx context.Context) error {
	var carriers sync.WaitGroup
	defer carriers.Wait()
	for range 4 {
		carriers.Go(func() {
			for {
				select {
				case one := <-s.orders:
					_ = s.order(ctx, one.to, one.Order) // it is in the log
				case <-ctx.Done():
					return
				}
			}
		})
	}
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.expire(now, false)
			s.overdue(now)
		case <-ctx.Done():
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
			s.expire(time.Now(), true)
			return nil
		}
	}
}

// Answer runs the conversation one step. An error says that there is nothing to answer:
// the server is busy or about to end, or the servers of the node's home are silent. With
// *aaa.LostError the node may begin anew here, and another one of them answers.
func (s *Server) Answer(ctx context.Context, a Ask) (Reply, error) {
	pkt, err := eap.Parse(a.EAP)
	if len(a.State) == 0 {
		if err != nil || pkt.Code != eap.CodeResponse || pkt.Type != eap.TypeIdentity || len(pkt.Data) == 0 {
			s.count.invalid.Add(1)
			s.cfg.Log.Warn("refused: expected an EAP identity; only EAP is offered", "client", a.Client, "user", a.UserName)
			return refuse(pkt), nil
		}
		return s.first(ctx, a, pkt)
	}
	c, err := s.take(a.State, a.Client)
	switch {
	case errors.Is(err, ErrPending):
		s.count.pending.Add(1)
		return Reply{}, err
	case err != nil:
		s.count.unknownState.Add(1)
		s.cfg.Log.Warn("refused", "client", a.Client, "user", a.UserName, "err", err)
		return refuse(pkt), nil
	case c.with != nil:
		return s.passOn(ctx, c, a)
	}
	if err := s.enter(ctx, true); err != nil {
		s.put(c)
		return Reply{}, err
	}
	defer s.leave()
	return s.step(c, a), nil
}

func (s *Server) leave() { <-s.slots }

// enter waits for a slot. New conversations only get the first half of the queue (RFC
// 5080 section 2.2.3).
func (s *Server) enter(ctx context.Context, begun bool) error {
	defer s.waiting.Add(-1)
	n, room := s.waiting.Add(1), int32(queueSize)
	if !begun {
		room /= 2
	}
	if n > room {
		s.count.overload.Add(1)
		return ErrOverload
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("server: not answered: %w", context.Cause(ctx))
	}
}

func (s *Server) first(ctx context.Context, a Ask, pkt eap.Packet) (Reply, error) {
	if s.forwards(string(pkt.Data)) != "" {
		c, err := s.beginForward(a, pkt)
		var unknown *aaa.RealmError
		var circle *CircleError
		switch {
		case errors.As(err, &unknown):
			return s.nobody(a, pkt, err, "no route to the realm of this identity"), nil
		case errors.As(err, &circle):
			return s.nobody(a, pkt, err, circle.Error()), nil
		}
		if err != nil {
			return Reply{}, s.noSession(err)
		}
		return s.passOn(ctx, c, a)
	}
	if err := s.enter(ctx, false); err != nil {
		return Reply{}, err
	}
	defer s.leave()
	c, err := s.begin(a, pkt)
	if err != nil {
		return Reply{}, s.noSession(err)
	}
	reply := c.challenge()
	s.put(c)
	return reply, nil
}

func (s *Server) noSession(err error) error {
	s.count.overload.Add(1)
	if !errors.Is(err, ErrOverload) {
		s.cfg.Log.Error("no session", "err", err)
	}
	return err
}

func (c *session) challenge() Reply {
	return Reply{Decision: aaa.Continue, EAP: c.last, State: c.state[:]}
}

// step gives the session its response; the caller is its owner.
func (s *Server) step(c *session, a Ask) Reply {
	out, err := c.eap.Handle(a.EAP)
	if out == nil { // not a response to the request that is out: ask again, a few times
		s.count.invalid.Add(1)
		if c.invalid++; c.invalid < maxInvalid {
			reply := c.challenge()
			s.put(c)
			return reply
		}
		s.finish(c, fmt.Errorf("server: %d invalid packets, the last one: %w", c.invalid, err))
		return Reply{Decision: aaa.Reject, EAP: failure(c.last)}
	}
	done, success, msk, emsk, identity := c.eap.Result()
	emsk.Clear() // nobody here derives from it
	switch {
	case !done:
		c.last = out
		reply := c.challenge()
		s.put(c)
		return reply
	case !success:
		s.finish(c, c.eap.Err())
		return Reply{Decision: aaa.Reject, EAP: out}
	}
	r := Reply{Decision: aaa.Accept, EAP: out, MSK: msk, Identity: identity, Timeout: s.cfg.SessionTimeout, Interim: s.cfg.Interim}
	if u, ok := s.cfg.Users.Find(identity); ok && u.life() > 0 {
		r.Timeout = u.life()
	}
	if err := s.granted(a, methodName(c.eap.Method()), &r, nil); err != nil {
		msk.Clear()
		s.finish(c, err)
		return Reply{Decision: aaa.Reject, EAP: failure(c.last)}
	}
	s.finish(c, nil)
	return r
}

// refuse answers what belongs to no session.
func refuse(pkt eap.Packet) Reply {
	return Reply{Decision: aaa.Reject, EAP: []byte{byte(eap.CodeFailure), pkt.ID, 0, 4}}
}

// failure is the EAP-Failure after that request.
func failure(request []byte) []byte { return []byte{byte(eap.CodeFailure), request[1], 0, 4} }

func (s *Server) fill(b []byte) error {
	s.randMu.Lock()
	defer s.randMu.Unlock()
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return fmt.Errorf("server: randomness: %w", err)
	}
	return nil
}

// Counters returns what the server has done and dropped so far.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	sessions, live := len(s.sessions), 0
	for _, l := range s.live {
		if !l.ended {
			live++
		}
	}
	s.mu.Unlock()
	n := &s.count
	return Counters{
		Accepted: n.accepted.Load(), Rejected: n.rejected.Load(), Expired: n.expired.Load(), Sessions: sessions, Live: live, Forgotten: n.forgotten.Load(), OrdersLost: n.ordersLost.Load(),
		Overload: n.overload.Load(), Pending: n.pending.Load(), UnknownState: n.unknownState.Load(), Invalid: n.invalid.Load(),
	}
}
