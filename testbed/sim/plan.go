package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"openmpa/mn/decision"
)

// Spec says what a map is to be like. The zero value of a field stands for the default.
type Spec struct {
	Seed        uint64  `json:"seed"`
	Side        int     `json:"side"`          // cells are Side times Side; 5
	Networks    int     `json:"networks"`      // 5
	Spacing     float64 `json:"spacing_m"`     // between cells; 120
	Scatter     float64 `json:"scatter"`       // cells are off their place by so much of the spacing; 0.2
	Border      float64 `json:"border"`        // around the cells, of the spacing; 0.6
	Edge        float64 `json:"edge_dbm"`      // halfway between two cells, without shadows; -70
	Exponent    float64 `json:"exponent"`      // of the path loss; 4
	Shadow      float64 `json:"shadow_db"`     // standard deviation; 5
	Correlation float64 `json:"correlation_m"` // 20
	Noise       float64 `json:"noise_db"`      // of a sample, standard deviation; 1.5
	Lost        float64 `json:"lost_dbm"`      // below it nothing is carried; -85
	RTTms       float64 `json:"rtt_ms"`        // to the routers on average; 40
}

// Specs are kinds of maps by their names.
var Specs = map[string]Spec{
	"":       {},
	"dense":  {Edge: -64},
	"sparse": {Edge: -76},
	"large":  {Spacing: 400, Exponent: 3.5, Edge: -72, Shadow: 8, Correlation: 50},
	"far":    {RTTms: 200},
}

