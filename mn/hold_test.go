package mn

import (
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/decision"
)

// holding has the node keep what it has for so long.
func holding(d time.Duration, edits ...func(*Config)) func(*Config) {
	return func(c *Config) {
		c.Timers.Hold = d
		for _, edit := range edits {
			edit(c)
		}
	}
}

// held waits until what the node has in a network is kept for a return, with a tunnel there.
func (b *bed) held(network string) {
	b.t.Helper()
	b.eventually("what is held of "+network, func(Status) bool {
		return slices.ContainsFunc(b.node.Standing(), func(s Standing) bool {
			return s.Network == network && s.Held && s.Depth == decision.Tunnel && time.Until(s.Until) > 0
		})
	})
}

// returns moves the node to a network of which everything is held, and checks that it has taken that.
func (b *bed) returns(network string) {
	b.t.Helper()
	b.held(network)
	n := b.steps()
	if o, err := b.handover(network); o != event.Completed || err != nil {
		b.t.Fatalf("back to %s: %s, %v", network, o, err)
	}
	if now := b.steps(); now != n {
		b.t.Errorf("back to %s: %d authentications, configurations and detections of duplicates, expected none", network, now-n)
	}
}

// steps counts what a return is not to need: authentications, configurations and detections of duplicates, but for that of
// IPv6 while the address is in use.
func (b *bed) steps() (n int) {
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Kind == event.KindEnd && slices.Contains([]event.Phase{event.PhaseAuth, event.PhaseConf, event.PhaseDAD, event.PhaseDHCP}, e.Phase) &&
			!(b.six != nil && e.Phase == event.PhaseDAD) {
			n++
		}
	}
	return n
}

// over waits until nothing is left of what was held, anywhere.
func (b *bed) over(at string) {
	b.t.Helper()
	b.eventually("the end of the hold", func(Status) bool {
		if len(b.node.Standing()) > 0 || b.six == nil && len(b.dhcp.Leases()) != 1 || len(b.node.turn) > 0 {
			return false
		}
		for name, r := range b.routers {
			want := 0
			if name == at {
				want = 1
			}
			if len(r.Status().Visitors) != want {
				return false
			}
		}
		return true
	})
}

// TestReturn: the node moves to and fro. What it had in the network of before is kept, so that only the move is left;
// nothing is lost, doubled or out of order; and in the end it is given back, everywhere.
func TestReturn(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bed) {
		b.start(t, nil, func(*bed) {}, holding(time.Minute))
		idle := osnettest.Snapshot(t)
		stop := b.flow()
		if o, err := b.handover("a"); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
		for _, network := range []string{"b", "a", "b", "a", "b"} {
			b.node.Want([]Wanted{{b.node.Status().Network, decision.Tunnel}}) // it is wanted as soon as it is left, when something is kept of it already
			b.returns(network)
		}
		b.node.Want(nil)
		stop()
		for _, st := range b.node.stoodBy() { // its minute is over
			b.node.mu.Lock()
			st.until = time.Now()
			b.node.mu.Unlock()
		}
		poke(b.node.ladder.wake)
		b.over("b")
		if now := osnettest.Snapshot(t); now != idle {
			t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
		}
	})
}

// TestReturnHooked: the same where the binding is somebody else's.
func TestReturnHooked(t *testing.T) {
	e := newExecutable(t, "")
	b := start(t, holding(time.Minute, e.use))
	stop := b.roam(true)
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	for _, network := range []string{"b", "a", "b"} {
		b.returns(network)
	}
	stop()
}

// TestHoldOver: what is held is given back in its time, when its session ends, and with the node.
func TestHoldOver(t *testing.T) {
	for name, end := range map[string]func(*bed){
		"time": func(*bed) {},
		"session": func(b *bed) {
			for _, v := range b.routers["b"].Status().Visitors {
				if err := b.agents["b"].Terminate(v.SID); err != nil {
					b.t.Error(err)
				}
			}
		},
		"node": func(b *bed) {
			b.halt()
			b.halt = func() {}
			b.node.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			hold := time.Minute
			if name == "time" {
				hold = time.Second
			}
			b := start(t, holding(hold))
			if o, err := b.handover("a"); o != event.Completed || err != nil {
				t.Fatalf("%s, %v", o, err)
			}
			b.held("b")
			end(b)
			if name == "node" {
				for network, r := range b.routers {
					if v := r.Status().Visitors; len(v) != 0 {
						t.Errorf("the router of %s has %+v", network, v)
					}
				}
				if l := b.dhcp.Leases(); len(l) != 0 {
					t.Errorf("leases %v", l)
				}
				return
			}
			b.over("a")
			b.works()
		})
	}
}

