package picture

import (
	"fmt"
	"math"

	"gonum.org/v1/plot/vg"
)

// A BarGroup is bars of the same scale, which begins at zero.
type BarGroup struct {
	Title string
	Bars  []Bar
}

// A Bar is one figure that was measured several times.
type Bar struct {
	Title  string
	Values []float64
	Median float64
	Text   string // what stands behind it
}

// Bars draws groups below one another, each with its own scale.
func Bars(name, title string, groups []BarGroup) (Picture, error) {
	const (
		labels, top, head, foot = 230, 62, 24, 26
		rowHeight, barHeight    = 17, 10
	)
	height := vg.Length(top)
	for _, g := range groups {
		height += vg.Length(head + foot + rowHeight*len(g.Bars))
	}
	if len(groups) == 0 {
		return Picture{}, fmt.Errorf("picture: %s: nothing was measured", name)
	}
	const caption = "A bar is the median, dots are the single measurements."
	return render(Picture{Name: name, Title: title, Caption: caption}, pageWidth, height, func(s sheet) {
		s.write(marginX, height-22, style{size: large, bold: true}, title)
		s.write(marginX, height-40, style{size: small}, caption)
		y := height - top
		for _, g := range groups {
			s.write(marginX, y-10, style{size: normal, bold: true}, g.Title)
			y -= head
			p := panel{sheet: s, x0: marginX + labels, x1: pageWidth - 10*marginX, y1: y, y0: y - vg.Length(rowHeight*len(g.Bars))}
			for _, b := range g.Bars {
				for _, v := range append([]float64{b.Median}, b.Values...) {
					if finite(v) {
						p.left, p.right = math.Min(p.left, v), math.Max(p.right, v)
					}
				}
			}
			if p.right == p.left {
				p.right++
			}
			p.right += (p.right - p.left) * 0.03
			p.xGrid(true)
			for i, b := range g.Bars {
				p.bar(b, y-rowHeight*(vg.Length(i)+0.5), barHeight)
			}
			p.outline()
			y = p.y0 - foot
		}
	})
}

func (p panel) bar(b Bar, y, height vg.Length) {
	p.write(p.x0-8, y, style{size: normal, x: -1, y: -0.5}, b.Title)
	if !finite(append([]float64{b.Median}, b.Values...)...) {
		p.write(p.x0+8, y, style{size: small, y: -0.5}, "not measured")
		return
	}
	p.box(p.x(0), y-height/2, p.x(b.Median), y+height/2, blue)
	for _, v := range b.Values {
		p.dot(p.x(v), y, vermillion, 2)
	}
	p.write(p.x1+8, y, style{size: small, y: -0.5}, b.Text)
}
