package mn

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/decision"
	"openmpa/testbed/dhcpd"
)

// startThree is a bed with a third network, c, and a node at b.
func startThree(t *testing.T, edit func(*Config)) *bed {
	t.Helper()
	b := &bed{third: true}
	b.start(t, nil, func(*bed) {}, edit)
	return b
}

// stands waits until what stands is as wanted, and nothing goes on with it.
func (b *bed) stands(want ...Wanted) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("to stand: %v", want), func(s Status) bool {
		n := b.node
		n.mu.Lock()
		busy := slices.ContainsFunc(n.sorted(), func(st *stand) bool { return st.job != nil })
		n.mu.Unlock()
		if busy || len(s.Standing) != len(want) || len(n.turn) != 0 {
			return false
		}
		for _, w := range want {
			if !slices.ContainsFunc(s.Standing, func(st StandingStatus) bool { return st.Network == w.Network && st.Depth == w.Depth.String() }) {
				return false
			}
		}
		return true
	})
}

// wants has that stand.
func (b *bed) wants(want ...Wanted) {
	b.t.Helper()
	b.node.Want(want)
	b.stands(want...)
}

// authentications are how many of the node's have ended well.
func (b *bed) authentications() (n int) {
	for _, e := range b.recorded() {
		if e.Node == "mn" && e.Phase == event.PhaseAuth && e.Kind == event.KindEnd && e.Outcome == event.OK {
			n++
		}
	}
	return n
}

// recorded is all that is.
func (b *bed) recorded() []event.Event {
	past, _, cancel := b.node.cfg.Recorder.Subscribe(0, 1)
	cancel()
	return past
}

var depths = []decision.Depth{decision.None, decision.Authenticate, decision.Configure, decision.Tunnel, decision.Bind}

// TestWant: what is wanted stands as deep as it is wanted, several at once, and is deeper or less deep when that is
// wanted; nothing is lost meanwhile, and in the end nothing is left.
func TestWant(t *testing.T) {
	b := startThree(t, nil)
	idle := osnettest.Snapshot(t)
	stop := b.flow()
	sessions := map[decision.Depth]int{decision.None: 0, decision.Authenticate: 1, decision.Configure: 1, decision.Tunnel: 1, decision.Bind: 1}
	for _, step := range []struct{ a, c decision.Depth }{
		{decision.Authenticate, decision.None},
		{decision.Authenticate, decision.Configure},
		{decision.Bind, decision.Tunnel},
		{decision.Tunnel, decision.Bind},
		{decision.None, decision.Tunnel},
		{decision.Authenticate, decision.Bind},
	} {
		var want []Wanted
		for name, d := range map[string]decision.Depth{"a": step.a, "c": step.c} {
			if d != decision.None {
				want = append(want, Wanted{name, d})
			}
		}
		b.wants(want...)
		for name, d := range map[string]decision.Depth{"a": step.a, "c": step.c} {
			b.eventually("where the tunnels lead", func(Status) bool {
				v := b.routers[name].Status().Visitors
				return len(v) != 1 || (v[0].Outer != "") == (d >= decision.Tunnel)
			})
			v := b.routers[name].Status().Visitors
			if len(v) != sessions[d] {
				t.Errorf("%s at %v: visitors %+v", name, d, v)
			}
		}
		bound := "10.1.0.100"
		switch decision.Bind {
		case step.a:
			bound = "10.2.0.100"
		case step.c:
			bound = "10.5.0.100"
		}
		if s := b.node.Status(); s.Bound != bound {
			t.Errorf("%+v: bound to %s, want %s", step, s.Bound, bound)
		}
	}
	for _, s := range b.node.Standing() {
		if s.Held || time.Until(s.Until) < 50*time.Second || s.RTT <= 0 {
			t.Errorf("standing %+v", s)
		}
	}
	b.wants()
	stop()
	b.eventually("one lease", func(s Status) bool { return len(b.dhcp.Leases()) == 1 && s.Bound == "10.1.0.100" })
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
	b.onlyServing()
	p := b.node.Preparations()
	if p.Prepared["authenticate"] != 3 || p.Vain["tunnel"]+p.Vain["bind"] != 2 || p.Vain["authenticate"] != 1 || len(p.Used) != 0 {
		t.Errorf("counted %+v", p)
	}
}

