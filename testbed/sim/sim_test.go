package sim

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/mn/decision"
	"openmpa/mn/decision/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestShadows: the field has the standard deviation that was asked for, and along both axes the correlation of Gudmundson's model.
func TestShadows(t *testing.T) {
	const n, step, deviation, d = 700, 4.0, 5.0, 20.0
	f := shadows(rand.New(rand.NewPCG(1, 2)), n, step, deviation, d)
	at := func(x, y int) float64 { return float64(f[y*n+x]) }
	correlation := func(dx, dy int) float64 {
		sum, squares := 0.0, 0.0
		for y := range n - dy {
			for x := range n - dx {
				sum += at(x, y) * at(x+dx, y+dy)
				squares += at(x, y) * at(x, y)
			}
		}
		return sum / squares
	}
	squares := 0.0
	for _, v := range f {
		squares += float64(v) * float64(v)
	}
	if got := math.Sqrt(squares / float64(len(f))); math.Abs(got-deviation) > 0.25 {
		t.Errorf("standard deviation %.2f dB, expected %g", got, deviation)
	}
	for _, lag := range []int{1, 3, 5, 10} {
		want := math.Exp(-float64(lag) * step / d)
		for _, got := range []float64{correlation(lag, 0), correlation(0, lag)} {
			if math.Abs(got-want) > 0.05 {
				t.Errorf("correlation %.3f at %g m, expected %.3f", got, float64(lag)*step, want)
			}
		}
	}
}

