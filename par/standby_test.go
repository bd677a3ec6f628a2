package par

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// TestPreviousHolds: the node goes on to another router, and says so. What comes
// meanwhile is held, and forwarded to where it asks from.
func TestPreviousHolds(t *testing.T) { families(t, previousHolds) }

func previousHolds(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	idle := b.idle()
	g := b.attach(1)
	if s := b.status(1); s.Mode != "direct" || b.idle() != idle {
		t.Fatalf("a tunnel that stands by changes the kernel, or the mode is not direct: %+v\n%s", s, b.idle())
	}
	stop := b.stream(g.addr)
	b.await("packets on the link", func() bool { return g.has() > 50 })
	g.depart(moved)
	held := b.status(1)
	g.cut()
	if held.Mode != "hold" || held.Handover == nil || *held.Handover != moved {
		t.Errorf("status %+v", held)
	}
	var waiting uint64
	b.await("packets to be held", func() bool { waiting = b.status(1).Queued; return waiting > 50 })
	g.resume(moved)
	if s := b.status(1); s.Mode != "tunnel" || s.Tunneled-held.Tunneled < waiting {
		t.Errorf("status after all %d that waited are forwarded %+v; before, %+v", waiting, s, held)
	}
	n := g.has()
	b.await("packets through the tunnel", func() bool { return g.has() > n+50 })
	g.exact(stop())
	g.depart(moved) // of the tunnel, this time
	if s := b.status(1); s.Mode != "hold" {
		t.Errorf("status %+v", s)
	}
	b.end(1, idle)
}

// TestGuardAndCut: the link is cut without a word. Whatever the node has not confirmed
// comes again, and nothing twice.
func TestGuardAndCut(t *testing.T) { families(t, guardAndCut) }

func guardAndCut(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	idle := b.idle()
	g := b.attach(1)
	stop := b.stream(g.addr)
	b.await("packets on the link", func() bool { return g.has() > 50 })
	g.must(notify.Guard, netip.AddrPort{})
	b.await("packets through the tunnel", func() bool { return g.copies() > 50 })
	if s := b.status(1); s.Mode != "copy" {
		t.Errorf("status %+v", s)
	}
	g.cut()
	lost := b.status(1).Tunneled
	b.await("packets to get lost", func() bool { return b.status(1).Tunneled > lost+100 })
	g.resume(moved, g.receipts()...)
	n := g.has()
	b.await("packets through the tunnel", func() bool { return g.has() > n+50 })
	g.exact(stop())
	if s := b.status(1); s.Recovered < 100 || s.Forgotten != 0 {
		t.Errorf("%d were delivered again, %d given up; at least 100 were lost", s.Recovered, s.Forgotten)
	}
	if s := b.status(1).Classes["all"]; s.Confirmed < 50 {
		t.Errorf("%d copies confirmed; the node had more than 50, and said so", s.Confirmed)
	}
	b.end(1, idle)
}

// TestGuardAndArrival: as before, at the router to which the node comes.
func TestGuardAndArrival(t *testing.T) { families(t, guardAndArrival) }

func guardAndArrival(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	idle := b.idle()
	g := b.prepared(1)
	stop := b.stream(g.addr)
	g.must(notify.Guard, netip.AddrPort{})
	b.await("packets through the tunnel", func() bool { return g.copies() > 50 })
	if err := g.t.Socket().Close(); err != nil { // the old link
		t.Fatal(err)
	}
	lost := b.status(1).Tunneled
	b.await("packets to get lost", func() bool { return b.status(1).Tunneled > lost+100 })
	g.settleIn()
	b.r.SessionMessage(1, &notify.Arrival{Header: header, Receipts: g.receipts()})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	n := g.has()
	b.await("packets on the link", func() bool { return g.has() > n+50 })
	g.exact(stop())
	g.cut()
	b.end(1, idle)
}

