package ha6

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/ha"
	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

// World is what the core acts on. Out and Signal are called with a lock held: they must not call
// the core, and should not block for long. Of the others none may call the core before it has
// returned.
type World interface {
	// Out gives a whole IPv6 packet to the network. pkt is not kept.
	Out(pkt []byte) error
	// Signal has Core.Signal called with a packet, which may take its time. pkt is not kept.
	Signal(pkt []byte) error
	// Bound starts intercepting what is sent to a home address and, if it is valid, answering for a
	// link-local address. It may be called again for a home address that is bound.
	Bound(home, linkLocal netip.Addr) error
	// Unbound ends it. It reports trouble by itself.
	Unbound(home, linkLocal netip.Addr)
	// Probe begins duplicate address detection of both addresses, and tells Core.Probed.
	Probe(home, linkLocal netip.Addr)
	// Keep stores what must be known of a home address after a crash, in place of what was kept of it
	// before, and returns when it is safe.
	Keep(home netip.Addr, k Kept) error
	// Wake says that Deadline may be earlier than it was. It must not block.
	Wake()
}

// Kept is what must be known of a home address after a crash.
type Kept struct {
	mip6.Kept
	LinkLocal netip.Addr   `json:"link_local"` // answered for, too; not valid: none
	Old       []netip.Addr `json:"old"`        // care-of addresses from which packets are taken until OldEnd
	OldEnd    time.Time    `json:"old_end"`
}

// CoreConfig is fixed after NewCore. Commit of Agent is the core's.
type CoreConfig struct {
	Agent mip6.AgentConfig
	path.Limits
}

// Check completes the defaults and says what is wrong, or nil.
func (c *CoreConfig) Check() error {
	if err := c.Limits.Check(); err != nil {
		return fmt.Errorf("ha6: %w", err)
	}
	return c.Agent.Check()
}

// Core is the home agent without sockets. Its methods may be called concurrently.
type Core struct {
	// fixed after NewCore
	cfg     CoreConfig
	address netip.Addr
	world   World
	nodes   map[netip.Addr]*node

	counters *path.Counters // atomic

	// guarded by signal
	signal sync.Mutex
	agent  *mip6.Agent
	closed bool
	now    time.Time // of the call that holds signal
}

// node is what is known of one home address.
type node struct {
	home netip.Addr
	path *path.Path

	// guarded by Core.signal
	linkLocal netip.Addr // to be answered for, too
	answered  netip.Addr // the link-local address that World.Bound was told; with bound
	bound     bool       // World.Bound was called
}

// NewCore returns a home agent without bindings.
func NewCore(cfg CoreConfig, w World) (*Core, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, address: cfg.Agent.Address, world: w, nodes: make(map[netip.Addr]*node), counters: path.NewCounters(counterNames())}
	for _, n := range cfg.Agent.Nodes {
		c.nodes[n.Home] = &node{home: n.Home, path: path.New(path.Config{
			Limits: cfg.Limits, World: ends{c, n.Home}, Markers: markers{n, c.address},
			Outer: ipip.HeaderLen6, Header: ipip.HeaderLen6, Counters: c.counters,
		})}
	}
	cfg.Agent.Commit = c.commit
	var err error
	c.agent, err = mip6.NewAgent(cfg.Agent)
	return c, err
}

// Signal takes a packet with a mobility header that World.Signal was given. The
// notices are for the timeline; the error says why nothing came of it.
func (c *Core) Signal(now time.Time, pkt []byte) ([]ha.Notice, error) {
	c.signal.Lock()
	defer c.signal.Unlock()
	if c.closed {
		return nil, nil // the next home agent answers the repetition
	}
	c.now = now
	err := c.agent.HandlePacket(now, pkt)
	return c.poll(), err
}

// Probed tells the result of a Probe: whether the addresses are nobody else's.
func (c *Core) Probed(now time.Time, home netip.Addr, unique bool) []ha.Notice {
	c.signal.Lock()
	defer c.signal.Unlock()
	if c.closed {
		return nil
	}
	c.now = now
	c.agent.DADDone(now, home, unique)
	return c.poll()
}

// Restore takes back what was kept of a home address, before the first packet.
func (c *Core) Restore(now time.Time, home netip.Addr, k Kept) ([]ha.Notice, error) {
	c.signal.Lock()
	defer c.signal.Unlock()
	n := c.nodes[home]
	if n == nil {
		return nil, nil // no longer configured
	}
	c.now = now
	bound, err := c.agent.Restore(now, home, k.Kept)
	if err != nil || !bound {
		return nil, err
	}
	n.linkLocal = k.LinkLocal
	if err = c.intercept(n); err != nil {
		err = fmt.Errorf("ha6: the binding of %v stands, but nothing comes through it before the next registration: %w", home, err)
	}
	out := c.poll()
	for i := range out {
		out[i].What = ha.NoticeRestored
	}
	n.path.RestoreOld(now, k.Old, k.OldEnd)
	return out, err
}

