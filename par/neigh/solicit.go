package neigh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
)

// NDConn is the neighbour discovery socket of one interface: an osnet.NDConn, or a fake.
type NDConn interface {
	nd.Conn
	io.Closer
	MAC() net.HardwareAddr
	// Join and Leave receive an address's solicited-node group.
	Join(addr netip.Addr) error
	Leave(addr netip.Addr) error
}

// NDConfig of an NDProxy. Source is required.
type NDConfig struct {
	Source   netip.Addr                         // the router's address on the link, which its advertisements come from
	Timers   nd.Timers                          // of Probe; zero: those of RFC 4861 and 4862
	Rand     io.Reader                          // for delays and nonces; default crypto/rand
	Log      *slog.Logger                       //
	Conflict func(netip.Addr, net.HardwareAddr) // a stranger uses a set address; must not block
	Heard    func(netip.Addr)                   // somebody speaks from this address; must not block; nil: nobody wants to know
}

// NDProxy is Proxy for IPv6: it answers neighbour solicitations for absent visitors on one interface. Its methods may be called
// from any goroutine. The counters of its Stats count solicitations and advertisements.
type NDProxy struct {
	conn   NDConn
	mac    acd.MAC
	cfg    NDConfig
	cancel context.CancelFunc
	done   chan struct{}

	answered, probes, own, conflicts, invalid, failed, missed, looped atomic.Uint64

	mu     sync.RWMutex
	addrs  map[netip.Addr]entry
	probed map[*ndQuestion]struct{}
}

