package par

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/tun"
)

// Sessions is what the router needs of its PAA.
type Sessions interface {
	// Send delivers m to the peer of a session, sealed and reliably. It does not wait.
	Send(sid uint32, m notify.Message) error
	// Terminate ends a session.
	Terminate(sid uint32) error
	// Invite tells a node that a session of before is gone, or that there may be one.
	Invite(to netip.AddrPort) error
}

// Config of a Router.
type Config struct {
	Host        host.Opener     // the machine; nil: host.Linux
	Access      string          // interface of the access link
	Address     netip.Addr      // of the router there: PANA, ESP and the DHCP relay speak from it
	Port        uint16          // UDP port of ESP (RFC 3948: 4500)
	Device      string          // name of the TUN
	Fence       netip.Prefix    // /31 of the TUN: its own address and the fence's
	MTU         int             // of the TUN: the largest packet that fits a tunnel, whatever family carries that
	Offload     bool            // several packets in one call, from and to the kernel
	Suites      []esp.Transform // that tunnels may have; nil: all
	Rekey       esp.RekeyLimits // when a tunnel is to have other keys
	Plain       bool            // nodes that ask for it have packets by IP in IP, unprotected
	DHCPServer  netip.Addr
	IPv6        *IPv6 // nil: the router serves IPv4 only
	DHCPTimeout time.Duration
	Configure   time.Duration // a node is told what became of its request within this; default 25 s
	Ahead       Ahead         // addresses that are verified before anybody asks
	DAD         acd.Timers    // MaxConflicts is also how many addresses are tried for one node; zero: RFC 5227's
	Buffer      Buffer        // what is held for nodes that are away
	Link        Link          // what the access link takes
	Classes     []flow.Class  // of traffic; Limits.MaxAge 0: that of Buffer.Each, and nothing else of Limits and Copies is looked at. None: one that is held
	Unused      time.Duration // a tunnel nobody arrives through is deleted when its node has been silent for this
	State       state.Store   // what is kept over a crash; nil: nothing is
	Gate        Gate          // what unauthorised nodes send is stopped there; nil: nowhere. To be closed after the router
	Points      AccessPoints  // of the access link, where nodes' keys go; nil: none. To be closed after the router
	Information Information   // what nodes are told of the networks around; nil: nothing. To be closed after the router
	Rand        io.Reader
	Recorder    *event.Recorder
	Log         *slog.Logger
}

// Router is a running access router without its PAA.
type Router struct {
	cfg      Config
	sessions atomic.Pointer[Sessions]
	host     host.Host
	dev      host.TUN
	endpoint *tunnel.Endpoint
	four     *stack
	six      *stack   // nil: not served
	adverts  *adverts // of IPv6
	fence    *fence
	leases   *ledger
	links    *links
	stations *stations
	keeper   *gatekeeper
	invites  *invitations
	classes  *flow.Classes
	buffers  *buffers
	pace     *pace
	bicasts  bool // one of them goes to both places
	mac      net.HardwareAddr
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	stray atomic.Uint64 // packets in the TUN for no visitor

	byAddr atomic.Pointer[map[netip.Addr]*visitor] // read by the data path

	mu      sync.Mutex
	bySID   map[uint32]*visitor
	forming map[netip.Addr]*visitor // addresses of IPv6 that are just being verified
	gone    map[flow.Reason]uint64  // packets dropped by deliveries that are over
	again   uint64                  // packets that deliveries that are over gave out a second time
}

// DefaultMTU is what the TUN has as a rule: with ESP in UDP, and the shim header of a
// numbered packet, it fits 1500 octets.
const DefaultMTU = 1428

// DefaultMTU6 is DefaultMTU where tunnels may go over IPv6.
const DefaultMTU6 = DefaultMTU - 20

const (
	table        = 7160 // of our packets that come out of the TUN
	rulePriority = 7160
	tunQueue     = 8192            // packets
	flipWithin   = 5 * time.Second // then the flip is forced
	// configure is less than nodes wait, and enough for three addresses that
	// take as long as RFC 5227 allows.
	configure = 25 * time.Second
)

