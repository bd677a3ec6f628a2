package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The cases of the measurements in RFC 6252, section C.5.1.
const (
	CaseUnbuffered      = "buffering off"
	CaseBuffered        = "buffering on"
	CaseUnbufferedRoute = "buffering off, RO" // route optimisation
	CaseBufferedRoute   = "buffering on, RO"
	CaseUnprepared      = "without MPA"
)

// DelayLimitMS is what RFC 6252, section 1.2, cites of ITU-T G.114: the upper
// limit of one-way delay for most applications.
const DelayLimitMS = 150

// A Column of RFC 6252's figures, or of ours beside them. Values are in the
// order of [FigureRows], as they are printed.
type Column struct {
	Case   string
	Title  string // "Fig. 6"
	Ours   bool
	Values []string
	// Ranges are the smallest, the median and the largest of what a value is
	// the average of, "" where there is nothing to say; of ours only.
	Ranges []string
}

// FigureRows are the rows of RFC 6252's Figures 6 and 7, with the field that
// is ours: all of the packets to the mobile node, which is what was measured
// there.
var FigureRows = []struct{ Title, Field string }{
	{"L2 handoff (ms)", "phases.l2_ms"},
	{"L3 handoff (ms)", "phases.l3_ms"},
	{"Avg. packet loss", "flow.down.lost"},
	{"Avg. inter-packet arrival interval (ms)", "flow.down.interval_ms"},
	{"Avg. inter-packet arrival time during handover (ms)", "flow.down.handover_gap_ms"},
	{"Avg. packet jitter (ms)", "flow.down.handover_jitter_ms"},
	{"Buffering period (ms)", "buffer.held_ms"},
	{"Buffered packets", "buffer.packets"},
}

// rfcColumns are the published figures: Figure 6 is Mobile IPv6 (RO is route
// optimisation), Figure 7 is SIP. Of the handover without MPA the text after
// them says "an average of 4 seconds" and "about 200 packets".
var rfcColumns = []Column{
	{Case: CaseUnbuffered, Title: "Fig. 6", Values: []string{"4.00", "1.00", "1.33", "16.00", "n/a", "n/a", "n/a", "n/a"}},
	{Case: CaseUnbuffered, Title: "Fig. 6, RO", Values: []string{"4.00", "1.00", "0.66", "16.00", "n/a", "n/a", "n/a", "n/a"}},
	{Case: CaseUnbuffered, Title: "Fig. 7", Values: []string{"4.00", "1.00", "1.50", "16.00", "n/a", "n/a", "n/a", "n/a"}},
	{Case: CaseBuffered, Title: "Fig. 6", Values: []string{"4.33", "1.00", "0", "16.00", "45.33", "29.33", "50.00", "2.00"}},
	{Case: CaseBuffered, Title: "Fig. 6, RO", Values: []string{"4.00", "1.00", "0", "16.00", "66.60", "50.60", "50.00", "3.00"}},
	{Case: CaseBuffered, Title: "Fig. 7", Values: []string{"5.00", "1.00", "0", "16.00", "29.00", "13.00", "20.00", "3.00"}},
	{Case: CaseUnprepared, Title: "C.5.1", Values: []string{"", "~4000", "~200", "", "", "", "", ""}},
}

// routeColumns are those of Figure 6 in its own four cases, beside what was measured with route optimisation, too.
var routeColumns = []Column{
	routed(rfcColumns[0], CaseUnbuffered), routed(rfcColumns[3], CaseBuffered),
	routed(rfcColumns[1], CaseUnbufferedRoute), routed(rfcColumns[4], CaseBufferedRoute),
	rfcColumns[len(rfcColumns)-1],
}

// routed is a column of Figure 6 in a case of its own.
func routed(c Column, name string) Column {
	c.Case, c.Title = name, "Fig. 6"
	return c
}

// FigureColumns are RFC 6252's figures with ours after those of each case.
// It is nil when the result is of another scenario.
func FigureColumns(r *Result) []Column {
	rfcColumns := rfcColumns
	if r.routed() {
		rfcColumns = routeColumns
	}
	summaries := make(map[string]map[string]Figures)
	for _, c := range r.Cases {
		summaries[c.Name] = c.Summary
	}
	var out []Column
	for i, c := range rfcColumns {
		out = append(out, c)
		summary := summaries[c.Case]
		if summary == nil || i+1 < len(rfcColumns) && rfcColumns[i+1].Case == c.Case {
			continue
		}
		ours := Column{Case: c.Case, Title: "here", Ours: true}
		unbuffered := c.Case == CaseUnbuffered || c.Case == CaseUnbufferedRoute
		for _, row := range FigureRows {
			v, within := "-", ""
			if f, ok := summary[row.Field]; ok && !(unbuffered && strings.HasPrefix(row.Field, "buffer.")) {
				v, within = strconv.FormatFloat(f.Mean, 'f', 2, 64), number(f.Min)+" / "+number(f.P50)+" / "+number(f.Max)
			}
			ours.Values, ours.Ranges = append(ours.Values, v), append(ours.Ranges, within)
		}
		out = append(out, ours)
	}
	if len(out) == len(rfcColumns) {
		return nil
	}
	return out
}

// routed reports whether a result has the cases with route optimisation.
func (r *Result) routed() bool {
	return slices.ContainsFunc(r.Cases, func(c Case) bool { return c.Name == CaseBufferedRoute })
}

