package mn

import (
	"errors"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/decision"
)

// prepare prepares a move and waits until it is ready.
func (b *bed) prepare(network string) event.HandoverID {
	b.t.Helper()
	h, err := b.node.Prepare(network)
	if err != nil {
		b.t.Fatal(err)
	}
	if o, err := h.Wait(b.t.Context()); o != event.OK || err != nil {
		b.t.Fatalf("preparation: %s, %v", o, err)
	}
	if s := b.node.Status(); s.Prepared == nil || s.Prepared.Network != network || s.Prepared.Handover != h.ID || s.Prepared.Left <= 0 || s.State != "attached" {
		b.t.Fatalf("status %+v", s)
	}
	return h.ID
}

// complete is what is prepared, as it is now.
func (b *bed) complete() stand {
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	return *b.node.complete()
}

// serving is what serves.
func (b *bed) serving() *candidate {
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	return b.node.serving
}

// readied is a candidate of that network which is complete, and kept by nobody.
func (b *bed) readied(network string) (*candidate, error) {
	st := &stand{id: event.HandoverID{1}, net: network}
	err := b.node.prepare(b.t.Context(), b.serving(), st, decision.Bind)
	return st.c, err
}

// ends are the ends recorded of a handover's whole.
func (b *bed) ends(id event.HandoverID) (ends []event.Event) {
	for _, e := range b.node.cfg.Recorder.Events(id) {
		if e.Phase == event.PhaseHandover && e.Kind == event.KindEnd {
			ends = append(ends, e)
		}
	}
	return ends
}

// TestPrepare: what is prepared waits, with traffic through the tunnel, and the move
// is the same handover.
func TestPrepare(t *testing.T) {
	b := start(t, nil)
	idle := osnettest.Snapshot(t)
	stop := b.flow()
	id := b.prepare("a")
	if s := b.node.Status(); s.Network != "b" || s.Bound != "10.2.0.100" {
		t.Errorf("status %+v", s)
	}
	if again := b.prepare("a"); again != id {
		t.Errorf("prepared again as %v, expected the same", again)
	}
	time.Sleep(50 * time.Millisecond)
	h, err := b.node.Handover("a")
	if err != nil || h.ID != id {
		t.Fatalf("%v, %v; expected the handover that was prepared", h, err)
	}
	if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	authenticated := 0
	for _, e := range b.node.cfg.Recorder.Events(id) {
		if e.Phase == event.PhaseAuth && e.Kind == event.KindEnd && e.Node == "mn" {
			authenticated++
		}
	}
	if ends := b.ends(id); authenticated != 1 || len(ends) != 1 || ends[0].Outcome != event.Completed {
		t.Errorf("%d authentications, ends %v", authenticated, ends)
	}
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	stop()
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
	if _, err := b.node.Prepare("b"); err != nil {
		t.Error(err)
	}
	b.eventually("the answer to it", func(Status) bool { return len(b.node.turn) == 0 })
}

// TestAskedAgain: the answer to a question for a tunnel that was given up comes when another is asked for: that one's keys
// are its own.
func TestAskedAgain(t *testing.T) {
	b := start(t, nil)
	st := &stand{id: event.HandoverID{1}, net: "a"}
	if err := b.node.raise(t.Context(), st, b.serving(), decision.Configure); err != nil {
		t.Fatal(err)
	}
	if err := st.c.openTunnel(atOnce(), st.id, b.serving()); err == nil {
		t.Error("a tunnel in no time")
	}
	st.c.deleteTunnel(st.id)
	if err := b.node.raise(t.Context(), st, b.serving(), decision.Tunnel); err != nil {
		t.Fatal(err)
	}
	if !st.c.stillThere(t.Context()) {
		t.Error("its router does not answer through the tunnel")
	}
	b.node.turn <- struct{}{}
	b.node.leaveStand(st, "the test is over")
	b.node.endTurn()
}

// TestGivenBack: what nobody uses is given back, the binding first, and nothing is
// lost; so is what has lost its session, and what stands in the way of another.
func TestGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		why  string
		give func(*bed)
		lose bool // the path to it is gone
	}{
		"time": {"not used in 500ms", func(*bed) {}, false},
		"session": {"the session with its router has ended", func(b *bed) {
			for _, v := range b.routers["a"].Status().Visitors {
				if err := b.agents["a"].Terminate(v.SID); err != nil {
					b.t.Error(err)
				}
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(cfg *Config) {
				if cfg.Timers.Prepared = 500 * time.Millisecond; c.lose {
					cfg.Timers.Prepared = time.Minute
				}
			})
			idle := osnettest.Snapshot(t)
			stop := func() {}
			if !c.lose {
				stop = b.flow()
			}
			id := b.prepare("a")
			c.give(b)
			b.eventually("the end of it", func(s Status) bool { return s.Prepared == nil && len(b.ends(id)) == 1 })
			if e := b.ends(id)[0]; e.Outcome != event.Cancelled || !strings.Contains(e.Reason, c.why) {
				t.Errorf("it ended %s: %s", e.Outcome, e.Reason)
			}
			time.Sleep(50 * time.Millisecond)
			stop()
			b.eventually("one lease", func(s Status) bool {
				return len(b.dhcp.Leases()) == 1 && s.Bound == "10.1.0.100" && s.State == "attached"
			})
			if now := osnettest.Snapshot(t); now != idle {
				t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
			}
			b.works()
			if o, err := b.handover("a"); o != event.Completed || err != nil {
				t.Errorf("afterwards: %s, %v", o, err)
			}
		})
	}
}

