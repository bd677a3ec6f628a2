package decision

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// walk is a stage at point 1 of as many networks with a point each.
func walk(t *testing.T, p Policy, networks int) *stage {
	return &stage{Engine: engine(t, p, networks, 1), t: t, s: Sample{Here: 1, Speed: -1, Loss: -1}}
}

// steps are so many of the same signals; it returns the last decision.
func (g *stage) steps(n int, signals ...float32) (d Decision) {
	for range n {
		d = g.step(signals...)
	}
	return d
}

// TestRest: what failed is left alone for RestFirst, for twice as long the next time, and up to RestMost; another is taken meanwhile.
func TestRest(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		p.RestMost = 4 * p.RestFirst
		g := walk(t, p, 3)
		g.sits = true
		g.steps(5, -50, -60)
		for _, rest := range []time.Duration{p.RestFirst, 2 * p.RestFirst, 4 * p.RestFirst, 4 * p.RestFirst} {
			var d Decision
			for i := 0; d.Action == Stay && i < 300; i++ {
				d = g.step(-88, -60)
			}
			if d.To != 2 {
				t.Fatalf("%+v: %s", d, g.last())
			}
			g.Failed(g.s.At, d)
			until := g.s.At + rest
			for g.s.At < until-100*time.Millisecond {
				if d = g.step(-88, -60); d.Action != Stay || d.Reason.Code != Resting {
					t.Fatalf("%v before its rest is over: %+v: %s", until-g.s.At, d, g.last())
				}
			}
		}
		g.Failed(g.s.At, Decision{Action: Handover, To: 2})
		var d Decision
		for i := 0; d.Action == Stay && i < 300; i++ {
			d = g.step(-88, -60, -62)
		}
		if d.To != 3 {
			t.Fatalf("the other one was not taken: %+v: %s", d, g.last())
		}
	})
}

// TestRestOver: who has stayed at a point does not hold against it what was before; who had to go back at once does.
func TestRestOver(t *testing.T) {
	p := DefaultPolicy(Enterprise)
	for stay, rest := range map[time.Duration]time.Duration{p.RestFirst + time.Second: p.RestFirst, time.Second: 2 * p.RestFirst} {
		g := walk(t, p, 2)
		g.sits = true
		g.steps(2, -50, -60)
		g.Failed(g.s.At, Decision{Action: Handover, To: 2})
		g.s.Here = 2
		g.steps(int(stay/(100*time.Millisecond)), -50, -60)
		g.s.Here = 1
		g.steps(100, -60, -50)
		g.Failed(g.s.At, Decision{Action: Handover, To: 2})
		until := g.s.At + rest
		var d Decision
		for d.Action == Stay && g.s.At < until+time.Minute {
			d = g.step(-88, -60)
		}
		if late := g.s.At - until; late < 0 || late > 200*time.Millisecond {
			t.Errorf("after a stay of %v: rests until %v after %v: %s", stay, late, rest, g.last())
		}
	}
}

// TestStepFails: a preparation that fails at one depth is asked for again below it only, until the network has rested; one that cannot
// even be authenticated with is not moved to.
func TestStepFails(t *testing.T) {
	p := DefaultPolicy(Enterprise)
	g := walk(t, p, 2)
	if d := g.steps(20, -68, -55); len(d.Ladder) != 1 || d.Ladder[0].Depth != Tunnel {
		t.Fatalf("%+v", d.Ladder)
	}
	g.stands[2] = None
	g.Took(g.s.At, 2, Configure, time.Second, false)
	if d := g.step(-68, -55); len(d.Ladder) != 1 || d.Ladder[0].Depth != Authenticate {
		t.Errorf("configuration failed, and the ladder is %+v", d.Ladder)
	}
	g.Took(g.s.At, 2, Authenticate, time.Second, false)
	if d := g.step(-68, -55); len(d.Ladder) != 0 || d.Reason.Code != Resting {
		t.Errorf("authentication failed, and it is %+v: %s", d, g.last())
	}
	if d := g.steps(30, -86, -55); d.Action != Stay {
		t.Errorf("moves to where it cannot authenticate: %s", g.last())
	}
	g.steps(80, -68, -55) // 5 s, and 10 s for the second failure
	if d := g.step(-68, -55); len(d.Ladder) != 1 || d.Ladder[0].Depth != Tunnel {
		t.Errorf("after the rest: %+v: %s", d, g.last())
	}
}

