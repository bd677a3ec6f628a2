package report

import (
	"math"
	"slices"
	"time"
)

// Backs is, for each case, the median time from when the link went until the first packet got through behind it: without
// a link, and then without a packet. Handovers that do not have both times do not count.
func Backs(hs []Handover) map[string]time.Duration {
	all := make(map[string][]float64)
	for _, h := range hs {
		l2, ok2 := h.Phases["l2_ms"]
		l3, ok3 := h.Phases["l3_ms"]
		if ok2 && ok3 {
			all[h.Case] = append(all[h.Case], l2+l3)
		}
	}
	out := make(map[string]time.Duration)
	for c, v := range all {
		slices.Sort(v)
		out[c] = time.Duration(percentile(v, 50) * float64(time.Millisecond))
	}
	return out
}

// CaseTable shows what the moves of each case were like, a line each; empty for a result without cases.
func CaseTable(r *Result) string {
	radio := false
	for _, c := range r.Cases {
		_, has := c.Summary["radio.eap"]
		radio = radio || has
	}
	rows := [][]string{{"", "n", "without link", "then to a packet", "silence down", "up", "lost down", "up"}}
	title := "medians, and sums of what was lost\n"
	if radio {
		rows[0] = append(rows[0][:6], "lost down/air", "up/air", "EAP", "RADIUS")
		title = "medians, and sums of what was lost, of authentications and of RADIUS packets\n"
	}
	for _, c := range r.Cases {
		figure := func(field string) string {
			f, ok := c.Summary[field]
			return Cell(f.P50, ok, "ms")
		}
		sum := func(field string) string {
			f, ok := c.Summary[field]
			return Cell(math.Round(f.Mean*float64(f.Count)), ok, "") // the mean is rounded
		}
		pair := func(direction string) string {
			text := sum("flow." + direction + ".lost")
			if _, ok := c.Summary["flow."+direction+".lost_on_air"]; ok {
				text += "/" + sum("flow."+direction+".lost_on_air")
			}
			return text
		}
		row := []string{
			c.Name, number(float64(c.Summary["flow.up.lost"].Count)), figure("phases.l2_ms"), figure("phases.l3_ms"),
			figure("flow.down.max_gap_ms"), figure("flow.up.max_gap_ms"), pair("down"), pair("up"),
		}
		if radio {
			row = append(row, sum("radio.eap"), sum("radio.radius"))
		}
		rows = append(rows, row)
	}
	if len(rows) == 1 {
		return ""
	}
	return title + Table(rows)
}
