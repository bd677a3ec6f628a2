package virtual

import (
	"math"
	"testing"
	"time"

	"openmpa/mn/decision"
)

// told decides what it is told to.
type told struct {
	plain
	say    func(s *decision.Sample) decision.Decision
	points []decision.Point
}

func (t *told) Step(s *decision.Sample) decision.Decision {
	t.last = *s
	return t.say(s)
}

func (t *told) Know(n []decision.Network, points []decision.Point) error {
	t.points = append(t.points[:0], points...)
	return t.plain.Know(n, points)
}

// TestStandsStill: while nothing is carried steps of a preparation go no further.
func TestStandsStill(t *testing.T) {
	gap := script{
		{0, [4]float32{-50}},
		{5 * second, [4]float32{-70, 0, -66}},
		{5*second + 700*time.Millisecond, [4]float32{-90, 0, -66}},
		{6*second + 500*time.Millisecond, [4]float32{-70, 0, -66}},
	}
	for end, want := range map[time.Duration]decision.Depth{6*second + 400*time.Millisecond: decision.Authenticate, 7 * second: decision.Configure, 8 * second: decision.Tunnel} {
		e := &plain{look: -65, leave: -99, margin: 6, rungs: 1, depth: decision.Tunnel}
		play(t, twoNetworks(t, nil), e, gap, end)
		if len(e.last.Stands) != 1 || e.last.Stands[0].Depth != want {
			t.Errorf("at %v %+v stands, expected %v: for 800 ms nothing was carried", end, e.last.Stands, want)
		}
	}
}

// TestBreaksAway: a signal that is gone at once leaves no time to bind ahead; the move goes by the tunnel that stands.
func TestBreaksAway(t *testing.T) {
	s := script{{0, [4]float32{-50}}, {5 * second, [4]float32{-70, 0, -66}}, {9 * second, [4]float32{-95, 0, -66}}}
	e := &plain{look: -65, leave: -75, margin: 6, rungs: 1, depth: decision.Tunnel}
	c := play(t, twoNetworks(t, nil), e, s, 15*second).Counts()
	if c.Handovers != 1 || c.ByDepth[decision.Tunnel] != 1 || c.Alone != 0 || c.Out != 0 || c.Late != 0 {
		t.Errorf("counts %+v: expected one handover, chosen, by the tunnel", c)
	}
}

// TestFails: a point that is gone when the node comes is no move: it is back where it was, or nowhere.
func TestFails(t *testing.T) {
	for _, here := range []float32{-80, -95} {
		s := script{{0, [4]float32{-50}}, {5 * second, [4]float32{-80, 0, -50}}, {5*second + 100*time.Millisecond, [4]float32{here, 0, -95}}}
		e := &plain{look: -65, leave: -75, margin: 6, now: true}
		n := play(t, twoNetworks(t, nil), e, s, 5*second+150*time.Millisecond)
		want := decision.PointID(1)
		if here < -85 {
			want = 0
		}
		if c := n.Counts(); c.Moves != 0 || c.Failed != 1 || e.failed != 1 || n.Here() != want {
			t.Errorf("with %g dBm where it was: at %d, counts %+v, expected point %d and one failure", here, n.Here(), c, want)
		}
	}
}

// TestLateEnds: what has yet to be done after a move is not waited for any more when the node moves on.
func TestLateEnds(t *testing.T) {
	s := script{{0, [4]float32{-50}}, {5 * second, [4]float32{-80, 0, -50}}, {6 * second, [4]float32{-50, 0, -80}}}
	e := &plain{look: -65, leave: -75, margin: 6, now: true}
	c := play(t, twoNetworks(t, nil), e, s, 15*second).Counts()
	// 100 ms of the switch, and from 5.1 s to 6 s.
	if c.Moves != 2 || c.Late != second {
		t.Errorf("counts %+v: expected two moves, and a second late", c)
	}
}

// TestScans: what is seen is as old as the last scan, and scans are made only while they are wanted.
func TestScans(t *testing.T) {
	s := script{{0, [4]float32{-50, 0, -60}}, {10 * second, [4]float32{-70, 0, -60}}, {20 * second, [4]float32{-50, 0, -60}}}
	oldest := time.Duration(0)
	e := &told{}
	e.say = func(s *decision.Sample) decision.Decision {
		for _, g := range s.Seen {
			oldest = max(oldest, g.Age)
		}
		d := decision.Decision{Look: s.Here == 0 || s.Signal < -65}
		if s.Here == 0 && len(s.Seen) > 0 {
			d.Action, d.To = decision.Handover, 1
		}
		return d
	}
	c := play(t, twoNetworks(t, func(c *Config) { c.Scan = 2 * second }), e, s, 40*second).Counts()
	if c.Scans < 5 || c.Scans > 7 || oldest < forgotten-step || oldest > forgotten || len(e.last.Seen) != 0 {
		t.Errorf("%d scans, what is seen is up to %v old, at last %v: expected one every 2 s for 10 s, up to %v, nothing", c.Scans, oldest, e.last.Seen, forgotten)
	}
}

// TestOneBound: one network only is bound to, the one that a move waits for before others.
func TestOneBound(t *testing.T) {
	times := decision.Times{Bind: second / 2, Switch: second / 10}
	three := func(c *Config) {
		c.Networks = nil
		c.Points = nil
		for i := range 3 {
			c.Networks = append(c.Networks, decision.Network{ID: decision.NetworkID(i + 1), Most: decision.Bind, Times: times}) //nolint:gosec // three
			c.Points = append(c.Points, decision.Point{ID: decision.PointID(i + 1), Network: decision.NetworkID(i + 1)})        //nolint:gosec // three
		}
	}
	e := &told{}
	e.say = func(s *decision.Sample) (d decision.Decision) {
		if s.Here == 0 {
			return decision.Decision{Action: decision.Handover, To: 1}
		}
		bound := 0
		for _, x := range s.Stands {
			if x.Depth == decision.Bind {
				bound++
			}
		}
		if bound > 1 {
			t.Errorf("%+v: expected one that is bound to", s.Stands)
		}
		d.Ladder = []decision.Rung{{Network: 2, Depth: decision.Bind}, {Network: 3, Depth: decision.Bind}}
		if s.At > 3*second {
			d.Action, d.To = decision.Handover, 3
		}
		return d
	}
	n := play(t, twoNetworks(t, three), e, script{{0, [4]float32{-50, -50, -50}}}, 3*second+800*time.Millisecond)
	if c := n.Counts(); n.Here() != 3 || c.ByDepth[decision.Bind] != 1 {
		t.Errorf("at %d, counts %+v: expected a move to point 3, bound ahead", n.Here(), c)
	}
}

// TestLearns: an engine is told where the moves away from the present point went.
func TestLearns(t *testing.T) {
	places := []decision.PointID{1, 3, 1, 2, 1, 3, 1}
	e := &told{}
	e.say = func(s *decision.Sample) (d decision.Decision) {
		if i := int(s.At / second); i < len(places) && places[i] != s.Here {
			return decision.Decision{Action: decision.Handover, To: places[i], Now: true}
		}
		return d
	}
	play(t, twoNetworks(t, nil), e, script{{0, [4]float32{-50, -50, -50, -50}}}, 9*second)
	for i, want := range []float32{0, 1.0 / 3, 2.0 / 3, 0} {
		if got := e.points[i].Follows; math.Abs(float64(got-want)) > 1e-6 {
			t.Errorf("of the moves away from point 1, %g went to point %d, expected %g", got, i+1, want)
		}
	}
}
