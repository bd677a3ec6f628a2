package picture

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"openmpa/testbed/report"
)

// curve is the distribution of one figure.
type curve struct {
	title  string
	field  string
	color  color.Color
	dashes []vg.Length
	values []float64 // sorted
}

// Distribution draws how the interruptions of many handovers are distributed:
// the part of the handovers (up) in which a figure was at most so large (right).
func Distribution(name string, hs []report.Handover) (Picture, error) {
	first := []curve{
		{title: "handover", field: "phases.l3_ms", color: blue},
		{title: "bare bridge swap (floor)", field: "phases.l3_floor_ms", color: grey, dashes: []vg.Length{5, 3}},
		{title: "difference", field: "phases.l3_beyond_floor_ms", color: vermillion, dashes: []vg.Length{1.5, 2.5}},
	}
	gaps := []curve{
		{title: "around the move, to the mobile node", field: "flow.down.handover_gap_ms", color: blue},
		{title: "around the move, from the mobile node", field: "flow.up.handover_gap_ms", color: orange},
		{title: "at any time, to the mobile node", field: "flow.down.max_gap_ms", color: blue, dashes: []vg.Length{1.5, 2.5}},
		{title: "at any time, from the mobile node", field: "flow.up.max_gap_ms", color: orange, dashes: []vg.Length{1.5, 2.5}},
		{title: "time between packets", field: "flow.down.interval_ms", color: grey, dashes: []vg.Length{5, 3}},
	}
	first, gaps = filled(first, hs), filled(gaps, hs)
	if len(first)+len(gaps) == 0 {
		return Picture{}, fmt.Errorf("picture: %s: the handovers have no figures of an interruption", name)
	}
	const height = 350
	title := fmt.Sprintf("Distribution of the interruption over %d handovers", len(hs))
	const caption = "The part of the handovers (upwards) in which a figure was at most so large. " +
		"The floor is a host with a static address that changes bridges, with nothing of ours; the difference is taken handover by handover."
	return render(Picture{Name: name, Title: title, Caption: caption}, pageWidth, height, func(s sheet) {
		const left, between = 46, 60
		width := vg.Length(pageWidth-marginX-left-between) / 2
		for i, d := range []struct {
			title  string
			curves []curve
		}{
			{"Link up to the first packet", first},
			{"Silence at the receiver", gaps},
		} {
			if len(d.curves) == 0 {
				continue
			}
			x0 := left + vg.Length(i)*(width+between)
			s.distribution(d.title, len(hs), d.curves, x0, x0+width, height)
		}
	})
}

// filled are the curves that have values.
func filled(curves []curve, hs []report.Handover) []curve {
	var out []curve
	for _, c := range curves {
		for _, h := range hs {
			if v, ok := h.Fields()[c.field]; ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
				c.values = append(c.values, v)
			}
		}
		if len(c.values) > 0 {
			slices.Sort(c.values)
			out = append(out, c)
		}
	}
	return out
}

func (s sheet) distribution(title string, n int, curves []curve, x0, x1, height vg.Length) {
	p := panel{sheet: s, x0: x0, x1: x1, y0: 40, y1: height - 104, low: 0, high: 1.04}
	p.right = 0
	for _, c := range curves {
		p.left, p.right = min(p.left, c.values[0]), max(p.right, c.values[len(c.values)-1])
	}
	p.right += max((p.right-p.left)*0.08, 0.1)
	s.write(x0, height-22, style{size: large, bold: true}, title)
	s.write(x0+s.width(style{size: large, bold: true}, title)+8, height-22, style{size: small}, fmt.Sprintf("%d handovers", n))
	p.xGrid(true)
	p.yGrid([]float64{0, 0.25, 0.5, 0.75, 0.9, 1}, func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) })
	s.write((x0+x1)/2, p.y0-17, style{size: normal, x: -0.5, y: -1}, "milliseconds, at most")
	for i, c := range curves {
		y := height - 40 - 12.5*vg.Length(i)
		s.line(x0, y, x0+24, y, c.color, 2, c.dashes...)
		s.write(x0+30, y, style{size: small, y: -0.5}, fmt.Sprintf("%s: median %s, largest %s",
			c.title, milliseconds(c.values[(len(c.values)-1)/2]), milliseconds(c.values[len(c.values)-1])))
		p.steps(c)
	}
	p.outline()
}

// steps draws the distribution of a figure's values.
func (p panel) steps(c curve) {
	at := []vg.Point{{X: p.x(c.values[0]), Y: p.y(0)}}
	for i, v := range c.values {
		at = append(at,
			vg.Point{X: p.x(v), Y: p.y(float64(i) / float64(len(c.values)))},
			vg.Point{X: p.x(v), Y: p.y(float64(i+1) / float64(len(c.values)))})
	}
	at = append(at, vg.Point{X: p.x1, Y: p.y(1)})
	p.StrokeLines(draw.LineStyle{Color: c.color, Width: 1.8, Dashes: c.dashes}, at)
}
