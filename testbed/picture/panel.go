package picture

import (
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot/vg"
)

// A panel is a frame with its scales.
type panel struct {
	sheet
	x0, y0, x1, y1 vg.Length // on the sheet
	left, right    float64   // values at x0 and x1
	low, high      float64   // values at y0 and y1
}

func (p panel) x(v float64) vg.Length {
	return p.x0 + vg.Length((v-p.left)/(p.right-p.left))*(p.x1-p.x0)
}

func (p panel) y(v float64) vg.Length {
	return p.y0 + vg.Length((v-p.low)/(p.high-p.low))*(p.y1-p.y0)
}

// inside reports whether a value is between the left and the right end.
func (p panel) inside(v float64) bool { return v >= p.left && v <= p.right }

// clip moves a value to the nearer end when it is outside.
func (p panel) clip(v float64) float64 { return math.Min(math.Max(v, p.left), p.right) }

func (p panel) outline() {
	p.line(p.x0, p.y0, p.x1, p.y0, frame, 0.7)
	p.line(p.x1, p.y0, p.x1, p.y1, frame, 0.7)
	p.line(p.x1, p.y1, p.x0, p.y1, frame, 0.7)
	p.line(p.x0, p.y1, p.x0, p.y0, frame, 0.7)
}

// ticks are multiples of 1, 2 or 5 times a power of ten in a range, as many as
// there are, but at most n.
func ticks(low, high float64, n int) []float64 {
	if !(high > low) || math.IsInf(high-low, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(n))))
	for _, times := range []float64{1, 2, 5, 10} {
		if first := math.Ceil(low / (step * times)); high/(step*times)-first < float64(n) {
			step *= times
			break
		}
	}
	var out []float64
	for i := math.Ceil(low / step); i*step <= high && len(out) < n; i++ {
		out = append(out, i*step)
	}
	return out
}

// whole are the ticks that are integers.
func whole(low, high float64, n int) []float64 {
	return slices.DeleteFunc(ticks(low, high, n), func(v float64) bool { return v != math.Trunc(v) })
}

// xGrid draws the vertical lines of the scale, with their values below if
// wanted.
func (p panel) xGrid(labels bool) {
	for _, v := range ticks(p.left, p.right, 8) {
		p.line(p.x(v), p.y0, p.x(v), p.y1, grid, 0.5)
		if labels {
			p.write(p.x(v), p.y0-4, style{size: small, x: -0.5, y: -1}, round(v))
		}
	}
}

// yGrid draws the horizontal lines, with their values at the left.
func (p panel) yGrid(values []float64, label func(float64) string) {
	for _, v := range values {
		p.line(p.x0, p.y(v), p.x1, p.y(v), grid, 0.5)
		p.write(p.x0-4, p.y(v), style{size: small, x: -1, y: -0.5}, label(v))
	}
}

// round writes a value of a scale.
func round(v float64) string {
	v = math.Round(v*1e6)/1e6 + 0 // adding makes 0 of -0
	return strconv.FormatFloat(v, 'f', -1, 64)
}
