package picture

import (
	"math"
	"testing"
)

func TestMap(t *testing.T) {
	c := Chart{
		Width: 100, Steps: 2, Best: []int{0, 0, 1, -1}, Cells: []Cell{{X: 20, Y: 20, Name: "a1"}, {X: 20, Y: 80, Group: 1, Name: "b1"}, {X: -50, Y: 5, Name: "outside"}},
		Panels: []Panel{{Title: "one", Trails: []Trail{{X: []float64{0, 10, math.NaN()}, Y: []float64{0, 20, 3}, Marks: []Mark{
			{X: 10, Y: 20, ToX: 20, ToY: 80}, {X: 20, Y: 20, ToX: 20, ToY: 20, Kind: MovedBack}, {X: 1e300, Y: 20, Kind: MoveFailed}, {X: math.Inf(1)},
		}}}}, {Title: "two"}},
	}
	p, err := Map("map", "a map", "", c)
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, p.SVG)
	for _, want := range []string{"one", "two", "a1", "b1", "a map", "move back to the cell before"} {
		if !d.texts[want] {
			t.Errorf("the picture does not say %q: %v", want, d.texts)
		}
	}
	if d.texts["outside"] {
		t.Error("a cell that is not on the map is drawn")
	}
	for _, bad := range []Chart{{}, {Width: 100, Steps: 2, Panels: c.Panels}, {Width: math.NaN(), Steps: 2, Best: c.Best, Panels: c.Panels}} {
		if _, err := Map("map", "", "", bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
