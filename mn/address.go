package mn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/osnet"
)

// Routing tables and rules of the node. Each candidate has a slot, so that the
// old and the new stand beside one another:
//
//	priority 7100  from CoA lookup 7100+slot   default dev TUN        until departure
//	priority 7101  from CoA lookup 7110+slot   the link, its router
const (
	priorityVirtual  = 7100
	priorityPhysical = 7101
	tableVirtual     = 7100
	tablePhysical    = 7110
	slots            = 8
)

// address is a care-of address and the lease behind it.
type address struct {
	lease     atomic.Pointer[lease]            // renewed now and then; its address and router stay
	routerMAC atomic.Pointer[net.HardwareAddr] // the router's, for good in the neighbour table; nil: the kernel resolves it
	byRouter  atomic.Bool                      // the router leased it, and releases it with the session
	resumed   bool                             // from before a crash: whether it still is the node's is being found out
	// optimistic: its router has made sure that it is nobody else's, which is done once more on
	// the link itself while it is used (RFC 4429).
	optimistic bool
}

func newAddress(l lease) *address {
	a := &address{}
	a.lease.Store(&l)
	return a
}

func (a *address) addr() netip.Addr     { return a.prefix().Addr() }
func (a *address) prefix() netip.Prefix { return a.lease.Load().prefix() }
func (a *address) router() netip.Addr   { return a.lease.Load().router() }

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func (c *candidate) virtualRule() osnet.Rule {
	return osnet.Rule{Priority: priorityVirtual, From: single(c.address.addr()), Table: tableVirtual + c.slot}
}

func (c *candidate) physicalRule() osnet.Rule {
	return osnet.Rule{Priority: priorityPhysical, From: single(c.address.addr()), Table: tablePhysical + c.slot}
}

func (c *candidate) virtualRoute() osnet.Route {
	return osnet.Route{Dst: anywhereOf(c.address.addr()), Dev: c.n.dev.Name(), Table: tableVirtual + c.slot, MTU: c.n.narrowed()}
}

// anywhereOf is the prefix of the default route in the family of a.
func anywhereOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// metricOf is the metric of a default route in the family of a, in a table; 0: main.
func metricOf(a netip.Addr, table int) int {
	if a.Is6() && table == 0 {
		return homeMetric
	}
	return 0
}

// onNode are the options of a care-of address on a device. The kernel detects no duplicates
// of it: that has been done, or is done by us while it is used, and not on the link where
// it is only prepared.
var onNode = osnet.AddrOptions{NoPrefixRoute: true, NoDAD: true}

// virtual puts the care-of address on the TUN: whatever speaks from it goes
// through the tunnel (RFC 6252 §7.3.3).
func (c *candidate) virtual() error {
	n := c.n.net
	return firstError(
		func() error {
			return n.AddAddress(c.n.dev.Name(), single(c.address.addr()), onNode)
		},
		func() error { return n.SetRoute(c.virtualRoute()) },
		func() error { return n.AddRule(c.virtualRule()) },
	)
}

// physical puts the care-of address on the interface, with its link and router.
// While the rule of virtual stands it changes nothing yet.
func (c *candidate) physical() error {
	n, a, dev, table := c.n.net, c.address, c.port.name, tablePhysical+c.slot
	return firstError(
		func() error { return n.AddAddress(dev, a.prefix(), onNode) },
		func() error {
			if a.prefix().IsSingleIP() {
				return nil // all goes by the router
			}
			return n.SetRoute(osnet.Route{Dst: a.prefix().Masked(), Dev: dev, Src: a.addr(), Table: table})
		},
		func() error {
			return n.SetRoute(osnet.Route{Dst: anywhereOf(a.addr()), Via: a.router(), Dev: dev, Src: a.addr(), Table: table})
		},
		func() error { return n.AddRule(c.physicalRule()) },
		c.neighbour,
	)
}

// neighbour enters the router's link-layer address, unless the network that serves has a
// router of the same address at the same interface: of IPv6 they are link-local, and may be
// the same everywhere. Then it is done on arrival.
func (c *candidate) neighbour() error {
	mac := c.address.routerMAC.Load()
	if mac == nil || c.beside() && !c.n.away.Load() {
		return nil
	}
	return c.n.net.SetNeighbour(c.port.name, c.address.router(), *mac, true)
}

// beside says whether another network serves at c's interface, with a router of the same
// address.
func (c *candidate) beside() bool {
	c.n.mu.Lock()
	s := c.n.serving
	c.n.mu.Unlock()
	return s != nil && s != c && s.port == c.port && s.address != nil && s.address.router() == c.address.router()
}

// leaveVirtual takes the address off the TUN.
func (c *candidate) leaveVirtual() error {
	n := c.n.net
	return errors.Join(
		n.DelRule(c.virtualRule()),
		n.DelRoute(c.virtualRoute()),
		n.DelAddress(c.n.dev.Name(), single(c.address.addr())),
	)
}

