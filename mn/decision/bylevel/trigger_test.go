package bylevel

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	b1, b2 = Point{"b", "b1"}, Point{"b", "b2"}
	a1, a2 = Point{"a", "a1"}, Point{"a", "a2"}
	c1     = Point{"c", "c1"}
	t0     = time.Unix(1000, 0)
)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// TestSteps: levels are look -65, leave -72, accept -65, dwell 1 s.
func TestSteps(t *testing.T) {
	type step struct {
		ms     int
		signal int
		seen   []Sighting
		have   []string
		want   Action
		to     Point
		look   bool
		reason string // a part of it
	}
	see := func(p Point, dBm int) Sighting { return Sighting{Point: p, Signal: dBm} }
	good := []Sighting{see(a1, -50)}
	for name, steps := range map[string][]step{
		"all is well": {{0, -50, good, nil, Stay, Point{}, false, "at or above look"}, {5000, -65, good, nil, Stay, Point{}, false, ""}},
		"away": {
			{0, -66, nil, nil, Stay, Point{}, true, "no other point in sight"},
			{500, -66, good, nil, Prepare, a1, true, "a1 of a has -50 dBm, accept is -65"},
			{1000, -70, good, []string{"a"}, Stay, Point{}, true, "a is prepared"},
			{1500, -73, good, []string{"a"}, Stay, Point{}, true, "below leave -72 for 0s"},
			{2400, -73, good, []string{"a"}, Stay, Point{}, true, "for 900ms"},
			{2500, -73, good, []string{"a"}, Handover, a1, true, "below leave -72 for 1s"},
		},
		"a dip is no reason":        {{0, -80, good, []string{"a"}, Stay, Point{}, true, ""}, {900, -71, good, []string{"a"}, Stay, Point{}, true, "below look"}, {1800, -80, good, []string{"a"}, Stay, Point{}, true, "for 0s"}},
		"prepared, and gone":        {{0, -80, nil, []string{"a"}, Stay, Point{}, true, ""}, {2000, -80, []Sighting{see(a1, -66)}, []string{"a"}, Stay, Point{}, true, "no other point"}},
		"not prepared in time":      {{0, -80, nil, nil, Stay, Point{}, true, ""}, {2000, -80, good, nil, Prepare, a1, true, ""}},
		"seen long ago":             {{0, -80, []Sighting{{a1, -40, 6 * time.Second}}, nil, Stay, Point{}, true, "no other point"}},
		"the same network is first": {{0, -80, []Sighting{see(b2, -60), see(a1, -30)}, []string{"a"}, Stay, Point{}, true, "dwell is not over"}, {1000, -80, []Sighting{see(b2, -60), see(a1, -30)}, []string{"a"}, Roam, b2, true, "b2 of b has -60 dBm"}},
		"not much better":           {{0, -66, []Sighting{see(b2, -61)}, nil, Stay, Point{}, true, "no other point"}, {3000, -66, []Sighting{see(b2, -61)}, nil, Stay, Point{}, true, ""}},
		"what is prepared":          {{0, -80, []Sighting{see(a1, -55), see(c1, -50)}, []string{"a"}, Stay, Point{}, true, "a is prepared"}, {1000, -80, []Sighting{see(c1, -50), see(a1, -55)}, []string{"a"}, Handover, a1, true, ""}},
		"much better than prepared": {{0, -80, []Sighting{see(a1, -60), see(c1, -50)}, []string{"a"}, Prepare, c1, true, ""}},
		"looking ends late":         {{0, -66, nil, nil, Stay, Point{}, true, ""}, {1000, -60, nil, nil, Stay, Point{}, true, "a little above"}, {2000, -59, nil, nil, Stay, Point{}, false, ""}, {3000, -60, nil, nil, Stay, Point{}, false, ""}},
		"nothing is known":          {{0, -80, nil, nil, Stay, Point{}, true, ""}, {500, 0, good, nil, Stay, Point{}, true, "not known"}},
	} {
		tr := New(Default())
		for i, s := range steps {
			d := tr.Step(at(s.ms), Sample{Here: b1, Signal: s.signal, Seen: append(s.seen, see(b1, s.signal)), Prepared: s.have})
			if d.Action != s.want || d.To != s.to || d.Look != s.look || !strings.Contains(d.Reason, s.reason) {
				t.Errorf("%s, step %d: %+v", name, i, d)
			}
		}
	}
	if d := New(Default()).Step(t0, Sample{}); d.Action != Stay || d.Reason != "attached nowhere" {
		t.Errorf("%+v", d)
	}
}

// TestRest: what failed is not tried again for a while, longer each time, and not for ever.
func TestRest(t *testing.T) {
	tr := New(Default())
	s := Sample{Here: b1, Signal: -80, Seen: []Sighting{{Point: a1, Signal: -50}, {Point: a2, Signal: -55}}}
	var tries []int
	for ms := 0; ms < 300_000; ms += 500 {
		if d := tr.Step(at(ms), s); d.Action == Prepare {
			tries = append(tries, ms/1000)
			tr.Failed(at(ms), d)
		}
	}
	if want := []int{0, 5, 15, 35, 75, 135, 195, 255}; !slices.Equal(tries, want) {
		t.Errorf("tried at %v s, want %v", tries, want)
	}
	// A roam that fails is of one point.
	tr = New(Levels{Look: -65, Leave: -72, Accept: -65})
	s.Seen = []Sighting{{Point: b2, Signal: -50}, {Point: Point{"b", "b3"}, Signal: -55}}
	d := tr.Step(t0, s)
	tr.Failed(t0, d)
	if next := tr.Step(t0, s); d.Action != Roam || d.To != b2 || next.Action != Roam || next.To.Name != "b3" {
		t.Errorf("%+v, then %+v", d, next)
	}
	// Who has been there has not failed.
	s.Here = b2
	tr.Step(t0, s)
	s.Here = b1
	if d := tr.Step(t0, s); d.To != b2 {
		t.Errorf("%+v", d)
	}
}

