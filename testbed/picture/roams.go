package picture

import (
	"fmt"
	"math"

	"gonum.org/v1/plot/vg"

	"openmpa/testbed/report"
)

// Roams draws RFC 6252, Figure 10: of each way what is done before the move, at
// the left of it, and what the move takes, at the right.
func Roams(name string, roams []report.Roam) (Picture, error) {
	type bar struct {
		report.Roam
		before float64
		move   report.Figures
	}
	var bars []bar
	left, right := 0.0, 0.0
	for _, r := range roams {
		move, ok := r.Figure("roam_ms")
		total, has := r.Figure("total_ms")
		if !ok || !has || !finite(move.P50, move.Min, move.Max, total.P50) {
			continue
		}
		b := bar{r, max(total.P50-move.P50, 0), move}
		bars = append(bars, b)
		left, right = min(left, -b.before), max(right, move.Max, r.RFC)
	}
	if len(bars) == 0 {
		return Picture{}, fmt.Errorf("picture: %s: no move has a time", name)
	}
	const (
		rowHeight, barHeight = 24, 12
		labels, top, bottom  = 230, 62, 44
	)
	height := vg.Length(top + bottom + rowHeight*len(bars))
	const title = "Time affecting the handover, and what is done before it"
	const caption = "Medians. Blue is done while the station is still connected: authentication, and with MPA the installation of keys. " +
		"Vermillion is the move itself, from the command to the end of the 4-way handshake; the line is from the shortest to the longest. " +
		"Rings are what RFC 6252 measured in Figure 10."
	return render(Picture{Name: name, Title: title, Caption: caption}, pageWidth, height, func(s sheet) {
		p := panel{sheet: s, x0: marginX + labels, x1: pageWidth - 3*marginX, y0: bottom, y1: height - top}
		room := (right - left) * 0.03
		p.left, p.right = left-room, right+2*room
		s.write(marginX, height-22, style{size: large, bold: true}, title)
		x := vg.Length(marginX)
		for _, l := range []struct {
			words string
			draw  func(x vg.Length)
		}{
			{"before the move", func(x vg.Length) { s.box(x, height-48, x+18, height-40, blue) }},
			{"the move (median)", func(x vg.Length) { s.box(x, height-48, x+18, height-40, vermillion) }},
			{"shortest to longest", func(x vg.Length) { s.line(x, height-44, x+18, height-44, ink, 1.2) }},
			{"RFC 6252's move", func(x vg.Length) { s.ring(x+9, height-44, ink, 3.5) }},
		} {
			l.draw(x)
			s.write(x+24, height-44, style{size: small, y: -0.5}, l.words)
			x += 24 + s.width(style{size: small}, l.words) + 22
		}
		p.xGrid(true)
		s.write((p.x0+p.x1)/2, p.y0-17, style{size: normal, x: -0.5, y: -1}, "milliseconds from the command to move")
		for i, b := range bars {
			y := p.y1 - rowHeight*(vg.Length(i)+0.5)
			words := report.RoamCase(b.Way, b.Roaming)
			s.write(p.x0-8, y, style{size: normal, x: -1, y: -0.5, bold: b.Way == report.WayMPA}, words)
			s.box(p.x(-b.before), y-barHeight/2, p.x(0), y+barHeight/2, blue)
			s.box(p.x(0), y-barHeight/2, p.x(b.move.P50), y+barHeight/2, vermillion)
			s.line(p.x(b.move.Min), y, p.x(b.move.Max), y, ink, 1.2)
			if b.RFC > 0 {
				s.ring(p.x(b.RFC), y, ink, 3.5)
			}
			s.write(p.x(max(b.move.Max, b.RFC))+8, y, style{size: small, y: -0.5}, milliseconds(b.move.P50))
		}
		s.line(p.x(0), p.y0, p.x(0), p.y1, ink, 0.9)
		p.outline()
	})
}

func finite(vs ...float64) bool {
	for _, v := range vs {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
