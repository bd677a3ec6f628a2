package diameter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Node is one Diameter node: a client of its peers, a server for them, or both. It may
// be used by several goroutines at once.
type Node struct {
	// fixed
	cfg   Config
	self  self
	tls   *tls.Config
	rules rules
	seen  seen

	// atomic
	count counters
	e2e   atomic.Uint32

	// set by Run
	ctx  context.Context // of handlers
	work sync.WaitGroup  // handlers

	randMu sync.Mutex
	rand   *rand.Rand

	mu      sync.Mutex // guards the fields below, and peers
	peers   []*peer    // by priority
	byName  map[string]*peer
	guests  int
	states  map[string]uint32 // Origin-State-Id of nodes
	changed chan struct{}     // closed and made anew with every change of a peer
	waiting []net.Conn        // connections without a peer yet, the oldest first
	running bool
	ended   bool
	addrs   []net.Addr
}

// counters are what Counters reads.
type counters struct {
	sent, received, answers, retransmitted, failovers, refusedElsewhere atomic.Uint64
	opened, closed, refused, restarts                                   atomic.Uint64
	malformed, badAnswers, unsolicited, refusedRequests                 atomic.Uint64
	duplicates, tooBusy, queueFull, answersLost, strangers              atomic.Uint64
}

// Counters is a snapshot of what a node has done and dropped.
type Counters struct {
	Sent             uint64 `json:"sent"`
	Received         uint64 `json:"received"`
	Answers          uint64 `json:"answers"`       // of peers, to requests of ours
	Retransmitted    uint64 `json:"retransmitted"` // requests sent again, with the T bit
	Failovers        uint64 `json:"failovers"`     // peers that were found silent
	RefusedElsewhere uint64 `json:"refused_elsewhere"`
	Opened           uint64 `json:"opened"` // connections with capabilities exchanged
	Closed           uint64 `json:"closed"`
	Refused          uint64 `json:"refused"`  // CERs
	Restarts         uint64 `json:"restarts"` // nodes whose Origin-State-Id grew
	Malformed        uint64 `json:"malformed"`
	BadAnswers       uint64 `json:"bad_answers"`
	Unsolicited      uint64 `json:"unsolicited"` // answers nobody waits for, or no longer
	RefusedRequests  uint64 `json:"refused_requests"`
	Duplicates       uint64 `json:"duplicates"`
	TooBusy          uint64 `json:"too_busy"`
	QueueFull        uint64 `json:"queue_full"`
	AnswersLost      uint64 `json:"answers_lost"` // their connection had gone
	Strangers        uint64 `json:"strangers"`    // connections closed before their CER: there were too many
}

// Counters tells what the node has done so far.
func (n *Node) Counters() Counters {
	c := &n.count
	return Counters{
		Sent: c.sent.Load(), Received: c.received.Load(), Answers: c.answers.Load(), Retransmitted: c.retransmitted.Load(),
		Failovers: c.failovers.Load(), RefusedElsewhere: c.refusedElsewhere.Load(),
		Opened: c.opened.Load(), Closed: c.closed.Load(), Refused: c.refused.Load(), Restarts: c.restarts.Load(),
		Malformed: c.malformed.Load(), BadAnswers: c.badAnswers.Load(), Unsolicited: c.unsolicited.Load(), RefusedRequests: c.refusedRequests.Load(),
		Duplicates: c.duplicates.Load(), TooBusy: c.tooBusy.Load(), QueueFull: c.queueFull.Load(), AnswersLost: c.answersLost.Load(), Strangers: c.strangers.Load(),
	}
}

// New makes a node. It opens nothing yet.
func New(cfg Config) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	var seed [32]byte
	if _, err := io.ReadFull(cfg.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("diameter: random numbers: %w", err)
	}
	n := &Node{
		cfg: cfg, rules: newRules(cfg.Dict), rand: rand.New(rand.NewChaCha8(seed)), byName: make(map[string]*peer),
		states: make(map[string]uint32), changed: make(chan struct{}), ctx: context.Background(),
	}
	n.self = self{identity: cfg.Identity, realm: cfg.Realm, state: stateID(time.Now()), auth: cfg.Auth, acct: cfg.Acct, dict: cfg.Dict}
	if cfg.TLS != nil {
		n.tls = cfg.TLS.Clone()
		n.tls.MinVersion = tls.VersionTLS13
		n.tls.ClientAuth = tls.RequireAndVerifyClientCert
		n.tls.InsecureSkipVerify = false
		n.tls.SessionTicketsDisabled = true // a resumed session would show no certificate anew
	}
	// RFC 6733 section 3: the time in the upper 12 bits, the lower 20 random.
	n.e2e.Store(uint32(time.Now().Unix())<<20 | n.random()&0xfffff)
	for _, p := range cfg.Peers {
		n.addLocked(p, false)
	}
	return n, nil
}

