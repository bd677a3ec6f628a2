package mn

import (
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
)

// TestNextRouterDies: the next router is gone when the node arrives; the node is
// back soon, with all it had.
func TestNextRouterDies(t *testing.T) {
	b := start(t, nil)
	idle := osnettest.Snapshot(t)
	b.link.onLeave(func(point string) {
		if point == "poa-a" {
			b.stopRouter("a")
		}
	})
	o, err := b.handover("a")
	if o != event.SwitchedBack || err == nil || !strings.Contains(err.Error(), "did not acknowledge the arrival") {
		t.Errorf("%s, %v", o, err)
	}
	b.open["a"]()
	b.works()
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
	b.link.onLeave(nil)
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Errorf("afterwards: %s, %v", o, err)
	}
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
}

// TestServerLost: where the AAA server is lost in the middle and another stands by, the
// handover completes by one more authentication, and no second one is tried.
func TestServerLost(t *testing.T) {
	b := start(t, nil)
	lost := &aaa.LostError{Server: "10.0.5.1:1812", Next: "10.0.5.2:1812", Err: aaa.ErrTimeout}
	auths := func() (n int) {
		for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
			if e.Phase == event.PhaseAuth && e.Kind == event.KindEnd {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		fail  int
		with  error
		tries int
		ok    bool
	}{{2, lost, 2, false}, {1, aaa.ErrTimeout, 1, false}, {1, lost, 2, true}} {
		b.aaa["a"].FailNext(c.fail, c.with)
		before := auths()
		o, err := b.handover("a")
		if c.ok != (o == event.Completed && err == nil) {
			t.Errorf("%d times %v: %s, %v", c.fail, c.with, o, err)
		}
		if !c.ok && (err == nil || c.with == error(lost) && !strings.Contains(err.Error(), "10.0.5.1:1812 was lost in the middle")) {
			t.Errorf("%d times %v: %v", c.fail, c.with, err)
		}
		if n := auths() - before; n != c.tries {
			t.Errorf("%d times %v: %d authentications, expected %d", c.fail, c.with, n, c.tries)
		}
	}
	b.works()
}

// TestOldRouterDead: a handover does not wait for the farewell of a router that is
// dead, and a move back there waits until it is over.
func TestOldRouterDead(t *testing.T) {
	b := start(t, nil)
	b.agents["b"].Close()
	o, err := b.handover("a")
	if o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseCleanup && e.Kind == event.KindEnd {
			t.Errorf("leave was taken in %v", e.Duration)
		}
	}
	b.routers["b"].Close()
	b.open["b"]()
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Errorf("%s, %v", o, err)
	}
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	b.works()
}

// TestBreakBeforeMakeBack: what fails after the link has moved brings the node back
// to where it was.
func TestBreakBeforeMakeBack(t *testing.T) {
	b := start(t, func(c *Config) { c.Prepare = false })
	idle := osnettest.Snapshot(t)
	for name, c := range map[string]struct{ fail, mend func() }{
		"rejected": {func() { b.aaa["a"].Fail(&aaa.RejectError{Server: "x", Identity: "mn"}) }, func() { b.aaa["a"].Fail(nil) }},
		"no link": {
			func() { b.link.die(true, "poa-a") }, func() { b.link.die(false, "poa-a") },
		},
		"home agent silent": {
			func() { b.core(func() { osnettest.IP(t, "route add blackhole 10.2.0.100/32") }) },
			func() { b.core(func() { osnettest.IP(t, "route del blackhole 10.2.0.100/32") }) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.fail()
			o, err := b.handover("a")
			c.mend()
			if o != event.SwitchedBack || err == nil || b.link.at() != "poa-b" {
				t.Errorf("%s, %v, at %s", o, err, b.link.at())
			}
			if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" {
				t.Errorf("status %+v", s)
			}
			if now := osnettest.Snapshot(t); now != idle {
				t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
			}
			b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
			b.works()
		})
	}
}

// TestCancelledLease: a lease that a handover given up was granted is given back.
func TestCancelledLease(t *testing.T) {
	b := start(t, func(c *Config) { c.Prepare = false })
	b.dhcp.Mute(true)
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the new link", func(Status) bool { p, _ := b.link.Current(t.Context()); return p == "poa-a" })
	time.Sleep(100 * time.Millisecond) // it asks for an address, and will again
	h.cancel()
	b.dhcp.Mute(false)
	if o, err := h.Wait(t.Context()); o != event.SwitchedBack || err == nil {
		t.Errorf("%s, %v", o, err)
	}
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	b.works()
}
