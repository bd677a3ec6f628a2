package neighbourhood

import (
	"math"
	"testing"
)

func TestMetres(t *testing.T) {
	for _, c := range []struct {
		from, to Location
		x, y     float64
		ok       bool
	}{
		{Location{X: 8.5, Y: 47}, Location{X: 8.5, Y: 47.009}, 0, 1000.8, true},
		{Location{X: 8.5, Y: 60}, Location{X: 8.518, Y: 60}, 1000.8, 0, true}, // half as wide as at the equator
		{Location{X: 179.999, Y: 0}, Location{X: -179.999, Y: 0}, 222.4, 0, true},
		{Location{Plan: "hall", X: 3, Y: 4}, Location{Plan: "hall", X: 13, Y: 2}, 10, -2, true},
		{Location{Plan: "hall"}, Location{Plan: "yard"}, 0, 0, false},
		{Location{Plan: "hall"}, Location{}, 0, 0, false},
		{Location{}, Location{X: 181}, 0, 0, false},
		{Location{Plan: "hall"}, Location{Plan: "hall", X: math.NaN()}, 0, 0, false},
		{Location{Plan: "hall"}, Location{Plan: "hall", Y: math.Inf(1)}, 0, 0, false},
	} {
		x, y, ok := c.to.Metres(c.from)
		if ok != c.ok || math.Abs(x-c.x) > 0.5 || math.Abs(y-c.y) > 0.5 {
			t.Errorf("%+v from %+v: %.1f, %.1f, %v, expected %.1f, %.1f, %v", c.to, c.from, x, y, ok, c.x, c.y, c.ok)
		}
	}
}