func TestLevels(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	for level, l := range map[string]Levels{
		"look": {Look: -80, Leave: -72, Accept: -65}, "accept": {Look: -65, Leave: -72, Accept: -72},
		"leave": {Look: -65, Leave: 5, Accept: -65}, "dwell": {Look: -65, Leave: -72, Accept: -65, Dwell: time.Hour},
	} {
		var e *LevelError
		if err := l.Check(); !errors.As(err, &e) || e.Level != level {
			t.Errorf("%s: %v", level, err)
		}
	}
}

// TestProperties: whatever the samples are, a move has its grounds, and the order in which points were seen plays no part.
func TestProperties(t *testing.T) {
	points := []Point{a1, a2, b1, b2, c1, {}}
	rapid.Check(t, func(t *rapid.T) {
		l := Levels{Look: rapid.IntRange(-90, -40).Draw(t, "look"), Dwell: time.Duration(rapid.IntRange(0, 3000).Draw(t, "dwell")) * time.Millisecond}
		l.Leave = rapid.IntRange(-100, l.Look).Draw(t, "leave")
		l.Accept = rapid.IntRange(l.Leave+1, -1).Draw(t, "accept")
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		one, other := New(l), New(l)
		now, here := t0, b1
		var faintSince, weakSince time.Time
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			s := Sample{Here: here, Signal: rapid.IntRange(-110, 0).Draw(t, "signal")}
			for range rapid.IntRange(0, 5).Draw(t, "seen") {
				s.Seen = append(s.Seen, Sighting{
					rapid.SampledFrom(points).Draw(t, "point"), rapid.IntRange(-110, 0).Draw(t, "dBm"),
					time.Duration(rapid.IntRange(0, 10).Draw(t, "age")) * time.Second,
				})
			}
			s.Prepared = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2).Draw(t, "prepared")
			d := one.Step(now, s)
			mixed := s
			mixed.Seen = slices.Clone(s.Seen)
			rand.New(rand.NewPCG(1, uint64(len(s.Seen)))).Shuffle(len(mixed.Seen), func(i, j int) { mixed.Seen[i], mixed.Seen[j] = mixed.Seen[j], mixed.Seen[i] })
			if e := other.Step(now, mixed); e != d {
				t.Fatalf("%+v, in another order %+v", d, e)
			}
			if d.Reason == "" {
				t.Fatal("no reason")
			}
			if s.Signal != 0 {
				since(&weakSince, s.Signal < l.Look, now)
				since(&faintSince, s.Signal < l.Leave, now)
			}
			if d.Action == Stay {
				if d.To != (Point{}) {
					t.Fatalf("stay, but %v", d.To)
				}
				continue
			}
			seen := slices.ContainsFunc(s.Seen, func(g Sighting) bool {
				return g.Point == d.To && g.Signal >= l.Accept && g.Signal >= s.Signal+Margin && g.Age <= Fresh
			})
			same, prepared := d.To.Network == here.Network, slices.Contains(s.Prepared, d.To.Network)
			switch {
			case !seen || d.To == here || weakSince.IsZero():
				t.Fatalf("%+v without grounds", d)
			case same != (d.Action == Roam), d.Action == Prepare && prepared, d.Action == Handover && !prepared:
				t.Fatalf("%+v, prepared %v", d, s.Prepared)
			case d.Action == Handover && (faintSince.IsZero() || now.Sub(faintSince) < l.Dwell), d.Action == Roam && now.Sub(weakSince) < l.Dwell:
				t.Fatalf("%+v before its time", d)
			}
			switch {
			case d.Action != Prepare && rapid.Bool().Draw(t, "arrives"):
				here, weakSince, faintSince = d.To, time.Time{}, time.Time{}
			case rapid.Bool().Draw(t, "fails"):
				one.Failed(now, d)
				other.Failed(now, d)
			}
		}
	})
}

func since(t *time.Time, so bool, now time.Time) {
	switch {
	case !so:
		*t = time.Time{}
	case t.IsZero():
		*t = now
	}
}

// TestNoPingPong: between two points whose signals swing by less than accept is above leave, nobody goes twice.
func TestNoPingPong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Default()
		swing := l.Accept - l.Leave - 1
		low := l.Leave - rapid.IntRange(0, 20).Draw(t, "low")
		high := l.Accept + rapid.IntRange(0, 20).Draw(t, "high")
		tr, here, moves := New(l), b1, 0
		for i := range 200 {
			signal := map[Point]int{b1: low - rapid.IntRange(0, swing).Draw(t, "b"), a1: high - rapid.IntRange(0, swing).Draw(t, "a")}
			s := Sample{Here: here, Signal: signal[here], Prepared: []string{"a", "b"}}
			for p, dBm := range signal {
				s.Seen = append(s.Seen, Sighting{Point: p, Signal: dBm})
			}
			if d := tr.Step(at(500*i), s); d.Action == Handover {
				here = d.To
				moves++
			}
		}
		if moves > 1 {
			t.Fatalf("%d moves", moves)
		}
	})
}
