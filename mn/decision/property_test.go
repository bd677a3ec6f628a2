package decision

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// odd are numbers that a sensor, or somebody who lies, may come with.
func odd(lo, hi float32) *rapid.Generator[float32] {
	return rapid.OneOf(
		rapid.Float32Range(lo, hi), rapid.Float32Range(lo, hi), rapid.Float32Range(lo, hi), rapid.Float32Range(lo, hi),
		rapid.SampledFrom([]float32{0, -1, 1e30, -1e30, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-40}),
	)
}

func anyTime(hi time.Duration) *rapid.Generator[time.Duration] {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(hi)).Draw(t, "ns"))
		}),
		rapid.SampledFrom([]time.Duration{0, -time.Second, math.MaxInt64, math.MinInt64}),
	)
}

func anyPlace(t *rapid.T) Place {
	return Place{X: odd(-500, 500).Draw(t, "x"), Y: odd(-500, 500).Draw(t, "y"), Known: rapid.Bool().Draw(t, "known")}
}

// anyGround is a neighbourhood of up to six networks, with gaps between the numbers.
func anyGround(t *rapid.T) (nets []Network, pts []Point) {
	step := rapid.IntRange(1, 3).Draw(t, "gaps")
	for i := range rapid.IntRange(0, 6).Draw(t, "networks") {
		n := Network{
			ID: NetworkID(1 + i*step), Name: fmt.Sprint("n", i), Cost: odd(-10, 10).Draw(t, "cost"), Most: Depth(rapid.IntRange(0, 5).Draw(t, "most")),
			Times: Times{
				RTT: anyTime(time.Second).Draw(t, "rtt"), Rounds: odd(0, 10).Draw(t, "rounds"), Auth: anyTime(time.Second).Draw(t, "auth"),
				Configure: anyTime(time.Second).Draw(t, "configure"), Switch: anyTime(time.Second).Draw(t, "switch"),
			},
		}
		nets = append(nets, n)
		for j := range rapid.IntRange(0, 3).Draw(t, "points") {
			pts = append(pts, Point{
				ID: PointID(1 + len(pts)*step), Network: n.ID, Name: fmt.Sprint("p", i, ".", j), Load: odd(0, 1).Draw(t, "load"),
				Place: anyPlace(t), Reach: odd(10, 100).Draw(t, "reach"), Follows: odd(0, 1).Draw(t, "follows"),
			})
		}
	}
	return nets, pts
}

func anyPolicy(t *rapid.T) Policy {
	p := DefaultPolicy(rapid.SampledFrom(Styles()).Draw(t, "style"))
	p.Rungs = rapid.IntRange(0, MaxRungs).Draw(t, "rungs")
	p.Margin = rapid.Float32Range(0, 10).Draw(t, "margin")
	p.Dwell = time.Duration(rapid.IntRange(0, 3000).Draw(t, "dwell")) * time.Millisecond
	p.Window = time.Duration(rapid.IntRange(0, 3000).Draw(t, "window")) * time.Millisecond
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p
}

// pair is an engine, and another that is told the same with the sightings in another order.
type pair struct {
	t     *rapid.T
	a, b  *Engine
	nets  []Network
	pts   []Point
	s     Sample
	rests map[PointID]time.Duration // of what failed
}

func (q *pair) know() {
	q.nets, q.pts = anyGround(q.t)
	q.rests = map[PointID]time.Duration{} // names may have changed: what is tested of rests is within one Know
	for _, e := range []*Engine{q.a, q.b} {
		if err := e.Know(q.nets, q.pts); err != nil {
			q.t.Fatal(err)
		}
	}
}

func (q *pair) anyPoint(what string) PointID {
	if len(q.pts) == 0 || rapid.IntRange(0, 9).Draw(q.t, "strange") == 0 {
		return PointID(rapid.IntRange(0, 70).Draw(q.t, what))
	}
	return rapid.SampledFrom(q.pts).Draw(q.t, what).ID
}

func (q *pair) network(p PointID) (Network, bool) {
	for _, x := range q.pts {
		if x.ID == p {
			i := slices.IndexFunc(q.nets, func(n Network) bool { return n.ID == x.Network })
			return q.nets[i], true
		}
	}
	return Network{}, false
}

func (q *pair) step() Decision {
	t, s := q.t, &q.s
	s.At += time.Duration(rapid.SampledFrom([]int{0, 1, 10, 100, 100, 100, 500, 6000}).Draw(t, "ms")) * time.Millisecond
	s.Signal = odd(-95, -40).Draw(t, "signal")
	s.Loss, s.Rate = odd(0, 1).Draw(t, "loss"), odd(0, 100).Draw(t, "rate")
	s.Place, s.Speed, s.Heading = anyPlace(t), odd(0, 30).Draw(t, "speed"), odd(-4, 4).Draw(t, "heading")
	s.Seen = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Sighting {
		g := Sighting{Point: q.anyPoint("seen"), Signal: odd(-95, -40).Draw(t, "there")}
		if rapid.IntRange(0, 3).Draw(t, "old") == 0 {
			g.Age = anyTime(6*time.Second).Draw(t, "age")
		}
		return g
	}), 0, 8).Draw(t, "seen")
	s.Stands = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Standing {
		return Standing{Network: NetworkID(rapid.IntRange(0, 20).Draw(t, "network")), Depth: Depth(rapid.IntRange(0, 5).Draw(t, "depth"))}
	}), 0, 4).Draw(t, "stands")
	other := *s
	other.Seen = rapid.Permutation(s.Seen).Draw(t, "another order")
	d, twin := q.a.Step(s), q.b.Step(&other)
	if !same(d, twin) {
		t.Fatalf("the order of sightings plays a part:\n%+v\n%+v", d, twin)
	}
	return d
}