// TestWantSpares: what one network cannot do is no concern of another's, and is tried again when it has rested.
func TestWantSpares(t *testing.T) {
	b := startThree(t, nil)
	b.aaa["c"].Fail(&aaa.RejectError{Server: "x", Identity: "mn"})
	b.node.Want([]Wanted{{"c", decision.Bind}, {"a", decision.Tunnel}, {"nowhere", decision.Tunnel}, {"b", decision.Tunnel}})
	b.stands(Wanted{"a", decision.Tunnel})
	stop := b.flow()
	b.aaa["c"].Fail(nil)
	b.eventually("c", func(s Status) bool { return s.Bound == "10.5.0.100" })
	b.stopRouter("a") // the node finds out when it asks
	time.Sleep(50 * time.Millisecond)
	stop()
	b.open["a"]()
}

// TestWanted: what is asked for is bounded, and one network only is bound.
func TestWanted(t *testing.T) {
	n := &Node{ladder: newLadder(), cfg: Config{Prepare: true}}
	list := []Wanted{{"a", decision.Bind}, {"b", decision.Bind}, {"a", decision.Tunnel}, {"c", decision.None}, {"d", decision.Depth(9)}}
	for i := range 20 {
		list = append(list, Wanted{fmt.Sprint(i), decision.Authenticate})
	}
	n.Want(list)
	if w := n.ladder.want; len(w) != mostStanding || w[0] != (Wanted{"a", decision.Bind}) || w[1] != (Wanted{"b", decision.Tunnel}) || w[2].Network != "0" {
		t.Errorf("%v", w)
	}
	n.cfg.Prepare = false
	n.Want(nil)
	if len(n.ladder.want) == 0 {
		t.Error("wanted something of a node that breaks before it makes")
	}
}

// TestWantTime: what nobody wants again is given back at its time.
func TestWantTime(t *testing.T) {
	b := startThree(t, func(c *Config) { c.Timers.Prepared = 500 * time.Millisecond })
	idle := osnettest.Snapshot(t)
	stop := b.flow()
	want := []Wanted{{"a", decision.Bind}, {"c", decision.Authenticate}}
	b.node.Want(want)
	reached := func(Status) bool { return b.node.Preparations().Prepared["bind"] == 1 }
	b.eventually("the binding", reached)
	b.node.mu.Lock()
	b.node.ladder.want = nil // a decider that has ended
	b.node.mu.Unlock()
	b.stands()
	stop()
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
}

// TestWantLessMeanwhile: a tunnel by which the node has asked for what comes, from where it has moved to, and was not
// answered, is not wanted any more.
func TestWantLessMeanwhile(t *testing.T) {
	b := startThree(t, nil)
	b.wants(Wanted{"a", decision.Tunnel})
	b.inside["a"](func() { osnettest.IP(t, "link set core0 down") })
	if o, err := b.handover("c"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.wants(Wanted{"a", decision.Configure})
	time.Sleep(2 * resumeMost)
	b.works()
}

// TestHandoverNow: a move takes what stands, to any depth, and does the rest behind the link; nothing is lost of what
// comes, nor of what is sent, and nothing is done twice.
func TestHandoverNow(t *testing.T) {
	for _, d := range depths {
		t.Run(d.String(), func(t *testing.T) {
			osnettest.Enter(t)
			b := startThree(t, nil)
			b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
			var want []Wanted
			if d != decision.None {
				want = append(want, Wanted{"a", d})
			}
			b.wants(want...)
			before := b.authentications()
			stop := b.flow()
			h, err := b.node.HandoverNow("a")
			if err != nil {
				t.Fatal(err)
			}
			if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
				t.Fatalf("%s, %v", o, err)
			}
			stop()
			made := 0
			if d == decision.None {
				made = 1
			}
			if got := b.authentications() - before; got != made {
				t.Errorf("%d authentications, want %d", got, made)
			}
			if s := b.node.Status(); s.Network != "a" || s.Bound != "10.2.0.100" || s.State != "attached" {
				t.Errorf("status %+v", s)
			}
			if p := b.node.Preparations(); d != decision.None && (p.Used[d.String()] != 1 || len(p.Vain) != 0) {
				t.Errorf("counted %+v", p)
			}
			b.node.Want(nil)
			b.eventually("nothing else", func(s Status) bool { return len(s.Standing) == 0 && len(b.dhcp.Leases()) == 1 && s.Standby })
			b.onlyServing1()
			if o, err := b.handover("b"); o != event.Completed || err != nil {
				t.Errorf("and back: %s, %v", o, err)
			}
		})
	}
}