// TestReturnWithoutUs: the link turns up where the node was before, and everything is there still.
func TestReturnWithoutUs(t *testing.T) {
	b := start(t, holding(time.Minute))
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.held("b")
	n := b.steps()
	if err := b.link.Attach(t.Context(), "poa-b"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the arrival", func(s Status) bool { return s.Network == "b" && s.State == "attached" && s.Bound == "10.1.0.100" })
	b.works()
	if now := b.steps(); now != n {
		t.Errorf("%d authentications, configurations and detections of duplicates", now-n)
	}
	b.returns("a")
	b.works()
}

// TestReturnToAnother: a router that was started anew knows nothing of what the node holds there: a move there prepares anew,
// and one that nobody has planned attaches.
func TestReturnToAnother(t *testing.T) {
	for name, move := range map[string]func(*bed){
		"planned": func(b *bed) {
			if o, err := b.handover("b"); o != event.Completed || err != nil {
				b.t.Fatalf("%s, %v", o, err)
			}
		},
		"unplanned": func(b *bed) {
			if err := b.link.Attach(b.t.Context(), "poa-b"); err != nil {
				b.t.Fatal(err)
			}
			b.eventually("the attachment", func(s Status) bool { return s.Network == "b" && s.State == "attached" && b.knownTo("b") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, holding(time.Minute))
			if o, err := b.handover("a"); o != event.Completed || err != nil {
				t.Fatalf("%s, %v", o, err)
			}
			b.held("b")
			b.stopRouter("b")
			b.open["b"]()
			stop := func() {}
			if name == "planned" {
				stop = b.flow()
			}
			move(b)
			stop()
			b.works()
			if s := b.node.Status(); s.Network != "b" || !b.knownTo("b") {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestHeldFollows: what is held of two networks hears of a move to a third, and the node returns to either.
func TestHeldFollows(t *testing.T) {
	b := &bed{third: true}
	b.start(t, nil, func(*bed) {}, holding(time.Minute))
	stop := b.flow()
	for _, network := range []string{"a", "c"} {
		if o, err := b.handover(network); o != event.Completed || err != nil {
			t.Fatalf("%s: %s, %v", network, o, err)
		}
	}
	b.held("a")
	b.eventually("b's router to know where the node is", func(Status) bool {
		v := b.routers["b"].Status().Visitors
		return len(v) == 1 && v[0].Held && strings.HasPrefix(v[0].Outer, "10.5.0.") && strings.HasPrefix(v[0].Peer, "10.5.0.")
	})
	for _, network := range []string{"b", "a", "c", "b"} {
		b.returns(network)
	}
	stop()
}

// TestHoldCrash: a node that dies with networks held leaves what it has to its routers and to the node after it.
func TestHoldCrash(t *testing.T) {
	b := start(t, holding(time.Minute, remembering))
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.held("b")
	b.kill(b.node.stood("b").c)
	b.boot()
	b.eventually("the session", func(s Status) bool { return s.Network == "a" && b.knownTo("a") })
	b.works()
	b.eventually("the lease of b, which was the node's own, given back", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.works()
}

// TestReturnFails: a return that comes to nothing, for whatever reason, leaves the node where it is, with its traffic, and
// nothing anywhere of where it was to go.
func TestReturnFails(t *testing.T) {
	for name, c := range map[string]struct {
		fail, mend func(*bed)
		why        string
	}{
		"no association": {
			func(b *bed) { b.link.die(true, "poa-b") },
			func(b *bed) { b.link.die(false, "poa-b") }, "no link",
		},
		"arrival refused": {
			func(b *bed) {
				b.link.onLeave(func(point string) {
					if point == "poa-b" && b.agents["b"].End(aaa.Match{Identity: aaatest.Identity}, "unpaid") != 1 {
						b.t.Error("no session was ended")
					}
				})
			},
			func(b *bed) { b.link.onLeave(nil) }, "",
		},
		"router started anew": {
			func(b *bed) {
				b.link.onLeave(func(point string) {
					if point == "poa-b" {
						b.stopRouter("b")
						b.open["b"]()
					}
				})
			},
			func(b *bed) { b.link.onLeave(nil) }, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, holding(time.Minute))
			if o, err := b.handover("a"); o != event.Completed || err != nil {
				t.Fatalf("%s, %v", o, err)
			}
			b.held("b")
			c.fail(b)
			o, err := b.handover("b")
			if o != event.SwitchedBack || err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s, %v", o, err)
			}
			c.mend(b)
			b.works()
			b.over("a")
			if o, err := b.handover("b"); o != event.Completed || err != nil {
				t.Errorf("afterwards: %s, %v", o, err)
			}
			b.returns("a")
			b.works()
		})
	}
}

// TestReturnVanishes: what is held is prepared for a return, with the binding there, and is gone then.
func TestReturnVanishes(t *testing.T) {
	b := start(t, holding(time.Minute))
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.held("b")
	b.prepare("b")
	b.inside["b"](func() { osnettest.IP(t, "link set core0 down") })
	b.eventually("the binding to be back", func(s Status) bool { return s.Bound == "10.2.0.100" && s.Prepared == nil })
	b.works()
}
