package scenario

import (
	"slices"
	"testing"

	"openmpa/testbed/bed"
)

// TestAAACells: the sample has each value of each factor with each value of each other, and every
// name is of one cell.
func TestAAACells(t *testing.T) {
	names := make(map[string]bool)
	for _, c := range allAAACells() {
		names[c.String()] = true
	}
	if len(names) != 16 {
		t.Errorf("%d names of cells, expected 16", len(names))
	}
	some := pairwiseAAACells()
	if len(some) > 8 {
		t.Errorf("%d cells are played, expected 8", len(some))
	}
	for _, transport := range aaaTransports {
		for _, yes := range []bool{false, true} {
			if !slices.ContainsFunc(some, func(c aaaCell) bool { return c.transport == transport && c.foreign == yes }) ||
				!slices.ContainsFunc(some, func(c aaaCell) bool { return c.transport == transport && c.roaming == yes }) {
				t.Errorf("%s: no cell that is foreign, or roaming: %v", transport, yes)
			}
		}
	}
	for _, yes := range []bool{false, true} {
		for _, no := range []bool{false, true} {
			if !slices.ContainsFunc(some, func(c aaaCell) bool { return c.foreign == yes && c.roaming == no }) {
				t.Errorf("no cell that is foreign: %v, and roaming: %v", yes, no)
			}
		}
	}
	if got := (aaaCell{transport: bed.TransportDiameter, foreign: true}).server(); got != bed.AAAFreeDiameter {
		t.Errorf("diameter by somebody else's programs is %s", got)
	}
}
