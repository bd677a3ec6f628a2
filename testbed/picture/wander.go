package picture

import (
	"fmt"
	"strings"

	"gonum.org/v1/plot/vg"

	"openmpa/testbed/report"
)

// The scale of signals, dBm.
const (
	faintest = -95
	loudest  = -30
)

// Wander draws what nodes heard on the same way that moved by themselves, each with another policy: the signal of the point
// where the link was, the best of all, and the moves.
func Wander(name string, journeys []report.Journey) (Picture, error) {
	var shown []report.Journey
	for _, j := range journeys {
		if j.Policy != nil && len(j.Policy.Way) > 1 {
			shown = append(shown, j)
		}
	}
	if len(shown) == 0 {
		return Picture{}, fmt.Errorf("picture: %s: no node has gone anywhere", name)
	}
	const (
		each, gap   = 150, 34
		top, bottom = 58, 40
	)
	height := vg.Length(top + bottom + each*len(shown) + gap*(len(shown)-1))
	const title = "The signal where the link is, and the best there is"
	const caption = "Blue is the signal of the point that the node was attached to, grey the best of all points on the same way. " +
		"A line down is a move: vermillion to another network, orange within one; the names above are networks. Cut is where no link was."
	return render(Picture{Name: name, Title: title, Caption: caption}, pageWidth, height, func(s sheet) {
		s.write(marginX, height-22, style{size: large, bold: true}, title)
		last := 0.0
		for _, j := range shown {
			last = max(last, j.Policy.Way[len(j.Policy.Way)-1].AtS)
		}
		for i, j := range shown {
			y1 := height - top - vg.Length(i*(each+gap))
			p := panel{sheet: s, x0: marginX + 40, x1: pageWidth - marginX, y0: y1 - each, y1: y1, right: max(last, 1), low: faintest, high: loudest}
			d := j.Policy
			s.write(p.x0, y1+12, style{size: normal, bold: true}, fmt.Sprintf("%s: %d handovers, %d roams, %d of them ping-pong", strings.ToUpper(d.Style), d.Handovers, d.Roams, d.PingPongs))
			p.yGrid(ticks(faintest, loudest, 7), round)
			p.xGrid(i == len(shown)-1)
			p.way(d.Way)
			p.outline()
		}
		s.write(pageWidth/2, bottom-26, style{size: normal, x: -0.5}, "seconds; signals in dBm")
	})
}

// way draws one node's.
func (p panel) way(way []report.Heard) {
	level := func(dBm float64) vg.Length { return p.y(min(max(dBm, faintest), loudest)) }
	network := func(point string) string { // poa-b1 is of b
		if _, of, ok := strings.Cut(point, "-"); ok && of != "" {
			return of[:1]
		}
		return point
	}
	named := vg.Length(-1)
	name := func(x vg.Length, words string) {
		if x-named > 9 {
			p.write(x+2, p.y1-9, style{size: small}, words)
			named = x
		}
	}
	name(p.x0, network(way[0].Point))
	point := way[0].Point // where the link was last
	for i := 1; i < len(way); i++ {
		a, b := way[i-1], way[i]
		x0, x1 := p.x(a.AtS), p.x(b.AtS)
		if a.Best != 0 && b.Best != 0 {
			p.line(x0, level(a.Best), x1, level(b.Best), grey, 0.7)
		}
		if a.Signal != 0 && b.Signal != 0 && a.Point == b.Point {
			p.line(x0, level(a.Signal), x1, level(b.Signal), blue, 1)
		}
		if b.Point == "" {
			p.box(x0, p.y0, x1, p.y0+4, ink)
			continue
		}
		if b.Point != point {
			c := orange
			if network(b.Point) != network(point) {
				c = vermillion
				name(x1, network(b.Point))
			}
			p.line(x1, p.y0, x1, p.y1, c, 0.8)
			point = b.Point
		}
	}
}