// stateID is an Origin-State-Id that grows with each start, even of a process that is
// back in a moment: quarters of a second since 2024, which fit until 2058.
func stateID(now time.Time) uint32 {
	return uint32(now.Sub(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)) / (250 * time.Millisecond))
}

func (n *Node) random() uint32 {
	n.randMu.Lock()
	defer n.randMu.Unlock()
	return n.rand.Uint32()
}

// jitter is between -2 s and 2 s (RFC 3539 section 3.4.1 [1]).
func (n *Node) jitter() time.Duration {
	n.randMu.Lock()
	defer n.randMu.Unlock()
	return time.Duration(n.rand.Int64N(int64(4*time.Second))) - 2*time.Second
}

func (n *Node) endToEnd() uint32 { return n.e2e.Add(1) }

func (n *Node) serves(app uint32) bool {
	return slices.Contains(n.self.auth, app) || slices.Contains(n.self.acct, app)
}

// addLocked adds a peer in its place.
func (n *Node) addLocked(cfg Peer, guest bool) *peer {
	p := &peer{name: cfg.Identity, cfg: cfg, guest: guest, kick: make(chan struct{}, 1), since: time.Now(), dialing: cfg.Addr != ""}
	p.watch = watchdog{every: n.cfg.Watchdog, jitter: n.jitter}
	n.byName[p.name] = p
	at := len(n.peers)
	for at > 0 && n.peers[at-1].cfg.Priority > cfg.Priority {
		at--
	}
	n.peers = slices.Insert(n.peers, at, p)
	return p
}

// Run opens the listeners, keeps peers connected and serves them until ctx ends; then it
// says goodbye, and waits for its goroutines. An error is why it could not begin: peers
// that are away are none. It is called once.
func (n *Node) Run(ctx context.Context) error {
	listeners := slices.Clone(n.cfg.Listeners)
	for _, l := range []struct {
		at  netip.AddrPort
		tls bool
	}{{n.cfg.Listen, false}, {n.cfg.ListenTLS, true}} {
		if !l.at.IsValid() {
			continue
		}
		nl, err := net.Listen("tcp", l.at.String())
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return fmt.Errorf("diameter: %w", err)
		}
		listeners = append(listeners, Listener{nl, l.tls})
	}
	handlers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	n.mu.Lock()
	n.ctx, n.running = handlers, true
	for _, l := range listeners {
		n.addrs = append(n.addrs, l.Addr())
	}
	peers := slices.Clone(n.peers)
	n.wakeLocked()
	n.mu.Unlock()

	var all sync.WaitGroup
	for _, p := range peers {
		if p.cfg.Addr != "" {
			all.Go(func() { n.dial(ctx, p) })
		}
	}
	for _, l := range listeners {
		all.Go(func() { n.accept(ctx, l, &all) })
	}
	<-ctx.Done()
	for _, l := range listeners {
		l.Close()
	}
	n.mu.Lock()
	n.running, n.ended = false, true
	n.wakeLocked()
	n.mu.Unlock()
	all.Wait()
	cancel()
	n.work.Wait()
	return nil
}

// Addrs are where the node listens, while it runs.
func (n *Node) Addrs() []net.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.addrs)
}

// until has a connection say goodbye when ctx ends, and returns what undoes that.
func (c *conn) until(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { c.stop <- causeRebooting })
}

// accept takes connections of a listener.
func (n *Node) accept(ctx context.Context, l Listener, all *sync.WaitGroup) {
	for {
		raw, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			n.cfg.Log.Error("diameter: accept", "err", err) // out of descriptors, perhaps
			if !sleep(ctx, time.Second, nil) {
				return
			}
			continue
		}
		n.welcome(raw)
		all.Go(func() { n.host(ctx, raw, l.TLS) })
	}
}

