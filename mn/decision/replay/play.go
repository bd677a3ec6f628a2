package replay

import (
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/virtual"
)

// How the virtual node is, and how it is judged.
const (
	scanEvery = 2 * time.Second // while sightings are wanted, as the daemon does
	serves    = 6               // dB above Lost: a point that would have served
	shortStay = 5 * time.Second
	jitter    = 0.2
)

// Result is what a policy would have done.
type Result struct {
	Policy decision.Policy
	Counts virtual.Counts
	// Weak is how long the signal was below the recorded policy's Leave, attached.
	Weak  time.Duration
	Moves []Move
	// Track is where the node was, in so many equal parts of the time as were asked for.
	Track []Spot
}

// Move is one that came about, or failed.
type Move struct {
	At       time.Duration // since the first sample
	From, To string        // points; empty: nowhere
	Network  string        // of To
	Depth    decision.Depth
	Chosen   bool
	Failed   bool
	PingPong bool    // back to where it was, soon after
	Signal   float32 // dBm, of To
	Words    string
}

// Spot is where the node was, mostly, in a part of the time.
type Spot struct {
	Network string // empty: nowhere
	Point   string
	Signal  float32 // dBm, on average; 0: nowhere
}

// Play has a virtual node go through the scene with a policy that Check finds right. What its steps take varies by seed.
func (s *Scene) Play(p decision.Policy, seed uint64, parts int) (*Result, error) {
	w, err := virtual.NewWorld(virtual.Config{
		Networks: s.Networks, Points: s.Points, Jitter: jitter, Lost: p.Lost, Serves: min(p.Lost+serves, -1), Hold: p.Hold, Within: p.Within,
		Short: shortStay, Scan: scanEvery, Learns: true,
	})
	if err != nil {
		return nil, err
	}
	e := decision.New(p)
	node, err := virtual.NewNode(w, e, seed)
	if err != nil {
		return nil, err
	}
	r := &Result{Policy: p}
	first := s.ticks[0].at
	words := ""
	var last virtual.Moving
	node.Log = func(m virtual.Moving) {
		r.Moves = append(r.Moves, Move{
			At: m.At - first, From: s.point(m.From), To: s.point(m.To), Network: s.network(m.To), Depth: m.Depth, Chosen: m.Chosen, Failed: m.Failed,
			PingPong: !m.Failed && last.From != 0 && m.To == last.From && m.At-last.At <= p.Within, Signal: m.Signal, Words: words,
		})
		if !m.Chosen {
			r.Moves[len(r.Moves)-1].Words = "the link was gone: went to what was heard best"
		}
		if !m.Failed {
			last = m
		}
	}
	in := air{s: s, next: make([]int, len(s.readings))}
	heard := make([]decision.Sighting, 0, decision.MaxSeen)
	track := newTrack(s, parts)
	before := first
	for i := range s.ticks {
		t := &s.ticks[i]
		heard = in.at(t.at, heard[:0])
		d := node.Step(&virtual.Air{At: t.at, Heard: heard, Place: t.place, Speed: t.speed, Heading: t.heading})
		if d.Action != decision.Stay {
			words = e.Words(d)
		}
		here, signal := node.Here(), float32(0)
		for _, g := range heard {
			if g.Point == here {
				signal = g.Signal
			}
		}
		if here != 0 && signal < s.Header.Policy.Leave {
			r.Weak += t.at - before
		}
		track.add(t.at-first, here, signal)
		before = t.at
	}
	r.Counts = node.End()
	r.Track = track.spots()
	return r, nil
}

func (s *Scene) point(id decision.PointID) string {
	if id == 0 || int(id) > len(s.Points) {
		return ""
	}
	return s.Points[id-1].Name
}

func (s *Scene) network(id decision.PointID) string {
	if id == 0 || int(id) > len(s.Points) {
		return ""
	}
	return s.Networks[s.Points[id-1].Network-1].Name
}

// Recorded is where the recording node was.
func (s *Scene) Recorded(parts int) []Spot {
	in := air{s: s, next: make([]int, len(s.readings))}
	heard := make([]decision.Sighting, 0, decision.MaxSeen)
	track := newTrack(s, parts)
	for i := range s.ticks {
		t := &s.ticks[i]
		heard = in.at(t.at, heard[:0])
		signal := float32(0)
		for _, g := range heard {
			if int(g.Point) == t.here {
				signal = g.Signal
			}
		}
		track.add(t.at-s.ticks[0].at, decision.PointID(t.here), signal) //nolint:gosec // at most MaxPoints
	}
	return track.spots()
}

// track puts together where a node was.
type track struct {
	s     *Scene
	parts []part
}

type part struct {
	point       decision.PointID
	votes       int
	sum, number float32
}

func newTrack(s *Scene, parts int) *track { return &track{s: s, parts: make([]part, max(parts, 0))} }

// add counts by Boyer and Moore: the point that has most of a part is its point.
func (t *track) add(at time.Duration, p decision.PointID, signal float32) {
	if len(t.parts) == 0 {
		return
	}
	i := min(int(float64(at)/float64(t.s.Length+1)*float64(len(t.parts))), len(t.parts)-1)
	x := &t.parts[i]
	switch {
	case x.votes == 0:
		x.point, x.votes = p, 1
	case x.point == p:
		x.votes++
	default:
		x.votes--
	}
	if p != 0 && signal < 0 {
		x.sum, x.number = x.sum+signal, x.number+1
	}
}

func (t *track) spots() []Spot {
	out := make([]Spot, len(t.parts))
	for i, x := range t.parts {
		if x.votes == 0 && x.number == 0 && i > 0 { // no sample came
			out[i] = out[i-1]
			continue
		}
		out[i] = Spot{Network: t.s.network(x.point), Point: t.s.point(x.point)}
		if x.number > 0 && x.point != 0 {
			out[i].Signal = x.sum / x.number
		}
	}
	return out
}

// Signals are those of a point in equal parts of the time, dBm; 0 where it was not heard.
func (s *Scene) Signals(point int, parts int) []float32 {
	out := make([]float32, parts)
	if point < 1 || point > len(s.readings) {
		return out
	}
	one := &Scene{readings: [][]reading{s.readings[point-1]}}
	in := air{s: one, next: make([]int, 1)}
	heard := make([]decision.Sighting, 0, 1)
	for i := range out {
		at := s.ticks[0].at + time.Duration(float64(s.Length)*(float64(i)+0.5)/float64(parts))
		if heard = in.at(at, heard[:0]); len(heard) > 0 {
			out[i] = heard[0].Signal
		}
	}
	return out
}
