package bench

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// samples adds rounds of two subjects, of which one has so many times the other's figures.
func samples(a *Adder, row Row, rounds, each int, ratio, spread float64) {
	dice := rand.New(rand.NewPCG(7, 7))
	figure := func(scale float64) (list []float64) {
		for range each {
			list = append(list, scale*(1+spread*dice.Float64()))
		}
		return list
	}
	for range rounds {
		a.AddRound(row, "ours", figure(ratio)...)
		a.AddRound(row, "another", figure(1)...)
	}
}

// TestIntervalHoldsTheRatio: with samples of a known ratio the interval has it, and is the
// wider the fewer and the more different they are.
func TestIntervalHoldsTheRatio(t *testing.T) {
	width := func(rounds, each int, ratio, spread float64) float64 {
		t.Helper()
		r := &Result{}
		row := Row{Name: "time", Unit: "ms", Better: Less, Base: "another", Interval: true}
		samples(&Adder{r}, row, rounds, each, ratio, spread)
		r.Rows[0].intervals()
		c := cells(r, "time", "ours")
		if c.Ratio == nil || c.Within == nil {
			t.Fatalf("%+v", c)
		}
		if c.Within[0] > ratio || c.Within[1] < ratio || c.Within[0] > *c.Ratio || c.Within[1] < *c.Ratio {
			t.Errorf("ratio %g, found %g within %v", ratio, *c.Ratio, *c.Within)
		}
		if base := cells(r, "time", "another"); *base.Ratio != 1 || base.Within != nil {
			t.Errorf("the base: %+v", base)
		}
		if text := r.String(); !strings.Contains(text, quotient(c.Within[0])+" to "+quotient(c.Within[1])) {
			t.Errorf("the table does not say where it is:\n%s", text)
		}
		return c.Within[1] - c.Within[0]
	}
	many, few, alike := width(20, 20, 0.7, 1), width(3, 5, 0.7, 1), width(20, 20, 0.7, 0.01)
	if !(alike < many && many < few) {
		t.Errorf("widths %g, %g with few samples, %g with samples that are alike", many, few, alike)
	}
	width(10, 10, 2, 0.5)
}

// TestIntervalOfRounds: what whole rounds have in common is not taken for a difference
// that is certain.
func TestIntervalOfRounds(t *testing.T) {
	row := Row{Name: "time", Unit: "ms", Better: Less, Base: "another", Interval: true}
	within := func(slow float64) [2]float64 {
		r := &Result{}
		a := &Adder{r}
		for round := range 4 {
			scale := 1.0
			if round == 0 {
				scale = slow // a machine that was busy while ours was measured
			}
			a.AddRound(row, "ours", scale, 1.01*scale, 1.02*scale)
			a.AddRound(row, "another", 1, 1.01, 1.02)
		}
		r.Rows[0].intervals()
		return *cells(r, "time", "ours").Within
	}
	calm, busy := within(1), within(5)
	if busy[1] < 2*calm[1] {
		t.Errorf("with a busy round %v, without %v", busy, calm)
	}
}

// TestNoInterval: one round says nothing about others, and rows without are left alone.
func TestNoInterval(t *testing.T) {
	r := &Result{}
	a := &Adder{r}
	a.AddRound(Row{Name: "time", Base: "another", Interval: true}, "ours", 1, 2, 3)
	a.AddRound(Row{Name: "time", Base: "another", Interval: true}, "another", 1, 2, 3)
	a.Add(Row{Name: "speed", Base: "another"}, "ours", 2)
	a.Add(Row{Name: "speed", Base: "another"}, "another", 1)
	for _, row := range r.Rows {
		row.intervals()
	}
	if c := cells(r, "time", "ours"); c.Within != nil || *c.Ratio != 1 {
		t.Errorf("%+v", c)
	}
	if c := cells(r, "speed", "ours"); c.Within != nil || *c.Ratio != 2 {
		t.Errorf("%+v", c)
	}
}