// TestUnguard: the node is not cut off after all, and the kernel delivers again.
func TestUnguard(t *testing.T) {
	b := start(t, nil)
	g := b.attach(1)
	stop := b.stream(g.addr)
	g.must(notify.Guard, netip.AddrPort{})
	b.await("packets through the tunnel", func() bool { return g.copies() > 50 })
	g.must(notify.Unguard, netip.AddrPort{})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	n := g.has()
	b.await("packets on the link", func() bool { return g.has() > n+50 })
	if s := b.status(1); s.Outer == "" {
		t.Error("the tunnel stands by no more")
	}
	g.endedNatively()
	g.exact(stop())
}

// TestBoth: voice goes to both places, and the node has each packet once.
func TestBoth(t *testing.T) { families(t, both) }

func both(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, func(c *Config) {
		c.Classes = []flow.Class{{Name: "voice", DSCP: []uint8{0}, Handling: flow.HandleBicast}, {Name: "rest"}}
	})
	idle := b.idle()
	g := b.attach(1)
	stop := b.stream(g.addr)
	b.await("packets on the link", func() bool { return g.has() > 50 })
	other := g.socket(b.outer)
	g.must(notify.Both, other.LocalAddr())
	b.await("two copies", func() bool { return other.Stats().ToTunnels > 50 && g.copies() > 100 })
	g.depart(moved) // which nobody need hold
	if s := b.status(1); s.Classes["voice"].Mode != "bicast" || s.Classes["rest"].Mode != "hold" {
		t.Errorf("classes %+v", s.Classes)
	}
	g.cut()
	n := g.has()
	b.await("packets at the other place", func() bool { return g.has() > n+50 })
	g.resume(moved, g.receipts()...)
	g.exact(stop())
	if s := b.status(1); s.Classes["voice"].Bicast < 100 || s.Mode != "tunnel" {
		t.Errorf("status %+v", s)
	}
	b.end(1, idle)
}

// TestBothThenArrival: where packets went to both places, the last through the tunnel to
// the one at which the node has arrived has a marker behind it, and nothing follows that.
func TestBothThenArrival(t *testing.T) {
	b := start(t, func(c *Config) { c.Classes = []flow.Class{{Name: "all", Handling: flow.HandleBicast}} })
	g := b.prepared(1)
	stop := b.stream(g.addr)
	b.await("packets through the tunnel", func() bool { return g.has() > 50 })
	g.settleIn()
	other := g.socket(g.addr)
	g.must(notify.Both, other.LocalAddr())
	g.depart(header.Handover)
	if err := g.t.Socket().Close(); err != nil { // the old link
		t.Fatal(err)
	}
	b.await("copies at the new place", func() bool { return other.Stats().ToTunnels > 50 })
	b.r.SessionMessage(1, &notify.Arrival{Header: header, Receipts: g.receipts()})
	b.r.SessionMessage(1, &notify.Arrival{Header: header}) // repeated
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	g.endedNatively()
	stop()
	g.cut()
	b.balanced(1)
}

// TestUnguardBoth: copies at both places are not wanted after all; what the kernel
// delivered meanwhile it delivers on.
func TestUnguardBoth(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Classes = []flow.Class{{Name: "voice", DSCP: []uint8{0}, Handling: flow.HandleBicast}, {Name: "rest"}}
	})
	idle := b.idle()
	g := b.attach(1)
	stop := b.stream(g.addr)
	b.await("packets on the link", func() bool { return g.has() > 50 })
	g.must(notify.Both, g.socket(outer).LocalAddr())
	b.await("two copies", func() bool { return g.copies() > 100 })
	g.must(notify.Unguard, netip.AddrPort{})
	if s := b.status(1); s.Classes["rest"].Mode != "direct" || s.Classes["voice"].Mode == "bicast" {
		t.Errorf("classes %+v", s.Classes)
	}
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	n := g.has()
	b.await("packets on the link", func() bool { return g.has() > n+50 })
	g.exact(stop())
	g.cut()
	b.end(1, idle)
}

