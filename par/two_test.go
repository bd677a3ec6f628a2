package par

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/notify"
	"openmpa/tunnel"
)

var (
	previousAddr = netip.MustParseAddr("10.4.0.1")
	before       = netip.MustParseAddr("10.4.0.100") // the node's address at the previous router
)

// previously makes another router, in a namespace behind b's, with an access link of its
// own to the node.
func (b *bed) previously() *bed {
	t := b.t
	t.Helper()
	inside := osnettest.Other(t)
	p := &bed{world: b.world, t: t, far: b.far, dev: "eth1", cn: b.cn, sent: map[uint32]chan notify.Message{}, term: map[uint32]bool{}}
	osnettest.VethTo(t, "core0", "core1", inside)
	osnettest.IP(t, "address add 10.5.0.1/30 dev core0")
	osnettest.IP(t, "route add 10.4.0.0/24 via 10.5.0.2")
	inside(func() {
		osnettest.IP(t, "link set lo up")
		osnettest.Forward(t)
		osnettest.IP(t, "address add 10.5.0.2/30 dev core1")
		osnettest.IP(t, "route add default via 10.5.0.1")
		osnettest.VethTo(t, "lan0", p.dev, b.in)
		osnettest.IP(t, "address add 10.4.0.1/24 dev lan0")
	})
	if b.six {
		p.router, p.leased = b.previous, b.old
		twin(t, "core0", "2001:db8:5::1/64", "fe80::1/64")
		osnettest.IP(t, "-6 route add 2001:db8:4::/64 via 2001:db8:5::2")
		inside(func() {
			osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "1")
			osnettest.Sysctl(t, "ipv6/conf/default/forwarding", "1")
			osnettest.Sysctl(t, "ipv6/conf/default/disable_ipv6", "0") // of the TUN
			osnettest.Sysctl(t, "ipv6/conf/default/addr_gen_mode", "1")
			twin(t, "core1", "2001:db8:5::2/64", "fe80::2/64")
			twin(t, "lan0", "2001:db8:4::1/64", "fe80::1/64")
			osnettest.IP(t, "-6 route add default via 2001:db8:5::1")
		})
	}
	b.in(func() {
		osnettest.IP(t, "route replace default via 10.2.0.1")
		if b.six {
			twin(t, p.dev, "fe80::e/64")
			osnettest.IP(t, "-6 route replace default via 2001:db8:2::1")
		}
		link, err := net.InterfaceByName(p.dev)
		if err != nil {
			t.Fatal(err)
		}
		p.mac = link.HardwareAddr
	})
	cfg := config()
	cfg.Address, cfg.Recorder = previousAddr, event.NewRecorder("b", nil, 1000)
	if b.six {
		cfg.IPv6 = &IPv6{Address: b.previous}
	}
	inside(func() { p.begin(cfg) })
	t.Cleanup(p.r.Close)
	return p
}

// handedOver is a stream to the address at the previous router, until moved has it go to that at
// the next one, and says which number is the first that does.
func (b *bed) handedOver(to netip.Addr) (moved func() uint32, stop func() uint32) {
	var next atomic.Bool
	first := make(chan uint32, 1)
	begun := false
	stop = b.streamTo(200*time.Microsecond, func(k uint32) netip.Addr {
		if !next.Load() {
			return b.old
		}
		if !begun {
			begun = true
			first <- k
		}
		return to
	})
	return func() uint32 { next.Store(true); return <-first }, stop
}

// TestTwoRouters: what the previous router holds, or has copies of, goes by the next one to the node,
// and before all that the next one holds itself.
func TestTwoRouters(t *testing.T) { families(t, twoRouters) }

func twoRouters(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	for name, cut := range map[string]bool{"planned": false, "cut": true} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			idle := b.idle()
			p := b.previously()
			old := p.attachAt(1, b.old)
			next := b.prepared(1)
			binding, stop := b.handedOver(next.addr)
			b.await("packets at the old link", func() bool { return old.has() > 50 })
			var first uint32
			if cut {
				old.must(notify.Guard, netip.AddrPort{})
				b.await("copies", func() bool { return old.copies() > 50 })
			} else {
				old.depart(moved)
				next.depart(header.Handover)
				b.await("packets to be held", func() bool { return p.status(1).Queued > 50 })
				first = binding()
			}
			b.in(func() { osnettest.IP(t, "link set "+p.dev+" down") })
			lost := p.status(1).Tunneled
			if cut {
				b.await("packets to get lost", func() bool { return p.status(1).Tunneled > lost+50 })
			}
			next.settleIn()
			b.r.SessionMessage(1, &notify.Arrival{Header: header, Previous: old.router})
			old.rebind(next.addr)
			old.say(tunnel.Resume, tunnel.Forwarded, moved, old.receipts()...)
			if cut {
				first = binding()
			}
			b.await("all that went to the old address", func() bool { return old.has() == int(first) })
			b.await("others to be held", func() bool { return b.status(1).Queued > 50 })
			if s := b.status(1); s.Mode != "await" || next.has() != 0 {
				t.Errorf("mode %s; %d packets of those that are to follow have come", s.Mode, next.has())
			}
			b.r.SessionMessage(1, &notify.Follow{Header: header})
			b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
			n := next.has()
			b.await("packets on the link", func() bool { return next.has() > n+50 })
			next.exactFrom(first, stop())
			old.exact(first)
			if s := p.status(1); cut && (s.Recovered < 50 || s.Forgotten != 0) || !cut && s.Buffer.HighWater < 50 || s.Forced != 0 {
				t.Errorf("at the previous router %+v", s)
			}
			if s := b.status(1).Classes["all"]; s.WaitedOut != 0 {
				t.Errorf("at the next router %+v", s)
			}
			p.balanced(1)
			next.cut()
			osnettest.IP(t, "route del 10.4.0.0/24")
			osnettest.IP(t, "link del core0")
			b.end(1, idle)
		})
	}
}
