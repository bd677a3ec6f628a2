package report

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// PhaseNames are the phases in the order in which they happen, with what
// they are called in tables. Phases that are not listed come last.
var PhaseNames = []struct{ Field, Title string }{
	{"discovery_ms", "discovery"},
	{"tauth_ms", "authentication"},
	{"keys_ms", "keys of the access points"},
	{"tconf_ms", "configuration"},
	{"dhcp_ms", "  of it: DHCP"},
	{"dad_ms", "  of it: duplicate address detection"},
	{"tunnel_ms", "tunnel"},
	{"bind_ms", "binding at the home agent"},
	{"depart_ms", "departure"},
	{"l2_ms", "link down to link up"},
	{"assoc_ms", "association and 4-way handshake"},
	{"roam_ms", "command to move to its end"},
	{"interrupted_ms", "silence around the move"},
	{"back_ms", "until traffic goes on"},
	{"l3_ms", "link up to the first packet"},
	{"l3_floor_ms", "  the same for a bare bridge swap"},
	{"l3_beyond_floor_ms", "  beyond that"},
}

// Table lays rows out in columns; the first is left-aligned, the others are
// right-aligned.
func Table(rows [][]string) string {
	var width []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		var line strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				line.WriteString("  " + c + pad)
			} else {
				line.WriteString("   " + pad + c)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// Compare shows handovers beside one another, each under its title.
func Compare(titles []string, hs []Handover) string {
	fields := make([]map[string]float64, len(hs))
	for i, h := range hs {
		fields[i] = h.Fields()
	}
	rows := [][]string{append([]string{""}, titles...)}
	add := func(title, field, unit string) {
		row := []string{title}
		any := false
		for _, f := range fields {
			v, ok := f[field]
			any = any || ok
			row = append(row, Cell(v, ok, unit))
		}
		if any {
			rows = append(rows, row)
		}
	}
	outcome := []string{"outcome"}
	for _, h := range hs {
		outcome = append(outcome, h.Outcome)
	}
	rows = append(rows, outcome, []string{""})
	listed := make(map[string]bool)
	for _, p := range PhaseNames {
		listed[p.Field] = true
		add(p.Title, "phases."+p.Field, "ms")
	}
	var rest []string
	for _, h := range hs {
		for k := range h.Phases {
			if !listed[k] {
				listed[k] = true
				rest = append(rest, k)
			}
		}
	}
	sort.Strings(rest)
	for _, k := range rest {
		add(strings.TrimSuffix(k, "_ms"), "phases."+k, "ms")
	}
	for _, d := range []struct{ field, title string }{{"down", "to the mobile node"}, {"up", "from the mobile node"}} {
		rows = append(rows, []string{""}, []string{d.title})
		for _, x := range []struct{ field, title, unit string }{
			{"sent", "  packets sent", ""},
			{"lost", "  lost", ""},
			{"duplicated", "  duplicated", ""},
			{"reordered", "  reordered", ""},
			{"max_gap_ms", "  longest silence", "ms"},
			{"delay_p50_ms", "  one-way delay, median", "ms"},
			{"delay_p99_ms", "    99th percentile", "ms"},
			{"delay_max_ms", "    longest", "ms"},
			{"jitter_ms", "  jitter (RFC 3550), largest", "ms"},
		} {
			add(x.title, "flow."+d.field+"."+x.field, x.unit)
		}
	}
	rows = append(rows, []string{""})
	add("held by the router", "buffer.packets", "packets")
	add("  for at most", "buffer.held_ms", "ms")
	add("  dropped", "buffer.dropped", "")
	return Table(trimBlank(rows))
}

func trimBlank(rows [][]string) [][]string {
	for len(rows) > 0 && len(rows[len(rows)-1]) == 1 && rows[len(rows)-1][0] == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// Cell writes a figure, or a dash where there is none.
func Cell(v float64, ok bool, unit string) string {
	if !ok {
		return "-"
	}
	s := number(v)
	if unit != "" {
		s += " " + unit
	}
	return s
}

func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return strconv.FormatInt(int64(v), 10)
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// Tables are what a run prints: the summary, or RFC 6252's figures where it
// measured those, and the delays.
func Tables(r *Result) string {
	var parts []string
	if t := JourneyTable(r); t != "" {
		parts = append(parts, t, JourneyNotes(r))
		if t := silences(r); t != "" {
			parts = append(parts, t)
		}
	} else if t := FigureTable(r); t != "" {
		parts = append(parts, t, strings.Join(FigureNotes(r), "\n")+"\n")
	} else if t := RoamTable(r); t != "" {
		rule, _ := RoamRule(r)
		parts = append(parts, t, strings.Join(append(RoamNotes(), rule), "\n")+"\n")
	} else if t := StreamTable(r); t != "" {
		parts = append(parts, t)
	} else if t := CaseTable(r); t != "" {
		parts = append(parts, t)
	} else {
		parts = append(parts, SummaryTable(r))
	}
	if t := DelayTable(r); t != "" {
		parts = append(parts, t)
	}
	if s := BeyondFloor(r); s != "" {
		parts = append(parts, s+"\n")
	}
	if m := r.Machine; m.busy() {
		parts = append(parts, fmt.Sprintf("The machine was busy before the run, with a load of %.1f on %d processors: the lab measures in real time, and part of these times is the machine's.\n", m.Load, m.CPUs))
	}
	return strings.Join(parts, "\n")
}

// SummaryTable shows the summary of a run.
func SummaryTable(r *Result) string {
	head := fmt.Sprintf("of %d handovers", len(r.Handovers))
	if len(r.Handovers) == 1 {
		head = "of 1 handover"
	}
	rows := [][]string{{head, "mean", "min", "p50", "p90", "p99", "max"}}
	order := make([]string, 0, len(r.Summary))
	seen := make(map[string]bool)
	put := func(k string) {
		if _, ok := r.Summary[k]; ok && !seen[k] {
			seen[k] = true
			order = append(order, k)
		}
	}
	for _, p := range PhaseNames {
		put("phases." + p.Field)
	}
	for _, d := range []string{"down", "up"} {
		for _, f := range []string{"sent", "received", "lost", "lost_on_links", "lost_on_air", "refused", "duplicated", "reordered", "interval_ms", "max_gap_ms", "handover_gap_ms", "handover_jitter_ms", "jitter_ms", "delay_p50_ms", "delay_p99_ms", "delay_max_ms", "sent_late_p50_ms", "sent_late_p99_ms"} {
			put("flow." + d + "." + f)
		}
	}
	for _, f := range []string{"packets", "held_ms", "dropped", "forced_flips"} {
		put("buffer." + f)
	}
	var rest []string
	for k := range r.Summary {
		if !seen[k] {
			rest = append(rest, k)
		}
	}
	sort.Strings(rest)
	for _, k := range append(order, rest...) {
		f := r.Summary[k]
		rows = append(rows, []string{k, number(f.Mean), number(f.Min), number(f.P50), number(f.P90), number(f.P99), number(f.Max)})
	}
	return Table(rows)
}
