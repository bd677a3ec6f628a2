package par

import (
	"net/netip"
	"testing"

	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
	"openmpa/tunnel/ipip"
)

// uplink sends a packet with a number by a tunnel of the node.
func (b *bed) uplink(t *tunnel.Tunnel, from netip.Addr, k uint32) {
	b.t.Helper()
	dst := netip.MustParseAddr("10.3.0.2")
	p, err := ipip.Encapsulate(nil, ipip.Header{Src: from, Dst: dst, TTL: 64}, udpIn(from, dst, 7000, k))
	if err == nil {
		err = t.Send(p[ipip.HeaderLen:])
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestLate: what a node had sent when its link was cut comes behind its arrival, and is
// forwarded; for a while only, and not when the session has ended.
func TestLate(t *testing.T) {
	b := start(t, nil)
	g := b.prepared(1)
	g.settleIn()
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.await("the tunnel to be retired", func() bool { return b.r.Status().Lingering == 1 })
	b.uplink(g.t, g.addr, 42)
	if k := b.number(b.cn); k != 42 {
		t.Errorf("the correspondent has %d", k)
	}
	if s := b.r.Status(); s.Late != 1 || s.Visitors[0].Outer != "" {
		t.Errorf("status %+v", s)
	}
	b.await("its end", func() bool { return b.r.Status().Lingering == 0 })
	b.uplink(g.t, g.addr, 43)
	b.await("the packet to be refused", func() bool { return b.r.Status().Dropped["tunnel: "+string(tunnel.ReasonUnknownSPI)] == 1 })
	for range 2 * mostLate { // each in the place of the one before
		g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac})
		if n := b.r.Status().Lingering; n > mostLate {
			t.Errorf("%d tunnels linger", n)
		}
	}
	b.uplink(g.t, g.addr, 44)
	if k := b.number(b.cn); k != 44 {
		t.Errorf("the correspondent has %d", k)
	}
	b.r.SessionClosed(1, &pana.ErrPeerTerminated{})
	if n := b.r.Status().Lingering; n != 0 {
		t.Errorf("%d tunnels of nobody linger", n)
	}
}