// NewND makes a proxy over conn, which it closes at the end.
func NewND(conn NDConn, cfg NDConfig) (*NDProxy, error) {
	if cfg.Timers == (nd.Timers{}) {
		cfg.Timers = nd.DefaultTimers()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Timers.Check(); err != nil {
		return nil, fmt.Errorf("neigh: %w", err)
	}
	if !nd.Unicast(cfg.Source) {
		return nil, fmt.Errorf("neigh: source %v: expected the router's IPv6 address on the link", cfg.Source)
	}
	mac, err := acd.MACFrom(conn.MAC())
	if err != nil {
		return nil, fmt.Errorf("neigh: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &NDProxy{
		conn: conn, mac: mac, cfg: cfg, cancel: cancel, done: make(chan struct{}),
		addrs: make(map[netip.Addr]entry), probed: make(map[*ndQuestion]struct{}),
	}
	go p.run(ctx)
	return p, nil
}

func (p *NDProxy) run(ctx context.Context) {
	defer close(p.done)
	readAll(ctx, p.cfg.Log, "neighbour discovery", p.conn.ReadND, p.packet)
}

// MAC returns the hardware address answered with.
func (p *NDProxy) MAC() net.HardwareAddr { return p.mac.HardwareAddr() }

// Set begins to answer for addr, whose solicited-node group is joined, or changes how.
func (p *NDProxy) Set(addr netip.Addr, pol Policy) error {
	if !nd.Unicast(addr) {
		return fmt.Errorf("neigh: proxy for %v: expected an IPv6 unicast address", addr)
	}
	e := entry{answerProbes: pol.AnswerProbes}
	if len(pol.IgnoreMAC) > 0 {
		var err error
		if e.visitor, err = acd.MACFrom(pol.IgnoreMAC); err != nil {
			return fmt.Errorf("neigh: proxy for %v: visitor: %w", addr, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.addrs[addr]; !known {
		if err := p.conn.Join(addr); err != nil {
			return fmt.Errorf("neigh: proxy for %v: %w", addr, err)
		}
	}
	p.addrs[addr] = e
	return nil
}

// Remove ends answering for addr; it does nothing for an address not set.
func (p *NDProxy) Remove(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.addrs[addr]; !known {
		return
	}
	delete(p.addrs, addr)
	p.leave(addr)
}

func (p *NDProxy) leave(addr netip.Addr) {
	if err := p.conn.Leave(addr); err != nil {
		p.cfg.Log.Warn("solicited-node group not left", "address", addr.String(), "error", err)
	}
}

// Announce tells every neighbour that addr is at the router, so that those who know the visitor's hardware address send to the
// router from now on (RFC 4861 section 7.2.8: the one proxy's advertisement that overrides). addr must be set.
func (p *NDProxy) Announce(addr netip.Addr) error {
	p.mu.RLock()
	_, ok := p.addrs[addr]
	p.mu.RUnlock()
	if !ok {
		return fmt.Errorf("neigh: announce %v: not an address this proxy answers for", addr)
	}
	if err := p.conn.WriteND(nd.Announce(p.cfg.Source, addr, p.mac)); err != nil {
		return fmt.Errorf("neigh: announce %v: %w", addr, err)
	}
	return nil
}

// Stats returns the counters.
func (p *NDProxy) Stats() Stats {
	return Stats{
		Answered: p.answered.Load(), Probes: p.probes.Load(), Own: p.own.Load(), Conflicts: p.conflicts.Load(),
		Invalid: p.invalid.Load(), Failed: p.failed.Load(), Missed: p.missed.Load(),
	}
}

// Looped counts probes of ours that came back: the link has a loop (RFC 7527 section 4.2).
func (p *NDProxy) Looped() uint64 { return p.looped.Load() }

// Close ends answering and every Probe, leaves the groups and closes the socket.
func (p *NDProxy) Close() error {
	p.cancel()
	<-p.done
	p.mu.Lock()
	clear(p.addrs)
	p.mu.Unlock()
	if err := p.conn.Close(); err != nil {
		return fmt.Errorf("neigh: %w", err)
	}
	return nil
}

// packet handles one packet: the questions under way see it, and it may be answered.
func (p *NDProxy) packet(a nd.Packet) {
	solicit, isSolicit := a.Msg.(nd.Solicit)
	advert, isAdvert := a.Msg.(nd.Advert)
	claims := a.Src // who sends from the address, or advertises it, has it
	if isAdvert {
		claims = advert.Target
	}
	p.mu.RLock()
	for c := range p.probed {
		if !c.offer(a.From, a) {
			p.missed.Add(1)
		}
	}
	asked, isAsked := p.addrs[solicit.Target]
	claimed, isClaimed := p.addrs[claims]
	p.mu.RUnlock()

	if p.cfg.Heard != nil && a.From != p.mac && !a.Src.IsUnspecified() {
		p.cfg.Heard(a.Src)
	}
	if isClaimed && a.From != p.mac && a.From != claimed.visitor {
		p.conflicts.Add(1)
		p.cfg.Log.Warn("somebody else uses a visitor's address", "address", claims.String(), "mac", a.From.String())
		if p.cfg.Conflict != nil {
			p.cfg.Conflict(claims, a.From.HardwareAddr())
		}
	}
	if !isSolicit || !isAsked || a.From == p.mac || a.Src == solicit.Target {
		return
	}
	// RFC 4861 section 7.2.8: the Override flag is 0, so that the visitor's own advertisement takes precedence.
	answer := nd.Packet{Src: p.cfg.Source, Dst: a.Src, To: a.From, Msg: nd.Advert{Target: solicit.Target, MAC: p.mac, Solicited: true}}
	probe := a.Src.IsUnspecified()
	if probe { // section 7.2.4: to all nodes, solicited by nobody
		answer = nd.Packet{Src: p.cfg.Source, Dst: nd.AllNodes(), Msg: nd.Advert{Target: solicit.Target, MAC: p.mac}}
	}
	switch {
	case asked.visitor != (acd.MAC{}) && a.From == asked.visitor:
		p.own.Add(1)
		return
	case a.From == (acd.MAC{}) || a.From[0]&1 != 0:
		p.invalid.Add(1)
		return
	case probe && !asked.answerProbes:
		p.probes.Add(1)
		return
	}
	if err := p.conn.WriteND(answer); err != nil {
		p.failed.Add(1)
		p.cfg.Log.Debug("neighbour advertisement not sent", "error", err)
		return
	}
	p.answered.Add(1)
}

// ndQuestion is one Probe or Present.
type ndQuestion struct {
	listener[nd.Packet]
	p *NDProxy
}

// ask has a question about addr see what the proxy reads, until the returned function is called.
func (p *NDProxy) ask(addr netip.Addr) (c *ndQuestion, end func(), err error) {
	c = &ndQuestion{listen[nd.Packet](p.done), p}
	if err := p.conn.Join(addr); err != nil { // RFC 4862 section 5.4.2
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probed[c] = struct{}{}
	return c, func() {
		p.mu.Lock()
		delete(p.probed, c)
		p.mu.Unlock()
		p.leave(addr)
	}, nil
}

// ReadND implements nd.Conn.
func (c *ndQuestion) ReadND(ctx context.Context) (nd.Packet, error) { return c.next(ctx) }

// WriteND implements nd.Conn.
func (c *ndQuestion) WriteND(a nd.Packet) error {
	err := c.p.conn.WriteND(a)
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

// Probe finds out whether addr is free on the link, on behalf of the visitor (RFC 4862 section 5.4 with the nonces of RFC 7527,
// RFC 6252 appendix A). What the visitor itself sends (nil: not known) is no conflict. nil: free. Errors: *acd.ConflictError
// (wrapped), ctx's, net.ErrClosed, or the socket's. Takes 1 to 2 s with the timers of the RFCs.
func (p *NDProxy) Probe(ctx context.Context, addr netip.Addr, visitor net.HardwareAddr) error {
	own := []net.HardwareAddr{p.mac.HardwareAddr()}
	if len(visitor) > 0 {
		own = append(own, visitor)
	}
	m, err := nd.New(nd.Config{Addr: addr, Own: own, Timers: p.cfg.Timers, Rand: p.cfg.Rand})
	if err != nil {
		return fmt.Errorf("neigh: probe %v: %w", addr, err)
	}
	c, end, err := p.ask(addr)
	if err != nil {
		return fmt.Errorf("neigh: probe %v: %w", addr, err)
	}
	defer end()
	if err := nd.Run(ctx, c, m, func(nd.Looped) { p.looped.Add(1) }); err != nil {
		return fmt.Errorf("neigh: %w", err)
	}
	return nil
}

// DefendOrProbe probes addr if it is not answered for yet, and when it is free begins to answer for it; an address already
// set was probed before and gets the new policy at once. After an error nothing is set.
func (p *NDProxy) DefendOrProbe(ctx context.Context, addr netip.Addr, pol Policy) error {
	p.mu.RLock()
	_, known := p.addrs[addr]
	p.mu.RUnlock()
	if !known {
		if err := p.Probe(ctx, addr, pol.IgnoreMAC); err != nil {
			return err
		}
	}
	return p.Set(addr, pol)
}

// Present finds out whether the visitor itself has addr on the link: it is asked for, from the router's address, until it answers,
// which is true, or ctx ends, which is false. Errors: net.ErrClosed, or the socket's.
func (p *NDProxy) Present(ctx context.Context, router, addr netip.Addr, visitor net.HardwareAddr) (bool, error) {
	mac, err := acd.MACFrom(visitor)
	if err == nil && !nd.Unicast(addr) {
		err = errors.New("expected an IPv6 unicast address")
	}
	if err != nil {
		return false, fmt.Errorf("neigh: presence of %v: %w", addr, err)
	}
	c, end, err := p.ask(addr)
	if err != nil {
		return false, fmt.Errorf("neigh: presence of %v: %w", addr, err)
	}
	defer end()
	there, err := repeat(ctx,
		func() error {
			return c.WriteND(nd.Packet{Src: router, Dst: nd.SolicitedNode(addr), Msg: nd.Solicit{Target: addr, MAC: p.mac}})
		}, c.next,
		func(a nd.Packet) bool {
			advert, ok := a.Msg.(nd.Advert)
			return ok && advert.Target == addr && a.From == mac
		})
	if err != nil {
		return false, fmt.Errorf("neigh: presence of %v: %w", addr, err)
	}
	return there, nil
}
