package picture

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/vg"

	"openmpa/internal/event"
	"openmpa/testbed/report"
)

// noLink is the lane of the link, which is no phase of a timeline.
const noLink = "no link"

// laneTitles are the phases that are drawn, from top to bottom. A phase that
// is not listed comes last, under its own name.
var laneTitles = []struct{ phase, title string }{
	{string(event.PhaseAuth), "authentication"},
	{string(event.PhaseDHCP), "address by DHCP"},
	{string(event.PhaseDAD), "duplicate address detection"},
	{string(event.PhaseTunnel), "tunnel"},
	{string(event.PhaseBind), "binding at the home agent"},
	{string(event.PhaseDepart), "departure"},
	{string(event.PhaseHold), "router holds packets"},
	{noLink, noLink},
	{string(event.PhaseArrival), "arrival"},
	{string(event.PhaseDrain), "router delivers them (drain)"},
	{string(event.PhaseFlip), "tunnel handed to the kernel"},
	{string(event.PhaseRenew), "lease renewed"},
	{string(event.PhaseSwitchBack), "return to the old network"},
	{string(event.PhaseCleanup), "clean-up"},
}

// wholes are phases that consist of others, or last no time.
var wholes = []string{
	string(event.PhaseHandover), string(event.PhaseAttach), string(event.PhaseConf),
	string(event.PhaseDiscovery), string(event.PhaseL2), string(event.PhaseL3),
}

// mobileNode is the name of the node in the lab's timelines.
const mobileNode = "mn"

type lane struct{ phase, title string }

// lanesOf are those that at least one of the handovers needs.
func lanesOf(tracks []*report.Track) []lane {
	present := make(map[string]bool)
	var unlisted []string
	for _, t := range tracks {
		if len(t.Away) > 0 {
			present[noLink] = true
		}
		for _, p := range t.Phases {
			if !present[p.Phase] && !slices.Contains(wholes, p.Phase) {
				present[p.Phase] = true
				unlisted = append(unlisted, p.Phase)
			}
		}
	}
	var out []lane
	for _, l := range laneTitles {
		if present[l.phase] {
			out = append(out, lane{l.phase, l.title})
		}
		unlisted = slices.DeleteFunc(unlisted, func(s string) bool { return s == l.phase })
	}
	for _, name := range unlisted {
		out = append(out, lane{name, name})
	}
	return out
}

// bar is one phase in its lane.
type bar struct {
	report.Span
	color color.Color
}

// bars are those of a lane, in order. A phase that two nodes report is drawn
// as the mobile node has it.
func bars(t *report.Track, l lane) []bar {
	if l.phase == noLink {
		var out []bar
		for _, s := range t.Away {
			out = append(out, bar{s, grey})
		}
		return out
	}
	var mine, others []bar
	for _, p := range t.Phases {
		switch {
		case p.Phase != l.phase:
		case p.Node == mobileNode:
			mine = append(mine, bar{p.Span, blue})
		default:
			others = append(others, bar{p.Span, orange})
		}
	}
	if len(mine) > 0 {
		return mine
	}
	return others
}

// drawLanes draws the lanes from the top of the panel to its bottom.
func (p panel) drawLanes(t *report.Track, lanes []lane) {
	height := (p.y1 - p.y0) / vg.Length(max(len(lanes), 1))
	for i, l := range lanes {
		top := p.y1 - vg.Length(i)*height
		middle := top - height/2
		p.line(p.x0, top-height, p.x1, top-height, grid, 0.5)
		first, last, total, dark := math.Inf(1), math.Inf(-1), 0.0, false
		for _, b := range bars(t, l) {
			if b.End() < p.left || b.AtMS > p.right {
				continue
			}
			from, to := p.x(p.clip(b.AtMS)), p.x(p.clip(b.End()))
			const thinnest = 1.6
			to = max(to, from+thinnest)
			p.box(from, middle-height*0.32, to, middle+height*0.32, b.color)
			first, last, total, dark = math.Min(first, b.AtMS), math.Max(last, b.End()), total+b.TookMS, b.color != orange
		}
		if math.IsInf(first, 1) {
			continue
		}
		p.label(middle, first, last, total, dark)
	}
}

// label says beside the bars of a lane how long they are: after them, where
// there is room, else before them, else on the bar, which is dark or not.
func (p panel) label(middle vg.Length, first, last, total float64, dark bool) {
	words := milliseconds(total)
	st := style{size: small, y: -0.5}
	const space = 4
	at := p.x(p.clip(last)) + space
	if at+p.width(st, words) > p.x1-2 {
		at = p.x(p.clip(first)) - space - p.width(st, words)
	}
	if at < p.x0+2 {
		at = p.x(p.clip(first)) + space
		if dark {
			st.color = color.White
		} else {
			st.color = color.Black
		}
	}
	p.write(at, middle, st, words)
}

// milliseconds writes a duration with as many digits as say something.
func milliseconds(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f ms", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.1f ms", v)
	default:
		return fmt.Sprintf("%.2f ms", v)
	}
}
