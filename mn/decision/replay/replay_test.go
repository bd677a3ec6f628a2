package replay

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
	"openmpa/mn/decision/virtual"
)

// recorder is an engine whose caller writes down what it tells it.
type recorder struct {
	*decision.Engine
	w  *trace.Writer
	at time.Duration
}

func (r *recorder) Know(n []decision.Network, p []decision.Point) error {
	r.w.Know(r.at, n, p)
	return r.Engine.Know(n, p)
}

func (r *recorder) Step(s *decision.Sample) decision.Decision {
	r.at = s.At
	r.w.Sample(s)
	d := r.Engine.Step(s)
	r.w.Decided(s.At, d, r.Words(d))
	return d
}

func (r *recorder) Moved(at time.Duration, m decision.Move) {
	r.w.Moved(at, m)
	r.Engine.Moved(at, m)
}

func (r *recorder) Failed(at time.Duration, d decision.Decision) {
	r.w.Failed(at, d)
	r.Engine.Failed(at, d)
}

func (r *recorder) Took(at time.Duration, n decision.NetworkID, d decision.Depth, took time.Duration, ok bool) {
	r.w.Took(at, n, d, took, ok)
	r.Engine.Took(at, n, d, took, ok)
}

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

const points = 4

func networks() (nets []decision.Network, pts []decision.Point) {
	for i := range points {
		name := string(rune('a' + i))
		nets = append(nets, decision.Network{ID: decision.NetworkID(i + 1), Name: name, Most: decision.Bind, Times: decision.Times{
			RTT: 20 * time.Millisecond, Rounds: 5, Auth: 30 * time.Millisecond, Configure: 200 * time.Millisecond,
			Tunnel: 40 * time.Millisecond, Bind: 40 * time.Millisecond, Switch: 50 * time.Millisecond,
		}})
		pts = append(pts, decision.Point{ID: decision.PointID(i + 1), Network: decision.NetworkID(i + 1), Name: name + "1", Load: -1, Follows: -1})
	}
	return nets, pts
}

// record has a node walk to and fro between four points in a row, and returns what was recorded. A scan of 0 always sees all.
func record(t testing.TB, style decision.Style, seed uint64, scan time.Duration) ([]byte, virtual.Counts) {
	t.Helper()
	nets, pts := networks()
	p := decision.DefaultPolicy(style)
	w, err := virtual.NewWorld(virtual.Config{Networks: nets, Points: pts, Lost: p.Lost, Serves: p.Lost + 6, Hold: p.Hold, Within: p.Within, Short: shortStay, Scan: scan, Learns: true})
	if err != nil {
		t.Fatal(err)
	}
	out := &buffer{}
	rec := &recorder{Engine: decision.New(p), w: trace.NewWriter(out, trace.Header{Node: "mn1", Policy: p})}
	node, err := virtual.NewNode(w, rec, seed)
	if err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(seed, 1))
	var shadow [points]float64
	heard := make([]decision.Sighting, points)
	for i := range 6000 {
		at := time.Duration(i) * 100 * time.Millisecond
		x := 150 - 150*math.Cos(float64(i)/6000*4*math.Pi) // m: there and back, twice in ten minutes
		for k := range points {
			shadow[k] = shadow[k]*.99 + dice.NormFloat64()*.5
			d := math.Hypot(x-float64(k)*100, 10)
			heard[k] = decision.Sighting{Point: decision.PointID(k + 1), Signal: float32(-28 - 25*math.Log10(d) + shadow[k] + dice.NormFloat64())}
		}
		node.Step(&virtual.Air{At: at, Heard: heard, Speed: -1})
	}
	if err := rec.w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), node.End()
}

