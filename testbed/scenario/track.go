package scenario

import (
	"cmp"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/report"
)

// track packs what was seen of a handover, for pictures.
func track(m measured) *report.Track {
	var origin time.Time
	switch {
	case len(m.moves) > 0:
		origin = m.moves[0].Lost
	case len(m.strips.Down.Sent) > 0:
		origin = time.Unix(0, m.strips.Down.Sent[0])
	}
	since := func(t time.Time) float64 { return report.MS(t.Round(0).Sub(origin.Round(0))) }
	t := &report.Track{
		Origin: origin, Phases: []report.TrackPhase{},
		Down: report.PacketsOf(origin, m.strips.Down), Up: report.PacketsOf(origin, m.strips.Up),
	}
	var lost time.Time // since when there is no link
	for _, mv := range m.moves {
		if lost.IsZero() {
			lost = mv.Lost
		}
		if !mv.Up.IsZero() {
			t.Away = append(t.Away, report.Span{AtMS: since(lost), TookMS: report.MS(mv.Up.Sub(lost))})
			lost = time.Time{}
		}
	}
	nodes := make(map[string]bool)
	for _, e := range m.records {
		nodes[e.Node] = true
	}
	for node := range nodes {
		for _, e := range ofNode(m.records, node) {
			if e.Kind == event.KindEnd {
				t.Phases = append(t.Phases, report.TrackPhase{
					Phase: string(e.Phase), Node: e.Node, Outcome: string(e.Outcome),
					Span: report.Span{AtMS: since(e.Time.Add(-e.Duration)), TookMS: report.MS(e.Duration)},
				})
			}
		}
	}
	slices.SortFunc(t.Phases, func(a, b report.TrackPhase) int {
		return cmp.Or(cmp.Compare(a.AtMS, b.AtMS), cmp.Compare(b.TookMS, a.TookMS), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Phase, b.Phase))
	})
	return t
}
