package par

import (
	"net/netip"
	"testing"

	"openmpa/internal/wpactrl"
	"openmpa/paa/notify"
)

// TestGoneAndBack: the access points miss the node and see it again; what came meanwhile
// is held. One whose packets are copied has each of them once, whatever it had got.
func TestGoneAndBack(t *testing.T) {
	for name, guard := range map[string]bool{"plain": false, "guarded": true} {
		t.Run(name, func(t *testing.T) {
			points := newAir()
			b := start(t, func(c *Config) { c.Points = points })
			idle := b.idle()
			g := b.attach(1)
			b.r.SessionMessage(1, &notify.LinkKeysRequest{Header: header, Station: [6]byte(b.mac)})
			got[*notify.LinkKeysReply](b, 1)
			stop := b.stream(g.addr)
			b.await("packets on the link", func() bool { return g.has() > 50 })
			want := "direct"
			if guard {
				g.must(notify.Guard, netip.AddrPort{})
				want = "copy"
			}
			for range 2 {
				b.await("packets", func() bool { return b.status(1).Mode == want })
				n := g.has()
				b.await("packets", func() bool { return g.has() > n+50 })
				points.watch(wpactrl.MAC(b.mac), true)
				b.await("packets to be held", func() bool { return b.status(1).Mode == "hold" && b.status(1).Queued > 50 })
				points.watch(wpactrl.MAC(b.mac), false)
				b.await("the node to be served again", func() bool { return b.status(1).Mode == want })
			}
			points.watch(wpactrl.MAC(b.mac), false) // it was here
			n := g.has()
			b.await("packets", func() bool { return g.has() > n+50 })
			g.exact(stop())
			if n := b.r.Status().Buffer.Moves; n != 0 {
				t.Errorf("%d moves remembered: it never was anywhere else", n)
			}
			b.end(1, idle)
		})
	}
}