func same(a, b Decision) bool {
	ladders := slices.Equal(a.Ladder, b.Ladder)
	a.Ladder, b.Ladder = nil, nil
	return ladders && fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

// check holds a decision against what is always so.
func (q *pair) check(d Decision) {
	t, p := q.t, q.a.Policy()
	here, attached := q.network(q.s.Here)
	switch to, ok := q.network(d.To); {
	case d.Action == Stay:
		if d.To != 0 || d.Now {
			t.Fatalf("stays, and moves: %+v", d)
		}
	case !ok || d.To == q.s.Here:
		t.Fatalf("moves to %d, which is here or nowhere: %+v", d.To, d)
	case (d.Action == Roam) != (attached && to.ID == here.ID):
		t.Fatalf("%v from network %d to %d", d.Action, here.ID, to.ID)
	case q.s.At < q.rests[d.To]:
		t.Fatalf("moves to %d, which failed, and rests until %v: now is %v", d.To, q.rests[d.To], q.s.At)
	case d.Reason.Other != d.To || !(d.Reason.There < 0):
		t.Fatalf("moves for a reason that is of another point: %+v", d)
	case d.Action == Handover && !d.Now:
		stood := Depth(0)
		for _, g := range q.s.Stands {
			if g.Network == to.ID {
				stood = max(stood, g.Depth)
			}
		}
		if to.Most == None || stood == None {
			t.Fatalf("moves to network %d as prepared, which stands at %v of %v", to.ID, stood, to.Most)
		}
	}
	if len(d.Ladder) > p.Rungs {
		t.Fatalf("%d rungs, expected %d at most", len(d.Ladder), p.Rungs)
	}
	has := map[NetworkID]bool{}
	for i, g := range d.Ladder {
		n, ok := q.network(g.Point)
		if !ok || n.ID != g.Network || attached && n.ID == here.ID || has[n.ID] || g.Depth == None || g.Depth > n.Most || g.Depth == Bind && i > 0 {
			t.Fatalf("rung %d is %+v: %+v", i, g, d.Ladder)
		}
		has[n.ID] = true
	}
	r := d.Reason
	for _, x := range []float32{r.Here, r.Level, r.There, r.Worth, r.Gain, r.Margin, r.Accept} {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			t.Fatalf("a number that is none: %+v", r)
		}
	}
	if w := q.a.Words(d); r.Code == 0 || r.Code >= codes || w == "" || strings.Contains(w, "no reason") || strings.Contains(w, "point 0") {
		t.Fatalf("%+v in words: %q", d, w)
	}
}

// steps is what is always so, whatever an engine is told.
func steps(t *rapid.T) {
	p := anyPolicy(t)
	q := &pair{t: t, a: New(p), b: New(p)}
	q.know()
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		d := q.step()
		q.check(d)
		at := q.s.At
		switch rapid.SampledFrom([]string{"", "", "", "", "moved", "jump", "failed", "took", "know"}).Draw(t, "then") {
		case "moved":
			if d.Action != Stay {
				m := Move{From: q.s.Here, To: d.To, Chosen: true}
				q.a.Moved(at, m)
				q.b.Moved(at, m)
				q.s.Here = d.To
				q.rests = map[PointID]time.Duration{}
			}
		case "jump":
			q.s.Here = q.anyPoint("here")
			q.rests = map[PointID]time.Duration{}
		case "failed":
			q.a.Failed(at, d)
			q.b.Failed(at, d)
			if d.Action != Stay {
				q.rests[d.To] = at + p.RestFirst
			}
		case "took":
			id, depth := NetworkID(rapid.IntRange(0, 70).Draw(t, "network")), Depth(rapid.IntRange(0, 6).Draw(t, "depth"))
			took, ok := anyTime(time.Minute).Draw(t, "took"), rapid.Bool().Draw(t, "ok")
			q.a.Took(at, id, depth, took, ok)
			q.b.Took(at, id, depth, took, ok)
			q.a.RTT(id, took)
			q.b.RTT(id, took)
		case "know":
			q.know()
		}
	}
	if a, b := q.a.Counts(), q.b.Counts(); a != b {
		t.Fatalf("counts differ: %+v, %+v", a, b)
	}
}

func TestSteps(t *testing.T) { rapid.Check(t, steps) }

func FuzzSteps(f *testing.F) { f.Fuzz(rapid.MakeFuzz(steps)) }
