package scenario

import (
	"fmt"
	"strings"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/traffic"
)

// where tells when what went wrong with a flow happened, seen from the
// handover: for the one who has to find out why.
func where(m measured, s traffic.Stats) string {
	const shown = 4
	var parts []string
	add := func(what string, seq uint64, at time.Time) {
		if len(parts) < shown {
			parts = append(parts, fmt.Sprintf("%s number %d %s", what, seq, sinceLast(m, at)))
		} else if len(parts) == shown {
			parts = append(parts, "...")
		}
	}
	for _, run := range s.Losses {
		if n := run.Last - run.First; n > 0 {
			add(fmt.Sprintf("lost %d from", n+1), run.First, run.At)
		} else {
			add("lost", run.First, run.At)
		}
	}
	for _, a := range s.Duplicates {
		add("duplicated", a.Seq, time.Unix(0, a.At))
	}
	for _, a := range s.Reorderings {
		add("reordered", a.Seq, time.Unix(0, a.At))
	}
	if len(parts) == 0 {
		return ""
	}
	return "\n    " + strings.Join(parts, "\n    ")
}

// sinceLast names a point in time by the last thing that happened before.
func sinceLast(m measured, at time.Time) string {
	type landmark struct {
		what string
		at   time.Time
	}
	var last landmark
	look := func(what string, t time.Time) {
		if !t.IsZero() && !t.After(at) && t.After(last.at) {
			last = landmark{what, t}
		}
	}
	for _, mv := range m.moves {
		look("link lost", mv.Lost)
		look("link up", mv.Up)
	}
	for _, e := range m.records {
		name := string(e.Phase) + " " + string(e.Kind)
		if e.Kind == event.KindPoint {
			name = string(e.Phase) + " " + e.Name
		}
		look(fmt.Sprintf("%q of %s", name, e.Node), e.Time)
	}
	if last.what == "" {
		return "before the handover"
	}
	return fmt.Sprintf("%.3f ms after %s", float64(at.Sub(last.at))/1e6, last.what)
}