// TestPrepareRefused: without anything to prepare, or while it is told not to.
func TestPrepareRefused(t *testing.T) {
	b := start(t, nil)
	for name, want := range map[string]string{"c": `no network "c"`, "b": "already at b"} {
		h, err := b.node.Prepare(name)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := h.Wait(t.Context()); o != event.Failed || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v", name, o, err)
		}
	}
	id := b.prepare("a")
	if o, err := b.handover("c"); o != event.Failed || err == nil {
		t.Errorf("%s, %v", o, err)
	}
	if s := b.node.Status(); s.Prepared == nil || s.Prepared.Handover != id {
		t.Errorf("a mistake took what was prepared: %+v", s)
	}
	b.node.Close()
	if e := b.ends(id); len(e) != 1 || e[0].Outcome != event.Cancelled {
		t.Errorf("at the end of the node: %v", e)
	}
	if l := b.dhcp.Leases(); len(l) != 0 {
		t.Errorf("leases %v", l)
	}
	if _, err := b.node.Prepare("a"); !errors.Is(err, errEnding) {
		t.Error(err)
	}
}

// TestArrivalWithoutUs: the link turns up where everything is prepared. Traffic is
// there at once, and nothing is authenticated or asked for again.
func TestArrivalWithoutUs(t *testing.T) {
	b := start(t, nil)
	asked := b.asked()
	id := b.prepare("a")
	session := b.complete().c.session.Load().sid.Load()
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the arrival", func(s Status) bool { return s.Network == "a" && s.State == "attached" && s.Prepared == nil })
	b.works()
	b.eventually("its end", func(Status) bool { return len(b.ends(id)) == 1 && len(b.node.turn) == 0 })
	if e := b.ends(id)[0]; e.Outcome != event.Completed {
		t.Errorf("it ended %s: %s", e.Outcome, e.Reason)
	}
	if s := b.node.Status(); s.Session != session || b.asked() != asked || s.Bound != "10.2.0.100" {
		t.Errorf("session %08x, expected %08x; %d addresses asked for before, %d after; status %+v", s.Session, session, asked, b.asked(), s)
	}
	b.eventually("leave taken of the old one", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Errorf("and back: %s, %v", o, err)
	}
}

// TestSetDown: the interface is set down and up, as a wpa_supplicant that is started
// anew does, while a candidate is kept: what the kernel forgot is there again for the
// move.
func TestSetDown(t *testing.T) {
	b := start(t, nil)
	id := b.prepare("a")
	osnettest.IP(t, "link set eth0 down")
	osnettest.IP(t, "link set eth0 up")
	b.eventually("the link", func(s Status) bool { return s.Problem == "" && len(b.node.turn) == 0 })
	if h, err := b.node.Handover("a"); err != nil || h.ID != id {
		t.Fatalf("%+v, %v", h, err)
	} else if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.works()
}

// TestArrivalAtDeadRouter: the link turns up where everything is prepared, and the
// router has been started anew meanwhile: the node attaches.
func TestArrivalAtDeadRouter(t *testing.T) {
	b := start(t, nil)
	id := b.prepare("a")
	b.link.onLeave(func(string) {
		b.stopRouter("a")
		b.open["a"]()
	})
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the attachment", func(s Status) bool { return s.Network == "a" && s.State == "attached" && b.knownTo("a") })
	b.works()
	b.eventually("its end", func(Status) bool { return len(b.ends(id)) == 1 })
	if e := b.ends(id)[0]; e.Outcome != event.Completed {
		t.Errorf("it ended %s: %s", e.Outcome, e.Reason)
	}
}

// TestRoamInside: the link comes up again at the network that serves. Nothing is
// authenticated or bound again, and the uplink kept meanwhile is sent.
func TestRoamInside(t *testing.T) {
	b := start(t, nil)
	s := b.node.Status()
	count := func(p event.Phase) (k int) {
		for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
			if e.Phase == p && e.Kind != event.KindBegin {
				k++
			}
		}
		return k
	}
	bound, seen := count(event.PhaseBind), count(event.PhaseL2)
	if err := b.link.Attach(t.Context(), "poa-b"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the roam", func(Status) bool { return count(event.PhaseL2) > seen && len(b.node.turn) == 0 })
	b.works()
	if now := b.node.Status(); now.Session != s.Session || count(event.PhaseBind) != bound || now.State != "attached" {
		t.Errorf("%d bindings before, %d after; status %+v", bound, count(event.PhaseBind), now)
	}
}

// TestMovedOn: something is prepared, and the link turns up at neither network: the
// node attaches, and gives back the rest.
func TestMovedOn(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Networks[1].Points = []string{"poa-x"} // a has no point where the link will be
		c.Networks = append(c.Networks, Network{Name: "c", PAA: c.Networks[1].PAA, Points: []string{"poa-a"}})
	})
	id := b.prepare("a")
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the third network", func(s Status) bool { return s.Network == "c" && s.State == "attached" && s.Prepared == nil })
	b.works()
	b.eventually("its end", func(Status) bool { return len(b.ends(id)) == 1 })
	if e := b.ends(id)[0]; e.Outcome != event.Cancelled || !strings.Contains(e.Reason, "moved on to c") {
		t.Errorf("it ended %s: %s", e.Outcome, e.Reason)
	}
}
