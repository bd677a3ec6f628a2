package main

import (
	"math"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
)

// recordWalk writes a trace of a node that walked from network a to network b in a minute, sampled twice a second.
func recordWalk(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: recordwalk FILE")
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	p := decision.DefaultPolicy(decision.Enterprise)
	w, e := trace.NewWriter(f, trace.Header{Node: "mn1", Policy: p}), decision.New(p)
	times := decision.Times{RTT: 20 * time.Millisecond, Rounds: 5, Configure: 200 * time.Millisecond, Tunnel: 40 * time.Millisecond, Bind: 40 * time.Millisecond, Switch: 50 * time.Millisecond}
	nets := []decision.Network{{ID: 1, Name: "a", Most: decision.Bind, Times: times}, {ID: 2, Name: "b", Most: decision.Bind, Times: times}}
	points := []decision.Point{{ID: 1, Network: 1, Name: "poa-a", Load: -1, Follows: -1}, {ID: 2, Network: 2, Name: "poa-b", Load: -1, Follows: -1}}
	w.Know(0, nets, points)
	ts.Check(e.Know(nets, points))
	s := decision.Sample{Here: 1, Loss: -1, Speed: -1}
	for i := range 120 {
		s.At = time.Duration(i) * 500 * time.Millisecond
		x := float64(i)
		signals := [...]float32{float32(-40 - 28*math.Log10(1+x/4)), float32(-40 - 28*math.Log10(1+(119-x)/4))}
		s.Signal = signals[s.Here-1]
		other := 3 - s.Here
		s.Seen = []decision.Sighting{{Point: other, Signal: signals[other-1]}}
		w.Sample(&s)
		d := e.Step(&s)
		w.Decided(s.At, d, e.Words(d))
		s.Stands = s.Stands[:0]
		for _, r := range d.Ladder {
			s.Stands = append(s.Stands, decision.Standing{Network: r.Network, Depth: r.Depth})
		}
		if d.Action != decision.Stay {
			m := decision.Move{From: s.Here, To: d.To, Depth: decision.Bind, Chosen: true}
			w.Moved(s.At, m)
			e.Moved(s.At, m)
			s.Here = d.To
		}
	}
	ts.Check(w.Close())
}