// TestTime: no more is begun than there is time for: n*RTT + Tpsk (+ Tconf, + the tunnel) and the switch against the time left
// (RFC 6252 appendix C.6). The faster it goes the less deep the ladder, and never does a node fail for it.
func TestTime(t *testing.T) {
	const tenths = 10
	deepest := func(dBperSecond float32, rtt time.Duration) (depth Depth, moved bool) {
		p := DefaultPolicy(Predictive)
		e := New(p)
		nets, pts := ground(2, 1)
		nets[1].Times.RTT = rtt
		if err := e.Know(nets, pts); err != nil {
			t.Fatal(err)
		}
		g := &stage{Engine: e, t: t, s: Sample{Here: 1, Speed: -1, Loss: -1}}
		g.steps(60, -50, -58)
		for x := float32(-50); x > -95; x -= dBperSecond / tenths {
			d := g.step(x, -58)
			n := &e.networks[2]
			g.stands[2] = None // nothing comes to an end: what is asked for is what could be done
			for _, r := range d.Ladder {
				if d.Left >= 0 && g.s.Here == 1 && n.to(None, r.Depth) > d.Left && d.Reason.Code != Dying {
					t.Errorf("%v s to %v of %v s left: %s", n.to(None, r.Depth), r.Depth, d.Left, g.last())
				}
				if d.Action == Stay {
					depth = max(depth, r.Depth)
				}
			}
			if d.Action != Stay {
				return depth, x > p.Lost-dBperSecond/2
			}
		}
		return depth, false
	}
	for _, rtt := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
		last := Bind
		for _, speed := range []float32{1, 4, 8, 12, 16} {
			d, moved := deepest(speed, rtt)
			t.Logf("rtt %v, %v dB/s: to %v", rtt, speed, d)
			if d > last || !moved {
				t.Errorf("rtt %v, %v dB/s: to %v after %v at less, moved %v", rtt, speed, d, last, moved)
			}
			last = d
		}
	}
	slow, _ := deepest(1, 300*time.Millisecond)
	fast, _ := deepest(16, 300*time.Millisecond)
	if slow < Tunnel || fast >= slow {
		t.Errorf("slow to %v, fast to %v: expected a difference", slow, fast)
	}
}

// TestWorth: of two that are heard alike the one that costs less, has room, or was moved to before is taken.
func TestWorth(t *testing.T) {
	for name, change := range map[string]func([]Network, []Point){
		"cost":    func(n []Network, _ []Point) { n[1].Cost = 3 },
		"load":    func(_ []Network, p []Point) { p[1].Load, p[2].Load = 0.9, 0.2 },
		"history": func(_ []Network, p []Point) { p[1].Follows, p[2].Follows = 0.1, 0.9 },
	} {
		all(t, func(t *testing.T, p Policy) {
			e := New(p)
			nets, pts := ground(3, 1)
			change(nets, pts)
			if err := e.Know(nets, pts); err != nil {
				t.Fatal(err)
			}
			g := &stage{Engine: e, t: t, s: Sample{Here: 1, Speed: -1, Loss: -1}}
			for x := float32(-50); x > -90 && len(g.moves) == 0; x -= 0.2 {
				g.step(x, -60, -60.5)
			}
			if len(g.moves) == 0 || g.moves[0] != 3 || !strings.Contains(g.last(), "cost, load and history") && name == "history" {
				t.Errorf("%s: moves to %v: %s", name, g.moves, g.last())
			}
		})
	}
}

