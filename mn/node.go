package mn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/mn/discover"
	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/ipip"
	"openmpa/tunnel/tun"
)

// tunQueue is how many packets wait in front of the node's TUN at most.
const tunQueue = 8192

// ErrBusy answers a handover asked for during another one.
var ErrBusy = errors.New("mn: a handover is under way")

// Node is a running mobile node.
type Node struct {
	cfg      Config
	net      host.Host
	ports    []*port
	dev      host.TUN
	endpoint *tunnel.Endpoint
	home     mobility
	decider  *decider // nil: the node moves when it is told
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	narrow  atomic.Int64                         // octets of the longest packet in the narrowest tunnel so far; 0: as long as the TUN takes
	fitting sync.Mutex                           // serialises fit
	stray   atomic.Uint64                        // packets in the TUN that belong to nothing
	guests  atomic.Pointer[map[netip.Addr]*path] // care-of addresses that are on the TUN

	discovery *discover.Service
	nets      atomic.Pointer[[]Network] // see places
	attached  chan struct{}             // another router serves, or in another session: holds one
	onLink    chan struct{}             // likewise, for another reader

	agents   sync.Map                  // netip.Addr by name of network: the PAAs that DHCP has named there
	turn     chan struct{}             // taken by whoever changes what serves, or is kept, or where the link is
	away     atomic.Bool               // the link has left the serving network, or is about to
	dead     atomic.Pointer[candidate] // whose link does not carry anything any more
	ending   chan struct{}             // closed when the node is about to be closed
	unended  []*session                // guarded by turn: see discard
	linkless time.Time                 // guarded by turn: since then the interface that is to serve has no link; zero: it has

	changed chan struct{} // something was reported of an interface

	dhcpPort  chan struct{} // taken by whoever has the DHCP client's port at an address
	wake      chan struct{} // the serving address is void
	farewells sync.WaitGroup
	standing  sync.WaitGroup // of keepStanding
	elsewhere sync.Once      // what was had in other networks before a crash is given back

	mu      sync.Mutex
	state   string
	why     string // not attached, if so
	serving *candidate
	stands  map[string]*stand // by network: what there is of others
	ladder  ladder
	used    [slots]bool
	learned map[string][]string  // points of networks, as their routers name them: BSSIDs
	leaving map[string]*farewell // by network
	current *Handover            // the newest,
	wish    string               // and the point that it is to go to; empty: the best
	closing bool                 // no other may begin
	guard   guarding
	both    atomic.Bool                        // see SetBoth
	spread  *path                              // where packets come beside the network that serves; nil: nowhere
	oneOnly bool                               // the home agent binds one address
	reports map[event.HandoverID]chan struct{} // closed when the router's last record came

	lastPoint string // where the node was last, of those that moves are noted of
}

// Open sets the kernel up; Run then attaches the node, and Close undoes all.
func Open(cfg Config) (n *Node, err error) {
	n = &Node{
		cfg: cfg, state: "starting", reports: map[event.HandoverID]chan struct{}{}, leaving: map[string]*farewell{}, learned: map[string][]string{},
		turn: make(chan struct{}, 1), ending: make(chan struct{}), changed: make(chan struct{}, 1), attached: make(chan struct{}, 1), onLink: make(chan struct{}, 1),
		dhcpPort: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		guard: guarding{wake: make(chan struct{}, 1)}, stands: map[string]*stand{}, ladder: newLadder(),
	}
	if n.cfg.Suites == nil {
		n.cfg.Suites = tunnel.Suites()
	}
	if n.cfg.Ping == 0 {
		n.cfg.Ping = defaultPing
	}
	if n.cfg.State == nil {
		n.cfg.State = state.NewMemory()
	}
	n.guests.Store(&map[netip.Addr]*path{})
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.undo()
			err = fmt.Errorf("mn: %w", err)
		}
	}()
	open := cfg.Host
	if open == nil {
		open = host.Linux
	}
	if n.net, err = open(cfg.Log, osnet.OwnerMobileNode); err != nil {
		return n, err
	}
	if len(cfg.Interfaces) == 0 {
		return n, errors.New("no interface in the configuration")
	}
	if err = n.putBackAll(); err != nil {
		return n, err
	}
	for _, i := range cfg.Interfaces {
		if err = n.openPort(i); err != nil {
			return n, err
		}
	}
	n.openDiscovery()
	if cfg.Deciding != nil {
		if n.decider, err = newDecider(cfg, n, n.discovery, n.scanning().link); err != nil {
			return n, err
		}
	}
	if n.dev, err = n.net.OpenTUN(tun.Config{Name: cfg.Device, MTU: cfg.MTU, QueueLen: tunQueue, Offload: cfg.Offload}); err != nil {
		return n, err
	}
	if err = n.net.Prime(n.dev.Name()); err != nil {
		return n, err
	}
	if n.six() {
		if err = n.net.SetSysctl(key6(n.dev.Name(), "disable_ipv6"), "0"); err != nil {
			return n, err
		}
	}
	n.endpoint = tunnel.NewEndpoint(cfg.Log)
	n.endpoint.AroundReads(n.dev.Cork, n.uncork)
	if n.home, err = n.openMobility(n.ctx); err != nil {
		return n, err
	}
	n.wg.Go(n.readTUN)
	n.wg.Go(n.keepGuard)
	n.wg.Go(func() { n.lookAround(n.ctx) })
	n.standing.Go(n.keepStanding)
	for _, p := range n.ports {
		n.wg.Go(p.watch)
	}
	if n.decider != nil {
		n.wg.Go(func() { n.decider.run(n.ctx) })
	}
	if n.cfg.Watch.Asks > 0 {
		n.wg.Go(func() { n.watch(n.ctx) })
	}
	return n, nil
}

