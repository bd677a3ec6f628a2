package mn

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
)

// TestHandovers: there and back, with packets both ways all the time.
func TestHandovers(t *testing.T) {
	b := start(t, nil)
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" || s.Router != "10.1.0.1" {
		t.Errorf("status %+v", s)
	}
	stop := b.flow()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	if s := b.node.Status(); s.State != "attached" || s.Network != "a" || s.Bound != "10.2.0.100" {
		t.Errorf("status %+v", s)
	}
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	stop()
	if l := b.dhcp.Leases(); len(l) != 1 || l[0].Addr.String() != "10.1.0.100" {
		t.Errorf("leases %v", l)
	}
	if len(b.node.reports) != 0 {
		t.Errorf("%d reports are waited for", len(b.node.reports))
	}
	for name, want := range map[string]string{"c": `no network "c"`, "b": "already at b"} {
		if o, err := b.handover(name); o != event.Failed || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v", name, o, err)
		}
	}
}

// TestHandovers6: the same with IPv6, PANA and tunnels included. The addresses are formed, and
// verified by the routers; nothing is acquired on arrival.
func TestHandovers6(t *testing.T) {
	b := start6(t, nil)
	first := b.node.Status()
	if first.State != "attached" || first.Network != "b" || !strings.HasPrefix(first.Bound, "2001:db8:1:") || !strings.HasPrefix(first.Router, "fe80:") {
		t.Errorf("status %+v", first)
	}
	stop := b.flow()
	for _, name := range []string{"a", "b", "a"} {
		if o, err := b.handover(name); o != event.Completed || err != nil {
			t.Fatalf("to %s: %s, %v", name, o, err)
		}
	}
	stop()
	if s := b.node.Status(); s.State != "attached" || s.Network != "a" || !strings.HasPrefix(s.Bound, "2001:db8:2:") {
		t.Errorf("status %+v", s)
	}
	if n := b.asked(); n != 1 {
		t.Errorf("the node itself has asked for %d addresses, expected the first only", n)
	}
}

// TestFailedPreparation: whatever fails before the node leaves is told in one
// line, leaves nothing behind and disturbs nothing.
func TestFailedPreparation(t *testing.T) {
	b := start(t, nil)
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	idle := osnettest.Snapshot(t)
	for name, c := range map[string]struct {
		fail, mend func()
		want       string
	}{
		"AAA rejects": {
			func() { b.aaa["a"].Fail(&aaa.RejectError{Server: "x", Identity: "mn"}) }, func() { b.aaa["a"].Fail(nil) }, "PANA_AUTHENTICATION_REJECTED",
		},
		"AAA silent": {
			func() { b.aaa["a"].Fail(&aaa.SilentError{Waited: 8 * time.Second, Err: aaa.ErrTimeout}) }, func() { b.aaa["a"].Fail(nil) },
			`authentication at a: the router says: "the router could not reach its AAA server ( silent for 8s)" (not authenticated)`,
		},
		"DHCP silent": {func() { b.dhcp.Mute(true) }, func() { b.dhcp.Mute(false) }, "configuration by a: no address: dhcp4: "},
	} {
		t.Run(name, func(t *testing.T) {
			c.fail()
			o, err := b.handover("a")
			c.mend()
			if o != event.Failed || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %v", o, err)
			}
			if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" {
				t.Errorf("status %+v", s)
			}
			if now := osnettest.Snapshot(t); now != idle {
				t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
			}
			b.onlyServing()
			if l := b.dhcp.Leases(); len(l) != 1 {
				time.Sleep(100 * time.Millisecond)
				if l = b.dhcp.Leases(); len(l) != 1 {
					t.Errorf("leases %v", l)
				}
			}
			stop := b.flow()
			time.Sleep(50 * time.Millisecond)
			stop()
		})
	}
	if o, err := b.handover("a"); o != event.Completed {
		t.Errorf("afterwards: %s, %v", o, err)
	}
}

// onlyServing looks whether the node has nothing but what serves, and its tunnel that
// stands by.
func (b *bed) onlyServing() {
	b.t.Helper()
	if used := b.used(); used != [slots]bool{true} {
		b.t.Errorf("slots %v", used)
	}
	b.onlyServing1()
}

// used are the slots of routing tables.
func (b *bed) used() [slots]bool {
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	return b.node.used
}

