package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Journey is traffic that went on through several moves.
type Journey struct {
	Case        string  `json:"case,omitempty"`
	Moves       int     `json:"moves"`  // of the link, that came up
	TookS       float64 `json:"took_s"` // from its first packet to its last
	Flow        Flows   `json:"flow"`
	ForcedFlips int     `json:"forced_flips"`
	// Policy is what a node that moved by itself decided; absent where it was told.
	Policy *Decided `json:"policy,omitempty"`
}

// Decided counts the decisions of a node that moves by itself.
type Decided struct {
	Style     string `json:"style"`
	Decisions int    `json:"decisions"` // of which the node's timeline tells
	Unworded  int    `json:"unworded"`  // of those without a reason in words
	// Handovers are to other networks, and Roams to other points of a network; Unplanned are moves that the node did not decide.
	Handovers int `json:"handovers"`
	Roams     int `json:"roams"`
	Unplanned int `json:"unplanned"`
	// PingPongs are moves back to the point before within WithinS.
	PingPongs int     `json:"ping_pongs"`
	WithinS   float64 `json:"within_s"`
	// The node's own figures by depth: how often a preparation has come so far, how deep those were that a move took, and
	// those that none did.
	Prepared map[string]int `json:"prepared,omitempty"`
	Used     map[string]int `json:"used,omitempty"`
	Vain     map[string]int `json:"vain,omitempty"`
	// WeakS is how long the link was at a point below WeakDBm.
	WeakS   float64 `json:"weak_s"`
	WeakDBm float64 `json:"weak_dbm"`
	// CutS is how long the link was gone because the signal was.
	CutS float64 `json:"cut_s"`
	// Way is what the node heard, and where it was; for pictures only.
	Way []Heard `json:"way,omitempty"`
}

// Heard is what a node hears at a time.
type Heard struct {
	AtS    float64 `json:"at_s"`
	Point  string  `json:"point,omitempty"`      // where its link is
	Signal float64 `json:"signal_dbm,omitempty"` // of it
	Best   float64 `json:"best_dbm,omitempty"`   // of all points
}

// HasWay says whether there is what a node heard on its way.
func HasWay(r *Result) bool {
	return slices.ContainsFunc(r.Journeys, func(j Journey) bool { return j.Policy != nil && len(j.Policy.Way) > 1 })
}

// share is n of all, in percent.
func share(n, all int) string {
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%d (%.0f %%)", n, 100*float64(n)/float64(all))
}

func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}

// JourneyTable shows journeys beside one another; empty without any.
func JourneyTable(r *Result) string {
	if len(r.Journeys) == 0 {
		return ""
	}
	rows := [][]string{
		{""},
		{"moves of the link"},
		{"took, s"},
		{"packets to the mobile node"},
		{"  lost, duplicated, reordered"},
		{"packets from the mobile node"},
		{"  lost, duplicated, reordered"},
		{"forced flips"},
	}
	flaws := func(f *Flow) []string {
		if f == nil {
			return []string{"-", "-"}
		}
		return []string{number(float64(f.Sent)), fmt.Sprintf("%d, %d, %d", f.Lost, f.Duplicated, f.Reordered)}
	}
	for _, j := range r.Journeys {
		column := append([]string{j.Case, number(float64(j.Moves)), number(j.TookS)}, flaws(j.Flow.Down)...)
		column = append(append(column, flaws(j.Flow.Up)...), number(float64(j.ForcedFlips)))
		for i := range rows {
			rows[i] = append(rows[i], column[i])
		}
	}
	return Table(append(rows, decidedRows(r.Journeys)...))
}

func decidedRows(js []Journey) [][]string {
	if !slices.ContainsFunc(js, func(j Journey) bool { return j.Policy != nil }) {
		return nil
	}
	var rows [][]string
	add := func(title string, of func(d *Decided) string) {
		row := []string{title}
		for _, j := range js {
			cell := "-"
			if j.Policy != nil {
				cell = of(j.Policy)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	add("decided: handovers, roams", func(d *Decided) string { return fmt.Sprintf("%d, %d", d.Handovers, d.Roams) })
	add("  not decided", func(d *Decided) string { return number(float64(d.Unplanned)) })
	add("  ping-pong", func(d *Decided) string { return share(d.PingPongs, d.Handovers+d.Roams+d.Unplanned) })
	ended := func(d *Decided) int { return sum(d.Used) + sum(d.Vain) }
	add("prepared, and used or given back", func(d *Decided) string { return number(float64(ended(d))) })
	depths := make(map[string]bool)
	for _, j := range js {
		if j.Policy != nil {
			for depth := range j.Policy.Vain {
				depths[depth] = true
			}
		}
	}
	add("  in vain", func(d *Decided) string { return share(sum(d.Vain), ended(d)) })
	for _, depth := range slices.Sorted(maps.Keys(depths)) {
		add("    to "+depth, func(d *Decided) string { return number(float64(d.Vain[depth])) })
	}
	weak := ""
	for _, j := range js {
		if j.Policy != nil {
			weak = number(j.Policy.WeakDBm)
		}
	}
	add(fmt.Sprintf("below %s dBm, s", weak), func(d *Decided) string { return number(d.WeakS) })
	add("cut, s", func(d *Decided) string { return number(d.CutS) })
	add("decisions told, without words", func(d *Decided) string { return fmt.Sprintf("%d, %d", d.Decisions, d.Unworded) })
	return rows
}

// JourneyNotes are below the table.
func JourneyNotes(r *Result) string {
	var lines []string
	for _, j := range r.Journeys {
		if d := j.Policy; d != nil {
			lines = append(lines, fmt.Sprintf("Ping-pong is a move back to the point before within %s s; in percent of all moves. In vain is a preparation that no move took, in percent of those that have come to an end; below, how deep it had come.", number(d.WithinS)))
			break
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// silences shows for how long moves interrupted traffic, by case; empty where nobody measured that.
func silences(r *Result) string {
	rows := [][]string{{"silence around a move, ms", "moves", "p50", "p90", "max"}}
	for _, c := range r.Cases {
		if f, ok := c.Summary["phases.interrupted_ms"]; ok {
			rows = append(rows, []string{c.Name, number(float64(f.Count)), number(f.P50), number(f.P90), number(f.Max)})
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return Table(rows)
}