// TestPreviousFirst: what the previous router forwards comes before what the next one
// holds; what ends the wait is the node's word, or time.
func TestPreviousFirst(t *testing.T) {
	for name, wait := range map[string]bool{"told": false, "waited": true} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			g := b.prepared(1)
			g.depart(header.Handover)
			b.send(g.addr, 3, 4)
			b.await("packets to be held", func() bool { return b.status(1).Queued == 2 })
			g.settleIn()
			previous := b.cn.LocalAddr().(*net.UDPAddr).AddrPort() // whose packets they are
			other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: routerAddr.AsSlice()})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			b.r.SessionMessage(1, &notify.Arrival{Header: header, Previous: previous})
			b.r.SessionMessage(1, &notify.Arrival{Header: header, Previous: previous}) // repeated
			if s := b.status(1); s.Mode != "await" {
				t.Fatalf("status %+v", s)
			}
			if _, err := other.WriteToUDPAddrPort([]byte{0, 0, 0, 5}, netip.AddrPortFrom(g.addr, 9000)); err != nil {
				t.Fatal(err)
			}
			b.await("another's packet to be held", func() bool { return b.status(1).Queued == 3 })
			b.send(g.addr, 0, 1, 2)
			b.await("the previous router's packets", func() bool { return g.has() == 3 })
			if !wait {
				b.r.SessionMessage(1, &notify.Follow{Header: header})
			}
			b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
			g.exact(6)
			s := b.status(1).Classes["all"]
			if (s.WaitedOut == 1) != wait {
				t.Errorf("%+v", s)
			}
			b.r.SessionMessage(1, &notify.Follow{Header: header}) // late
			b.balanced(1)
		})
	}
}

// TestReturn: the node leaves, does not get anywhere, and is back on the link.
func TestReturn(t *testing.T) { families(t, returns) }

func returns(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	idle := b.idle()
	g := b.attach(1)
	stop := b.stream(g.addr)
	b.await("packets on the link", func() bool { return g.has() > 50 })
	for range 3 {
		g.depart(moved)
		b.await("packets to be held", func() bool { return b.status(1).Queued > 20 })
		b.r.SessionMessage(1, &notify.Arrival{Header: notify.Header{Handover: moved}})
		b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
		late := tunnel.Marker{Kind: tunnel.Depart, Handover: moved, Seq: g.seq} // of this departure, held up on its way
		if err := g.t.SendMarker(late); err != nil {
			t.Fatal(err)
		}
		n := g.has()
		b.await("packets on the link", func() bool { return g.has() > n+50 })
		if s := b.status(1); s.Mode != "direct" || s.Outer == "" {
			t.Fatalf("status %+v", s)
		}
	}
	g.exact(stop())
	b.end(1, idle)
}

// TestCutWithoutGuard: the node asks from elsewhere, and nothing was held: the router
// forwards from then on.
func TestCutWithoutGuard(t *testing.T) {
	b := start(t, nil)
	idle := b.idle()
	g := b.attach(1)
	g.cut()
	g.resume(moved)
	b.send(g.addr, 0, 1, 2)
	g.exact(3)
	b.end(1, idle)
}

// TestUnreached: what comes before the first packet of the node's has shown where the
// tunnel leads is held.
func TestUnreached(t *testing.T) {
	b := start(t, nil)
	c := b.open(1, b.mac)
	g := b.guest(1, c.Addr.Addr())
	g.make(outer, &notify.TunnelRequest{Numbered: true})
	b.send(g.addr, 0, 1, 2)
	b.await("packets to be held", func() bool { return b.status(1).Queued == 3 })
	if err := g.t.Refresh(); err != nil {
		t.Fatal(err)
	}
	b.await("packets through the tunnel", func() bool { return g.has() == 3 })
	if s := b.status(1); s.Mode != "tunnel" || len(s.Dropped) != 0 {
		t.Errorf("status %+v", s)
	}
	b.r.SessionMessage(1, &notify.TunnelDelete{Header: header})
	g.make(outer, &notify.TunnelRequest{})
	b.send(g.addr, 3, 4)
	b.await("packets to be held", func() bool { return b.status(1).Queued == 2 })
	g.settleIn()
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	g.exact(5)
}

