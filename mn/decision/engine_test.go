package decision

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// ground is a neighbourhood of networks a, b, c ... with so many points each, a1, a2 ...: points are numbered through.
func ground(networks, points int) ([]Network, []Point) {
	var nets []Network
	var pts []Point
	for i := range networks {
		name := string(rune('a' + i))
		nets = append(nets, Network{ID: NetworkID(i + 1), Name: name, Most: Bind, Times: Times{
			RTT: 20 * time.Millisecond, Rounds: 5, Auth: 30 * time.Millisecond, Configure: 200 * time.Millisecond,
			Tunnel: 40 * time.Millisecond, Bind: 40 * time.Millisecond, Switch: 50 * time.Millisecond,
		}})
		for j := range points {
			pts = append(pts, Point{ID: PointID(len(pts) + 1), Network: NetworkID(i + 1), Name: name + string(rune('1'+j)), Load: -1, Follows: -1})
		}
	}
	return nets, pts
}

func engine(t testing.TB, p Policy, networks, points int) *Engine {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	e := New(p)
	if err := e.Know(ground(networks, points)); err != nil {
		t.Fatal(err)
	}
	return e
}

// stage plays a node that does at once what its engine says.
type stage struct {
	*Engine
	t      testing.TB
	s      Sample
	stands [MaxNetworks + 1]Depth
	said   []string
	moves  []PointID
	sits   bool // it does not move
}

// step goes on for a tenth of a second, with these signals from point 1 on.
func (g *stage) step(signals ...float32) Decision {
	g.s.At += 100 * time.Millisecond
	g.s.Seen = g.s.Seen[:0]
	for i, x := range signals {
		switch id := PointID(i + 1); {
		case x == 0:
		case id == g.s.Here:
			g.s.Signal = x
		default:
			g.s.Seen = append(g.s.Seen, Sighting{Point: id, Signal: x})
		}
	}
	g.s.Stands = g.s.Stands[:0]
	for id, d := range g.stands {
		if d > None {
			g.s.Stands = append(g.s.Stands, Standing{Network: NetworkID(id), Depth: d})
		}
	}
	d := g.Step(&g.s)
	g.said = append(g.said, g.Words(d))
	for _, r := range d.Ladder {
		g.stands[r.Network] = r.Depth
	}
	if d.Action != Stay && !g.sits {
		g.moves = append(g.moves, d.To)
		was := g.s.Here
		g.s.Here = d.To
		g.Moved(g.s.At, Move{From: was, To: d.To, Chosen: true})
	}
	return d
}

func (g *stage) last() string { return g.said[len(g.said)-1] }

func all(t *testing.T, test func(t *testing.T, p Policy)) {
	for _, style := range Styles() {
		t.Run(style.String(), func(t *testing.T) { test(t, DefaultPolicy(style)) })
	}
}

// TestAway: a node walks from one network to another; it prepares before it moves, moves once, and is never without a link.
func TestAway(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		g := &stage{Engine: engine(t, p, 2, 1), t: t, s: Sample{Here: 1, Speed: -1, Loss: -1}}
		prepared := Depth(0)
		for i := range 600 {
			at := float32(i) / 600
			d := g.step(-45-50*at, -95+50*at)
			if d.Action == Stay {
				for _, r := range d.Ladder {
					prepared = max(prepared, r.Depth)
				}
			} else if prepared < Tunnel || d.Now {
				t.Errorf("moves with %v prepared, now %v: %s", prepared, d.Now, g.last())
			}
			if lost := g.s.Signal < p.Lost; g.s.Here == 1 && lost && p.Style != Sticky {
				t.Fatalf("still there at %v dBm: %s", g.s.Signal, g.last())
			}
		}
		if len(g.moves) != 1 || g.s.Here != 2 || g.Counts().PingPongs != 0 {
			t.Errorf("moves to %v, counted %+v; expected one, to 2", g.moves, g.Counts())
		}
	})
}