// onlyServing1 is onlyServing, whatever slot that has.
func (b *bed) onlyServing1() {
	b.t.Helper()
	used := 0
	for _, u := range b.used() {
		if u {
			used++
		}
	}
	if n := b.node; used != 1 || n.endpoint.Tunnels() != 1 || len(n.endpoint.Sockets()) != 1 || len(*n.guests.Load()) != 0 {
		b.t.Errorf("%d slots, %d tunnels, %d sockets, guests %v", used, n.endpoint.Tunnels(), len(n.endpoint.Sockets()), *n.guests.Load())
	}
}

// TestTargetChanges: another network is bound, and the node moves to this one at the last moment, with or without time to
// bind: what comes by the first is held there, and sent on.
func TestTargetChanges(t *testing.T) {
	for _, d := range depths[1:4] {
		for name, now := range map[string]bool{"in time": false, "now": true} {
			t.Run(d.String()+" "+name, func(t *testing.T) {
				osnettest.Enter(t)
				b := startThree(t, nil)
				b.wants(Wanted{"a", decision.Bind}, Wanted{"c", d})
				stop := b.flow()
				begin := b.node.Handover
				if now {
					begin = b.node.HandoverNow
				}
				h, err := begin("c")
				if err != nil {
					t.Fatal(err)
				}
				if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
					t.Fatalf("%s, %v", o, err)
				}
				stop()
				for _, e := range b.node.cfg.Recorder.Events(h.ID) {
					if e.Phase == event.PhaseBind && e.Kind == event.KindBegin && e.Attrs["care_of"] != "10.5.0.100" {
						t.Errorf("bound to %v on the way", e.Attrs["care_of"])
					}
				}
				if s := b.node.Status(); s.Network != "c" || s.Bound != "10.5.0.100" {
					t.Errorf("status %+v", s)
				}
				b.node.Want(nil)
				b.eventually("nothing else", func(s Status) bool { return len(s.Standing) == 0 && len(b.dhcp.Leases()) == 1 })
				b.works()
			})
		}
	}
}

// TestWrongTarget: somebody else moves the link to a network that was not the target, which stands to any depth, while the
// target is bound: the node goes on there with what it has, and nothing is authenticated again.
func TestWrongTarget(t *testing.T) {
	for _, d := range depths[:4] {
		t.Run(d.String(), func(t *testing.T) {
			osnettest.Enter(t)
			b := startThree(t, nil)
			want := []Wanted{{"a", decision.Bind}}
			if d != decision.None {
				want = append(want, Wanted{"c", d})
			}
			b.wants(want...)
			before := b.authentications()
			if err := b.link.Attach(t.Context(), "poa-c"); err != nil {
				t.Fatal(err)
			}
			b.eventually("the third network", func(s Status) bool {
				return s.Network == "c" && s.State == "attached" && s.Bound == "10.5.0.100" && len(b.node.turn) == 0
			})
			b.works()
			made := 0
			if d == decision.None {
				made = 1
			}
			if got := b.authentications() - before; got != made {
				t.Errorf("%d authentications, want %d", got, made)
			}
			b.node.Want(nil)
			b.eventually("nothing else", func(s Status) bool { return len(s.Standing) == 0 && len(b.dhcp.Leases()) == 1 })
			if o, err := b.handover("b"); o != event.Completed || err != nil {
				t.Errorf("and back: %s, %v", o, err)
			}
		})
	}
}

