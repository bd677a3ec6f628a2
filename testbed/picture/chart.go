package picture

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A Chart is a square with cells, seen several times with other trails.
type Chart struct {
	Width  float64 // m, each way
	Cells  []Cell
	Steps  int   // of the grid of Best, each way
	Best   []int // by row from the south: the group that is heard best there; less than 0: none
	Panels []Panel
}

// A Cell is a point of attachment.
type Cell struct {
	X, Y  float64 // m
	Group int
	Name  string
}

// A Panel is the chart once, with its trails.
type Panel struct {
	Title  string
	Trails []Trail
}

// A Trail is where somebody went.
type Trail struct {
	Title string
	X, Y  []float64 // m
	Marks []Mark
}

// A Mark is a move, with the place of the cell it went to.
type Mark struct {
	X, Y, ToX, ToY float64
	Kind           MarkKind
}

// MarkKind says what became of a move.
type MarkKind uint8

// The kinds.
const (
	Moved MarkKind = iota
	MovedBack
	MoveFailed
)

// tints are light: trails are drawn over them.
var tints = []color.Color{
	color.NRGBA{0x56, 0xb4, 0xe9, 0x60},
	color.NRGBA{0xe6, 0x9f, 0x00, 0x58},
	color.NRGBA{0x00, 0x9e, 0x73, 0x48},
	color.NRGBA{0xcc, 0x79, 0xa7, 0x58},
	color.NRGBA{0xf0, 0xe4, 0x42, 0x70},
	color.NRGBA{0x80, 0x80, 0x80, 0x50},
}

var trailDashes = [][]vg.Length{nil, {5, 3}, {1.5, 2}}

// Map draws a chart.
func Map(name, title, caption string, c Chart) (Picture, error) {
	if len(c.Panels) == 0 || !finite(c.Width) || c.Width <= 0 || c.Steps <= 0 || len(c.Best) != c.Steps*c.Steps {
		return Picture{}, fmt.Errorf("picture: %s: there is no map, or nobody on it", name)
	}
	const (
		columns, between = 3, 16
		top, head        = 62, 20
		side             = vg.Length(pageWidth-2*marginX-(columns-1)*between) / columns
	)
	rows := (len(c.Panels) + columns - 1) / columns
	height := vg.Length(top) + vg.Length(rows)*(side+head+between)
	return render(Picture{Name: name, Title: title, Caption: caption}, pageWidth, height, func(s sheet) {
		s.write(marginX, height-22, style{size: large, bold: true}, title)
		x := vg.Length(marginX)
		for _, l := range []struct {
			words string
			kind  MarkKind
		}{{"move, with a line to its cell", Moved}, {"move back to the cell before", MovedBack}, {"move that failed", MoveFailed}} {
			s.mark(x+5, height-42, l.kind)
			s.write(x+14, height-42, style{size: small, y: -0.5}, l.words)
			x += 14 + s.width(style{size: small}, l.words) + 22
		}
		for i, one := range c.Panels {
			x0 := marginX + vg.Length(i%columns)*(side+between)
			y1 := height - top - vg.Length(i/columns)*(side+head+between) - head
			p := panel{sheet: s, x0: x0, x1: x0 + side, y0: y1 - side, y1: y1, right: c.Width, high: c.Width}
			s.write(x0, y1+6, style{size: normal, bold: true}, one.Title)
			p.chart(c, one)
		}
	})
}

func (p panel) chart(c Chart, one Panel) {
	step := c.Width / float64(c.Steps)
	for row := range c.Steps {
		for col := 0; col < c.Steps; {
			group, from := c.Best[row*c.Steps+col], col
			for col < c.Steps && c.Best[row*c.Steps+col] == group {
				col++
			}
			if group >= 0 {
				p.box(p.x(float64(from)*step), p.y(float64(row)*step), p.x(float64(col)*step), p.y(float64(row+1)*step), tints[group%len(tints)])
			}
		}
	}
	for _, cell := range c.Cells {
		if p.inside(cell.X) && cell.Y >= p.low && cell.Y <= p.high {
			p.dot(p.x(cell.X), p.y(cell.Y), grey, 1.6)
			p.write(p.x(cell.X)+3, p.y(cell.Y)+2, style{size: 6, color: grey}, cell.Name)
		}
	}
	for i, t := range one.Trails {
		var at []vg.Point
		for k := range min(len(t.X), len(t.Y)) {
			if finite(t.X[k], t.Y[k]) {
				at = append(at, vg.Point{X: p.x(p.clip(t.X[k])), Y: p.y(p.clip(t.Y[k]))})
			}
		}
		if len(at) > 1 {
			p.StrokeLines(draw.LineStyle{Color: blue, Width: 0.9, Dashes: trailDashes[i%len(trailDashes)]}, at)
		}
		for _, m := range t.Marks {
			if !finite(m.X, m.Y, m.ToX, m.ToY) {
				continue
			}
			x, y := p.x(p.clip(m.X)), p.y(p.clip(m.Y))
			p.line(x, y, p.x(p.clip(m.ToX)), p.y(p.clip(m.ToY)), grid, 0.6)
			p.mark(x, y, m.Kind)
		}
	}
	p.line(p.x0, p.y0, p.x0, p.y1, frame, 0.7)
	p.outline()
}

func (s sheet) mark(x, y vg.Length, kind MarkKind) {
	switch kind {
	case Moved:
		s.dot(x, y, ink, 1.8)
	case MovedBack:
		s.dot(x, y, vermillion, 2.2)
		s.ring(x, y, vermillion, 4)
	case MoveFailed:
		s.cross(x, y, vermillion, 2.5)
	}
}