// TestNobodyAsks: what is held for a node that never asks for it is given up, but not the
// tunnel by which it may ask yet.
func TestNobodyAsks(t *testing.T) {
	b := start(t, func(c *Config) { c.Unused = time.Second })
	idle := b.idle()
	g := b.attach(1)
	time.Sleep(1500 * time.Millisecond) // nothing is expected of a node that is here
	if s := b.status(1); s.Mode != "direct" || s.Outer == "" {
		t.Fatalf("status %+v", s)
	}
	g.depart(moved)
	b.send(g.addr, 1, 2, 3)
	b.await("the hold to end", func() bool { return b.status(1).Mode == "direct" })
	if now := b.idle(); now != idle {
		t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
	}
	b.send(g.addr, 0)
	g.exact(1)
	if s := b.status(1); s.Dropped[flow.ReasonReleased] != 3 || s.Buffer.Overdue {
		t.Errorf("status %+v", s)
	}
	if n := b.r.Status().Buffer.Moves; n != 0 {
		t.Errorf("%d moves remembered, and nobody is known to have moved", n)
	}
	b.r.SessionMessage(1, &notify.Arrival{Header: header}) // it was here all the time
	if at, _ := b.r.visitor(1).where(); at != stageArrived {
		t.Errorf("the node that has arrived is %v", at)
	}
	g.cut()
	g.resume(moved)
	b.send(g.addr, 1, 2)
	g.exact(3)
	b.await("the forwarding to end", func() bool { return b.status(1).Mode == "direct" })
	g.resume(moved)
	b.send(g.addr, 3)
	g.exact(4)
	b.end(1, idle)
}

// TestLeaseOfSilentNode: a node that was here, went and said nothing more may be here
// again when its session ends: its lease is not given back while it has the address.
func TestLeaseOfSilentNode(t *testing.T) {
	b := start(t, func(c *Config) { c.Unused = 100 * time.Millisecond })
	c := b.open(1, b.mac)
	g := b.guest(1, c.Addr.Addr())
	g.settleIn()
	g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac, Numbered: true})
	g.depart(moved)
	b.await("the hold to end", func() bool { return b.status(1).Mode == "direct" })
	b.r.SessionClosed(1, errors.New("the node does not answer"))
	time.Sleep(2 * b.r.leases.pauses.absence)
	if n := len(b.dhcp.Leases()); n != 1 {
		t.Errorf("%d leases while the node is on the link", n)
	}
	g.cut()
	b.await("the lease to be released", func() bool { return len(b.dhcp.Leases()) == 0 })
}

// TestStandbyRefused: whom the router does not serve gets no tunnel, and nobody gets a
// delivery that it cannot do.
func TestStandbyRefused(t *testing.T) {
	b := start(t, nil)
	b.r.SessionOpened(1, "mn@home.example", netip.AddrPortFrom(outer, 1000), true, sessionKeys(1), time.Hour)
	ask := func(sid uint32, inner netip.Addr, mac net.HardwareAddr) string {
		b.r.SessionMessage(sid, &notify.TunnelRequest{Header: header, Inner: inner, SPI: 300, Nonce: make([]byte, 32), Serving: true, MAC: mac})
		return got[*notify.TunnelReply](b, sid).Reason
	}
	for inner, want := range map[netip.Addr]string{leased: "neither leased", outer: "neither leased"} {
		if why := ask(1, inner, b.mac); !strings.Contains(why, want) {
			t.Errorf("%v: %q", inner, why)
		}
	}
	g := b.attach(2)
	b.r.SessionOpened(3, "other@home.example", netip.AddrPortFrom(leased, 1000), false, sessionKeys(3), time.Hour)
	if why := ask(3, leased, elsewhere); !strings.Contains(why, "in use in another session") {
		t.Errorf("another node's address: %q", why)
	}
	if why := ask(3, leased, b.mac); !strings.Contains(why, "in the session of another node") {
		t.Errorf("another node's link-layer address: %q", why)
	}
	for how, want := range map[notify.How]string{notify.Guard: "", notify.Both: "no class of traffic", notify.Unguard: ""} {
		if why := g.ask(how, netip.AddrPortFrom(outer, 9)); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%v: %q", how, why)
		}
	}
	g.depart(moved)
	if why := ask(2, leased, b.mac); !strings.Contains(why, "not served on the link at the moment (hold)") {
		t.Errorf("while away: %q", why)
	}
	if why := g.ask(notify.Guard, netip.AddrPort{}); !strings.Contains(why, "the node is away") {
		t.Errorf("guard while away: %q", why)
	}
	b.r.SessionMessage(2, &notify.Arrival{Header: header})
	b.await("the flip", func() bool { return b.status(2).Mode == "direct" })
	g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac}) // in place of the other
	if why := g.ask(notify.Guard, netip.AddrPort{}); !strings.Contains(why, "without numbers") {
		t.Errorf("no numbers: %q", why)
	}
	b.r.SessionMessage(2, &notify.TunnelDelete{Header: header})
	if why := g.ask(notify.Guard, netip.AddrPort{}); !strings.Contains(why, "there is no tunnel") {
		t.Errorf("no tunnel: %q", why)
	}
	if s := b.status(2); s.Mode != "direct" || s.Outer != "" {
		t.Errorf("status %+v", s)
	}
}

