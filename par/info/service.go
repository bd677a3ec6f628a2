package info

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
)

// Config of a Service.
type Config struct {
	// Own is this router's network, as its configuration has it. Its points get the router's load, where they state none.
	Own        neighbourhood.Network
	Sessions   int // as many visitors are the load 1; 0: the load is not told
	Neighbours []Neighbour
	// Lifetime is how long what is told holds at most; Every is how often neighbours are asked. 0: 3 min, 30 s.
	Lifetime, Every time.Duration
	// Hops is how many routers may pass a network on to another router; nodes hear of one that has come so far. 0: DefaultHops.
	Hops uint8

	Listener    net.Listener    // for neighbouring routers; nil: none may ask. The service closes it
	Certificate tls.Certificate // this router's, with a DNS name
	Roots       *x509.CertPool  // who signs routers' certificates
	Routers     []string        // DNS names of routers that may ask, besides the neighbours'
	// Site is a DNS name: whose certificate has the name ar.NETWORK.Site is the router of NETWORK, which may ask, and is asked when it does.
	Site string
	// Dial connects to a neighbour; nil: by TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Log  *slog.Logger // nil: none
}

// Neighbour is a network around, and its router.
type Neighbour struct {
	Network neighbourhood.Network // as configured; with no more than its name, only its router says what it is
	Address string                // host:port where its router answers; empty: it is not asked
	// Identity is the DNS name that its router's certificate must have; empty: it neither asks nor is asked. One without an address is asked
	// when it asks.
	Identity string
}

// RouterLabel is what the names of a site's routers begin with, before that of the network.
const RouterLabel = "ar."

// DefaultHops lets a node hear of its network's neighbours, and of theirs.
const DefaultHops = 1

const (
	defaultLifetime = 3 * time.Minute
	defaultEvery    = 30 * time.Second
	maxLifetime     = time.Hour              // that is believed of a neighbour
	pushPause       = 5 * time.Second        // between two changes that nodes are told of
	loadSteps       = 16                     // what is told of the load, so that not each visitor changes it
	burst           = 128                    // requests that a node may send at once: two whole answers
	refill          = 250 * time.Millisecond // and one each so often
)

// Service is a running information service. It tells what it knows until Close.
type Service struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // what is known may have changed

	answer atomic.Pointer[sheet] // for nodes; made by one goroutine

	nodeMu sync.Mutex // never taken before mu
	nodes  map[uint32]*node
	send   func(sid uint32, m notify.Message)
	given  NodeCounts

	mu         sync.Mutex // held while what is known is put together, which takes milliseconds at the worst
	table      neighbourhood.Table
	visitors   func() int
	load       int          // in steps, that is told
	neighbours []*neighbour // as configured: the list is fixed
	came       []*neighbour // of the site, that have asked us
	conns      int
	counts     RouterCounts
}

// sheet is an answer and what it says for how long.
type sheet struct {
	notify.Neighbours
	until []time.Time // of each network; zero: for good
	fresh time.Time   // until then it is the answer; zero: until something is said
}

// node is one that has asked.
type node struct {
	tokens  int
	filled  time.Time
	told    notify.Revision // that it has heard of, by an answer or a push
	refused bool
}

// NodeCounts say what nodes were told since the service was opened.
type NodeCounts struct {
	Answers   uint64 `json:"answers"`             // parts given
	Unchanged uint64 `json:"unchanged,omitempty"` // that were none, since nothing had changed
	Refused   uint64 `json:"refused,omitempty"`   // to nodes that ask too often
	Pushed    uint64 `json:"pushed,omitempty"`    // changes that nodes were told of
}

// RouterCounts say what routers were told since the service was opened.
type RouterCounts struct {
	Answers   uint64 `json:"answers"`             // parts given
	Strangers uint64 `json:"strangers,omitempty"` // connections of whoever is no router we know
}