// Open sets the kernel up. Bind then gives it its PAA, and Close undoes all.
func Open(cfg Config) (r *Router, err error) {
	if cfg.DAD == (acd.Timers{}) {
		cfg.DAD = acd.DefaultTimers()
	}
	if cfg.Configure == 0 {
		cfg.Configure = configure
	}
	if cfg.Host == nil {
		cfg.Host = host.Linux
	}
	if cfg.Suites == nil {
		cfg.Suites = tunnel.Suites()
	}
	r = &Router{cfg: cfg, bySID: map[uint32]*visitor{}, forming: map[netip.Addr]*visitor{}, gone: map[flow.Reason]uint64{}}
	r.byAddr.Store(&map[netip.Addr]*visitor{})
	r.leases, r.links = newLedger(r, cfg.State), newLinks(r, cfg.Points)
	r.keeper, r.invites = newGatekeeper(cfg.Gate), newInvitations()
	r.stations = &stations{wake: make(chan struct{}, 1), now: map[wpactrl.MAC]bool{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			r.Close()
			err = fmt.Errorf("par: %w", err)
		}
	}()
	if err = errors.Join(cfg.Buffer.Check(), cfg.Ahead.Check()); err != nil {
		return r, err
	}
	if r.classes, err = cfg.classes(); err != nil {
		return r, err
	}
	r.buffers, r.pace = newBuffers(cfg.Buffer, r.classes), newPace(cfg.Link)
	r.bicasts = slices.ContainsFunc(cfg.Classes, func(c flow.Class) bool { return c.Handling == flow.HandleBicast })
	if r.host, err = cfg.Host(cfg.Log, osnet.OwnerAccessRouter); err != nil {
		return r, err
	}
	if err = r.access(); err != nil {
		return r, err
	}
	if cfg.Ahead.Most > 0 {
		r.openPools()
	}
	if r.dev, err = r.host.OpenTUN(tun.Config{Name: cfg.Device, MTU: cfg.MTU, QueueLen: tunQueue, Offload: cfg.Offload}); err != nil {
		return r, err
	}
	if err = r.host.CheckRouter(cfg.Access, r.dev.Name()); err != nil {
		return r, err
	}
	if err = r.host.Prime(cfg.Access, r.dev.Name()); err != nil {
		return r, err
	}
	for _, step := range []func() error{
		func() error { return r.host.AddAddress(r.dev.Name(), cfg.Fence, osnet.AddrOptions{}) },
		func() error { return r.host.AcceptLocal(r.dev.Name()) }, // of programs on this machine, for visitors
	} {
		if err = step(); err != nil {
			return r, err
		}
	}
	if r.fence, err = newFence(r.host, cfg.Fence); err != nil {
		return r, err
	}
	r.endpoint = tunnel.NewEndpoint(cfg.Log)
	r.endpoint.AroundReads(r.cork, r.uncork)
	if err = r.openFour(); err != nil {
		return r, err
	}
	if r.six != nil {
		if err = r.openSix(); err != nil {
			return r, err
		}
		r.wg.Go(r.listen)
	}
	r.wg.Go(r.readTUN)
	if cfg.Points != nil {
		r.wg.Go(r.watchStations)
		cfg.Points.Watch(r.stations.saw)
	}
	r.wg.Go(r.ageing)
	if cfg.Gate != nil {
		r.wg.Go(r.keepGate)
		r.wg.Go(r.invite)
	}
	return r, nil
}

// access finds the link-layer address of the access link, and the router's addresses there.
func (r *Router) access() error {
	link, err := r.host.LinkByName(r.cfg.Access)
	if err != nil {
		return err
	}
	r.mac = link.MAC
	if r.cfg.IPv6 != nil {
		if r.six, err = r.stack6(link); err != nil {
			return err
		}
	}
	for _, p := range link.Addrs {
		if p.Addr() == r.cfg.Address {
			r.four = &stack{address: p.Addr(), router: p.Addr(), prefix: p.Masked()}
			return nil
		}
	}
	return fmt.Errorf("%s has no address %s; it has %v: set address to one of them", r.cfg.Access, r.cfg.Address, link.Addrs)
}

// Prefixes are those of the access link.
func (r *Router) Prefixes() (all []netip.Prefix) {
	for _, s := range r.stacks() {
		all = append(all, s.prefix)
	}
	return all
}

// Bind gives the router the PAA it sends through; it must come before the first
// session. What the router before this one has left is settled from then on.
func (r *Router) Bind(s Sessions) {
	r.sessions.Store(&s)
	if r.cfg.Information != nil {
		r.cfg.Information.Begin(r.send, func() int { return len(r.visitors()) }, r.Prefixes())
	}
	r.leases.recover()
	for _, s := range r.stacks() {
		if s.pool != nil {
			r.wg.Go(s.pool.run)
		}
	}
}

