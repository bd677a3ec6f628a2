package picture

import (
	"fmt"

	"openmpa/testbed/report"
)

// Of draws what a run has to show. Of a scenario that compares, that is a
// prepared handover beside one that was not; of any other, the handover with the
// longest silence around the move, and with several of them the distribution;
// of RFC 6252's Figure 10, the figure; of nodes that have moved by themselves, their signals.
// Handovers without a track, and without figures of an interruption, give none.
func Of(r *report.Result) ([]Picture, error) {
	var out []Picture
	add := func(p Picture, err error) error {
		if err == nil {
			out = append(out, p)
		}
		return err
	}
	if report.FigureColumns(r) != nil {
		var moves []Move
		for _, name := range []string{report.CaseBuffered, report.CaseUnprepared} {
			if h, ok := firstOf(r, name); ok {
				title := "With MPA"
				if name == report.CaseUnprepared {
					title = "Without MPA"
				}
				moves = append(moves, Move{Title: title, Handover: h})
			}
		}
		if len(moves) < 2 {
			return nil, nil
		}
		err := add(Comparison(r.Scenario+"-comparison", moves...))
		return out, err
	}
	if report.HasWay(r) {
		err := add(Wander(r.Scenario, r.Journeys))
		return out, err
	}
	if roams := report.Roams(r); roams != nil {
		err := add(Roams(r.Scenario, roams))
		return out, err
	}
	if i := worst(r.Handovers); i >= 0 {
		h := r.Handovers[i]
		title := fmt.Sprintf("From network %s to %s", h.From, h.To)
		if len(r.Handovers) > 1 {
			title = fmt.Sprintf("Number %d of %d, from %s to %s", i+1, len(r.Handovers), h.From, h.To)
		}
		switch {
		case h.Case != "":
			title += ": " + h.Case
		case len(r.Handovers) > 1 && longestGap(h) > 0:
			title += ": the longest silence"
		}
		if err := add(Closer(r.Scenario+"-move", Move{Title: title, Handover: h})); err != nil {
			return out, err
		}
	}
	if f := r.Summary["phases.l3_ms"]; f.Count > 1 {
		if err := add(Distribution(r.Scenario+"-distribution", r.Handovers)); err != nil {
			return out, err
		}
	}
	return out, nil
}

// firstOf is the first handover of a case that can be drawn.
func firstOf(r *report.Result, name string) (report.Handover, bool) {
	for _, h := range r.Handovers {
		if h.Case == name && drawable(h.Track) {
			return h, true
		}
	}
	return report.Handover{}, false
}

// worst is the handover with the longest silence of those that can be drawn,
// -1 when there is none.
func worst(hs []report.Handover) int {
	at := -1
	for i, h := range hs {
		if drawable(h.Track) && (at < 0 || longestGap(h) > longestGap(hs[at])) {
			at = i
		}
	}
	return at
}
