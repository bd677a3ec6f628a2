package picture

import (
	"fmt"
	"math"
	"testing"
	"time"

	"openmpa/testbed/report"
)

func TestRoams(t *testing.T) {
	r := &report.Result{Scenario: "figure10"}
	for i, way := range report.Ways {
		for _, roaming := range []bool{false, true} {
			h := report.Handover{Case: report.RoamCase(way, roaming), Phases: make(map[string]float64)}
			move := time.Duration(21+i) * time.Millisecond
			h.SetRoam(100*time.Millisecond, 0, move, move)
			r.Handovers = append(r.Handovers, h)
		}
	}
	r.SummarizeCases()
	all, err := Of(r)
	if err != nil || len(all) != 1 || all[0].Name != "figure10" {
		t.Fatalf("%d pictures, %v", len(all), err)
	}
	d := parse(t, all[0].SVG)
	for i, way := range report.Ways {
		d.expect(t, report.RoamCase(way, false), report.RoamCase(way, true), fmt.Sprintf("%d.0 ms", 21+i))
	}
	d.expect(t, "before the move", "the move (median)", "RFC 6252's move")
	if _, err := Roams("x", nil); err == nil {
		t.Error("a picture of nothing")
	}
	broken := report.Roam{Way: report.WayFull, Summary: map[string]report.Figures{"phases.roam_ms": {P50: math.NaN()}, "phases.total_ms": {}}}
	if _, err := Roams("x", []report.Roam{broken}); err == nil {
		t.Error("a picture of what is no number")
	}
}
