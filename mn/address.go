package mn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/dhcp4"
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
	lease     atomic.Pointer[dhcp4.Lease] // renewed now and then; its address and router stay
	routerMAC net.HardwareAddr            // when prepared; nil: the kernel resolves it
	byRouter  bool                        // the router leased it, and releases it with the session
}

func newAddress(l dhcp4.Lease) *address {
	a := &address{}
	a.lease.Store(&l)
	return a
}

func (a *address) addr() netip.Addr     { return a.prefix().Addr() }
func (a *address) prefix() netip.Prefix { return a.lease.Load().Addr }
func (a *address) router() netip.Addr   { return a.lease.Load().Router }

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func (c *candidate) virtualRule() osnet.Rule {
	return osnet.Rule{Priority: priorityVirtual, From: single(c.address.addr()), Table: tableVirtual + c.slot}
}

func (c *candidate) physicalRule() osnet.Rule {
	return osnet.Rule{Priority: priorityPhysical, From: single(c.address.addr()), Table: tablePhysical + c.slot}
}

func (c *candidate) virtualRoute() osnet.Route {
	return osnet.Route{Dst: anywhere, Dev: c.n.dev.Name(), Table: tableVirtual + c.slot}
}

var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// virtual puts the care-of address on the TUN: whatever speaks from it goes
// through the tunnel (RFC 6252 §7.3.3).
func (c *candidate) virtual() error {
	n := c.n.net
	return firstError(
		func() error {
			return n.AddAddress(c.n.dev.Name(), single(c.address.addr()), osnet.AddrOptions{NoPrefixRoute: true})
		},
		func() error { return n.SetRoute(c.virtualRoute()) },
		func() error { return n.AddRule(c.virtualRule()) },
	)
}

// physical puts the care-of address on the interface, with its link and router.
// While the rule of virtual stands it changes nothing yet.
func (c *candidate) physical() error {
	n, a, dev, table := c.n.net, c.address, c.n.cfg.Interface, tablePhysical+c.slot
	return firstError(
		func() error { return n.AddAddress(dev, a.prefix(), osnet.AddrOptions{NoPrefixRoute: true}) },
		func() error {
			return n.SetRoute(osnet.Route{Dst: a.prefix().Masked(), Dev: dev, Src: a.addr(), Table: table})
		},
		func() error {
			return n.SetRoute(osnet.Route{Dst: anywhere, Via: a.router(), Dev: dev, Src: a.addr(), Table: table})
		},
		func() error { return n.AddRule(c.physicalRule()) },
		func() error {
			if a.routerMAC == nil {
				return nil
			}
			return n.SetNeighbour(dev, a.router(), a.routerMAC, true)
		},
	)
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

// leavePhysical takes the address off the interface.
func (c *candidate) leavePhysical() error {
	n, a, dev, table := c.n.net, c.address, c.n.cfg.Interface, tablePhysical+c.slot
	err := errors.Join(
		n.DelRule(c.physicalRule()),
		n.DelRoute(osnet.Route{Dst: anywhere, Via: a.router(), Dev: dev, Table: table}),
		n.DelRoute(osnet.Route{Dst: a.prefix().Masked(), Dev: dev, Table: table}),
		n.DelAddress(dev, a.prefix()),
	)
	if a.routerMAC != nil {
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

// acquire leases an address on the link the node is on and makes sure that it
// is nobody else's: what every node does without preparation.
func (c *candidate) acquire(ctx context.Context, id event.HandoverID) (err error) {
	n := c.n
	span := n.cfg.Recorder.Begin(id, event.PhaseConf, "by", "the node")
	defer func() { span.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Configure)
	defer cancel()
	client := n.dhcp()
	for try := 1; ; try++ {
		step := n.cfg.Recorder.Begin(id, event.PhaseDHCP)
		lease, err := client.Acquire(ctx)
		step.End(err)
		if err != nil {
			return err
		}
		step = n.cfg.Recorder.Begin(id, event.PhaseDAD, "addr", lease.Addr.Addr().String())
		err = acd.Probe(ctx, n.arp, lease.Addr.Addr(), n.mac, n.cfg.DAD, n.cfg.Rand)
		step.End(err)
		var conflict *acd.ConflictError
		if err == nil {
			c.address = newAddress(lease)
			if err := c.physical(); err != nil {
				return err
			}
			return c.resolveRouter(ctx)
		}
		if !errors.As(err, &conflict) {
			c.address = newAddress(lease) // to be released
			return fmt.Errorf("duplicate address detection: %w", err)
		}
		if err := client.Decline(ctx, lease); err != nil {
			n.cfg.Log.Warn("lease not declined", "addr", lease.Addr, "err", err)
		}
		if try >= n.cfg.DAD.MaxConflicts {
			return fmt.Errorf("each of %d addresses leased was in use by another host, the last one: %w", try, conflict)
		}
	}
}

// resolveRouter makes the router's neighbour entry permanent: the kernel forgets
// the others with the carrier, and asking again after a return to this link
// would cost time, and the order of the packets that wait for the answer.
func (c *candidate) resolveRouter(ctx context.Context) (err error) {
	n, a := c.n, c.address
	if a.routerMAC, err = n.net.Resolve(ctx, n.cfg.Interface, a.router()); err != nil {
		return fmt.Errorf("router %s: %w", a.router(), err)
	}
	return n.net.SetNeighbour(n.cfg.Interface, a.router(), a.routerMAC, true)
}

func (n *Node) dhcp() *dhcp4.Client {
	return &dhcp4.Client{Sockets: n.net, Iface: n.cfg.Interface, MAC: n.mac, ClientID: n.cfg.ClientID, Rand: n.cfg.Rand}
}

// release gives a lease back, from wherever the node is.
func (c *candidate) release(from netip.Addr) {
	if c.address == nil || c.address.byRouter {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := c.n.dhcp().Release(ctx, *c.address.lease.Load(), from); err != nil {
		c.n.cfg.Log.Warn("lease not released", "addr", c.address.addr(), "err", err)
	}
}

// keepLease renews the serving candidate's lease in time, until ctx ends.
func (c *candidate) keepLease(ctx context.Context) {
	for {
		l := c.address.lease.Load()
		wait := time.Until(l.Start.Add(l.T1))
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, 10*time.Second)):
		}
		_ = c.renew(ctx, event.HandoverID{})
	}
}

// renew extends the lease from the address itself (RFC 2131 §4.4.5), which
// disturbs nothing: a failure leaves the lease as it is.
func (c *candidate) renew(ctx context.Context, id event.HandoverID) error {
	span := c.n.cfg.Recorder.Begin(id, event.PhaseRenew, "addr", c.address.addr().String())
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	old := c.address.lease.Load()
	lease, err := c.n.dhcp().Renew(ctx, *old)
	span.End(err)
	if err != nil {
		c.n.cfg.Log.Warn("lease not renewed", "addr", c.address.addr(), "until", old.Start.Add(old.Lifetime), "err", err)
		return err
	}
	c.address.lease.Store(&lease)
	return nil
}