// TestRefusalLeavesStandby: what stands by stays when something else is asked for in vain.
func TestRefusalLeavesStandby(t *testing.T) {
	b := start(t, nil)
	g := b.attach(1)
	b.r.SessionMessage(1, &notify.TunnelRequest{
		Header: header, Inner: g.addr, SPI: 300, Nonce: make([]byte, 32), Serving: true, MAC: b.mac, Numbered: true, Suites: []uint8{99},
	})
	if r := got[*notify.TunnelReply](b, 1); !strings.Contains(r.Reason, "none of the suites") {
		t.Errorf("a suite nobody knows: %q", r.Reason)
	}
	g.must(notify.Guard, netip.AddrPort{})
	b.send(g.addr, 0, 1, 2)
	g.exact(3)
	if g.copies() != 3 {
		t.Errorf("%d came by the tunnel", g.copies())
	}
}

// TestServedElsewhere: a node that came by itself has another address on the link.
func TestServedElsewhere(t *testing.T) {
	b := start(t, nil)
	idle := b.idle()
	g := b.attach(1)
	g.must(notify.Guard, netip.AddrPort{})
	g.must(notify.Unguard, netip.AddrPort{})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	g.cut()
	g.addr = leased.Next()
	g.settleIn()
	b.r.SessionActivated(1, netip.AddrPortFrom(g.addr, 1000))
	g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac, Numbered: true})
	if m := *b.r.byAddr.Load(); len(m) != 1 || m[g.addr] == nil {
		t.Errorf("the data path knows %v, expected %v alone", m, g.addr)
	}
	g.must(notify.Guard, netip.AddrPort{})
	b.send(g.addr, 0, 1, 2)
	g.exact(3)
	g.cut()
	b.end(1, idle)
	if m := *b.r.byAddr.Load(); len(m) != 0 {
		t.Errorf("the data path knows %v in the end", m)
	}
}

// TestHeard: markers of before an arrival are late, all others are not.
func TestHeard(t *testing.T) {
	var h heard
	m := func(id byte, seq uint32) tunnel.Marker {
		return tunnel.Marker{Kind: tunnel.Depart, Handover: event.HandoverID{id}, Seq: seq}
	}
	for i, x := range []struct {
		m    tunnel.Marker
		want bool
	}{{m(1, 5), true}, {m(1, 4), true}, {m(2, 1), true}} {
		if h.fresh(x.m) != x.want {
			t.Errorf("before: %d", i)
		}
	}
	h.arrived(event.HandoverID{4})
	resume := m(1, 3)
	resume.Kind = tunnel.Resume
	for i, x := range []struct {
		m    tunnel.Marker
		want bool
	}{{m(1, 5), false}, {m(1, 4), false}, {m(2, 1), false}, {resume, true}, {m(1, 6), true}, {m(1, 4), true}, {m(3, 0), true}, {m(4, 1), false}, {m(4, 2), false}} {
		if h.fresh(x.m) != x.want {
			t.Errorf("after: %d", i)
		}
	}
	for id := range byte(20) {
		h.fresh(m(100+id, 1))
	}
}