// TestMap: signals go down with the distance as the exponent says; in reach is what the tiles list; and the same seed has the same map.
func TestMap(t *testing.T) {
	m, err := NewMap(Spec{Seed: 3, Shadow: 1e-9})
	if err != nil {
		t.Fatal(err)
	}
	c := m.Cells[12]
	edge := m.Signal(12, c.X+60, c.Y)
	if math.Abs(float64(edge)-m.Spec.Edge) > 0.2 {
		t.Errorf("%.1f dBm halfway between cells, expected %g", edge, m.Spec.Edge)
	}
	if got := edge - m.Signal(12, c.X+120, c.Y); math.Abs(float64(got)-10*m.Spec.Exponent*math.Log10(2)) > 0.2 {
		t.Errorf("%.1f dB less at twice the distance, expected %.1f", got, 10*m.Spec.Exponent*math.Log10(2))
	}
	if got := m.Signal(12, c.X+c.Reach, c.Y); math.Abs(float64(got)-m.Spec.Lost) > 0.2 {
		t.Errorf("%.1f dBm at the cell's reach, expected %g", got, m.Spec.Lost)
	}
	m, err = NewMap(Spec{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(4, 5))
	for range 2000 {
		x, y := m.Width*dice.Float64(), m.Width*dice.Float64()
		near := m.near[int(y/tileStep)*m.tiles+int(x/tileStep)]
		for cell := range m.Cells {
			if s := m.Signal(cell, x, y); float64(s) >= m.Spec.Lost && len(near) < mostReach && !slices.Contains(near, uint8(cell)) { //nolint:gosec // 25
				t.Fatalf("cell %d has %.1f dBm at %.0f, %.0f, and is not in the list of its tile, %v", cell, s, x, y, near)
			}
		}
	}
	again, err := NewMap(Spec{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if other, _ := NewMap(Spec{Seed: 4}); !slices.Equal(m.field[7], again.field[7]) || slices.Equal(m.field[7], other.field[7]) {
		t.Error("expected the same map of the same seed, and another one of another")
	}
	for name, s := range Specs {
		if _, err := NewMap(s); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, s := range []Spec{{Side: 99}, {Spacing: math.NaN()}, {Edge: 5}, {Networks: 65}, {Exponent: 1}} {
		if _, err := NewMap(s); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
}

// TestWalk: nobody leaves the map, goes faster than its kind does, or jumps; and all of the map is visited.
func TestWalk(t *testing.T) {
	const width, roads, every = 700.0, 120.0, 0.1
	fastest := map[Way]float64{Waypoint: 1.8, GaussMarkov: 13, Road: 18}
	for way := range ways {
		var visited [4][4]bool
		far := 0.0
		for seed := range uint64(20) {
			w := newWalker(way, width, roads, rand.New(rand.NewPCG(seed, 9)))
			for range 36000 {
				x, y := w.x, w.y
				w.step(every)
				d := math.Hypot(w.x-x, w.y-y)
				if w.x < 0 || w.y < 0 || w.x > width || w.y > width || d > fastest[way]*every {
					t.Fatalf("%v: from %.1f, %.1f to %.1f, %.1f within %g s", way, x, y, w.x, w.y, every)
				}
				border := w.x == 0 || w.y == 0 || w.x == width || w.y == width
				if d > 0.01 && !border && math.Abs(math.Remainder(math.Atan2(w.y-y, w.x-x)-w.heading, 2*math.Pi)) > 0.5 {
					t.Fatalf("%v: it went to %.2f and said %.2f", way, math.Atan2(w.y-y, w.x-x), w.heading)
				}
				far += d
				visited[min(int(4*w.x/width), 3)][min(int(4*w.y/width), 3)] = true
			}
		}
		for _, row := range visited {
			for _, seen := range row {
				if !seen {
					t.Errorf("%v: a part of the map was never visited: %v", way, visited)
				}
			}
		}
		t.Logf("%v: %.2f m/s on average", way, far/20/3600)
	}
}

func small(seed uint64, nodes int) Options {
	return Options{Spec: Spec{Seed: seed}, Nodes: nodes, Time: 5 * time.Minute, Subjects: Subjects(-85), Within: 10 * time.Second}
}

// TestRun: the same again gives the same, whatever the number of workers; all subjects go through the same time; the totals fit.
func TestRun(t *testing.T) {
	var first *Result
	for _, workers := range []int{1, 3} {
		o := small(7, 12)
		o.Workers = workers
		r, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
			continue
		}
		for i := range r.counts {
			if !slices.Equal(r.counts[i], first.counts[i]) {
				t.Errorf("%s: another result with %d workers", o.Subjects[i].Name, workers)
			}
		}
		if len(r.Paths) != drawnPaths || r.Paths[3].Number != 3 || len(r.Paths[3].X) != 300 {
			t.Errorf("paths of %d nodes, expected %d of 300 places", len(r.Paths), drawnPaths)
		}
	}
	sum := 0.0
	for _, part := range first.Reach {
		sum += part
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("in reach of none to six cells for %v of the time: expected 1 together", sum)
	}
	for i, s := range first.subjects {
		c := first.Sum(i)
		if c.Moves == 0 || c.Time != first.Sum(0).Time || c.Attached+c.Out+c.Away > c.Time {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
}

// nobody never moves: it goes where the virtual node puts it.
type nobody struct{}

func (nobody) Know([]decision.Network, []decision.Point) error { return nil }
func (nobody) Step(*decision.Sample) decision.Decision         { return decision.Decision{} }
func (nobody) Moved(time.Duration, decision.Move)              {}
func (nobody) Failed(time.Duration, decision.Decision)         {}
func (nobody) Took(time.Duration, decision.NetworkID, decision.Depth, time.Duration, bool) {
}

// TestWorst: the figures tell a policy from none.
func TestWorst(t *testing.T) {
	o := small(7, 40)
	o.Subjects = append([]Subject{{Name: "none", Policy: decision.DefaultPolicy(decision.Sticky), Engine: func() virtual.Decider { return nobody{} }}}, o.Subjects...)
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Figures() {
		if f.Name != "drops" && f.Name != "time without service" {
			continue
		}
		for i := 1; i < len(o.Subjects); i++ {
			if e := Paired(r.Values(0, f), r.Values(i, f)); e.Low <= 0 {
				t.Errorf("%s: no policy has %+v more than %s: expected more for sure", f.Name, e, o.Subjects[i].Name)
			}
		}
	}
}

// TestCancel: a run that is called off ends, and says so.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := small(1, 1000)
	o.Time = time.Hour
	o.Progress = func(done, _ int) {
		if done == 2 {
			cancel()
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, expected that it was called off", err)
	}
	for _, o := range []Options{{}, {Nodes: 1, Time: time.Second}, {Nodes: 1, Time: time.Hour, Subjects: []Subject{{}}}} {
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestMean: of samples whose mean is known the interval holds it as often as it says.
func TestMean(t *testing.T) {
	dice := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{3, 10, 30} {
		within := 0
		const tries = 4000
		for range tries {
			v := make([]float64, n)
			for i := range v {
				v[i] = 3 + 2*dice.NormFloat64()
			}
			if e := Mean(v); e.Low <= 3 && e.High >= 3 {
				within++
			}
		}
		if part := float64(within) / tries; part < 0.938 || part > 0.962 {
			t.Errorf("of %d values: the mean is within for %.3f of the tries, expected 0.95", n, part)
		}
	}
	if e := Paired([]float64{5, 7, 9}, []float64{1, 3, 5}); e.Mean != 4 || e.Low != 4 || e.High != 4 {
		t.Errorf("pairs that all differ by 4: %+v", e)
	}
}

// TestNoAllocation: a step of the world and of a node with its engine allocates nothing.
func TestNoAllocation(t *testing.T) {
	m, err := NewMap(Spec{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := small(1, 1)
	o.Every = DefaultEvery
	w, err := newWorker(m, o, newResult(m, o))
	if err != nil {
		t.Fatal(err)
	}
	w.world.begin(Road, 1, 1)
	if got := testing.AllocsPerRun(20, func() {
		for _, n := range w.nodes {
			for i := range w.world.block(blockSteps) {
				n.Step(&w.world.air[i])
			}
		}
	}); got != 0 {
		t.Errorf("%g allocations in %d steps, expected none", got, blockSteps*len(w.nodes))
	}
}

// BenchmarkRun says what a step takes, of the world and of each policy.
func BenchmarkRun(b *testing.B) {
	o := Options{Nodes: 40, Time: time.Hour, Subjects: Subjects(-85), Workers: 1}
	for b.Loop() {
		r, err := Run(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(r.Air.Nanoseconds())/float64(r.Steps), "ns/air")
		for i, t := range r.Took {
			b.ReportMetric(float64(t.Nanoseconds())/float64(r.Steps), "ns/step-of-"+o.Subjects[i].Name)
		}
	}
}
