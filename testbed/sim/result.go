package sim

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"openmpa/mn/decision/virtual"
)

// A Result is what became of all nodes of one map.
type Result struct {
	Map   *Map
	Nodes int
	Time  time.Duration // of each
	Steps int64         // of all nodes together, for each subject
	Wall  time.Duration
	// Air is the processor time of the world, and Took of each subject: nodes and engines.
	Air  time.Duration
	Took []time.Duration
	// Reach is the part of the time in reach of none, one, two cells and so on.
	Reach [mostReach + 1]float64
	// Stay is the mean time at a point, of the nodes by their way, with the last subject.
	Stay  [ways]time.Duration
	Paths []Path // of the first few nodes

	subjects []Subject
	counts   [][]virtual.Counts // by subject and node

	mu      sync.Mutex
	airTook time.Duration
	took    []time.Duration
	reach   [mostReach + 1]int64
}

func newResult(m *Map, o Options) *Result {
	r := &Result{Map: m, Nodes: o.Nodes, Time: o.Time, Steps: int64(o.Nodes) * int64(o.Time/o.Every), subjects: o.Subjects, took: make([]time.Duration, len(o.Subjects))}
	for range o.Subjects {
		r.counts = append(r.counts, make([]virtual.Counts, o.Nodes))
	}
	return r
}

func (r *Result) settle(wall time.Duration) {
	r.Wall, r.Air, r.Took = wall, r.airTook, r.took
	for k, n := range r.reach {
		r.Reach[k] = float64(n) / float64(max(r.Steps, 1))
	}
	last := r.counts[len(r.counts)-1]
	var attached [ways]time.Duration
	var moves [ways]int
	for i := range last {
		way := wayOf(i)
		attached[way], moves[way] = attached[way]+last[i].Attached, moves[way]+last[i].Moves
	}
	for w := range attached {
		if moves[w] > 0 {
			r.Stay[w] = attached[w] / time.Duration(moves[w])
		}
	}
	slices.SortFunc(r.Paths, func(a, b Path) int { return cmp.Compare(a.Number, b.Number) })
}

// Sum is what all nodes of a subject had together.
func (r *Result) Sum(subject int) (sum virtual.Counts) {
	for i := range r.counts[subject] {
		sum.Add(&r.counts[subject][i])
	}
	return sum
}

// A Figure is one by which policies are compared; less is better.
type Figure struct {
	Name string
	Unit string
	Of   func(*virtual.Counts) float64 // for one node and hour
}

func perHour(f func(*virtual.Counts) float64) func(*virtual.Counts) float64 {
	return func(c *virtual.Counts) float64 { return f(c) / c.Time.Hours() }
}

const eachHour = "each hour of a node"

// Figures are those of the comparison.
func Figures() []Figure {
	return []Figure{
		{"moves", eachHour, perHour(func(c *virtual.Counts) float64 { return float64(c.Moves) })},
		{"needless moves", eachHour, perHour(func(c *virtual.Counts) float64 { return float64(c.Needless) })},
		{"ping-pong", eachHour, perHour(func(c *virtual.Counts) float64 { return float64(c.PingPong) })},
		{"drops", eachHour, perHour(func(c *virtual.Counts) float64 { return float64(c.Drops) })},
		{"drops with another cell in reach", eachHour, perHour(func(c *virtual.Counts) float64 { return float64(c.Avoidable) })},
		{"time without service", "s " + eachHour, perHour(func(c *virtual.Counts) float64 { return c.Outage().Seconds() })},
		{"of it with another cell in reach, and after moves that were not prepared", "s " + eachHour, perHour(func(c *virtual.Counts) float64 { return (c.Without + c.Late).Seconds() })},
		{"handovers not prepared to a tunnel", eachHour, perHour(func(c *virtual.Counts) float64 {
			return float64(c.ByDepth[0] + c.ByDepth[1] + c.ByDepth[2])
		})},
		{"preparations wasted", eachHour, perHour(func(c *virtual.Counts) float64 { _, vain := c.Preparations(); return float64(vain) })},
		{"networks prepared", "on average", perHour(func(c *virtual.Counts) float64 { return c.Stood.Hours() })},
		{"scans", eachHour, perHour(func(c *virtual.Counts) float64 { return float64(c.Scans) })},
	}
}

// Values are those of a figure, by node.
func (r *Result) Values(subject int, f Figure) []float64 {
	v := make([]float64, r.Nodes)
	for i := range v {
		v[i] = f.Of(&r.counts[subject][i])
	}
	return v
}

// An Estimate is a mean, with where it is with 95 % confidence.
type Estimate struct{ Mean, Low, High float64 }

// Mean estimates the mean of what values are a sample of: by Student's distribution.
func Mean(values []float64) Estimate {
	n := float64(len(values))
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	mean := sum / n
	squares := 0.0
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	if n < 2 {
		return Estimate{mean, math.Inf(-1), math.Inf(1)}
	}
	half := student(len(values)-1) * math.Sqrt(squares/(n-1)/n)
	return Estimate{mean, mean - half, mean + half}
}

// Paired estimates the mean of the differences a-b, pair by pair.
func Paired(a, b []float64) Estimate {
	d := make([]float64, min(len(a), len(b)))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return Mean(d)
}

// student is the 97.5 % point of Student's distribution.
func student(freedom int) float64 {
	table := [...]float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086}
	if freedom <= len(table) {
		return table[freedom-1]
	}
	// Cornish and Fisher, to 0.001 from there on.
	const z = 1.959964
	return z + (z*z*z+z)/(4*float64(freedom))
}
