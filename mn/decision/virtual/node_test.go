package virtual

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"openmpa/mn/decision"
)

// A plain engine goes to what is stronger by margin, when the signal is below leave, and prepares the best other networks below look.
type plain struct {
	networkOf   []decision.NetworkID
	look, leave float32
	margin      float32
	depth       decision.Depth
	rungs       int
	now         bool // it moves with what is prepared

	ladder []decision.Rung
	moves  []decision.Move
	failed int
	took   map[decision.Depth]int
	knows  int
	last   decision.Sample
}

func (p *plain) Know(_ []decision.Network, points []decision.Point) error {
	p.networkOf = []decision.NetworkID{0}
	for _, x := range points {
		p.networkOf = append(p.networkOf, x.Network)
	}
	p.knows++
	return nil
}

func (p *plain) Moved(_ time.Duration, m decision.Move)  { p.moves = append(p.moves, m) }
func (p *plain) Failed(time.Duration, decision.Decision) { p.failed++ }
func (p *plain) Took(_ time.Duration, _ decision.NetworkID, d decision.Depth, _ time.Duration, ok bool) {
	if p.took == nil {
		p.took = map[decision.Depth]int{}
	}
	if ok {
		p.took[d]++
	}
}

func (p *plain) Step(s *decision.Sample) (d decision.Decision) {
	p.last = *s
	d.Look = s.Here == 0 || s.Signal < p.look
	p.ladder = p.ladder[:0]
	best := decision.Sighting{Signal: -300}
	for _, g := range s.Seen {
		if g.Signal > best.Signal {
			best = g
		}
	}
	if best.Point == 0 {
		return d
	}
	if d.Look && p.rungs > 0 && s.Here != 0 && p.networkOf[best.Point] != p.networkOf[s.Here] {
		p.ladder = append(p.ladder, decision.Rung{Network: p.networkOf[best.Point], Point: best.Point, Depth: p.depth})
	}
	d.Ladder = p.ladder
	if s.Here == 0 || s.Signal < p.leave && best.Signal > s.Signal+p.margin {
		d.Action, d.To, d.Now = decision.Handover, best.Point, p.now
		if s.Here != 0 && p.networkOf[best.Point] == p.networkOf[s.Here] {
			d.Action = decision.Roam
		}
	}
	return d
}

const second = time.Second