// Close deregisters, ends sessions, gives addresses back and undoes everything
// in the kernel.
func (n *Node) Close() {
	n.mu.Lock()
	first, h := !n.closing, n.current
	n.closing = true
	n.mu.Unlock()
	if h != nil {
		h.cancel()
	}
	if first {
		close(n.ending)
	}
	n.standing.Wait()
	if h != nil { // it uses what is taken down here
		<-h.done
	}
	n.turn <- struct{}{}
	defer n.endTurn()
	n.mu.Lock()
	c := n.serving
	n.mu.Unlock()
	for _, st := range n.takeAll() {
		n.leaveStand(st, "the node is shutting down")
	}
	n.unbind(c)
	n.endSessions(nil)
	if c != nil {
		c.keeper.stop()
		n.detach(c)
	}
	n.farewells.Wait()
	n.undo()
}

func (n *Node) undo() {
	n.cancel()
	if n.endpoint != nil {
		n.endpoint.Close()
	}
	if n.home != nil {
		n.home.wait()
	}
	if n.dev != nil {
		_ = n.dev.Close()
	}
	n.wg.Wait()
	for _, p := range n.ports {
		p.close()
	}
	if n.net != nil {
		if err := n.net.Close(); err != nil {
			n.cfg.Log.Error("left in the kernel", "err", err)
		}
	}
}

// readTUN takes what applications send, and what speaks from a care-of address
// that is on the TUN.
func (n *Node) readTUN() {
	buf := make([]byte, 65536)
	for {
		k, err := n.dev.Read(buf)
		if err != nil {
			if n.ctx.Err() == nil {
				n.cfg.Log.Error("TUN gone", "err", err)
			}
			return
		}
		n.endpoint.Cork()
		n.take(buf[:k])
		for n.dev.Buffered() > 0 {
			if k, err = n.dev.Read(buf); err != nil {
				break // as the next Read will say
			}
			n.take(buf[:k])
		}
		n.endpoint.Uncork()
	}
}

// take sends one packet that came out of the TUN.
func (n *Node) take(pkt []byte) {
	src, _, _, _, err := ipip.Parse(pkt)
	if err != nil {
		n.stray.Add(1)
		return
	}
	if n.home.fromTUN(src, pkt) {
		return
	}
	if p := (*n.guests.Load())[src]; p != nil {
		p.sendAsIs(pkt)
	} else {
		n.stray.Add(1)
	}
}

// uncork hands to applications what one read of a tunnel's socket brought.
func (n *Node) uncork() {
	if err := n.dev.Uncork(); err != nil {
		n.cfg.Log.Debug("TUN write", "err", err)
	}
}

// guest makes packets from a's care-of address in the TUN go by p, or no longer.
func (n *Node) guest(a netip.Addr, p *path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := map[netip.Addr]*path{}
	for k, v := range *n.guests.Load() {
		m[k] = v
	}
	if p != nil {
		m[a] = p
	} else {
		delete(m, a)
	}
	n.guests.Store(&m)
}

func (n *Node) tryTurn() bool {
	select {
	case n.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (n *Node) endTurn() {
	<-n.turn
	poke(n.ladder.wake)
}

// newCandidate takes a slot of routing tables, when the node has taken its leave of
// the network.
func (n *Node) newCandidate(ctx context.Context, net Network) (*candidate, error) {
	n.mu.Lock()
	leaving := n.leaving[net.Name]
	n.mu.Unlock()
	if leaving != nil {
		if err := leaving.await(ctx); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	slot := slices.Index(n.used[:], false)
	if slot < 0 {
		return nil, fmt.Errorf("%d networks are prepared already", slots)
	}
	n.used[slot] = true
	if agent, ok := n.agents.Load(net.Name); ok {
		net.PAA = netip.AddrPortFrom(agent.(netip.Addr), net.PAA.Port())
	}
	return &candidate{
		n: n, net: net, port: n.portOf(net), slot: slot, rekeyed: make(chan struct{}, 1), stale: make(chan struct{}, 1),
		markers: make(chan tunnel.Marker, 4), standbyDue: make(chan struct{}, 1),
	}, nil
}

// drop takes everything of c out of the node.
func (n *Node) drop(c *candidate) {
	c.passing.stop()
	c.leaveTunnel()
	if c.path != nil {
		n.guest(c.path.coa, nil)
		c.path.close()
	}
	if c.address != nil {
		if err := errors.Join(c.leaveVirtual(), c.leavePhysical()); err != nil {
			n.cfg.Log.Error("left in the kernel", "addr", c.address.addr(), "err", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.used[c.slot] = false
}

func (n *Node) setState(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = s
}

// routerPhases are those of which a router may report.
var routerPhases = []event.Phase{
	event.PhaseAuth, event.PhaseDHCP, event.PhaseDAD, event.PhaseTunnel, event.PhaseHold, event.PhaseDrain, event.PhaseFlip,
}

// report takes the router's record of a handover into our own.
func (n *Node) report(network string, r *notify.Report) {
	var events []event.Event
	if err := json.Unmarshal(r.Events, &events); err != nil {
		n.cfg.Log.Warn("router's report not understood", "network", network, "err", err)
		return
	}
	for _, e := range events {
		if !slices.Contains(routerPhases, e.Phase) || e.Kind != event.KindEnd {
			continue
		}
		e.Handover = r.Handover // it may speak of this one only
		n.cfg.Recorder.Import(e)
		if e.Phase == event.PhaseFlip {
			n.mu.Lock()
			if ch := n.reports[r.Handover]; ch != nil {
				close(ch)
				delete(n.reports, r.Handover)
			}
			n.mu.Unlock()
		}
	}
}
