package field

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Place is one on the map, in metres east and north of its origin.
type Place struct{ X, Y float64 }

// Cell is a point of attachment on the map.
type Cell struct {
	Point string
	Place
	Power    float64 // dBm at 1 m
	Exponent float64 // of the path loss: 2 in free space, 3 to 4 in buildings
}

// Reach is how far away the cell has a signal, without shadowing.
func (c Cell) Reach(dBm float64) float64 { return math.Pow(10, (c.Power-dBm)/(10*c.Exponent)) }

// Shadow is what stands in the way.
type Shadow struct {
	Sigma    float64 // dB; 0: nothing does
	Distance float64 // D in metres
	Seed     uint64
}

// Walk is a node that goes along a path, and at its end back.
type Walk struct {
	cells  []Cell
	path   []Place
	speed  float64     // m/s
	length []float64   // of the path up to each place
	shadow [][]float64 // of each cell at each metre of the path, dB
}

// maxPath bounds a path, in metres.
const maxPath = 1e5

// NewWalk makes one: path has two places at least, speed is in m/s.
func NewWalk(cells []Cell, path []Place, speed float64, s Shadow) (*Walk, error) {
	w := &Walk{cells: cells, path: path, speed: speed, length: []float64{0}}
	for i := 1; i < len(path); i++ {
		w.length = append(w.length, w.length[i-1]+math.Hypot(path[i].X-path[i-1].X, path[i].Y-path[i-1].Y))
	}
	total := w.length[len(w.length)-1]
	switch {
	case !(speed > 0) || math.IsInf(speed, 0):
		return nil, fmt.Errorf("field: a speed of %v m/s: expected more than 0", speed)
	case !(total > 0 && total <= maxPath):
		return nil, fmt.Errorf("field: a path of %v m: expected more than 0, up to %v", total, maxPath)
	case s.Sigma > 0 && !(s.Distance > 0):
		return nil, errors.New("field: shadowing without a distance of its correlation")
	}
	for i := range cells {
		if s.Sigma > 0 {
			w.shadow = append(w.shadow, shadowing(s, uint64(i), int(total)+2)) //nolint:gosec // few
		}
	}
	return w, nil
}

// shadowing is a cell's, of each metre.
func shadowing(s Shadow, cell uint64, metres int) []float64 {
	rnd := rand.New(rand.NewPCG(s.Seed, cell)) //nolint:gosec // no secret
	keep := math.Exp(-1 / s.Distance)
	out := make([]float64, metres)
	out[0] = rnd.NormFloat64() * s.Sigma
	for i := 1; i < metres; i++ {
		out[i] = keep*out[i-1] + math.Sqrt(1-keep*keep)*rnd.NormFloat64()*s.Sigma
	}
	return out
}

// Lasts is how long the walk takes to the end of its path.
func (w *Walk) Lasts() time.Duration {
	return time.Duration(w.length[len(w.length)-1] / w.speed * float64(time.Second))
}

// gone is how far along the path the node is, and whether on its way back.
func (w *Walk) gone(since time.Duration) (metres float64, back bool) {
	total := w.length[len(w.length)-1]
	m := math.Mod(max(since.Seconds(), 0)*w.speed, 2*total)
	if m > total {
		return 2*total - m, true
	}
	return m, false
}

// Where is the node's place, its speed in m/s and its heading in radians, anticlockwise from east.
func (w *Walk) Where(since time.Duration) (at Place, speed, heading float64) {
	m, back := w.gone(since)
	i := 1
	for i < len(w.path)-1 && w.length[i] < m {
		i++
	}
	a, b := w.path[i-1], w.path[i]
	part := 1.0
	if leg := w.length[i] - w.length[i-1]; leg > 0 {
		part = (m - w.length[i-1]) / leg
	}
	heading = math.Atan2(b.Y-a.Y, b.X-a.X)
	if back {
		heading = math.Atan2(a.Y-b.Y, a.X-b.X)
	}
	return Place{a.X + (b.X-a.X)*part, a.Y + (b.Y-a.Y)*part}, w.speed, heading
}

// At implements Field.
func (w *Walk) At(since time.Duration) (heard []Signal) {
	here, _, _ := w.Where(since)
	m, _ := w.gone(since)
	for i, c := range w.cells {
		d := max(math.Hypot(here.X-c.X, here.Y-c.Y), 1)
		dBm := c.Power - 10*c.Exponent*math.Log10(d)
		if w.shadow != nil {
			s, whole := w.shadow[i], math.Floor(m)
			dBm += s[int(whole)] + (s[int(whole)+1]-s[int(whole)])*(m-whole)
		}
		if dBm = min(dBm, -1); dBm >= Floor {
			heard = append(heard, Signal{c.Point, dBm})
		}
	}
	return loudestFirst(heard)
}
