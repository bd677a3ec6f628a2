package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// A fault is one thing that can go wrong before a move from b to a.
type fault struct {
	name   string
	leased bool // it is one only where addresses are leased
	// set makes it go wrong; the returned function makes it right again.
	set func(ctx context.Context, b *bed.Bed) (undo func() error, err error)
}

func nothing() error { return nil }

// faultList is everything that goes wrong, in the order of a handover.
func faultList() []fault {
	return []fault{
		{name: "PAA unreachable", set: func(_ context.Context, b *bed.Bed) (func() error, error) { return b.Pause("a") }},
		{name: "AAA silent", set: func(_ context.Context, b *bed.Bed) (func() error, error) { return b.Pause(bed.OwnAAAName) }},
		{name: "unknown CA", set: func(ctx context.Context, b *bed.Bed) (func() error, error) {
			return nothing, b.OwnAAA(ctx, bed.AAAOtherCA)
		}},
		{name: "wrong server name", set: func(ctx context.Context, b *bed.Bed) (func() error, error) {
			return nothing, b.OwnAAA(ctx, bed.AAAOtherName)
		}},
		{name: "wrong certificate", set: func(ctx context.Context, b *bed.Bed) (func() error, error) {
			return func() error { return b.OwnAAA(ctx, bed.AAAGood) }, b.OwnAAA(ctx, bed.AAAOtherClients)
		}},
		{name: "DHCP empty", leased: true, set: func(_ context.Context, b *bed.Bed) (func() error, error) {
			if err := errors.Join(b.DHCP.Reset(), b.DHCP.SetEmpty("a", true)); err != nil {
				return nil, err
			}
			return func() error { return b.DHCP.SetEmpty("a", false) }, nil
		}},
	}
}

// occupied comes last: after so many conflicts the router has to let a
// minute pass before it takes another address into use (RFC 5227, section
// 2.1.1, RATE_LIMIT_INTERVAL).
var occupied = fault{name: "DAD conflict on every address", set: occupy}

func faults(ctx context.Context, r *run) error {
	r.opt.Probe = false
	opt := r.opt.bed(r.p)
	opt.OwnAAA = "a"
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		list := slices.DeleteFunc(faultList(), func(f fault) bool { return f.leased && !b.Leased() })
		for i, f := range list {
			r.p.Line("faults: %d of %d, %s", i+1, len(list)+1, f.name)
			if err := r.fault(ctx, b, f); err != nil {
				return fmt.Errorf("scenario: %s: %w", f.name, err)
			}
		}
		if err := r.recovered(ctx, b); err != nil {
			return err
		}
		r.p.Line("faults: %d of %d, %s", len(list)+1, len(list)+1, occupied.name)
		if err := r.fault(ctx, b, occupied); err != nil {
			return fmt.Errorf("scenario: %s: %w", occupied.name, err)
		}
		return nil
	})
}

// recovered moves to the network where everything went wrong, and back, now
// that nothing is wrong there.
func (r *run) recovered(ctx context.Context, b *bed.Bed) error {
	from := "b"
	for _, to := range []string{"a", "b"} {
		r.p.Line("faults: and with nothing wrong, from %s to %s", from, to)
		m, err := r.move(ctx, b, from, to)
		if err != nil {
			return fmt.Errorf("scenario: with nothing wrong: %w", err)
		}
		m.Case = "nothing wrong, " + from + " to " + to
		r.res.Handovers = append(r.res.Handovers, m.Handover)
		r.judgeClean(m.Case, m)
		if m.Outcome != string(event.Completed) {
			return nil // the problem is noted; from here on the cases would not be what they say
		}
		from = to
	}
	return nil
}

func (r *run) fault(ctx context.Context, b *bed.Bed, f fault) (err error) {
	// The state that the measurement expects is there before something goes
	// wrong: a daemon that is paused does not answer.
	if err := r.awaitClean(ctx, b, "a"); err != nil {
		return err
	}
	undo, err := f.set(ctx, b)
	if err != nil {
		return err
	}
	m, err := r.attempt(ctx, b, "b", "a")
	if err = errors.Join(err, undo()); err != nil {
		return err
	}
	m.Case = f.name
	r.res.Handovers = append(r.res.Handovers, m.Handover)
	r.expectOutcome(f.name, m, event.Failed)
	if m.Reason == "" {
		r.problem("%s: the handover's end has no reason", f.name)
	}
	if len(m.moves) > 0 {
		r.problem("%s: the node left its link", f.name)
	}
	if !m.Flow.Down.Clean() || !m.Flow.Up.Clean() {
		r.problem("%s: on the current connection %d lost, %d duplicated, %d reordered to the node, %d, %d, %d from it", f.name,
			m.Flow.Down.Lost, m.Flow.Down.Duplicated, m.Flow.Down.Reordered, m.Flow.Up.Lost, m.Flow.Up.Duplicated, m.Flow.Up.Reordered)
	}
	return r.awaitClean(ctx, b, "a")
}

// occupy has the bare host use every address of network a that somebody may want.
func occupy(ctx context.Context, b *bed.Bed) (func() error, error) {
	a, _ := topo.NetworkByName("a")
	if _, err := b.Bare.Attach(ctx, a.Points[1]); err != nil {
		return nil, err
	}
	if b.IP() == 6 {
		return occupyAll(ctx, b)
	}
	return occupyPool(b, a)
}

// occupyAll has it say of each address of IPv6 that is probed for that it has it.
func occupyAll(ctx context.Context, b *bed.Bed) (undo func() error, err error) {
	var conn *osnet.NDConn
	err = b.Top.Space(topo.Bare).Do(func() error {
		n, err := osnet.OpenReader()
		if err != nil {
			return err
		}
		conn, err = n.OpenND(bareIf)
		return errors.Join(err, n.Close())
	})
	if err != nil {
		return nil, err
	}
	mac, err := acd.MACFrom(conn.MAC())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for {
			p, err := conn.ReadND(ctx)
			if err != nil {
				if ctx.Err() != nil {
					err = nil
				}
				ended <- err
				return
			}
			if probe, ok := p.Msg.(nd.Solicit); ok && p.Src.IsUnspecified() {
				has := nd.Advert{Target: probe.Target, MAC: mac, Override: true}
				if err := conn.WriteND(nd.Packet{Src: probe.Target, Dst: nd.AllNodes(), Msg: has}); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	return func() error {
		cancel()
		return errors.Join(<-ended, conn.Close(), b.DHCP.Reset())
	}, nil
}

// occupyPool has it use every address of a network's pool.
func occupyPool(b *bed.Bed, a topo.Network) (func() error, error) {
	nl := b.Top.Space(topo.Bare).Netlink()
	link, err := nl.LinkByName(bareIf)
	if err != nil {
		return nil, err
	}
	var undo []func() error
	undoAll := func() error {
		var errs []error
		for _, fn := range undo {
			errs = append(errs, fn())
		}
		return errors.Join(append(errs, b.DHCP.Reset())...)
	}
	for addr := a.PoolLo; !a.PoolHi.Less(addr); addr = addr.Next() {
		x := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}}
		if err := nl.AddrAdd(link, x); err != nil {
			return nil, errors.Join(fmt.Errorf("occupy %v: %w", addr, err), undoAll())
		}
		undo = append(undo, func() error { return nl.AddrDel(link, x) })
	}
	return undoAll, nil
}
