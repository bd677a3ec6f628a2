package discover

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/internal/state"
)

// Statement is all that a source knows. It takes the place of what the source said before.
type Statement struct {
	From     neighbourhood.Source
	Networks []neighbourhood.Network
	Lifetime time.Duration // 0: until it is replaced
}

// Source is somebody, or something, that knows of networks.
type Source interface {
	// Run says what there is to say, now and when it changes, until ctx ends. What it says is copied.
	Run(ctx context.Context, say func(Statement))
}

// Config of a Service.
type Config struct {
	Networks []neighbourhood.Network // of the node's operator, for good
	// Aliases are what the configuration calls points: names by BSSID, in lower case with colons. Whatever says the
	// one means the other.
	Aliases map[string]string
	Sources []Source
	Locator Locator     // nil: nobody tells where the node is
	State   state.Store // for what is kept of earlier moves; nil: it is in memory only
	Log     *slog.Logger
}

// Service puts together what all sources say. Safe for use by several goroutines.
type Service struct {
	cfg     Config
	ours    map[netip.AddrPort]string // networks of the configuration by their PAA, where that is of one only
	history *history
	changed chan struct{} // for Changed
	wake    chan struct{} // of Run

	position position

	mu       sync.Mutex
	table    *neighbourhood.Table
	said     map[neighbourhood.Source]said
	next     time.Time // when something is over; zero: nothing will be
	watchers map[chan struct{}]struct{}
}

// said is about the last statement of a source.
type said struct {
	at       time.Time
	lifetime time.Duration
	networks int
}

// New makes a service that knows what the configuration says, and what there was in earlier moves.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.State == nil {
		cfg.State = state.NewMemory()
	}
	s := &Service{
		cfg: cfg, table: &neighbourhood.Table{}, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		said: map[neighbourhood.Source]said{}, watchers: map[chan struct{}]struct{}{},
	}
	s.ours = byPAA(cfg.Networks)
	s.Say(Statement{From: neighbourhood.Source{Kind: neighbourhood.Configured, Name: "configuration"}, Networks: cfg.Networks})
	s.history = openHistory(cfg.State, cfg.Log)
	if past := s.history.statement(time.Now()); len(past.Networks) > 0 {
		s.Say(past)
	}
	return s
}

// Run runs the sources, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, source := range s.cfg.Sources {
		wg.Go(func() { source.Run(ctx, s.Say) })
	}
	if s.cfg.Locator != nil {
		wg.Go(func() { s.cfg.Locator.Run(ctx, s.position.take) })
	}
	wg.Go(func() { s.history.run(ctx) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.expire(timer)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// expire tells watchers when something is over, and sets timer to when something is next.
func (s *Service) expire(timer *time.Timer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.next.IsZero() && !now.Before(s.next) {
		s.tell()
	}
	s.next = s.table.Next(now)
	wait := time.Hour
	if !s.next.IsZero() {
		wait = min(wait, max(s.next.Sub(now), time.Millisecond))
	}
	timer.Reset(wait)
	holds := s.table.Sources(now)
	maps.DeleteFunc(s.said, func(from neighbourhood.Source, _ said) bool { return !slices.Contains(holds, from) })
}

// Say takes a statement at any time, of whatever is no Source.
func (s *Service) Say(st Statement) {
	nets := s.named(st.Networks)
	s.mu.Lock()
	now := time.Now()
	changed := s.table.Learn(now, st.From, nets, st.Lifetime)
	if _, known := s.said[st.From]; known || len(s.said) < neighbourhood.MaxSources {
		s.said[st.From] = said{now, st.Lifetime, len(nets)}
	}
	if changed {
		s.tell()
	}
	s.mu.Unlock()
	poke(s.wake)
}

// Forget drops what a source has said.
func (s *Service) Forget(from neighbourhood.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.said, from)
	if s.table.Forget(from) {
		s.tell()
	}
}

// byPAA are networks by their PAA; not those that have one together.
func byPAA(networks []neighbourhood.Network) map[netip.AddrPort]string {
	out := map[netip.AddrPort]string{}
	for _, n := range networks {
		for _, a := range n.Agents {
			if a.Role != neighbourhood.PAA || !a.Addr.IsValid() {
				continue
			}
			if _, two := out[a.Addr]; two {
				out[a.Addr] = ""
			} else {
				out[a.Addr] = n.Name
			}
		}
	}
	return out
}

// ourName is what the configuration calls a network: another name for one with the same PAA means that one.
func (s *Service) ourName(n neighbourhood.Network) string {
	if slices.ContainsFunc(s.cfg.Networks, func(o neighbourhood.Network) bool { return o.Name == n.Name }) {
		return n.Name
	}
	for _, a := range n.Agents[:min(len(n.Agents), neighbourhood.MaxAgents)] {
		if a.Role == neighbourhood.PAA && s.ours[a.Addr] != "" {
			return s.ours[a.Addr]
		}
	}
	return n.Name
}

// named is a copy of networks in which networks and points are called as the configuration does. It looks at no more than the
// table does.
func (s *Service) named(networks []neighbourhood.Network) []neighbourhood.Network {
	out := slices.Clone(networks[:min(len(networks), neighbourhood.MaxNetworks+1)])
	for i, n := range out {
		out[i].Name = s.ourName(n)
		points := n.Points[:min(len(n.Points), neighbourhood.MaxPoints+1)]
		out[i].Points = nil
		for _, p := range points {
			if name := s.cfg.Aliases[p.Name]; name != "" {
				if slices.ContainsFunc(points, func(o neighbourhood.Point) bool { return o.Name == name }) {
					continue // it is there by its name
				}
				p.Name = name
			}
			out[i].Points = append(out[i].Points, p)
		}
	}
	return out
}

// tell pokes whoever watches. The caller has mu.
func (s *Service) tell() {
	poke(s.changed)
	for ch := range s.watchers {
		poke(ch)
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Watch returns a channel that brings something whenever what is known has changed, until stop is called. It holds one.
func (s *Service) Watch() (changes <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, ch)
	}
}

// Known are the networks as all sources together have them, by name. The caller must not change them.
func (s *Service) Known() []neighbourhood.Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Networks(time.Now())
}

// Changed brings something whenever what is known has changed. It holds one, and is one and the same channel.
func (s *Service) Changed() <-chan struct{} { return s.changed }

// Moved notes that the node has moved from a point to another one, by whomever. It waits for nothing.
func (s *Service) Moved(from, to string, at time.Time) { s.history.moved(at, from, to, s.where()) }

// Follows is which part of the moves away from a point went to each other one, later ones and those from around here counting
// more: 0 to 1, by point. nil: there were none.
func (s *Service) Follows(point string) map[string]float64 {
	return s.history.follows(time.Now(), point, s.where())
}

// Proven notes what the node has seen itself of a network, with whose router it has authenticated: it is known in later runs, too.
func (s *Service) Proven(n neighbourhood.Network) {
	s.history.proven(time.Now(), n)
	s.Say(s.history.statement(time.Now()))
}