// TestNoLink: the link does not come up where less than a tunnel stands: the node is back, and that stands as before.
func TestNoLink(t *testing.T) {
	for _, d := range depths[1:3] {
		t.Run(d.String(), func(t *testing.T) {
			osnettest.Enter(t)
			b := startThree(t, func(c *Config) { c.Timers.LinkUp = 200 * time.Millisecond })
			b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
			b.wants(Wanted{"a", d}, Wanted{"c", decision.Bind})
			b.link.die(true, "poa-a")
			stop := b.flow()
			h, err := b.node.HandoverNow("a")
			if err != nil {
				t.Fatal(err)
			}
			if o, err := h.Wait(t.Context()); o != event.SwitchedBack || err == nil {
				t.Fatalf("%s, %v", o, err)
			}
			stop()
			b.stands(Wanted{"a", d}, Wanted{"c", decision.Bind})
			b.link.die(false, "poa-a")
			if h, err = b.node.HandoverNow("a"); err != nil {
				t.Fatal(err)
			}
			if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
				t.Fatalf("%s, %v", o, err)
			}
			b.works()
		})
	}
}

// TestArrivedAtAnother: the router was started anew since the session with it was made: the node authenticates again.
func TestArrivedAtAnother(t *testing.T) {
	for _, d := range depths[1:3] {
		t.Run(d.String(), func(t *testing.T) {
			osnettest.Enter(t)
			b := startThree(t, func(c *Config) { c.Timers.Arrive = 300 * time.Millisecond })
			b.wants(Wanted{"a", d})
			b.link.onLeave(func(string) {
				b.stopRouter("a")
				b.open["a"]()
			})
			h, err := b.node.HandoverNow("a")
			if err != nil {
				t.Fatal(err)
			}
			if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
				t.Fatalf("%s, %v", o, err)
			}
			b.link.onLeave(nil)
			b.works()
			b.eventually("the session", func(Status) bool { return b.knownTo("a") })
		})
	}
}

// TestPrepareTo: a person has several networks stand, each as deep as told.
func TestPrepareTo(t *testing.T) {
	b := startThree(t, func(c *Config) { c.Timers.Prepared = 3 * time.Second })
	idle := osnettest.Snapshot(t)
	stop := b.flow()
	for network, to := range map[string]decision.Depth{"a": decision.Authenticate, "c": decision.Tunnel} {
		h, err := b.node.PrepareTo(network, to)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := h.Wait(t.Context()); o != event.OK || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
	}
	b.stands(Wanted{"a", decision.Authenticate}, Wanted{"c", decision.Tunnel})
	if s := b.node.Status(); s.Bound != "10.1.0.100" || s.Prepared != nil {
		t.Errorf("status %+v", s)
	}
	b.prepare("a")
	b.stands(Wanted{"a", decision.Bind}, Wanted{"c", decision.Tunnel})
	b.stands() // their time is over
	stop()
	b.eventually("the turn to be free", func(Status) bool { return len(b.node.turn) == 0 })
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}
	for _, to := range []decision.Depth{decision.None, decision.Bind + 1} {
		if _, err := b.node.PrepareTo("a", to); err == nil {
			t.Errorf("prepared to %v", to)
		}
	}
}