func load(t testing.TB, text []byte) *Scene {
	t.Helper()
	s, err := Load(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAgain: an engine that is told the same decides the same, whatever the style.
func TestAgain(t *testing.T) {
	for _, style := range decision.Styles() {
		text, _ := record(t, style, 1, 2*time.Second)
		a := load(t, text).Again()
		if a.Decisions < 20 || a.Same != a.Decisions || a.Different {
			t.Errorf("%v: %+v", style, a)
		}
	}
}

// TestTampered: one that was told something else is found out.
func TestTampered(t *testing.T) {
	text, _ := record(t, decision.Enterprise, 1, 2*time.Second)
	changed := bytes.Replace(text, []byte(`"margin_db":6`), []byte(`"margin_db":1`), 1)
	if bytes.Equal(text, changed) {
		t.Fatal("nothing was changed")
	}
	if a := load(t, changed).Again(); !a.Different || a.Same == a.Decisions || a.Recorded == a.Now {
		t.Errorf("%+v", a)
	}
}

// TestDeterministic: the same trace and seed, the same result, to the last bit.
func TestDeterministic(t *testing.T) {
	text, _ := record(t, decision.Hybrid, 2, 0)
	said := func() string {
		s := load(t, text)
		out := ""
		for _, style := range decision.Styles() {
			r, err := s.Play(decision.DefaultPolicy(style), 7, 60)
			if err != nil {
				t.Fatal(err)
			}
			out += fmt.Sprintf("%+v\n", *r)
		}
		return out
	}
	first := said()
	for range 3 {
		if said() != first {
			t.Fatal("played again it was different")
		}
	}
	if strings.Count(first, "Words:") < 10 {
		t.Error("hardly any moves")
	}
}

// TestNear: played with its own policy, a trace in which all was always seen has about the moves of the recording.
func TestNear(t *testing.T) {
	for _, style := range decision.Styles() {
		text, counts := record(t, style, 3, 0)
		s := load(t, text)
		r, err := s.Play(s.Header.Policy, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if d := r.Counts.Moves - counts.Moves; d > 4 || d < -4 || counts.Moves < 4 || len(r.Moves) < r.Counts.Moves {
			t.Errorf("%v: %d moves recorded, %d played", style, counts.Moves, r.Counts.Moves)
		}
	}
}

// TestStyles: the styles differ in what they are there for: the sticky one is below leave for longest.
func TestStyles(t *testing.T) {
	text, _ := record(t, decision.Enterprise, 4, 0)
	s := load(t, text)
	play := func(style decision.Style) *Result {
		r, err := s.Play(decision.DefaultPolicy(style), 1, 10)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	sticky, enterprise := play(decision.Sticky), play(decision.Enterprise)
	if sticky.Weak <= enterprise.Weak || sticky.Counts.Moves > enterprise.Counts.Moves {
		t.Errorf("sticky: weak for %v, %d moves; enterprise: %v, %d", sticky.Weak, sticky.Counts.Moves, enterprise.Weak, enterprise.Counts.Moves)
	}
	for _, m := range enterprise.Moves {
		if m.To == "" || m.Words == "" || m.Chosen && !strings.Contains(m.Words, m.To) {
			t.Errorf("%+v", m)
		}
	}
	if spots := s.Recorded(10); len(spots) != 10 || spots[0].Point != "a1" || spots[0].Signal == 0 || !reflect.DeepEqual(spots[0].Network, enterprise.Track[0].Network) {
		t.Errorf("%+v", spots)
	}
	if x := s.Signals(1, 10); x[0] > -30 || x[0] < -70 || len(x) != 10 {
		t.Errorf("%v", x)
	}
}

// TestNumbers: numbers that go to other names in the middle of a trace do not mix up what is known.
func TestNumbers(t *testing.T) {
	p := decision.DefaultPolicy(decision.Enterprise)
	out := &buffer{}
	w := trace.NewWriter(out, trace.Header{Policy: p})
	nets, pts := networks()
	w.Know(0, nets[:2], pts[:2])
	w.Sample(&decision.Sample{At: 0, Here: 1, Signal: -50, Loss: -1, Speed: -1})
	nets[1].Name, pts[1].Name = "z", "z1"
	w.Know(1, nets[:2], pts[:2])
	w.Sample(&decision.Sample{At: 1, Here: 2, Signal: -60, Loss: -1, Speed: -1, Seen: []decision.Sighting{{Point: 99, Signal: -1}}})
	w.Took(1, 2, decision.Configure, time.Second, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := load(t, out.Bytes())
	if len(s.Networks) != 3 || s.Networks[2].Name != "z" || s.Networks[2].Times.Configure != time.Second || s.Networks[1].Times.Configure == time.Second ||
		s.ticks[1].here != 3 || len(s.readings[1]) != 0 || len(s.readings[2]) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestBlind: a point that is not heard since nobody looked around is not gone; one that is not heard though somebody did, is.
func TestBlind(t *testing.T) {
	p := decision.DefaultPolicy(decision.Enterprise)
	out := &buffer{}
	w := trace.NewWriter(out, trace.Header{Policy: p})
	nets, pts := networks()
	w.Know(0, nets, pts)
	for i := range 60 {
		s := decision.Sample{At: time.Duration(i) * time.Second, Here: 1, Signal: -50, Loss: -1, Speed: -1}
		switch i {
		case 5:
			s.Seen = []decision.Sighting{{Point: 2, Signal: -60}, {Point: 3, Signal: -60}}
		case 40:
			s.Seen = []decision.Sighting{{Point: 2, Signal: -70}}
		}
		w.Sample(&s)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := load(t, out.Bytes())
	in := air{s: s, next: make([]int, len(s.readings))}
	heard := func(at time.Duration) (list [points + 1]float32) {
		for _, g := range in.at(at, make([]decision.Sighting, 0, points)) {
			list[g.Point] = g.Signal
		}
		return list
	}
	if x := heard(4 * time.Second); x != [points + 1]float32{0, -50} {
		t.Errorf("before it was heard: %v", x)
	}
	if x := heard(5 * time.Second); x[2] != -60 || x[3] != -60 {
		t.Errorf("when it was heard: %v", x)
	}
	if x := heard(22500 * time.Millisecond); x[2] != -65 || x[3] != 0 {
		t.Errorf("between: %v: expected the second at -65 dBm, and not the third, which was gone when somebody looked", x)
	}
	if x := heard(59 * time.Second); x[2] != -70 || x[3] != 0 {
		t.Errorf("at the end: %v", x)
	}
}

func TestEmpty(t *testing.T) {
	out := &buffer{}
	w := trace.NewWriter(out, trace.Header{Policy: decision.DefaultPolicy(decision.Enterprise)})
	w.RTT(1, 1, 1)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(&out.Buffer); err == nil {
		t.Error("a trace without samples")
	}
}

// FuzzLoad: whatever a trace says, it is played or refused.
func FuzzLoad(f *testing.F) {
	text, _ := record(f, decision.Predictive, 5, 2*time.Second)
	lines := bytes.SplitAfterN(text, []byte("\n"), 60)
	f.Add(bytes.Join(lines[:59], nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		s, err := Load(bytes.NewReader(text))
		if err != nil {
			return
		}
		s.Again()
		s.Recorded(5)
		if r, err := s.Play(s.Header.Policy, 1, 5); err == nil && len(r.Track) != 5 {
			t.Errorf("%+v", r)
		}
	})
}