// Close gives leases back and removes everything from the kernel. Leases of nodes
// that are on the link are left for the router after this one, if there is a store
// to tell it. The PAA must be closed before.
func (r *Router) Close() {
	r.mu.Lock()
	visitors := maps.Clone(r.bySID)
	r.mu.Unlock()
	for sid := range visitors {
		r.SessionClosed(sid, context.Canceled)
	}
	r.cancel()
	if r.adverts != nil {
		_ = r.adverts.conn.Close()
	}
	if r.dev != nil {
		_ = r.dev.Close()
	}
	r.wg.Wait()
	r.four.detach()
	r.six.detach()
	if r.endpoint != nil {
		_ = r.endpoint.Close()
	}
	if r.fence != nil {
		r.fence.close()
	}
	if r.host != nil {
		if err := r.host.Close(); err != nil {
			r.cfg.Log.Error("left in the kernel", "err", err)
		}
	}
}

// visitors returns them all.
func (r *Router) visitors() []*visitor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.bySID))
}

func (r *Router) visitor(sid uint32) *visitor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bySID[sid]
}

// capture makes the data path see the packets for addr, or no longer.
func (r *Router) capture(addr netip.Addr, v *visitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := maps.Clone(*r.byAddr.Load())
	if v != nil {
		m[addr] = v
	} else {
		delete(m, addr)
	}
	r.byAddr.Store(&m)
}

// SessionOpened implements paa.Handler.
func (r *Router) SessionOpened(sid uint32, identity string, from netip.AddrPort, preauth bool, k *keys.SessionKeys, life time.Duration) {
	r.mu.Lock()
	v := r.bySID[sid]
	first := v == nil
	if first {
		v = newVisitor(r, sid)
		r.bySID[sid] = v
	}
	r.mu.Unlock()
	v.opened(identity, from, k, life)
	if first && !preauth {
		v.attached(from.Addr().Unmap())
	}
	v.authenticated(first, preauth)
	r.links.roll(v)
	if !preauth { // whoever came here without preparation has its address
		r.wg.Go(func() {
			if err := r.adopt(v, from.Addr().Unmap()); err != nil {
				r.cfg.Log.Warn("address of another session", "sid", sid, "err", err)
			}
		})
	}
}

// SessionActivated implements paa.Handler; the arrival message says the rest.
func (r *Router) SessionActivated(sid uint32, from netip.AddrPort) {
	if v := r.visitor(sid); v != nil {
		v.moved(from)
		v.activated()
	}
	r.cfg.Log.Debug("serving", "sid", sid, "peer", from)
}

// SessionMoved implements paa.Handler: a node that speaks from elsewhere has left the link.
func (r *Router) SessionMoved(sid uint32, from netip.AddrPort) {
	if v := r.visitor(sid); v != nil {
		v.moved(from)
	}
}

// SessionMessage implements paa.Handler.
func (r *Router) SessionMessage(sid uint32, m notify.Message) {
	v := r.visitor(sid)
	if v == nil {
		return
	}
	switch m := m.(type) {
	case *notify.ConfigRequest:
		v.configure(m)
	case *notify.Entrust:
		v.entrusted(m)
	case *notify.LinkKeysRequest:
		v.linkKeys(m)
	case *notify.TunnelRequest:
		v.createTunnel(m)
	case *notify.TunnelDelete:
		v.deleteTunnel()
	case *notify.SwitchBack:
		v.switchBack()
	case *notify.Arrival:
		v.arrive(m)
	case *notify.Follow:
		v.follow()
	case *notify.Deliver:
		v.deliver(m)
	case *notify.RekeyRequest:
		v.rekey(m)
	case *notify.NeighboursRequest:
		r.neighbours(sid, m)
	default:
		r.cfg.Log.Warn("message dropped: not one for a router", "sid", sid, "message", m.Kind())
	}
}

// SessionExtended implements paa.Handler. Keys in access points end as before: a node that
// comes to one of these later authenticates in full.
func (r *Router) SessionExtended(sid uint32, life time.Duration) {
	if v := r.visitor(sid); v != nil {
		v.extended(life)
	}
}

// SessionClosed implements paa.Handler.
func (r *Router) SessionClosed(sid uint32, reason error) {
	r.mu.Lock()
	v := r.bySID[sid]
	delete(r.bySID, sid)
	r.mu.Unlock()
	if v != nil {
		v.close(reason)
		if r.cfg.Information != nil {
			r.cfg.Information.Ended(sid)
		}
	}
}

// paa is the PAA, from the first session on.
func (r *Router) paa() Sessions { return *r.sessions.Load() }

func (r *Router) send(sid uint32, m notify.Message) {
	if err := r.paa().Send(sid, m); err != nil && r.ctx.Err() == nil {
		r.cfg.Log.Warn("not sent", "sid", sid, "message", m.Kind(), "err", err)
	}
}