// FigureNotes say what the columns of RFC 6252 and of ours are, a sentence
// each.
func FigureNotes(r *Result) []string {
	if r.routed() {
		return append([]string{
			"Figure 6 of RFC 6252 is Mobile IPv6, RO is route optimisation: packets go between the node and its correspondent and do not pass the home agent. Here it is Mobile IPv6, too.",
		}, figureNotes...)
	}
	return append([]string{
		"Figure 6 of RFC 6252 is Mobile IPv6 (RO: with route optimisation), Figure 7 is SIP. Here it is Mobile IPv4 with reverse tunnelling, which has no route optimisation: compare with Figure 6 without RO.",
	}, figureNotes...)
}

// figureNotes are those that all results have.
var figureNotes = []string{
	"Averages over the handovers; packets to the mobile node. \"During handover\" is the silence around the time without a link; jitter is what it is longer than the interval, as in the RFC's own figures.",
	"Without MPA the RFC gives 4 s in all, about 200 packets lost, with the timers that DHCP and duplicate address detection had. Here those are short unless --dad rfc5227 was given.",
	"L3 handoff is measured in handovers of their own, with 5000 packets/s more, which the buffer's figures are free of. With buffering off the router holds nothing; the node's own queue stays, so nothing is lost from it.",
}

// FigureTable shows our measurements beside RFC 6252's, without its columns
// of route optimisation.
func FigureTable(r *Result) string {
	var columns []Column
	for _, c := range FigureColumns(r) {
		if c.Title != "Fig. 6, RO" {
			columns = append(columns, c)
		}
	}
	if columns == nil {
		return ""
	}
	head := []string{""}
	for _, c := range columns {
		head = append(head, c.Title)
	}
	rows := [][]string{head}
	for i, f := range FigureRows {
		title, rest := f.Title, ""
		if at := strings.Index(title, " during handover"); at > 0 {
			title, rest = title[:at], "  "+title[at+1:]
		}
		row := []string{title}
		if rest != "" {
			rows = append(rows, row)
			row = []string{rest}
		}
		for _, c := range columns {
			row = append(row, c.Values[i])
		}
		rows = append(rows, row)
	}
	return caseLine(columns, Table(rows)) + "\n" + rangeTable(columns)
}

// rangeTable says between what values our averages are: one handover that a
// busy machine held up makes an average of ten say little.
func rangeTable(columns []Column) string {
	rows := [][]string{{"ours: smallest / median / largest"}}
	for _, f := range FigureRows {
		rows = append(rows, []string{f.Title})
	}
	for _, c := range columns {
		if !c.Ours {
			continue
		}
		rows[0] = append(rows[0], c.Case)
		for i, r := range c.Ranges {
			if r == "" {
				r = "-"
			}
			rows[i+1] = append(rows[i+1], r)
		}
	}
	return Table(rows)
}

// caseLine puts the names of the cases above the first column of each.
func caseLine(columns []Column, table string) string {
	head, _, _ := strings.Cut(table, "\n")
	line := ""
	at := 0
	for i, c := range columns {
		at += strings.Index(head[at:], c.Title)
		if i == 0 || columns[i-1].Case != c.Case {
			line += strings.Repeat(" ", max(at-len(line), 1)) + c.Case
		}
		at += len(c.Title)
	}
	return line + "\n" + table
}

// DelayRow is the one-way delay of one direction, in milliseconds.
type DelayRow struct {
	Title            string
	Median, P99, Max float64
}

// DelayRows are the one-way delays of both directions, of each case if there
// are several: the median of the handovers' medians, the largest of their 99th
// percentiles, and the longest of all.
func DelayRows(r *Result) []DelayRow {
	cases := r.Cases
	if len(cases) == 0 {
		cases = []Case{{Summary: r.Summary}}
	}
	var out []DelayRow
	for _, c := range cases {
		for _, d := range []struct{ field, title string }{{"down", "to the mobile node"}, {"up", "from the mobile node"}} {
			longest, ok := c.Summary["flow."+d.field+".delay_max_ms"]
			if !ok {
				continue
			}
			title := d.title
			if c.Name != "" {
				title = c.Name + ", " + title
			}
			out = append(out, DelayRow{
				Title: title, Max: longest.Max,
				Median: c.Summary["flow."+d.field+".delay_p50_ms"].P50, P99: c.Summary["flow."+d.field+".delay_p99_ms"].Max,
			})
		}
	}
	return out
}

// DelayTable shows the one-way delays against the limit of G.114.
func DelayTable(r *Result) string {
	rows := [][]string{{"one-way delay (ms)", "p50", "worst p99", "max", fmt.Sprintf("max of %d", DelayLimitMS)}}
	for _, d := range DelayRows(r) {
		share := fmt.Sprintf("%.1f %%", 100*d.Max/DelayLimitMS)
		rows = append(rows, []string{d.Title, number(d.Median), number(d.P99), number(d.Max), share})
	}
	if len(rows) == 1 {
		return ""
	}
	return Table(rows)
}

// BeyondFloor says how long after link up the first packet came, less what
// the kernel alone takes; empty when it was not measured more than once.
func BeyondFloor(r *Result) string {
	f, ok := r.Summary["phases.l3_beyond_floor_ms"]
	if !ok || f.Count < 2 {
		return ""
	}
	return fmt.Sprintf("Link up to the first packet, beyond what a bare bridge swap takes (l3_ms - l3_floor_ms), of %d: p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms.",
		f.Count, f.P50, f.P90, f.P99, f.Max)
}