// Deadline returns when OnDeadline must be called.
func (c *Core) Deadline() (time.Time, bool) {
	c.signal.Lock()
	d, _ := c.agent.Deadline()
	c.signal.Unlock()
	for _, n := range c.nodes {
		if at := n.path.Deadline(); !at.IsZero() && (d.IsZero() || at.Before(d)) {
			d = at
		}
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now and returns what came of it. Calling it early does
// nothing.
func (c *Core) OnDeadline(now time.Time) []ha.Notice {
	var out []ha.Notice
	for _, n := range c.nodes {
		if o, ok := n.path.OnDeadline(now); ok {
			out = append(out, ha.Missed(n.home, o))
		}
	}
	// After all gates: a registration that waits for the disk holds up what follows.
	c.signal.Lock()
	defer c.signal.Unlock()
	if at, ok := c.agent.Deadline(); !ok || now.Before(at) {
		return out
	}
	c.now = now
	c.agent.OnDeadline(now)
	return append(out, c.poll()...)
}

// Close ends all bindings, for an orderly end of the home agent. What was kept of them
// stays, for the next one. Nothing is answered any more.
func (c *Core) Close() {
	c.signal.Lock()
	defer c.signal.Unlock()
	c.closed = true
	for _, n := range c.nodes {
		c.release(n)
	}
}

// poll does what the machine asks for. c.signal is held.
func (c *Core) poll() (out []ha.Notice) {
	for {
		o, ok := c.agent.Poll()
		if !ok {
			c.world.Wake()
			return out
		}
		switch o := o.(type) {
		case mip6.Send:
			c.send(o.Packet)
		case mip6.DAD:
			n := c.nodes[o.Home]
			n.linkLocal = netip.Addr{}
			if o.LinkLocal {
				n.linkLocal = linkLocal(o.Home)
			}
			c.world.Probe(n.home, n.linkLocal)
		case mip6.Changed:
			out = append(out, c.changed(o))
		}
	}
}

func (c *Core) send(pkt []byte) {
	if err := c.world.Out(pkt); err != nil {
		c.counters.Add(ctrSignalDropError) // the mobile node asks again
	}
}

// linkLocal is the link-local address with the interface identifier of a.
func linkLocal(a netip.Addr) netip.Addr {
	b := a.As16()
	copy(b[:8], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0})
	return netip.AddrFrom16(b)
}

// commit makes what is about to be confirmed good. c.signal is held.
func (c *Core) commit(home netip.Addr, k mip6.Kept) error {
	n := c.nodes[home]
	kept := Kept{Kept: k, LinkLocal: n.linkLocal}
	if len(k.Bindings) > 0 {
		kept.Old, kept.OldEnd = n.path.Old()
		if gone := n.path.Gone(careOfs(k.Bindings)); len(gone) > 0 {
			kept.Old, kept.OldEnd = gone, c.now.Add(c.cfg.OldPath)
		}
	}
	if err := c.world.Keep(home, kept); err != nil {
		return err
	}
	if len(k.Bindings) == 0 {
		return nil
	}
	if err := c.intercept(n); err != nil {
		kept.Bindings = c.agent.Bindings(home)
		_ = c.world.Keep(home, kept) // World has reported it; a restart would try once more
		return err
	}
	return nil
}

// intercept has what is sent to n come to us. c.signal is held.
func (c *Core) intercept(n *node) error {
	if n.bound && n.answered == n.linkLocal {
		return nil
	}
	if err := c.world.Bound(n.home, n.linkLocal); err != nil {
		c.world.Unbound(n.home, n.linkLocal) // what has been done of it
		n.bound = false
		return err
	}
	n.bound, n.answered = true, n.linkLocal
	return nil
}

// release ends it, and forgets the path. c.signal is held.
func (c *Core) release(n *node) {
	if n.bound {
		c.world.Unbound(n.home, n.answered)
	}
	n.bound = false
	n.path.Clear()
}

// changed makes the path follow the bindings. c.signal is held.
func (c *Core) changed(o mip6.Changed) ha.Notice {
	n := c.nodes[o.Home]
	was := n.path.CareOf()
	out := ha.Notice{Home: o.Home, Previous: was}
	if len(o.Bindings) == 0 {
		out.What = ha.NoticeUnbound
		if o.Expired {
			out.What = ha.NoticeExpired
		}
		c.release(n)
		return out
	}
	b := o.Bindings[0]
	to := path.Target{CareOf: careOfs(o.Bindings), Reverse: true, Numbers: b.Path != 0}
	out.CareOf, out.Also, out.Lifetime, out.Path = b.Addr, to.CareOf[1:], b.Expires.Sub(c.now), b.Path
	switch {
	case !was.IsValid():
		out.What = ha.NoticeBound
	case n.path.Same(to.CareOf):
		out.What, out.Previous = ha.NoticeRenewed, netip.Addr{}
	default:
		out.What = ha.NoticeMoved
		if b.OldPath {
			to.Ends = b.Path
		}
	}
	n.path.Bind(c.now, to)
	return out
}

func careOfs(list []mip6.Binding) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, b := range list {
		out[i] = b.Addr
	}
	return out
}
