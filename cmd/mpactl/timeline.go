package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"openmpa/internal/event"
)

// row is one line of a handover's table: a phase, or a moment.
type row struct {
	Phase   event.Phase
	Name    string // of a moment
	Node    string
	Start   time.Time
	Took    time.Duration
	Running bool
	Outcome event.Outcome
	Reason  string
	Attrs   map[string]any
}

// tolerance is how far two copies of one record may be apart: a record that
// travelled between nodes may have been rounded.
const tolerance = time.Millisecond

// merge joins what several recorders kept. A recorder may have imported records
// of another; such copies count once. Within one recorder nothing is a copy.
func merge(sources ...[]event.Event) []event.Event {
	var out []event.Event
	for _, source := range sources {
		taken := make([]bool, len(out)) // by a record of this source
		var fresh []event.Event
		for _, e := range source {
			i := slices.IndexFunc(out, func(o event.Event) bool { return same(o, e) })
			for i >= 0 && taken[i] {
				next := slices.IndexFunc(out[i+1:], func(o event.Event) bool { return same(o, e) })
				if next < 0 {
					i = -1
					break
				}
				i += 1 + next
			}
			if i >= 0 {
				taken[i] = true
				continue
			}
			fresh = append(fresh, e)
		}
		out = append(out, fresh...)
	}
	slices.SortStableFunc(out, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
	return out
}

func same(a, b event.Event) bool {
	return a.Node == b.Node && a.Handover == b.Handover && a.Phase == b.Phase && a.Kind == b.Kind && a.Name == b.Name &&
		a.Outcome == b.Outcome && a.Time.Sub(b.Time).Abs() < tolerance && (a.Duration-b.Duration).Abs() < tolerance
}

// rowsOf turns the records of one handover into rows, the whole first, the rest
// by their start. now is for what still goes on.
func rowsOf(events []event.Event, now time.Time) []row {
	var rows []row
	type span struct {
		node  string
		phase event.Phase
	}
	open := map[span][]event.Event{} // begins without their ends
	for _, e := range events {
		s := span{e.Node, e.Phase}
		switch e.Kind {
		case event.KindBegin:
			open[s] = append(open[s], e)
		case event.KindEnd:
			start := e.Time.Add(-e.Duration)
			open[s] = slices.DeleteFunc(open[s], closedBy(start, open[s]))
			rows = append(rows, row{
				Phase: e.Phase, Node: e.Node, Start: start, Took: e.Duration,
				Outcome: e.Outcome, Reason: e.Reason, Attrs: e.Attrs,
			})
		case event.KindPoint:
			rows = append(rows, row{Phase: e.Phase, Name: e.Name, Node: e.Node, Start: e.Time, Attrs: e.Attrs})
		}
	}
	for s, begins := range open {
		for _, e := range begins {
			rows = append(rows, row{
				Phase: s.phase, Node: s.node, Start: e.Time, Took: max(now.Sub(e.Time), 0), Running: true, Attrs: e.Attrs,
			})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			a.Start.Compare(b.Start),
			cmp.Compare(b.Took, a.Took),
			cmp.Compare(a.Node, b.Node),
			cmp.Compare(a.Phase, b.Phase),
		)
	})
	return rows
}

// closedBy finds the begin that an end with this start belongs to: the nearest.
func closedBy(start time.Time, begins []event.Event) func(event.Event) bool {
	best := -1
	for i, b := range begins {
		if best < 0 || b.Time.Sub(start).Abs() < begins[best].Time.Sub(start).Abs() {
			best = i
		}
	}
	if best < 0 {
		return func(event.Event) bool { return false }
	}
	seq, at := begins[best].Seq, begins[best].Time
	return func(e event.Event) bool { return e.Seq == seq && e.Time.Equal(at) }
}

func rank(r row) int {
	if r.Phase == event.PhaseHandover && r.Name == "" {
		return 0
	}
	return 1
}

// detail is what a row says beyond its columns: the reason, then what it cost.
func (r row) detail() string {
	var parts []string
	if r.Name != "" {
		parts = append(parts, r.Name)
	}
	if r.Reason != "" {
		parts = append(parts, r.Reason)
	}
	if s := attrText(r.Attrs); s != "" {
		parts = append(parts, s)
	}
	return clean(strings.Join(parts, "; "))
}

// verdict is the outcome's column.
func (r row) verdict() string {
	switch {
	case r.Name != "":
		return "-"
	case r.Running:
		return "running"
	}
	return cmp.Or(clean(string(r.Outcome)), "-")
}

// took is the duration's column, in milliseconds.
func (r row) took() string {
	if r.Name != "" {
		return "-"
	}
	return ms(r.Took)
}

// attrText writes what is not empty, in the order of the keys.
func attrText(attrs map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		if v := valueText(attrs[k]); v != "" {
			parts = append(parts, k+"="+v)
		}
	}
	return strings.Join(parts, " ")
}

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
	case map[string]any:
		return strings.ReplaceAll(attrText(v), " ", ",")
	default:
		return fmt.Sprint(v)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
