package par

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
)

// hold has the router keep what a node has that has left for elsewhere, and makes the tunnel to there.
func (g *guest) hold() {
	b := g.b
	b.t.Helper()
	b.r.SessionMoved(g.sid, netip.AddrPortFrom(b.outer, 1000))
	g.tunnel(b.outer, &notify.TunnelRequest{Held: true, MAC: b.mac, Numbered: true})
}

// leave takes the node from the link, and what it had there.
func (g *guest) leave() {
	g.b.t.Helper()
	g.cut()
	_ = g.native.Close()
}

// TestHeld: a node that has left may not pass here, has what comes for its address through its tunnel, and returns as one that
// was prepared: nothing is lost, doubled or out of order, and nothing is left in the end. So it goes again, and from a third place.
func TestHeld(t *testing.T) { families(t, held) }

func held(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b, gate := gated(t, start)
	idle := b.idle()
	g := b.attach(1)
	b.opens(gate, g.addr, true, "the login")
	for round := range byte(2) {
		g.leave()
		g.hold()
		b.opens(gate, g.addr, false, "the hold")
		if s := b.status(1); !s.Held || s.Mode != "tunnel" || s.Outer == "" {
			t.Fatalf("held: %+v", s)
		}
		b.r.SessionMoved(1, netip.AddrPortFrom(g.addr, 1000)) // anybody could have been first with what the node has said
		b.settled()
		if gate.life(g.addr) != 0 {
			t.Error("a node that is held passes by its address alone")
		}
		b.r.SessionMoved(1, netip.AddrPortFrom(b.outer, 1000))
		stop := b.stream(g.addr)
		has := g.has()
		b.await("packets through the tunnel", func() bool { return g.has() > has+30 })
		id := event.HandoverID{7, round}
		g.resume(id) // it has gone on to a third network
		g.depart(event.HandoverID{8, round})
		b.opens(gate, g.addr, true, "the departure to here")
		time.Sleep(10 * time.Millisecond)
		g.settleIn()
		b.r.SessionMoved(1, netip.AddrPortFrom(g.addr, 1000))
		b.r.SessionMessage(1, &notify.Arrival{Header: notify.Header{Handover: event.HandoverID{8, round}}})
		b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
		b.opens(gate, g.addr, true, "the arrival")
		if s := b.status(1); s.Held {
			t.Errorf("arrived: %+v", s)
		}
		has = g.has()
		b.await("packets on the link", func() bool { return g.has() > has+30 })
		g.exact(stop())
		g.mu.Lock()
		g.got = nil
		g.mu.Unlock()
		g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac, Numbered: true})
	}
	g.leave()
	g.hold()
	b.end(1, idle)
	b.opens(gate, g.addr, false, "the end")
}

// TestHeldCut: what is held for a node that comes back without a word, and before its tunnel has been heard of.
func TestHeldCut(t *testing.T) {
	b := start(t, nil)
	g := b.attach(1)
	g.leave()
	b.r.SessionMoved(1, netip.AddrPortFrom(b.outer, 1000))
	g.make(b.outer, &notify.TunnelRequest{Held: true, MAC: b.mac, Numbered: true}) // it says nothing by it
	stop := b.stream(g.addr)
	b.await("packets that wait", func() bool { return b.status(1).Queued > 20 })
	g.settleIn()
	b.r.SessionMoved(1, netip.AddrPortFrom(g.addr, 1000))
	b.r.SessionMessage(1, &notify.Arrival{Header: notify.Header{Handover: moved}})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	n := g.has()
	b.await("packets on the link", func() bool { return g.has() > n+30 })
	g.exact(stop())
}

// TestHeldUnused: a node that says nothing more through the tunnel to where it has gone loses that, and may still not pass.
func TestHeldUnused(t *testing.T) {
	gate := &fakeGate{open: map[netip.Addr]time.Duration{}}
	b := start(t, func(c *Config) { c.Gate, c.Unused = gate, 300*time.Millisecond })
	g := b.attach(1)
	g.leave()
	g.hold()
	b.await("the end of the tunnel", func() bool { return b.status(1).Outer == "" })
	b.opens(gate, g.addr, false, "the end of the tunnel")
	b.r.SessionMoved(1, netip.AddrPortFrom(g.addr, 1000))
	b.settled()
	if gate.life(g.addr) != 0 {
		t.Error("a node whose tunnel has ended passes by its address alone")
	}
}

// TestHeldRefused: nothing is kept for a node that has not left, nor at an address that is not its own.
func TestHeldRefused(t *testing.T) {
	b := start(t, nil)
	g := b.attach(1)
	refused := func(inner netip.Addr, want string) {
		t.Helper()
		b.r.SessionMessage(1, &notify.TunnelRequest{Header: header, Inner: inner, SPI: 300, Nonce: make([]byte, 32), Held: true, MAC: b.mac, Numbered: true})
		if r := got[*notify.TunnelReply](b, 1); !strings.Contains(r.Reason, want) {
			t.Errorf("answer %q, expected %q", r.Reason, want)
		}
		if s := b.status(1); s.Mode != "direct" || s.Held || s.Outer == "" {
			t.Errorf("what stood by: %+v", s)
		}
	}
	refused(g.addr, "has not left")
	b.r.SessionMoved(1, netip.AddrPortFrom(b.outer, 1000))
	refused(g.addr.Next(), "neither leased in this session nor the one from which it began")
	b.r.SessionOpened(2, "other@home.example", netip.AddrPortFrom(b.outer, 1001), true, sessionKeys(2), time.Hour)
	b.r.SessionMessage(2, &notify.TunnelRequest{Header: header, Inner: g.addr, SPI: 300, Nonce: make([]byte, 32), Held: true, MAC: b.mac, Numbered: true})
	if r := got[*notify.TunnelReply](b, 2); r.Reason == "" {
		t.Error("another node is held at the address of the first")
	}
}
