package replay

import (
	"fmt"
	"slices"
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
)

// Again is what came of telling an engine what the recorded one was told.
type Again struct {
	Decisions int // that were recorded: each something new
	Same      int // of them that came out again
	// First is the first one that did not.
	First     time.Duration
	Recorded  string
	Now       string
	Different bool
}

// Again has an engine with the recorded policy decide again. Where the recorder lost records the engines may differ.
func (s *Scene) Again() Again {
	e := decision.New(s.Header.Policy)
	var a Again
	var d decision.Decision
	for _, r := range s.records {
		switch {
		case r.Know != nil:
			_ = e.Know(r.Know.Networks, r.Know.Points) // what the engine refused then it refuses now
		case r.Sample != nil:
			d = e.Step(r.Sample)
		case r.Moved != nil:
			e.Moved(r.At, *r.Moved)
		case r.Failed != nil:
			e.Failed(r.At, *r.Failed)
		case r.Took != nil:
			e.Took(r.At, r.Took.Network, r.Took.Depth, r.Took.Took, r.Took.OK)
		case r.RTT != nil:
			e.RTT(r.RTT.Network, r.RTT.RTT)
		case r.Decided != nil:
			a.compare(e, r, d)
		}
	}
	return a
}

func (a *Again) compare(e *decision.Engine, r trace.Record, d decision.Decision) {
	was := *r.Decided
	a.Decisions++
	if was.Action == d.Action && was.To == d.To && was.Now == d.Now && was.Look == d.Look && was.Both == d.Both && was.Reason.Code == d.Reason.Code &&
		slices.Equal(was.Ladder, d.Ladder) {
		a.Same++
		return
	}
	if !a.Different {
		a.Different, a.First, a.Recorded, a.Now = true, r.At, r.Words, e.Words(d)
		if a.Recorded == a.Now { // what differs is not in the words
			a.Recorded = fmt.Sprintf("%s (to %d, now %v, look %v, both %v, ladder %v)", a.Recorded, was.To, was.Now, was.Look, was.Both, was.Ladder)
			a.Now = fmt.Sprintf("%s (to %d, now %v, look %v, both %v, ladder %v)", a.Now, d.To, d.Now, d.Look, d.Both, d.Ladder)
		}
	}
}
