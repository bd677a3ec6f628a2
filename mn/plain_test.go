package mn

import (
	"net/netip"
	"testing"

	"openmpa/internal/event"
	"openmpa/par"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// TestPlain: where both ends want it, packets go by IP-in-IP, all of them, in order, and
// through the move; what another host sends in the router's name or the node's is not taken.
func TestPlain(t *testing.T) {
	b := start(t, func(n *Config) { n.Plain = true }, func(r *par.Config) { r.Plain = true })
	stop := b.flow()
	for _, to := range []string{"a", "b"} {
		k := b.preparedFor(to)
		tun := k.tunnel.Load()
		eventually(t, "packets by IP-in-IP, both ways", func() bool { s := tun.Stats(); return s.Plain > 100 && s.Delivered > 100 })
		if s := tun.Stats(); s.Plain != s.Sent {
			t.Errorf("%d of %d packets went by IP-in-IP", s.Plain, s.Sent)
		}
		unhurt(t, tun)
		if o, err := b.handover(to); o != event.Completed {
			t.Fatalf("%s, %v", o, err)
		}
	}
	stop()
	if n := b.node.Status().Dropped["not from the home agent"]; n != 0 {
		t.Errorf("%d packets of the routers are taken to be forged", n)
	}
}

// forge sends an inner packet by IP-in-IP from the home agent's machine, which is not
// the other end of any tunnel.
func (b *bed) forge(to, src, dst netip.Addr) {
	b.t.Helper()
	inner, err := ipip.AppendHeader(nil, ipip.Header{Src: src, Dst: dst, Protocol: 17}, 8)
	if err != nil {
		b.t.Fatal(err)
	}
	inner = append(inner, 0x1b, 0x58, 0x1b, 0x58, 0, 8, 0, 0) // UDP to port 7000, no checksum
	b.core(func() {
		var s *bind.IPIP
		if s, err = bind.OpenIPIP(netip.MustParseAddr("10.0.1.2"), bind.Options{}); err == nil {
			err = s.Send(to, inner, 0)
			_ = s.Close()
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestPlainForged: inner packets are taken from the other end's outer address only.
func TestPlainForged(t *testing.T) {
	b := start(t, func(n *Config) { n.Plain = true }, func(r *par.Config) { r.Plain = true })
	k := b.preparedFor("a")
	coa := k.address.addr()
	before := k.tunnel.Load().Stats().Delivered
	_ = b.cn.SetReadBuffer(1 << 20)
	for range 10 {
		b.forge(netip.MustParseAddr("10.2.0.1"), coa, agentAddr)                         // as the node, to the router
		b.forge(netip.MustParseAddr("10.1.0.100"), netip.MustParseAddr("10.2.0.1"), coa) // as the router, to the node
	}
	if _, err := b.cn.WriteToUDPAddrPort([]byte("ours"), netip.AddrPortFrom(homeAddress, 7000)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a packet of ours, behind those", func() bool { return k.tunnel.Load().Stats().Delivered > before })
	if n := k.tunnel.Load().Stats().Delivered - before; n != 1 {
		t.Errorf("%d packets were taken from others", n-1)
	}
	stop := b.flow() // of what was forged to the router something would have come before it
	eventually(t, "packets", func() bool { return k.tunnel.Load().Stats().Delivered > before+100 })
	stop()
	unhurt(t, k.tunnel.Load())
}

// TestPlainNotAllowed: a router that does not allow it, and a node that does not ask, have ESP.
func TestPlainNotAllowed(t *testing.T) {
	for name, c := range map[string]struct{ node, router bool }{"the router does not": {true, false}, "the node does not": {false, true}} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(n *Config) { n.Plain = c.node }, func(r *par.Config) { r.Plain = c.router })
			stop := b.flow()
			tun := b.preparedFor("a").tunnel.Load()
			eventually(t, "packets", func() bool { s := tun.Stats(); return s.Sent > 50 && s.Delivered > 50 })
			if s := tun.Stats(); s.Plain != 0 {
				t.Errorf("%d packets went by IP-in-IP", s.Plain)
			}
			stop()
		})
	}
}