// TestHomeAgentSilent: nobody says where the binding is, and no router here could hold
// what comes: the preparation fails, and is taken back as a whole.
func TestHomeAgentSilent(t *testing.T) {
	b := start(t, func(c *Config) { c.Timers.Bind, c.Ping = 500*time.Millisecond, time.Second })
	idle := osnettest.Snapshot(t)
	b.stopRouter("b") // its kernel forwards on
	b.eventually("the end of the session", func(s Status) bool { return s.Session == 0 && s.Problem != "" })
	b.stopHA()
	o, err := b.handover("a")
	if o != event.Failed || err == nil || !strings.Contains(err.Error(), "binding update: home agent 10.0.3.1: no registration") {
		t.Errorf("%s, %v", o, err)
	}
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" {
		t.Errorf("status %+v", s)
	}
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
	b.open["b"]()
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.onlyServing()
	b.agent()
	b.eventually("the binding", func(Status) bool { return b.node.home.isBound(b.serving().path) })
	b.works()
	if o, err := b.handover("a"); o != event.Completed {
		t.Errorf("afterwards: %s, %v", o, err)
	}
}

// TestSwitchBack: the new link refuses, or never comes up.
func TestSwitchBack(t *testing.T) {
	for name, fail := range map[string]func(a *adapter){
		"refused": func(a *adapter) { a.fails["poa-a"] = errors.New("no such cell") },
		"dead":    func(a *adapter) { a.dead["poa-a"] = true },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			idle := osnettest.Snapshot(t)
			fail(b.link)
			stop := b.flow()
			if o, err := b.handover("a"); o != event.SwitchedBack || err == nil || !strings.Contains(err.Error(), "link at poa-a: ") {
				t.Errorf("%s, %v", o, err)
			}
			stop()
			if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" {
				t.Errorf("status %+v", s)
			}
			if now := osnettest.Snapshot(t); now != idle {
				t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
			}
		})
	}
}

// TestLost: neither link comes up; the node says so, keeps what the link may still come
// up at, and can be closed.
func TestLost(t *testing.T) {
	b := start(t, func(c *Config) { c.Timers.LinkUp = 200 * time.Millisecond })
	b.link.die(true, "poa-a", "poa-b")
	if o, err := b.handover("a"); o != event.Failed || err == nil || !strings.Contains(err.Error(), "and the way back failed too") {
		t.Errorf("%s, %v", o, err)
	}
	if s := b.node.Status(); s.State != "lost" || s.Prepared == nil || s.Prepared.Network != "a" {
		t.Errorf("status %+v", s)
	}
	if used := b.used(); used != [slots]bool{true, true} {
		t.Errorf("slots %v are taken", used)
	}
}

// TestSessionEndsBeforeDeparture: the node does not leave for a router that has
// forgotten it.
func TestSessionEndsBeforeDeparture(t *testing.T) {
	b := start(t, nil)
	c, err := b.readied("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range b.routers["a"].Status().Visitors {
		if err := b.agents["a"].Terminate(v.SID); err != nil {
			t.Fatal(err)
		}
	}
	<-c.session.Load().closed
	o, err := b.node.move(t.Context(), event.HandoverID{1}, b.serving(), c, "poa-b")
	if o != event.Failed || err == nil || b.link.at() != "poa-b" {
		t.Errorf("%s, %v, at %s", o, err, b.link.at())
	}
}

// TestCloseDuringHandover: the node ends in an orderly way in the middle of one.
func TestCloseDuringHandover(t *testing.T) {
	b := start(t, nil)
	b.dhcp.Mute(true)
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.node.Handover("a"); !errors.Is(err, ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	time.Sleep(50 * time.Millisecond)
	b.node.Close()
	if o, err := h.Wait(context.Background()); o != event.Failed || !errors.Is(err, context.Canceled) {
		t.Errorf("%s, %v", o, err)
	}
	if _, err := b.node.Handover("a"); err == nil || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("afterwards: %v", err)
	}
}

// TestCancelled: a handover that its caller gives up is taken back.
func TestCancelled(t *testing.T) {
	b := start(t, nil)
	idle := osnettest.Snapshot(t)
	b.dhcp.Mute(true)
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if o, err := h.Wait(ctx); o != event.Failed || !errors.Is(err, context.Canceled) {
		t.Errorf("%s, %v", o, err)
	}
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
}

// TestBreakBeforeMake: the baseline gets there, too.
func TestBreakBeforeMake(t *testing.T) {
	b := start(t, func(c *Config) { c.Prepare = false })
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	stop := b.flow()
	time.Sleep(50 * time.Millisecond)
	stop()
	if s := b.node.Status(); s.Network != "a" || s.Bound != "10.2.0.100" {
		t.Errorf("status %+v", s)
	}
}