// Open starts a service.
func Open(cfg Config) (*Service, error) {
	cfg.defaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	if err := errors.Join(cfg.Check(), cfg.secured()); err != nil {
		return nil, errors.Join(fmt.Errorf("info: %w", err), closeListener(cfg.Listener))
	}
	s := &Service{cfg: cfg, wake: make(chan struct{}, 1), nodes: map[uint32]*node{}, send: func(uint32, notify.Message) {}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	now := time.Now()
	s.table.Learn(now, configured, s.own(), 0)
	for _, n := range cfg.Neighbours {
		one := &neighbour{Neighbour: n}
		s.neighbours = append(s.neighbours, one)
		if n.Address != "" {
			s.wg.Go(func() { s.follow(one) })
		}
	}
	if cfg.Listener != nil {
		s.wg.Go(s.accept)
	}
	s.refresh(now)
	s.wg.Go(s.keep)
	return s, nil
}

// configured is the source of what the configuration says.
var configured = neighbourhood.Source{Kind: neighbourhood.Configured}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

func (c *Config) defaults() {
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	if c.Every == 0 {
		c.Every = defaultEvery
	}
	if c.Hops == 0 {
		c.Hops = DefaultHops
	}
}

// Check says what is wrong with what c says, of networks and times: certificates and a listener may come later.
func (c Config) Check() error {
	c.defaults()
	if err := c.Own.Check(); err != nil {
		return fmt.Errorf("its own network: %w", err)
	}
	if len(c.Neighbours) > maxNeighbours {
		return fmt.Errorf("%d neighbours, expected at most %d", len(c.Neighbours), maxNeighbours)
	}
	if c.Lifetime < 2*c.Every || c.Every < time.Second {
		return fmt.Errorf("neighbours are asked every %v, and what they say holds for %v: expected 1s or more, and at least twice that", c.Every, c.Lifetime)
	}
	if c.Lifetime > maxLifetime {
		return fmt.Errorf("lifetime %v, expected at most %v", c.Lifetime, maxLifetime)
	}
	if c.Hops > neighbourhood.MaxHops {
		return fmt.Errorf("%d hops, expected at most %d", c.Hops, neighbourhood.MaxHops)
	}
	names := map[string]bool{c.Own.Name: true}
	for _, n := range c.Neighbours {
		if err := n.Network.Check(); err != nil {
			return fmt.Errorf("neighbour %.80q: %w", n.Network.Name, err)
		}
		if names[n.Network.Name] {
			return fmt.Errorf("network %s is given twice", n.Network.Name)
		}
		names[n.Network.Name] = true
	}
	return nil
}

// secured says what is missing to prove who the router is.
func (c *Config) secured() error {
	secured := c.Roots != nil && len(c.Certificate.Certificate) > 0
	if c.Listener != nil && !secured {
		return errors.New("a certificate, and the roots of other routers', are needed to answer them")
	}
	for _, n := range c.Neighbours {
		if n.Address != "" && (n.Identity == "" || !secured) {
			return fmt.Errorf("neighbour %s is to be asked at %s: for that its name, a certificate, and the roots of others' are needed", n.Network.Name, n.Address)
		}
	}
	return nil
}

// maxNeighbours leaves each of them a source, beside the configuration.
const maxNeighbours = neighbourhood.MaxSources - 2

// own is what the configuration says, of the own network at the load of now.
func (s *Service) own() []neighbourhood.Network {
	n := s.cfg.Own
	if s.cfg.Sessions > 0 {
		n.Points = slices.Clone(n.Points)
		for i := range n.Points {
			if n.Points[i].Load == nil {
				load := float32(s.load) / loadSteps
				n.Points[i].Load = &load
			}
		}
	}
	list := []neighbourhood.Network{n}
	for _, o := range s.cfg.Neighbours {
		list = append(list, o.Network)
	}
	return list
}

// Begin gives the service the router that it serves: how to send to a session, how many visitors there are, and the prefixes of its link,
// which are the own network's where Own states none. It comes before the first Answer.
func (s *Service) Begin(send func(sid uint32, m notify.Message), visitors func() int, prefixes []netip.Prefix) {
	s.nodeMu.Lock()
	s.send = send
	s.nodeMu.Unlock()
	s.mu.Lock()
	s.visitors = visitors
	if len(s.cfg.Own.Prefixes) == 0 && len(prefixes) > 0 {
		s.cfg.Own.Prefixes = prefixes[:min(len(prefixes), neighbourhood.MaxPrefixes)]
		if err := s.cfg.Own.Check(); err != nil {
			s.cfg.Log.Warn("the prefixes of the access link are not told", "err", err)
			s.cfg.Own.Prefixes = nil
		}
		s.table.Learn(time.Now(), configured, s.own(), 0)
	}
	s.mu.Unlock()
	s.refresh(time.Now())
}

// Addr is where neighbouring routers may ask; nil: nowhere.
func (s *Service) Addr() net.Addr {
	if s.cfg.Listener == nil {
		return nil
	}
	return s.cfg.Listener.Addr()
}

// Close ends it and waits.
func (s *Service) Close() error {
	s.cancel()
	err := closeListener(s.cfg.Listener)
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// changed has the answer made anew.
func (s *Service) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// measure takes the load as it is. The caller holds mu.
func (s *Service) measure(now time.Time) {
	if s.visitors == nil || s.cfg.Sessions == 0 {
		return
	}
	exact := float64(min(s.visitors(), s.cfg.Sessions)) * loadSteps / float64(s.cfg.Sessions)
	if d := exact - float64(s.load); d > -1 && d < 1 { // it does not go to and fro at the border of two steps
		return
	}
	s.load = int(exact)
	s.table.Learn(now, configured, s.own(), 0)
}

// refresh makes the answer for nodes anew.
func (s *Service) refresh(now time.Time) *sheet {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measure(now)
	a := s.sheet(now, "", neighbourhood.MaxHops)
	s.answer.Store(a)
	return a
}

// sheet is what is told to a node, or to a neighbour, which is not told what it said itself. The caller holds mu.
func (s *Service) sheet(now time.Time, to string, hops uint8) *sheet {
	list := s.table.Networks(now)
	list = slices.DeleteFunc(list, func(k neighbourhood.Known) bool {
		return k.Name != s.cfg.Own.Name && k.Hops >= hops || to != "" && len(k.From) == 1 && k.From[0] == (neighbourhood.Source{Kind: neighbourhood.Router, Name: to})
	})
	s.order(list)
	a := &sheet{fresh: s.table.Next(now)}
	networks := make([]neighbourhood.Network, len(list))
	for i, k := range list {
		networks[i] = k.Network
		if k.Name != s.cfg.Own.Name {
			networks[i].Hops++
		}
		a.until = append(a.until, k.Until)
	}
	var err error
	var fit int
	if a.Neighbours, fit, err = notify.NewNeighbours(networks); err != nil { // each of them has passed its check
		s.cfg.Log.Error("nothing is told about the networks around", "err", err)
		a.Neighbours, _, _ = notify.NewNeighbours(nil)
	}
	if fit < len(networks) {
		s.cfg.Log.Warn("not all networks around fit an answer", "known", len(networks), "told", fit)
	}
	a.until = a.until[:fit]
	return a
}

// order puts our own network first, and those last that may be left out.
func (s *Service) order(list []neighbourhood.Known) {
	far := func(k neighbourhood.Known) int {
		if k.Name == s.cfg.Own.Name {
			return -1
		}
		return int(k.Hops)<<8 | int(k.From[0].Kind)
	}
	slices.SortStableFunc(list, func(a, b neighbourhood.Known) int { return far(a) - far(b) })
}

// lives says how long each network of the answer holds from now on, most at most.
func (a *sheet) lives(now time.Time, most time.Duration) []time.Duration {
	out := make([]time.Duration, len(a.until))
	for i, until := range a.until {
		if out[i] = most; !until.IsZero() {
			out[i] = max(0, min(most, until.Sub(now)))
		}
	}
	return out
}