// TestSteady: where nothing changes nothing is done, looked for or prepared.
func TestSteady(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		g := &stage{Engine: engine(t, p, 3, 2), t: t, s: Sample{Here: 1, Speed: -1, Loss: -1}}
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 600 {
			noise := func(x float64) float32 { return float32(x + r.NormFloat64()*3) }
			d := g.step(noise(-50), noise(-48), noise(-52), noise(-47), 0, noise(-70))
			if d.Action != Stay || len(d.Ladder) > 0 || d.Look && (p.Style != Hybrid || i > 100) {
				t.Fatalf("%d: %+v: %s", i, d, g.last())
			}
		}
		if w := g.last(); !strings.Contains(w, "stays") {
			t.Errorf("in words %q", w)
		}
	})
}

// TestBorder: two networks that are as good as each other, with fading: a node seldom moves, and the more it does the less.
func TestBorder(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		g := &stage{Engine: engine(t, p, 2, 1), t: t, s: Sample{Here: 1, Speed: -1, Loss: -1}}
		r := rand.New(rand.NewPCG(3, 4))
		a, b := 0.0, 0.0
		half := 0
		for i := range 36000 {
			a, b = a*.98+r.NormFloat64()*.8, b*.98+r.NormFloat64()*.8 // 4 dB, 5 s
			g.step(float32(-73+a), float32(-73+b))
			if i == 18000 {
				half = len(g.moves)
			}
		}
		t.Logf("%d moves in an hour, %d in its first half, %d ping-pongs", len(g.moves), half, g.Counts().PingPongs)
		if len(g.moves) > 360 {
			t.Errorf("%d moves in an hour", len(g.moves))
		}
	})
}

func TestAllocations(t *testing.T) {
	all(t, func(t *testing.T, p Policy) {
		e, s := busy(t, p)
		i := 0
		if n := testing.AllocsPerRun(2000, func() { e.Step(next(s, i)); i++ }); n != 0 {
			t.Errorf("%v allocations in a step", n)
		}
	})
}

// busy is an engine with six points in sight, at work.
func busy(t testing.TB, p Policy) (*Engine, *Sample) {
	e := engine(t, p, 7, 1)
	s := &Sample{Here: 1, Loss: -1, Speed: 2, Heading: 1, Place: Place{Known: true}}
	for id := PointID(2); id <= 7; id++ {
		s.Seen = append(s.Seen, Sighting{Point: id})
	}
	return e, s
}

// next is a tenth of a second later.
func next(s *Sample, i int) *Sample {
	s.At += 100 * time.Millisecond
	phase := float32(i%64) / 4
	s.Signal = -70 - phase/4
	for j := range s.Seen {
		s.Seen[j].Signal = -66 - phase + float32(j)
	}
	return s
}

func BenchmarkStep(b *testing.B) {
	for _, placed := range []bool{false, true} {
		for _, style := range Styles() {
			name := style.String()
			if placed {
				name += ", on a map"
			}
			b.Run(name, func(b *testing.B) {
				e, s := busy(b, DefaultPolicy(style))
				networks, points := ground(7, 1)
				for i := range points {
					points[i].Place, points[i].Reach = Place{X: float32(20 * i), Y: float32(30 * (i % 2)), Known: placed}, 100
				}
				if err := e.Know(networks, points); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					s.Heading = float32(i%64) / 10
					e.Step(next(s, i))
				}
			})
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	for field, change := range map[string]func(*Policy){
		"style":      func(p *Policy) { p.Style = 9 },
		"look":       func(p *Policy) { p.Look = -80 },
		"leave":      func(p *Policy) { p.Leave = float32(math.NaN()) },
		"accept":     func(p *Policy) { p.Accept = p.Leave },
		"lost":       func(p *Policy) { p.Lost = -60 },
		"margin":     func(p *Policy) { p.Margin = float32(math.Inf(1)) },
		"dwell":      func(p *Policy) { p.Dwell = time.Hour },
		"window":     func(p *Policy) { p.Window = -1 },
		"hold":       func(p *Policy) { p.Hold = time.Hour },
		"within":     func(p *Policy) { p.Within = -1 },
		"rest_first": func(p *Policy) { p.RestFirst = 0 },
		"rest_most":  func(p *Policy) { p.RestMost = time.Second },
		"rungs":      func(p *Policy) { p.Rungs = 99 },
	} {
		p := DefaultPolicy(Enterprise)
		change(&p)
		var wrong *PolicyError
		if err := p.Check(); err == nil {
			t.Errorf("%s: found right", field)
		} else if wrong, _ = err.(*PolicyError); wrong == nil || wrong.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