// TestPingPong: a return is counted, makes margin and dwell greater for a while, and has packets wanted at both places until it is calm.
func TestPingPong(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		g := walk(t, p, 3)
		g.sits = true
		weak := p.Leave - 4
		before := g.steps(40, weak, weak+1).Reason
		move := func(to PointID) {
			g.Moved(g.s.At, Move{From: g.s.Here, To: to, Chosen: true})
			g.s.Here = to
		}
		move(2)
		d := g.steps(40, weak, weak)
		if d.Both || g.Counts().PingPongs != 0 {
			t.Fatalf("after one move: %+v, %+v", d, g.Counts())
		}
		move(1)
		if d = g.steps(40, weak, weak+1); !d.Both || g.Counts().PingPongs != 1 {
			t.Errorf("after the return: both %v, %+v", d.Both, g.Counts())
		}
		if d.Reason.Margin < before.Margin*1.2 || p.Style != Predictive && d.Reason.Dwell < before.Dwell*5/4 {
			t.Errorf("margin %v after %v, dwell %v after %v", d.Reason.Margin, before.Margin, d.Reason.Dwell, before.Dwell)
		}
		d = g.steps(int(calm*p.Within/(100*time.Millisecond)), weak, weak+1)
		if d.Both || d.Reason.Margin > before.Margin*1.01 || d.Action != Stay {
			t.Errorf("when it is calm: both %v, margin %v after %v: %s", d.Both, d.Reason.Margin, before.Margin, g.last())
		}
		move(3)
		g.steps(int(p.Within/(100*time.Millisecond))+5, weak, weak, weak)
		if move(1); g.Counts().PingPongs != 1 || g.Counts().Moves != 4 {
			t.Errorf("a late return counts: %+v", g.Counts())
		}
	})
}

// TestReturn: Predictive needs more to go back where it has just been than to go on, and says so.
func TestReturn(t *testing.T) {
	p := DefaultPolicy(Predictive)
	for _, came := range []bool{true, false} {
		g := walk(t, p, 3)
		g.sits = true
		there := PointID(1)
		if !came {
			there = 3
		}
		g.s.Here = 1
		here := p.Lost + spare - 0.5
		g.step(here+p.Margin+2, here)
		g.s.Here = 2
		signals := []float32{0, here, 0}
		signals[there-1] = here + p.Margin + 2
		var moved bool
		for range 80 {
			d := g.step(signals...)
			moved = moved || d.Action != Stay
			if came && d.Reason.Other == there && d.Reason.Code == NoBetter && d.Reason.Margin < p.Margin*.6+backDB {
				t.Errorf("%s", g.last())
			}
		}
		if moved == came {
			t.Errorf("came from there %v, moves %v: %s", came, moved, g.last())
		}
	}
}

// TestLost: who lost the link and found the same point again has not moved; nor has he gone to and fro who went on to a third.
func TestLost(t *testing.T) {
	g := walk(t, DefaultPolicy(Enterprise), 3)
	g.step(-50)
	for _, to := range []PointID{0, 1, 0, 2, 3} {
		g.Moved(g.s.At, Move{From: g.s.Here, To: to})
		g.s.Here = to
	}
	if c := g.Counts(); c.Moves != 2 || c.PingPongs != 0 || c.Chosen != 0 {
		t.Errorf("%+v", c)
	}
	g.Moved(g.s.At, Move{From: 3, To: 2, Chosen: true})
	g.Moved(g.s.At, Move{From: 3, To: 2, Chosen: true})
	if c := g.Counts(); c.Moves != 3 || c.PingPongs != 1 || c.Chosen != 1 {
		t.Errorf("%+v", c)
	}
}

// TestStranded: attached nowhere it goes at once to what is best, and not to what rests.
func TestStranded(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		g := walk(t, p, 3)
		g.sits, g.s.Here = true, 0
		if d := g.step(-90); d.Action != Stay || d.Reason.Code != Nowhere || !d.Look {
			t.Errorf("%+v: %s", d, g.last())
		}
		d := g.step(-60, -55, -57)
		if d.Action != Handover || d.To != 2 || !d.Now || d.Reason.Code != Stranded {
			t.Errorf("%+v: %s", d, g.last())
		}
		g.Failed(g.s.At, d)
		if d = g.step(-60, -55, -57); d.To != 3 {
			t.Errorf("%+v: %s", d, g.last())
		}
		g.Failed(g.s.At, Decision{Action: Roam, To: 3})
		g.steps(20, -60)
		if d = g.step(-60, -55, -57); d.To != 1 {
			t.Errorf("%+v: %s", d, g.last())
		}
	})
}

// TestMargin: one that is better by less than the margin is not moved to; by more, it is.
func TestMargin(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		p.Leave, p.Accept, p.Look, p.Lost = -76, -75, -70, -90
		here, less := p.Leave-2, p.Margin-1
		if p.Style == Predictive { // its own leave is lower, and so near lost two thirds of the margin will do
			p.Leave, p.Accept, here, less = -84, -83.9, p.Lost+3.5, p.Margin*2/3-1
		}
		g := walk(t, p, 2)
		if d := g.steps(100, here, here+less); d.Action != Stay || len(g.moves) > 0 || d.Reason.Code != NoBetter {
			t.Errorf("%+v: %s", d, g.last())
		}
		g.steps(100, here, -60)
		if len(g.moves) != 1 {
			t.Errorf("stays: %s", g.last())
		}
	})
}