// two networks of two points each, whose steps take half a second, and 100 ms without a link.
func twoNetworks(t testing.TB, change func(*Config)) *World {
	t.Helper()
	times := decision.Times{Auth: second / 2, Configure: second / 2, Tunnel: second / 2, Bind: second / 2, Switch: second / 10}
	c := Config{
		Networks: []decision.Network{{ID: 1, Name: "a", Most: decision.Bind, Times: times}, {ID: 2, Name: "b", Most: decision.Bind, Times: times}},
		Points:   []decision.Point{{ID: 1, Network: 1, Name: "a1"}, {ID: 2, Network: 1, Name: "a2"}, {ID: 3, Network: 2, Name: "b1"}, {ID: 4, Network: 2, Name: "b2"}},
		Lost:     -85, Serves: -79, Hold: 5 * second, Within: 3 * second, Short: 2 * second, Learns: true,
	}
	if change != nil {
		change(&c)
	}
	w, err := NewWorld(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A script says what is heard of each point from when on.
type script []struct {
	from    time.Duration
	signals [4]float32 // dBm; 0: nothing
}

const step = 100 * time.Millisecond

// play has a node go through a script until end.
func play(t testing.TB, w *World, e Decider, s script, end time.Duration) *Node {
	t.Helper()
	n, err := NewNode(w, e, 1)
	if err != nil {
		t.Fatal(err)
	}
	for at := time.Duration(0); at <= end; at += step {
		a := Air{At: at}
		for i := len(s) - 1; i >= 0; i-- {
			if at < s[i].from {
				continue
			}
			for p, signal := range s[i].signals {
				if signal != 0 {
					a.Heard = append(a.Heard, decision.Sighting{Point: decision.PointID(p + 1), Signal: signal})
				}
			}
			break
		}
		n.Step(&a)
	}
	return n
}

var walkOver = script{{0, [4]float32{-50}}, {5 * second, [4]float32{-70, 0, -66}}, {20 * second, [4]float32{-80, 0, -50}}}

// TestPrepared: a network that the ladder wants is prepared step by step before the move, and nothing is lost in it.
func TestPrepared(t *testing.T) {
	e := &plain{look: -65, leave: -75, margin: 6, rungs: 1, depth: decision.Tunnel, now: true}
	n := play(t, twoNetworks(t, nil), e, walkOver, 30*second)
	c := n.Counts()
	if n.Here() != 3 || c.Moves != 1 || c.Handovers != 1 || c.ByDepth[decision.Tunnel] != 1 || c.Late != 0 || c.Away != second/10 {
		t.Errorf("at %d, counts %+v: expected one handover to point 3, prepared to a tunnel, 100 ms without a link, nothing late", n.Here(), c)
	}
	if e.took[decision.Authenticate] != 1 || e.took[decision.Configure] != 1 || e.took[decision.Tunnel] != 1 || e.took[decision.Bind] != 0 {
		t.Errorf("steps %v: expected one each to the tunnel", e.took)
	}
	if all, vain := c.Preparations(); all != 1 || vain != 0 || c.Stood < 14*second || c.Stood > 16*second {
		t.Errorf("%d preparations, %d in vain, for %v: expected 1, 0, and about 15s", all, vain, c.Stood)
	}
	if len(e.last.Stands) != 0 {
		t.Errorf("%v stands 10 s after the move: expected nothing, hold is 5 s", e.last.Stands)
	}
}

// TestNotPrepared: what was not prepared is done after the link, and nothing is carried meanwhile.
func TestNotPrepared(t *testing.T) {
	for depth := decision.None; depth < decision.Tunnel; depth++ {
		e := &plain{look: -65, leave: -75, margin: 6, rungs: int(depth), depth: depth, now: true}
		n := play(t, twoNetworks(t, nil), e, walkOver, 30*second)
		c := n.Counts()
		if late := second/10 + time.Duration(decision.Bind-depth)*second/2; c.Handovers != 1 || c.ByDepth[depth] != 1 || c.Late != late {
			t.Errorf("prepared to %v: counts %+v: expected one handover from there, and %v late", depth, c, late)
		}
	}
}

// TestWaits: a handover that is not to go at once waits until all is prepared.
func TestWaits(t *testing.T) {
	e := &plain{look: -65, leave: -75, margin: 6}
	n := play(t, twoNetworks(t, nil), e, walkOver, 30*second)
	c := n.Counts()
	if c.Handovers != 1 || c.ByDepth[decision.Bind] != 1 || c.Late != 0 || e.moves[1].Depth != decision.Bind {
		t.Errorf("counts %+v: expected a handover that is bound ahead", c)
	}
}

// TestReturn: a return within the hold costs no preparation, is ping-pong, and makes the move before it needless.
func TestReturn(t *testing.T) {
	there := script{
		{0, [4]float32{-50}}, {5 * second, [4]float32{-80, 0, -50}}, {7 * second, [4]float32{-50, 0, -80}},
	}
	e := &plain{look: -65, leave: -75, margin: 6, now: true}
	n := play(t, twoNetworks(t, nil), e, there, 20*second)
	c := n.Counts()
	if n.Here() != 1 || c.Moves != 2 || c.Returns != 1 || c.PingPong != 1 || c.Needless != 1 || c.ByDepth[decision.Tunnel] != 1 {
		t.Errorf("at %d, counts %+v: expected a move there, not prepared, and one back to what is held", n.Here(), c)
	}
	e = &plain{look: -65, leave: -75, margin: 6, now: true}
	c = play(t, twoNetworks(t, func(c *Config) { c.Hold, c.Within = 0, second }), e, there, 20*second).Counts()
	if c.Returns != 0 || c.PingPong != 0 || c.ByDepth[decision.None] != 2 {
		t.Errorf("without a hold: counts %+v: expected two moves, not prepared", c)
	}
}

// TestShortStay: a move on to a third point soon is needless where the first one would have served, and only there.
func TestShortStay(t *testing.T) {
	for _, first := range []float32{-78, -84} {
		s := script{
			{0, [4]float32{-50}}, {5 * second, [4]float32{first, 0, -50}}, {6 * second, [4]float32{first, 0, -80, -50}},
		}
		c := play(t, twoNetworks(t, nil), &plain{look: -65, leave: -75, margin: 6, now: true}, s, 10*second).Counts()
		want := 0
		if first >= -79 {
			want = 1
		}
		if c.Moves != 2 || c.Needless != want || c.PingPong != 0 {
			t.Errorf("the first point has %g dBm: counts %+v: expected 2 moves, %d needless", first, c, want)
		}
	}
}

// TestVain: what is not wanted any more is given back, and was in vain.
func TestVain(t *testing.T) {
	s := script{{0, [4]float32{-50}}, {5 * second, [4]float32{-70, 0, -66}}, {10 * second, [4]float32{-50, 0, -90}}}
	e := &plain{look: -65, leave: -75, margin: 6, rungs: 1, depth: decision.Configure}
	c := play(t, twoNetworks(t, nil), e, s, 20*second).Counts()
	if c.Moves != 0 || c.Prepared[decision.Configure] != 1 || c.Vain[decision.Configure] != 1 || len(e.last.Stands) != 0 {
		t.Errorf("counts %+v, %v stands: expected one preparation, in vain", c, e.last.Stands)
	}
}

// TestDrop: a link that carries nothing is gone, steps stand still, and the node goes somewhere by itself at last.
func TestDrop(t *testing.T) {
	s := script{{0, [4]float32{-50}}, {5 * second, [4]float32{-95}}, {15 * second, [4]float32{-95, 0, -60}}}
	e := &stubborn{}
	c := play(t, twoNetworks(t, nil), e, s, 30*second).End()
	if c.Drops != 1 || c.Avoidable != 0 || c.Alone != 1 || c.Moves != 1 || c.Below < second/2 || c.Below > 2*second || c.Out < 8*second || c.Out > 11*second {
		t.Errorf("counts %+v: expected one drop that could not be helped, a second below Lost, ten nowhere, one move by itself", c)
	}
}

// stubborn never decides anything.
type stubborn struct{ plain }

func (*stubborn) Step(*decision.Sample) decision.Decision { return decision.Decision{} }

// TestCounts: whatever is heard and decided, times and numbers fit together; and the same again gives the same.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var s script
		at := time.Duration(0)
		for range rapid.IntRange(1, 20).Draw(r, "parts") {
			var signals [4]float32
			for i := range signals {
				signals[i] = float32(rapid.IntRange(-95, -45).Draw(r, "dBm"))
				if rapid.Bool().Draw(r, "silent") {
					signals[i] = 0
				}
			}
			s = append(s, struct {
				from    time.Duration
				signals [4]float32
			}{at, signals})
			at += time.Duration(rapid.IntRange(1, 80).Draw(r, "long")) * step
		}
		w := twoNetworks(t, func(c *Config) {
			c.Jitter = 0.5
			c.Scan = time.Duration(rapid.IntRange(0, 30).Draw(r, "scan")) * step
		})
		e := func() *plain {
			return &plain{
				look: -65, leave: -72, margin: 4, rungs: 1, now: rapid.Bool().Draw(r, "now"),
				depth: decision.Depth(rapid.IntRange(1, 4).Draw(r, "depth")), //nolint:gosec // it fits
			}
		}
		first := e()
		second := *first
		c := play(t, w, first, s, at).End()
		if c.Attached+c.Out+c.Away > c.Time+step || c.Below > c.Attached || c.Without > c.Below+c.Out {
			r.Errorf("counts %+v: parts are more than the whole", c)
		}
		byDepth := 0
		for d, k := range c.ByDepth {
			byDepth += k
			if c.Vain[d] > c.Prepared[d] {
				r.Errorf("counts %+v: more was in vain than was prepared", c)
			}
		}
		if byDepth != c.Handovers || c.Handovers > c.Moves || c.Needless > c.Moves || c.PingPong > c.Needless || c.Avoidable > c.Drops || c.Returns > c.Handovers {
			r.Errorf("counts %+v: numbers do not fit together", c)
		}
		if again := play(t, w, &second, s, at).End(); again != c {
			r.Errorf("the same gave %+v, and then %+v", c, again)
		}
	})
}