// welcome notes a connection whose peer is not known yet. Of too many the oldest has to
// go: whoever means it has said who it is long since.
func (n *Node) welcome(raw net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) >= maxStrangers {
		n.waiting[0].Close()
		n.waiting = n.waiting[1:]
		n.count.strangers.Add(1)
	}
	n.waiting = append(n.waiting, raw)
}

// host serves one accepted connection.
func (n *Node) host(ctx context.Context, raw net.Conn, secure bool) {
	plain := raw
	known := sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.waiting = slices.DeleteFunc(n.waiting, func(c net.Conn) bool { return c == plain })
	})
	defer known()
	var cert *x509.Certificate
	if secure {
		var err error
		if raw, cert, err = n.secure(ctx, raw, ""); err != nil {
			n.count.refused.Add(1)
			n.cfg.Log.Warn("diameter: TLS", "from", raw.RemoteAddr(), "err", err)
			return
		}
	}
	c := n.newConn(raw, cert, nil)
	c.known = known
	defer c.until(ctx)()
	if err := c.run(); err != nil && c.peer == nil {
		n.cfg.Log.Info("diameter: connection closed", "from", raw.RemoteAddr(), "why", why(err))
	}
}

// secure does the handshake of TLS; a name makes it the client's side. The socket is
// closed with an error.
func (n *Node) secure(ctx context.Context, raw net.Conn, name string) (net.Conn, *x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	var t *tls.Conn
	if name == "" {
		t = tls.Server(raw, n.tls)
	} else {
		cfg := n.tls.Clone()
		cfg.ServerName = name
		t = tls.Client(raw, cfg)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		raw.Close()
		return raw, nil, fmt.Errorf("TLS: %w", err)
	}
	return t, t.ConnectionState().PeerCertificates[0], nil
}

// dial keeps a peer connected: the reconnect timer Tc of RFC 6733 section 2.1 grows from
// retryMin to retryMax, and a request that finds nobody shortens it.
func (n *Node) dial(ctx context.Context, p *peer) {
	wait := retryMin
	for ctx.Err() == nil {
		if !n.vacant(ctx, p) {
			return
		}
		began := time.Now()
		opened, err := n.connect(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if opened {
			wait = retryMin
		}
		pause := wait + time.Duration(float64(wait)*0.25*(float64(n.random())/(1<<32)))
		var refused *refusedError
		var left *leftError
		if errors.As(err, &refused) || errors.As(err, &left) && left.cause == causeNoTalk {
			pause = retryUnloved
		}
		n.mu.Lock()
		p.dialing, p.tried = false, began
		if p.conn == nil {
			if p.last == nil || why(p.last) != why(err) {
				n.cfg.Log.Warn("diameter: no connection", "peer", p.name, "addr", p.cfg.Addr, "why", why(err), "again_in", pause.Round(time.Second))
			}
			p.last = err
		}
		n.wakeLocked()
		n.mu.Unlock()
		if !sleep(ctx, pause, p.kick) {
			return
		}
		wait = min(2*wait, retryMax)
	}
}

// vacant waits until the peer has no connection.
func (n *Node) vacant(ctx context.Context, p *peer) bool {
	for {
		n.mu.Lock()
		taken, changed := p.conn != nil, n.changed
		if !taken {
			p.dialing = true
		}
		n.mu.Unlock()
		if !taken {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// connect makes one connection, and serves it to its end.
func (n *Node) connect(ctx context.Context, p *peer) (opened bool, err error) {
	within, cancel := context.WithTimeout(ctx, dialTime)
	raw, err := n.cfg.Dial(within, p.cfg.Addr)
	cancel()
	if err != nil {
		return false, err
	}
	var cert *x509.Certificate
	if p.cfg.TLS {
		if raw, cert, err = n.secure(ctx, raw, p.name); err != nil {
			return false, err
		}
	}
	c := n.newConn(raw, cert, p)
	n.mu.Lock()
	if p.conn != nil {
		n.mu.Unlock()
		raw.Close()
		return false, errElection
	}
	p.trying = c
	n.mu.Unlock()
	defer c.until(ctx)()
	err = c.run()
	return c.opened, err
}

// sleep waits, and says whether to go on. A kick ends it before its time.
func sleep(ctx context.Context, d time.Duration, kick <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-kick:
	case <-ctx.Done():
		return false
	}
	return true
}
