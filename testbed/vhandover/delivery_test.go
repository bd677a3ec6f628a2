package vhandover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/mn"
	"openmpa/testbed/simnet"
	"openmpa/testbed/topo"
	"openmpa/tunnel"
)

// TestDelivery: what the application gets of each way to move, where no cable loses
// anything; and that nothing is delivered twice, and everything accounted for, where
// some do.
func TestDelivery(t *testing.T) {
	const gap = 50 * time.Millisecond
	moved := func(b *bed) error { // as planned
		if outcome, err := b.step(b.node.node.Handover); outcome != event.Completed {
			return fmt.Errorf("%s: %w", outcome, err)
		}
		return nil
	}
	both := func(b *bed) error {
		err := moved(b)
		if n := b.routers["a"].router.Status().Again; err == nil && n < 5 {
			err = fmt.Errorf("%d packets went to both places", n)
		}
		return err
	}
	guarded := func(by string, then func(b *bed) error) func(b *bed) error {
		return func(b *bed) error {
			if err := b.guarded(by); err != nil {
				return err
			}
			return then(b)
		}
	}
	carried := func(to string) func(b *bed) error {
		return func(b *bed) error { return b.carry(to, network(to).Points[0]) }
	}
	prepared := func(then func(b *bed) error) func(b *bed) error {
		return func(b *bed) error {
			if outcome, err := b.step(b.node.node.Prepare); outcome != event.OK {
				return fmt.Errorf("%s: %w", outcome, err)
			}
			return then(b)
		}
	}
	// What the node had sent by the long way comes behind it.
	late := func(b *bed) error {
		err := carried("a")(b)
		if s := b.routers["a"].router.Status(); err == nil && (s.Late < 2 || s.Dropped["tunnel: "+string(tunnel.ReasonUnknownSPI)] > 0) {
			err = fmt.Errorf("%d packets came when the tunnel was needed no more; dropped: %v", s.Late, s.Dropped)
		}
		return err
	}
	for name, c := range map[string]struct {
		hold   mn.HoldAt
		guard  mn.GuardWhen
		bicast bool
		play   func(b *bed) error
		at     string // the network where it ends
		cut    bool   // what the node sends until it knows is lost
		late   bool   // order to the node is not promised
		far    bool   // the network it comes from is, and the gap is short
	}{
		"held by the next router":     {play: moved, at: "a"},
		"held by the previous router": {hold: mn.HoldPrevious, play: moved, at: "a"},
		"at both places":              {bicast: true, play: both, at: "a"},
		"guarded, and nothing happens": {guard: mn.GuardAlways, at: "b", play: guarded("b", func(*bed) error {
			time.Sleep(time.Second)
			return nil
		})},
		"guarded, then planned":                 {guard: mn.GuardAlways, play: guarded("b", moved), at: "a"},
		"guarded, then by the previous router":  {hold: mn.HoldPrevious, guard: mn.GuardAlways, play: guarded("b", moved), at: "a"},
		"cut, not prepared":                     {guard: mn.GuardAlways, play: guarded("b", carried("a")), at: "a", cut: true, late: true},
		"cut, prepared":                         {guard: mn.GuardAlways, play: prepared(guarded("a", carried("a"))), at: "a", cut: true},
		"cut, prepared, from far away":          {guard: mn.GuardAlways, play: prepared(guarded("a", late)), at: "a", cut: true, far: true},
		"cut, prepared, held by the previous":   {hold: mn.HoldPrevious, guard: mn.GuardAlways, play: prepared(guarded("b", carried("a"))), at: "a", cut: true, late: true},
		"cut, prepared, and up at a third":      {guard: mn.GuardAlways, play: prepared(guarded("a", carried("c"))), at: "c", cut: true, late: true},
		"cut, held by the previous, at a third": {hold: mn.HoldPrevious, guard: mn.GuardAlways, play: prepared(guarded("b", carried("c"))), at: "c", cut: true, late: true},
		"lost and back": {guard: mn.GuardAlways, at: "b", cut: true, play: guarded("b", func(b *bed) error {
			b.airs["b"].lose(200 * time.Millisecond)
			time.Sleep(time.Second)
			return nil
		})},
		"elsewhere":                       {play: strayed, at: "c"},
		"elsewhere, held by the previous": {hold: mn.HoldPrevious, play: strayed, at: "c"},
	} {
		for _, loss := range []float64{0, 0.02} {
			t.Run(fmt.Sprintf("%s, loss %v", name, loss), func(t *testing.T) {
				creds, err := NewCredentials(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				synctest.Test(t, func(t *testing.T) {
					plan := Plan{Seed: 1, Rate: 100, Prepared: true, Hold: c.hold, Guard: c.guard, Bicast: c.bicast, Cables: map[string][2]simnet.Impairment{}}
					for _, label := range cables {
						d := simnet.Impairment{Delay: 3 * time.Millisecond, Loss: loss}
						plan.Cables[label] = [2]simnet.Impairment{d, d}
					}
					gap := gap
					if c.far {
						d := simnet.Impairment{Delay: 40 * time.Millisecond, Loss: loss}
						plan.Cables["rb-core"], gap = [2]simnet.Impairment{d, d}, 4*time.Millisecond
					}
					b, err := newBed(plan, creds, nil)
					if err != nil {
						t.Fatal(err)
					}
					defer func() {
						b.close()
						for _, m := range b.machines {
							for _, left := range m.Left() {
								t.Error(left)
							}
						}
					}()
					b.airs["b"].set(gap, nil)
					played, parted := b.during(c.play)
					if played != nil && (loss == 0 || !errors.Is(played, errNotGuarded)) || parted != nil {
						t.Error(played, parted)
					}
					flows := b.ledger.flows()
					for dir, f := range flows {
						missing := f.Sent - f.Delivered
						if c.bicast && direction(dir) == down { // not held: those are lost that came where it had left, before it was where it went
							missing -= min(missing, b.ledger.lostAt(network("b").Points[0]+": no carrier"))
						}
						lost := missing > 0 && !(c.cut && direction(dir) == up)
						if f.Doubled > 0 || loss == 0 && (lost || f.Late > 0 && !(c.late && direction(dir) == down)) || f.Sent < 200 {
							t.Errorf("%v: %+v; %s", direction(dir), f, b.ledger.losses())
						}
					}
					if s := b.node.node.Status(); loss == 0 && s.Network != "" && s.Network != c.at {
						t.Errorf("it ended at %s", s.Network)
					}
					if t.Failed() {
						for _, line := range b.net.Trace() {
							if strings.Contains(line, " LOG ") {
								t.Log(line)
							}
						}
					}
				})
			})
		}
	}
}

// strayed has a move to a come up at the third network.
func strayed(b *bed) error {
	b.airs["b"].set(50*time.Millisecond, map[string]badLink{network("a").Points[0]: strays})
	outcome, err := b.step(b.node.node.Handover)
	if s := b.node.node.Status(); outcome != event.Failed || err == nil || s.Network != "c" || s.State != "attached" {
		return fmt.Errorf("%s, %s at %s: %w", outcome, s.State, s.Network, err)
	}
	return nil
}

// guarded waits until the router of a network keeps copies.
func (b *bed) guarded(by string) error {
	if wrong := b.until(keptTime/2, func() string {
		if g := b.node.node.Status().Guard; g == nil || g.By != by {
			return "not guarded by " + by
		}
		return ""
	}); wrong != "" {
		return fmt.Errorf("%w: %s", errNotGuarded, wrong)
	}
	time.Sleep(100 * time.Millisecond)
	return nil
}

var errNotGuarded = errors.New("no router keeps copies")

// during attaches, has something happen while applications talk, and parts, whatever became of that.
func (b *bed) during(play func(b *bed) error) (played, parted error) {
	if err := b.airs["b"].Attach(context.Background(), networks[0].Points[0]); err != nil {
		return err, nil
	}
	if err := b.node.start(); err != nil {
		return err, nil
	}
	if err := b.attached(); err != nil {
		return err, nil
	}
	if b.apps, played = newApps(b); played != nil {
		return played, nil
	}
	time.Sleep(300 * time.Millisecond)
	b.own = len(b.machines[topo.MN].Owned())
	played = play(b)
	b.heal()
	time.Sleep(time.Second)
	return played, b.part()
}