// TestSticky: it lowers its rate before anything else, and leaves when the lowest carries nothing.
func TestSticky(t *testing.T) {
	g := walk(t, DefaultPolicy(Sticky), 2)
	g.s.Loss, g.s.Rate = 0.6, 54
	if d := g.steps(60, -74, -50); d.Action != Stay || d.Look || len(g.moves) > 0 {
		t.Errorf("it can lower its rate yet: %+v: %s", d, g.last())
	}
	g.s.Rate = 6
	g.steps(60, -74, -50)
	if len(g.moves) != 1 {
		t.Errorf("the lowest rate carries nothing, and it stays: %s", g.last())
	}
	for rate, moves := range map[float32]int{54: 0, 6: 1} {
		g := walk(t, DefaultPolicy(Sticky), 2)
		g.s.Rate = rate
		if g.steps(100, -84.3, -50); len(g.moves) != moves {
			t.Errorf("between leave and lost, with %v Mbit/s: moves to %v: %v", rate, g.moves, g.said)
		}
	}
	e := walk(t, DefaultPolicy(Enterprise), 2)
	e.s.Loss, e.s.Rate = 0.6, 54
	if e.steps(60, -62, -50); len(e.moves) != 1 {
		t.Errorf("era stays with a loss of 60 %%: %s", e.last())
	}
}

// TestHybrid: where there are many points it looks earlier, and moves earlier, than where there is one.
func TestHybrid(t *testing.T) {
	looks := func(others ...float32) (look, leave float32) {
		g := walk(t, DefaultPolicy(Hybrid), 6)
		signals := func(x float32) []float32 { return append([]float32{x}, others...) }
		g.steps(60, signals(-50)...) // it looks around when it comes to a place
		for x := float32(-50); x > -95; x -= .05 {
			d := g.step(signals(x)...)
			if d.Look && look == 0 && x < -60 {
				look = x
			}
			if d.Action != Stay {
				return look, x
			}
		}
		return look, -95
	}
	look1, leave1 := looks(-58)
	look5, leave5 := looks(-58, -59, -60, -61, -62)
	if look5 < look1+2 || leave5 < leave1+1 {
		t.Errorf("one other point: looks at %v, leaves at %v; five: %v, %v", look1, leave1, look5, leave5)
	}
	g := walk(t, DefaultPolicy(Hybrid), 2)
	if d := g.step(-40, -60); !d.Look {
		t.Error("it does not look around in a new place")
	}
	if d := g.steps(100, -40, -60); d.Look {
		t.Error("it does not end to look around")
	}
}

// TestPlace: by place, speed and heading it knows when it will be out of reach, goes before, and not into a cell whose corner it crosses.
func TestPlace(t *testing.T) {
	p := DefaultPolicy(Predictive)
	e := New(p)
	nets, pts := ground(3, 1)
	for i, at := range []Place{{0, 0, true}, {100, 98, true}, {140, 0, true}} {
		pts[i].Place, pts[i].Reach = at, 100
	}
	if err := e.Know(nets, pts); err != nil {
		t.Fatal(err)
	}
	g := &stage{Engine: e, t: t, s: Sample{Here: 1, Speed: 10, Heading: 0, Loss: -1}}
	level := func(x float32, p Place) float32 { // what is at -85 dBm in 100 m
		x, y := x-p.X, -p.Y
		return p85 + pathLoss/2*decades(10000/max(x*x+y*y, nearest))
	}
	for x := float32(10); x < 120; x++ {
		g.s.Place = Place{X: x, Known: true}
		d := g.step(level(x, pts[0].Place), level(x, pts[1].Place)+14, level(x, pts[2].Place))
		if g.s.Here == 1 && x > 30 && x < 90 {
			if left, real := d.Left.Seconds(), float64(100-x)/10; left < real*.5 || left > real*1.5 {
				t.Errorf("at %v m %.1f s are left, expected about %.1f", x, left, real)
			}
		}
		if g.s.Here == 1 && x > 99 {
			t.Fatalf("still there, out of reach: %s", g.last())
		}
	}
	if len(g.moves) != 1 || g.moves[0] != 3 {
		t.Errorf("moves to %v, expected 3 only: of 2 it only crosses the corner: %v", g.moves, g.said)
	}
}