func (s Spec) defaults() Spec {
	for _, f := range []struct {
		v   *float64
		def float64
	}{
		{&s.Spacing, 120},
		{&s.Scatter, 0.2},
		{&s.Border, 0.6},
		{&s.Edge, -70},
		{&s.Exponent, 4},
		{&s.Shadow, 5},
		{&s.Correlation, 20},
		{&s.Noise, 1.5},
		{&s.Lost, -85},
		{&s.RTTms, 40},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	if s.Side == 0 {
		s.Side = 5
	}
	if s.Networks == 0 {
		s.Networks = 5
	}
	return s
}

// Bounds of a map.
const (
	mostSide  = 12
	mostReach = 6    // cells that are heard at one place
	audible   = 3    // dB below Lost
	gridStep  = 4.0  // m
	tileStep  = 16.0 // m
	nearest   = 10.0 // m: nearer the signal is not stronger
	noiseBits = 10   // six times as many are random bits of a step
	noises    = 1 << noiseBits
)

func (s Spec) check() error {
	// Written so that NaN does not pass.
	ok := s.Side >= 1 && s.Side <= mostSide && s.Networks >= 1 && s.Networks <= decision.MaxNetworks && s.Spacing >= 20 && s.Spacing <= 2000 &&
		s.Scatter >= 0 && s.Scatter <= 0.5 && s.Border >= 0 && s.Border <= 3 && s.Edge > -100 && s.Edge < -30 && s.Exponent >= 1.5 && s.Exponent <= 6 &&
		s.Shadow >= 0 && s.Shadow <= 15 && s.Correlation >= 1 && s.Correlation <= 500 && s.Noise >= 0 && s.Noise <= 10 && s.Lost > -110 && s.Lost < -40 &&
		s.RTTms >= 0 && s.RTTms <= 10_000
	if !ok {
		return fmt.Errorf("sim: a map like %+v: expected up to %d by %d cells, 20 to 2000 m apart, exponent 1.5 to 6, shadows up to 15 dB within 1 to 500 m, signals in dBm", s, mostSide, mostSide)
	}
	return nil
}

// Cell is a point of attachment on a map.
type Cell struct {
	X, Y    float64 // m
	Network int     // from 0 on
	Reach   float64 // m: farther away its signal is below Lost, without shadows
}

// Map is a place with cells. It does not change: many goroutines read it.
type Map struct {
	Spec  Spec
	Width float64 // m, each way
	Cells []Cell

	Networks []decision.Network
	Points   []decision.Point

	grid  int         // points of the grid each way
	field [][]float32 // by cell: dBm at the points of the grid
	tiles int         // each way
	near  [][]uint8   // by tile: cells that may be heard there, best first
	noise []float32   // dB
}

// NewMap draws a map.
func NewMap(s Spec) (*Map, error) {
	s = s.defaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	dice := rand.New(rand.NewPCG(s.Seed, 0x6d6170)) //nolint:gosec // a seed has the same map
	m := &Map{Spec: s, Width: s.Spacing * (float64(s.Side-1) + 2*s.Border)}
	half := s.Spacing / 2
	metre := s.Edge + 10*s.Exponent*math.Log10(half)
	reach := math.Pow(10, (metre-s.Lost)/(10*s.Exponent))
	for row := range s.Side {
		for col := range s.Side {
			off := func() float64 { return s.Spacing * s.Scatter * (2*dice.Float64() - 1) }
			m.Cells = append(m.Cells, Cell{
				X: s.Spacing*(s.Border+float64(col)) + off(), Y: s.Spacing*(s.Border+float64(row)) + off(),
				Network: (col/2 + 2*row) % s.Networks, Reach: reach, // two beside one another are of one network, mostly
			})
		}
	}
	m.describe(dice)
	m.grid = int(math.Ceil(m.Width/gridStep)) + 2
	for _, c := range m.Cells {
		f := shadows(dice, m.grid, gridStep, s.Shadow, s.Correlation)
		for i := range f {
			x, y := float64(i%m.grid)*gridStep, float64(i/m.grid)*gridStep
			d := max(math.Hypot(x-c.X, y-c.Y), nearest)
			f[i] += float32(metre - 10*s.Exponent*math.Log10(d))
		}
		m.field = append(m.field, f)
	}
	m.tile()
	m.noise = make([]float32, noises)
	for i := range m.noise {
		m.noise[i] = float32(dice.NormFloat64() * s.Noise)
	}
	return m, nil
}

// describe says what engines are told of the map.
func (m *Map) describe(dice *rand.Rand) {
	ms := func(mean float64) time.Duration {
		return time.Duration(mean * (0.5 + dice.Float64()) * float64(time.Millisecond))
	}
	for i := range m.Spec.Networks {
		rtt := ms(m.Spec.RTTms)
		m.Networks = append(m.Networks, decision.Network{
			ID: decision.NetworkID(i + 1), Name: string(rune('a'+i%26)) + suffix(i/26), Cost: float32(i % 3), Most: decision.Bind,
			Times: decision.Times{
				RTT: rtt, Rounds: 6, Auth: ms(40), Configure: ms(300), Tunnel: rtt + ms(10), Bind: 2*rtt + ms(10), Switch: ms(60),
			},
		})
	}
	count := make([]int, m.Spec.Networks)
	for i, c := range m.Cells {
		count[c.Network]++
		m.Points = append(m.Points, decision.Point{
			ID: decision.PointID(i + 1), Network: decision.NetworkID(c.Network + 1), Name: fmt.Sprintf("%s%d", m.Networks[c.Network].Name, count[c.Network]),
			Load: float32(0.1 + 0.6*dice.Float64()), Place: decision.Place{X: float32(c.X), Y: float32(c.Y), Known: true}, Reach: float32(c.Reach), Follows: -1,
		})
	}
}

func suffix(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// tile finds out which cells may be heard where.
func (m *Map) tile() {
	m.tiles = int(m.Width/tileStep) + 1
	least := float32(m.Spec.Lost - audible - 2*m.Spec.Noise)
	const per = int(tileStep / gridStep)
	for ty := range m.tiles {
		for tx := range m.tiles {
			var list []uint8
			var best []float32
			for c := range m.Cells {
				top := float32(-1000)
				for y := ty * per; y <= min((ty+1)*per, m.grid-1); y++ {
					for x := tx * per; x <= min((tx+1)*per, m.grid-1); x++ {
						top = max(top, m.field[c][y*m.grid+x])
					}
				}
				if top < least {
					continue
				}
				at := len(list)
				for at > 0 && best[at-1] < top {
					at--
				}
				list, best = append(list, 0), append(best, 0)
				copy(list[at+1:], list[at:])
				copy(best[at+1:], best[at:])
				list[at], best[at] = uint8(c), top //nolint:gosec // a map has 144 cells at most
			}
			m.near = append(m.near, list[:min(len(list), mostReach)])
		}
	}
}

// Signal is a cell's at a place, without noise, dBm.
func (m *Map) Signal(cell int, x, y float64) float32 {
	x, y = min(max(x, 0), m.Width), min(max(y, 0), m.Width)
	return m.signal(cell, float32(x/gridStep), float32(y/gridStep))
}

// signal is that at a place in steps of the grid.
func (m *Map) signal(cell int, gx, gy float32) float32 {
	ix, iy := int(gx), int(gy)
	fx, fy := gx-float32(ix), gy-float32(iy)
	at := iy*m.grid + ix
	row, next := m.field[cell][at:at+2], m.field[cell][at+m.grid:at+m.grid+2]
	low := row[0] + fx*(row[1]-row[0])
	high := next[0] + fx*(next[1]-next[0])
	return low + fy*(high-low)
}
