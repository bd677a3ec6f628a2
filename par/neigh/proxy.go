package neigh

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/host"
)

// Conn is the ARP socket of one interface: a host.ARP, or a fake.
type Conn interface {
	acd.Conn
	io.Closer
	MAC() net.HardwareAddr
}

// Config of a Proxy. The zero value is good.
type Config struct {
	Timers   acd.Timers                         // of Probe; zero: RFC 5227's
	Rand     io.Reader                          // spreads probes; default crypto/rand
	Log      *slog.Logger                       //
	Conflict func(netip.Addr, net.HardwareAddr) // a stranger uses a set address; must not block
	Heard    func(netip.Addr)                   // somebody speaks from this address; must not block; nil: nobody wants to know
}

// Policy is how to answer for one address.
type Policy struct {
	AnswerProbes bool             // also to ARP probes: only while the visitor cannot be arriving
	IgnoreMAC    net.HardwareAddr // the visitor's own hardware address, never answered; nil: not known
}

// Stats counts ARP packets about set addresses since the start.
type Stats struct {
	Answered  uint64 `json:"answered"`  // requests answered
	Probes    uint64 `json:"probes"`    // probes left unanswered
	Own       uint64 `json:"own"`       // from the visitor itself, left unanswered
	Conflicts uint64 `json:"conflicts"` // a stranger claimed the address
	Invalid   uint64 `json:"invalid"`   // sender that cannot be answered (group or zero hardware address)
	Failed    uint64 `json:"failed"`    // answers that could not be sent
	Missed    uint64 `json:"missed"`    // packets a slow Probe did not see
}

const (
	probeQueue = 64          // ARP packets kept for a Probe
	retryRead  = time.Second // after a failed read
)

// Proxy answers ARP requests for absent visitors on one interface. Its methods may be called from any goroutine.
type Proxy struct {
	conn   Conn
	mac    acd.MAC
	cfg    Config
	link   *acd.Link
	cancel context.CancelFunc
	done   chan struct{}

	answered, probes, own, conflicts, invalid, failed, missed atomic.Uint64

	mu     sync.RWMutex
	addrs  map[netip.Addr]entry
	probed map[*probeConn]struct{}
}

type entry struct {
	answerProbes bool
	visitor      acd.MAC // zero: not known
}

// Listen opens a proxy on the interface.
func Listen(s host.Sockets, ifname string, cfg Config) (*Proxy, error) {
	c, err := s.OpenARP(ifname)
	if err != nil {
		return nil, fmt.Errorf("neigh: %w", err)
	}
	p, err := New(c, cfg)
	if err != nil {
		c.Close()
		return nil, err
	}
	return p, nil
}

// New makes a proxy over conn, which it closes at the end.
func New(conn Conn, cfg Config) (*Proxy, error) {
	if cfg.Timers == (acd.Timers{}) {
		cfg.Timers = acd.DefaultTimers()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	mac, err := acd.MACFrom(conn.MAC())
	if err != nil {
		return nil, fmt.Errorf("neigh: %w", err)
	}
	link, err := acd.NewLink(cfg.Timers)
	if err != nil {
		return nil, fmt.Errorf("neigh: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		conn: conn, mac: mac, cfg: cfg, link: link, cancel: cancel, done: make(chan struct{}),
		addrs: make(map[netip.Addr]entry), probed: make(map[*probeConn]struct{}),
	}
	go p.run(ctx)
	return p, nil
}

// MAC returns the hardware address answered with.
func (p *Proxy) MAC() net.HardwareAddr { return p.mac.HardwareAddr() }

// Set begins to answer for addr, or changes how.
func (p *Proxy) Set(addr netip.Addr, pol Policy) error {
	if !addr.Is4() || addr.IsUnspecified() || addr.IsMulticast() {
		return fmt.Errorf("neigh: proxy for %v: expected an IPv4 unicast address", addr)
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
	p.addrs[addr] = e
	return nil
}

// Remove ends answering for addr; it does nothing for an address not set.
func (p *Proxy) Remove(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.addrs, addr)
}

// Announce broadcasts that addr is at the router, so that neighbours who know the visitor's hardware address send to the router
// from now on. addr must be set.
func (p *Proxy) Announce(addr netip.Addr) error {
	p.mu.RLock()
	_, ok := p.addrs[addr]
	p.mu.RUnlock()
	if !ok {
		return fmt.Errorf("neigh: announce %v: not an address this proxy answers for", addr)
	}
	if err := p.conn.WriteARP(acd.Broadcast(), acd.AnnouncementPacket(addr, p.mac)); err != nil {
		return fmt.Errorf("neigh: announce %v: %w", addr, err)
	}
	return nil
}

// Stats returns the counters.
func (p *Proxy) Stats() Stats {
	return Stats{
		Answered: p.answered.Load(), Probes: p.probes.Load(), Own: p.own.Load(), Conflicts: p.conflicts.Load(),
		Invalid: p.invalid.Load(), Failed: p.failed.Load(), Missed: p.missed.Load(),
	}
}

// Close ends answering and every Probe, and closes the socket.
func (p *Proxy) Close() error {
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

func (p *Proxy) run(ctx context.Context) {
	defer close(p.done)
	readAll(ctx, p.cfg.Log, "ARP", p.conn.ReadARP, p.packet)
}

// packet handles one ARP packet: the probes under way see it, and it may be answered.
func (p *Proxy) packet(a acd.Packet) {
	p.mu.RLock()
	for c := range p.probed {
		if !c.offer(a.SenderMAC, a) {
			p.missed.Add(1)
		}
	}
	asked, isAsked := p.addrs[a.TargetIP]
	claimed, isClaimed := p.addrs[a.SenderIP]
	p.mu.RUnlock()

	if p.cfg.Heard != nil && a.SenderMAC != p.mac && !a.SenderIP.IsUnspecified() {
		p.cfg.Heard(a.SenderIP)
	}
	if isClaimed && a.SenderMAC != p.mac && a.SenderMAC != claimed.visitor {
		p.conflicts.Add(1)
		p.cfg.Log.Warn("somebody else uses a visitor's address", "address", a.SenderIP.String(), "mac", a.SenderMAC.String())
		if p.cfg.Conflict != nil {
			p.cfg.Conflict(a.SenderIP, a.SenderMAC.HardwareAddr())
		}
	}
	if !isAsked || a.Op != acd.OpRequest || a.SenderMAC == p.mac || a.SenderIP == a.TargetIP {
		return
	}
	switch {
	case asked.visitor != (acd.MAC{}) && a.SenderMAC == asked.visitor:
		p.own.Add(1)
		return
	case a.SenderMAC == (acd.MAC{}) || a.SenderMAC[0]&1 != 0 || a.SenderIP.IsMulticast():
		p.invalid.Add(1)
		return
	case a.IsProbe() && !asked.answerProbes:
		p.probes.Add(1)
		return
	}
	if err := p.conn.WriteARP(a.SenderMAC.HardwareAddr(), acd.ReplyPacket(a, a.TargetIP, p.mac)); err != nil {
		p.failed.Add(1)
		p.cfg.Log.Debug("ARP reply not sent", "error", err)
		return
	}
	p.answered.Add(1)
}