// leavePhysical takes the address off the interface, but nothing that the network which
// serves has in common with it.
func (c *candidate) leavePhysical() error {
	n, a, dev, table := c.n.net, c.address, c.port.name, tablePhysical+c.slot
	err := errors.Join(
		n.DelRule(c.physicalRule()),
		n.DelRoute(osnet.Route{Dst: anywhereOf(a.addr()), Via: a.router(), Dev: dev, Table: table}),
		n.DelRoute(osnet.Route{Dst: a.prefix().Masked(), Dev: dev, Table: table}),
	)
	c.n.mu.Lock()
	s := c.n.serving
	c.n.mu.Unlock()
	beside := s != nil && s != c && s.port == c.port && s.address != nil
	if !beside || s.address.addr() != a.addr() {
		err = errors.Join(err, n.DelAddress(dev, a.prefix()))
	}
	if a.routerMAC.Load() != nil && !(beside && s.address.router() == a.router()) {
		err = errors.Join(err, n.DelNeighbour(dev, a.router()))
	}
	return err
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// acquire gets an address on the link the node is on and makes sure that it
// is nobody else's: what every node does without preparation.
func (c *candidate) acquire(ctx context.Context, id event.HandoverID) (err error) {
	n := c.n
	span := n.cfg.Recorder.Begin(id, event.PhaseConf, "by", "the node")
	defer func() { span.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Configure)
	defer cancel()
	for try := 1; ; try++ {
		l, err := c.port.ip.lease(ctx, id, c.net.Name)
		if err != nil {
			return err
		}
		n.remember(remembered{Network: c.net.Name, lease: l})
		err = c.port.probe(ctx, id, l.addr())
		if err == nil {
			c.address = newAddress(l)
			if err := c.physical(); err != nil {
				return err
			}
			return c.resolveRouter(ctx)
		}
		conflict := (*acd.ConflictError)(nil)
		if !errors.As(err, &conflict) {
			c.address = newAddress(l) // to be released
			return errors.Join(fmt.Errorf("duplicate address detection: %w", err), c.physical())
		}
		if err := c.port.ip.decline(ctx, c.net.Name, l); err != nil {
			n.cfg.Log.Warn("lease not declined", "addr", l.prefix(), "err", err)
		}
		n.forget(c.net.Name, l.addr())
		if try >= n.cfg.DAD.MaxConflicts {
			return fmt.Errorf("each of %d addresses was in use by another host, the last one: %w", try, conflict)
		}
	}
}

// resolveRouter makes the router's neighbour entry permanent: the kernel forgets
// the others with the carrier, and asking again after a return to this link
// would cost time, and the order of the packets that wait for the answer.
func (c *candidate) resolveRouter(ctx context.Context) (err error) {
	n, a := c.n, c.address
	if c.beside() { // what is known is the other one
		if err := n.net.DelNeighbour(c.port.name, a.router()); err != nil {
			return err
		}
	}
	mac, err := n.net.Resolve(ctx, c.port.name, a.router())
	if err != nil {
		return fmt.Errorf("router %s: %w", a.router(), err)
	}
	a.routerMAC.Store(&mac)
	return n.net.SetNeighbour(c.port.name, a.router(), mac, true)
}

// resolveAnew asks a router that does not answer for its link-layer address: it may be
// another machine now, which a permanent entry would hide for ever.
func (c *candidate) resolveAnew(ctx context.Context) {
	n, a := c.n, c.address
	old := a.routerMAC.Swap(nil)
	err := n.net.DelNeighbour(c.port.name, a.router())
	if err == nil {
		err = c.resolveRouter(ctx)
	}
	switch now := a.routerMAC.Load(); {
	case err != nil && old != nil: // nobody says otherwise: the link may be elsewhere, or gone
		a.routerMAC.Store(old)
		err = errors.Join(err, n.net.SetNeighbour(c.port.name, a.router(), *old, true))
		n.cfg.Log.Info("the router does not tell its link-layer address: it stays as it was", "err", err)
	case err != nil:
		n.cfg.Log.Info("the router's link-layer address is not known", "err", err)
	case old != nil && !bytes.Equal(*old, *now):
		n.cfg.Log.Warn("the router has another link-layer address", "router", a.router(), "was", *old, "is", *now)
	}
}

// releaseHere gives c's own lease back from the address itself, which is taken off
// the interface next.
func (c *candidate) releaseHere() { c.release(context.Background(), *c.address.lease.Load()) }

// The time for giving a lease back: a server that is being restarted hears of it,
// unless the node is in a hurry.
const (
	releaseWithin   = 5 * time.Second
	releaseInAHurry = 500 * time.Millisecond
)

// release gives a lease of the node back, from c's address.
func (c *candidate) release(ctx context.Context, l lease) {
	n, within := c.n, releaseWithin
	n.mu.Lock()
	if n.closing {
		within = releaseInAHurry
	}
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := c.port.ip.release(ctx, l, c.address.addr()); err != nil {
		n.cfg.Log.Warn("lease not released", "addr", l.prefix(), "err", err)
	}
}

// probe makes sure that a is nobody else's on the link.
func (p *port) probe(ctx context.Context, id event.HandoverID, a netip.Addr) error {
	span := p.n.cfg.Recorder.Begin(id, event.PhaseDAD, "addr", a.String())
	err := p.ip.probe(ctx, a)
	span.End(err)
	return err
}