// TestNoAllocation: a step allocates nothing.
func TestNoAllocation(t *testing.T) {
	e := &plain{look: -65, leave: -75, margin: 6, rungs: 1, depth: decision.Tunnel}
	n := play(t, twoNetworks(t, nil), e, walkOver, 10*second)
	a := Air{At: 10 * second, Heard: []decision.Sighting{{Point: 1, Signal: -70}, {Point: 3, Signal: -66}}}
	if got := testing.AllocsPerRun(1000, func() {
		a.At += step
		n.Step(&a)
	}); got != 0 {
		t.Errorf("%g allocations a step, expected none", got)
	}
}

// TestWorld: what cannot be is refused.
func TestWorld(t *testing.T) {
	good := twoNetworks(t, nil).Config
	for name, change := range map[string]func(*Config){
		"no network":        func(c *Config) { c.Networks = nil },
		"an ID":             func(c *Config) { c.Points = []decision.Point{{ID: 2, Network: 1}} },
		"no such network":   func(c *Config) { c.Points = []decision.Point{{ID: 1, Network: 3}} },
		"times":             func(c *Config) { c.Takes = make([]decision.Times, 1) },
		"levels":            func(c *Config) { c.Serves = c.Lost - 1 },
		"jitter":            func(c *Config) { c.Jitter = 1 },
		"a time below 0":    func(c *Config) { c.Hold = -1 },
		"less than no time": func(c *Config) { c.Takes = []decision.Times{{Auth: -1}, {}} },
	} {
		c := good
		change(&c)
		if _, err := NewWorld(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCarried: more signal carries more, and loses less.
func TestCarried(t *testing.T) {
	rate, loss := Carried(-120, -85)
	for s := float32(-110); s < -40; s++ {
		r, l := Carried(s, -85)
		if r < rate || l > loss {
			t.Errorf("at %g dBm %g Mbit/s with %g lost: less than with less signal", s, r, l)
		}
		rate, loss = r, l
	}
	if rate != 65 || loss != 0 {
		t.Errorf("a strong signal has %g Mbit/s, and loses %g: expected 65 and 0", rate, loss)
	}
}