// TestLeftMeanwhile: the link has gone to the target by itself when the move, or what is missing of its preparation, is
// about to begin: what stands is of use there.
func TestLeftMeanwhile(t *testing.T) {
	for _, d := range depths[1:] {
		t.Run(d.String(), func(t *testing.T) {
			osnettest.Enter(t)
			b := startThree(t, nil)
			b.wants(Wanted{"a", d})
			n, before := b.node, b.authentications()
			n.turn <- struct{}{}
			if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
				t.Fatal(err)
			}
			st := n.takeStand(t.Context(), "a")
			id, depth := st.id, st.depth
			if o, err := n.handover(t.Context(), b.serving(), st, errand{}); o != event.Failed || err == nil {
				t.Errorf("%s, %v", o, err)
			}
			back := n.stoodWhere(func(st *stand) bool { return st.net == "a" && st.depth == depth && st.id != id })
			if len(back) != 1 {
				t.Errorf("stands now: %+v; it stood as deep as %v", n.Standing(), depth)
			}
			n.endTurn()
			b.eventually("the move", func(s Status) bool { return s.Network == "a" && s.State == "attached" && len(n.turn) == 0 })
			b.works()
			if got := b.authentications() - before; got != 0 {
				t.Errorf("authenticated %d times", got)
			}
			if p := n.Preparations(); p.Used[d.String()] != 1 || len(p.Vain) != 0 {
				t.Errorf("counted %+v", p)
			}
		})
	}
}

// TestCrashStanding: a node dies with three networks standing: the one after it goes on where it was, and nothing of the
// others is left, here, at their routers, or at the DHCP server.
func TestCrashStanding(t *testing.T) {
	b := &bed{third: true, fourth: true, ping: 500 * time.Millisecond}
	b.start(t, nil, func(*bed) {}, remembering)
	b.wants(Wanted{"a", decision.Bind}, Wanted{"c", decision.Tunnel}, Wanted{"d", decision.Configure})
	if l := b.dhcp.Leases(); len(l) != 4 {
		t.Errorf("leases %v", l)
	}
	var stood []*candidate
	for _, st := range b.node.stoodBy() {
		stood = append(stood, st.c)
	}
	b.kill(stood...)
	b.boot()
	if s := b.node.Status(); s.Network != "b" || s.Bound != "10.1.0.100" || len(s.Standing) != 0 {
		t.Errorf("status %+v", s)
	}
	b.works()
	for _, name := range []string{"a", "c", "d"} {
		b.eventually("nothing at "+name, func(Status) bool { return len(b.routers[name].Status().Visitors) == 0 })
	}
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.onlyServing()
}

// TestCutWhileConfiguring: the link goes to a network whose router was asked for an address, which nobody has heard of: the
// node attaches, and the session of before ends there.
func TestCutWhileConfiguring(t *testing.T) {
	for name, now := range map[string]bool{"carried": false, "now": true} {
		t.Run(name, func(t *testing.T) {
			osnettest.Enter(t)
			b := startThree(t, nil)
			b.dhcp.Mute(true)
			b.node.Want([]Wanted{{"a", decision.Tunnel}})
			b.eventually("a session there", func(s Status) bool { return len(s.Standing) == 1 && s.Standing[0].Depth == "authenticate" })
			time.Sleep(20 * time.Millisecond) // it has asked
			if now {
				h, err := b.node.HandoverNow("a")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
				b.dhcp.Mute(false)
				if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
					t.Fatalf("%s, %v", o, err)
				}
			} else {
				if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
					t.Fatal(err)
				}
				b.dhcp.Mute(false)
			}
			b.eventually("the move", func(s Status) bool { return s.Network == "a" && s.State == "attached" && len(b.node.turn) == 0 })
			b.works()
			b.eventually("one session at a", func(Status) bool { return len(b.routers["a"].Status().Visitors) == 1 && b.knownTo("a") })
			b.node.Want(nil)
			b.eventually("one lease", func(Status) bool { // the router may just have been probing the address that the node got first
				bound := 0
				for _, l := range b.dhcp.Leases() {
					if l.State == dhcpd.Bound {
						bound++
					}
				}
				return bound == 1
			})
		})
	}
}
