package par

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/notify"
)

// cutOff is a node whose packets come with copies, and who was cut off some time ago.
func (b *bed) cutOff() *guest {
	b.t.Helper()
	g := b.attach(1)
	stop := b.stream(g.addr)
	b.t.Cleanup(func() { stop() })
	g.stop = stop
	g.must(notify.Guard, netip.AddrPort{})
	b.await("packets through the tunnel", func() bool { return g.copies() > 50 })
	g.cut()
	lost := b.status(1).Tunneled
	b.await("packets to get lost", func() bool { return b.status(1).Tunneled > lost+100 })
	return g
}

// refresh has a packet come from the node's other place, and waits until it was taken.
func (g *guest) refresh() {
	g.b.t.Helper()
	v := g.b.r.visitor(g.sid)
	had := authentic(v.tunnel)
	if err := g.t.Refresh(); err != nil {
		g.b.t.Fatal(err)
	}
	g.b.await("the packet", func() bool { return authentic(v.tunnel) > had })
}

// TestResumeFirst: the uplink is at the new place before Resume, which was lost. Nothing
// is sent there ahead of what the node has not got.
func TestResumeFirst(t *testing.T) {
	b := start(t, nil)
	idle := b.idle()
	g := b.cutOff()
	had := g.copies()
	before := b.status(1)
	g.rebind(outer)
	g.refresh()
	b.await("more packets", func() bool { return b.status(1).Tunneled > before.Tunneled+50 })
	if s := b.status(1); s.Outer != before.Outer || g.copies() != had {
		t.Errorf("%d packets went to %s, where nobody has said that the node is", g.copies()-had, s.Outer)
	}
	g.resume(moved, g.receipts()...)
	n := g.has()
	b.await("packets through the tunnel", func() bool { return g.has() > n+50 })
	g.exact(g.stop())
	g.mu.Lock()
	if !slices.IsSorted(g.wire[had:]) {
		t.Errorf("packets came to the new place out of order: %v", g.wire[had:])
	}
	g.mu.Unlock()
	b.end(1, idle)
}

// TestRemapped: a NAT has the tunnel come from another port, while copies are kept. The
// node does not know, and gets everything.
func TestRemapped(t *testing.T) {
	b := start(t, nil)
	g := b.cutOff()
	was := b.status(1).Outer
	g.rebind(outer)
	b.await("the other port to be adopted", func() bool {
		g.refresh()
		time.Sleep(10 * time.Millisecond)
		return b.status(1).Outer != was
	})
	n := g.has()
	b.await("packets through the tunnel", func() bool { return g.has() > n+50 })
	if s := b.status(1); s.Mode != "copy" || s.Recovered < 100 {
		t.Errorf("status %+v", s)
	}
	g.exact(g.stop())
}

// TestGuardOnReturn: a node that was elsewhere is here again, and asks for copies. The router hears
// of that before it hears what the node has sent through the tunnel, or does not hear that at all:
// nothing goes to where the node was.
func TestGuardOnReturn(t *testing.T) {
	b := start(t, nil)
	idle := b.idle()
	g := b.attach(1)
	g.cut()
	g.resume(moved)
	away := b.status(1).Outer
	b.in(func() { osnettest.IP(t, "address add "+b.with(g.addr)+" dev "+b.dev) })
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	g.rebind(g.addr)
	stop := b.stream(g.addr)
	if why := g.ask(notify.Guard, netip.AddrPort{}); !strings.Contains(why, away) || b.status(1).Mode != "direct" {
		t.Fatalf("nothing has come from here: refused with %q, expected that it names %s; status %+v", why, away, b.status(1))
	}
	var why string
	for end := time.Now().Add(patience); time.Now().Before(end); { // on a busy machine the packet may come too late for it
		time.AfterFunc(5*time.Millisecond, func() { _ = g.t.Refresh() })
		if why = g.ask(notify.Guard, netip.AddrPort{}); why == "" {
			break
		}
	}
	if s := b.status(1); why != "" || s.Mode != "copy" || s.Outer == away {
		t.Fatalf("refused with %q; status %+v", why, s)
	}
	n := g.copies()
	b.await("packets through the tunnel", func() bool { return g.copies() > n+50 })
	g.exact(stop())
	b.end(1, idle)
}