const p85 = -85

// TestKnow: what keeps its number and name keeps what was learned; what does not begins anew. An error changes nothing.
func TestKnow(t *testing.T) {
	p := DefaultPolicy(Enterprise)
	g := walk(t, p, 2)
	g.steps(10, -68, -55)
	g.Failed(g.s.At, Decision{Action: Handover, To: 2})
	g.Took(g.s.At, 2, Configure, 3*time.Second, true)
	nets, pts := ground(2, 1)
	pts[1].Load = 0.1
	if err := g.Know(nets, pts); err != nil {
		t.Fatal(err)
	}
	if d := g.step(-68, -55); d.Reason.Code != Resting || g.weak.from > time.Second || g.Times(2).Configure < 300*time.Millisecond {
		t.Errorf("%+v, weak since %v, %+v", d, g.weak.from, g.Times(2))
	}
	for _, wrong := range []func(){
		func() { pts[1].ID = 1 }, func() { pts[0].Network = 9 }, func() { nets[1].ID = 0 }, func() { nets[1].ID = MaxNetworks + 1 }, func() { pts[0].ID = MaxPoints + 1 },
	} {
		nets, pts = ground(2, 1)
		wrong()
		if err := g.Know(nets, pts); err == nil {
			t.Errorf("known: %+v %+v", nets, pts)
		}
	}
	if d := g.step(-68, -55); d.Reason.Code != Resting {
		t.Errorf("after an error: %+v", d)
	}
	nets, pts = ground(2, 1)
	nets[1].Name, pts[1].Name = "z", "z1"
	if err := g.Know(nets, pts); err != nil {
		t.Fatal(err)
	}
	if d := g.step(-68, -55); d.Reason.Code == Resting || g.Times(2).Configure > time.Second {
		t.Errorf("another network by the number of the old one: %+v, %+v", d, g.Times(2))
	}
	if err := g.Know(nets[:1], pts[:1]); err != nil {
		t.Fatal(err)
	}
	if d := g.step(-90, -55); d.Action != Stay || d.Reason.Code != Nobody {
		t.Errorf("what is not known any more: %+v: %s", d, g.last())
	}
}

// TestOld: a sighting that is told again and again counts once, and not at all when it is old.
func TestOld(t *testing.T) {
	e := engine(t, DefaultPolicy(Enterprise), 2, 1)
	s := Sample{Here: 1, Signal: -90, Speed: -1, Loss: -1}
	for i, g := range []Sighting{{2, -70, 0}, {2, -60, 0}, {2, -60, 100 * time.Millisecond}, {2, -60, 200 * time.Millisecond}, {2, -60, 300 * time.Millisecond}} {
		s.At = time.Duration(i) * 100 * time.Millisecond
		s.Seen = []Sighting{g}
		e.Step(&s)
	}
	if x := e.points[2].avg; x > -69 || x < -70 {
		t.Errorf("averaged %v: expected the second reading to count for a tenth of a second", x)
	}
	for range 9 { // ages in whole seconds
		s.At += 100 * time.Millisecond
		s.Seen = []Sighting{{2, -60, time.Second}}
		e.Step(&s)
	}
	if x := e.points[2].avg; x > -68 {
		t.Errorf("averaged %v: told again with an age in whole seconds it counts again", x)
	}
	s.At += Fresh
	s.Seen[0].Age += Fresh
	if d := e.Step(&s); d.Action != Stay || d.Reason.Code != Unseen {
		t.Errorf("%+v: %s", d, e.Words(d))
	}
	s.At += Remember
	s.Seen = nil
	if d := e.Step(&s); d.Action != Stay || d.Reason.Code != Nobody {
		t.Errorf("%+v: %s", d, e.Words(d))
	}
}

