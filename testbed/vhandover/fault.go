package vhandover

import (
	"net/netip"
	"time"

	"openmpa/internal/osnet"
	"openmpa/testbed/simnet"
	"openmpa/testbed/topo"
)

// fault has m happen, and returns what waits for its end.
func (b *bed) fault(m Trouble, from string, target topo.Network) (over func()) {
	done := make(chan struct{})
	stage := func(begin, end func()) func() {
		go func() {
			defer close(done)
			time.Sleep(m.At)
			b.net.Note("FAULT %s", m.Fault)
			begin()
			time.Sleep(m.Back)
			b.net.Note("FAULT ends: %s", m.Fault)
			end()
		}()
		return func() { <-done }
	}
	again := func(start func() error) func() {
		return func() {
			if err := start(); err != nil {
				b.net.Note("START FAILED: %v", err)
			}
		}
	}
	silence := func(label string) (begin, end func()) {
		all := simnet.Impairment{Loss: 1}
		return func() { b.cables[label].Impair(all, all) },
			func() { b.cables[label].Impair(b.plan.Cables[label][0], b.plan.Cables[label][1]) }
	}
	switch m.Fault {
	case SilentAAA:
		m.At = 0
		return stage(silence("aaa-core"))
	case SilentHA:
		return stage(silence("ha-core"))
	case SilentDHCP:
		m.At = 0
		return stage(func() { b.dhcp.setMute(true) }, func() { b.dhcp.setMute(false) })
	case Conflict:
		m.At = 0
		return stage(b.usurp(target))
	case LinkLost:
		m.Back = min(m.Back, 3*time.Second)
		return stage(func() { b.airs[from].lose(m.Back) }, func() {})
	case DeadTarget, Strays:
		if b.second != nil { // which may be up there before it is asked; else it is asked for
			mend := b.airs[target.Name].cut()
			return mend
		}
	case Flapping:
		if b.second != nil {
			return stage(func() { b.airs[target.Name].lose(time.Second) }, func() {})
		}
	case CrashNext:
		r := b.routers[target.Name]
		return stage(r.kill, again(r.start))
	case CrashOld:
		r := b.routers[from]
		return stage(r.kill, again(r.start))
	case CrashHA:
		return stage(b.home.kill, again(b.home.start))
	case CrashAAA:
		return stage(b.aaa.kill, again(b.aaa.start))
	case CrashNode:
		return stage(b.node.kill, again(b.node.start))
	}
	return func() {}
}

// usurp has the stranger take the next two addresses of a network, and leave them.
func (b *bed) usurp(n topo.Network) (begin, end func()) {
	var taken []netip.Prefix
	dev := "eth-" + n.Name
	used := map[netip.Addr]bool{}
	for _, l := range b.dhcp.leases() {
		used[l.Addr] = true
	}
	for a := n.PoolLo; len(taken) < 2; a = a.Next() {
		if !used[a] {
			taken = append(taken, netip.PrefixFrom(a, 32))
		}
	}
	return func() {
			for _, p := range taken {
				if err := b.stranger.AddAddress(dev, p, osnet.AddrOptions{}); err != nil {
					b.net.Note("stranger: %v", err)
				}
			}
		}, func() {
			for _, p := range taken {
				if err := b.stranger.DelAddress(dev, p); err != nil {
					b.net.Note("stranger: %v", err)
				}
			}
		}
}