// TestLooks: what is prepared stays so from one look to the next, be they seven seconds apart, and is let go when it is not seen any
// more; a move is for what was seen lately.
func TestLooks(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		p.Look, p.Leave, p.Accept, p.Lost = -60, -72, -65, -85
		here := float32(-70)
		if p.Style == Predictive {
			here = p.Lost + spare + 0.5
		}
		g := walk(t, p, 2)
		g.sits = true
		look := func(i int) { // as mn tells it: the last look again and again
			g.s.Seen = append(g.s.Seen[:0], Sighting{Point: 2, Signal: -50, Age: time.Duration(i%70) * 100 * time.Millisecond})
		}
		step := func(i int) Decision {
			g.s.At += 100 * time.Millisecond
			g.s.Signal = here
			g.s.Stands = g.s.Stands[:0]
			if g.stands[2] > None {
				g.s.Stands = append(g.s.Stands, Standing{Network: 2, Depth: g.stands[2]})
			}
			d := g.Step(&g.s)
			g.stands[2] = None
			for _, r := range d.Ladder {
				g.stands[2] = r.Depth
			}
			return d
		}
		begun := 0
		for i := range 400 {
			look(i)
			d := step(i)
			if len(d.Ladder) > 0 && begun == 0 {
				begun = i + 1
			}
			if begun > 0 && len(d.Ladder) == 0 && p.Style != Sticky {
				t.Fatalf("%d: given back between two looks: %s", i, g.Words(d))
			}
			if age := g.s.Seen[0].Age; d.Action != Stay && age > Fresh {
				t.Fatalf("moves to what was seen %v ago", age)
			}
		}
		if begun == 0 && p.Style != Sticky {
			t.Fatal("nothing was prepared")
		}
		for i := range 250 {
			g.s.Seen = g.s.Seen[:0]
			if d := step(i); i > int(Remember/(100*time.Millisecond)) && len(d.Ladder) > 0 {
				t.Fatalf("still prepared %d tenths of a second after the last look: %s", i, g.Words(d))
			}
		}
	})
}

// TestLevels: each style prepares and leaves in its own time, in the order of its eagerness.
func TestLevels(t *testing.T) {
	left := map[Style]float32{}
	for _, style := range Styles() {
		g := walk(t, DefaultPolicy(style), 2)
		for x := float32(-50); x > -100 && len(g.moves) == 0; x -= .02 {
			g.step(x, -60)
			left[style] = x
		}
	}
	if !(left[Enterprise] > left[Hybrid] && left[Hybrid] > left[Predictive] && left[Predictive] > left[Sticky]) || left[Predictive] < -83 {
		t.Errorf("slowly away, they leave at %v", left)
	}
}

// TestWords: each reason can be said, with what it is about.
func TestWords(t *testing.T) {
	e := engine(t, DefaultPolicy(Enterprise), 3, 1)
	e.Step(&Sample{Here: 1, Signal: -70, Loss: -1, Speed: -1})
	r := Reason{Here: -70, Level: -65, Since: 1200 * time.Millisecond, Other: 3, There: -61, Worth: -2, Gain: 4, Margin: 6, Accept: -65, Dwell: time.Second, Left: 4 * time.Second, Need: 900 * time.Millisecond}
	said := map[string]bool{}
	for c := Unheard; c < codes; c++ {
		d := Decision{Reason: r, Ladder: []Rung{{Network: 3, Point: 3, Depth: Configure}}}
		d.Reason.Code = c
		w := e.Words(d)
		if said[w] || w == "" || strings.Contains(w, "%!") || strings.HasPrefix(c.String(), "Code(") || !strings.Contains(w, "c to configure") {
			t.Errorf("%v: %q", c, w)
		}
		said[w] = true
		if moves := strings.HasPrefix(w, "moves") || strings.HasPrefix(w, "roams") || c == Stranded; moves != (c >= Better) {
			t.Errorf("%v: %q", c, w)
		}
	}
	r.Code = NoBetter
	want := "stays: a1 has -70 dBm for 1.2s, below -65 dBm, but c1 of c has -61 dBm and is worth -2 dB by cost, load and history, better by 4 dB only, margin 6"
	if w := e.Words(Decision{Reason: r}); w != want {
		t.Errorf("%q\nexpected %q", w, want)
	}
	if s := fmt.Sprint(Depth(9), Action(9), Code(99), Style(9)); s != "Depth(9) Action(9) Code(99) Style(9)" {
		t.Error(s)
	}
}

func TestStyleText(t *testing.T) {
	for _, s := range Styles() {
		var got Style
		text, err := s.MarshalText()
		if err == nil {
			err = got.UnmarshalText(text)
		}
		if err != nil || got != s {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	var s Style
	if err := s.UnmarshalText([]byte("wild")); err == nil || !strings.Contains(err.Error(), "sra era hara predictive") {
		t.Error(err)
	}
}
