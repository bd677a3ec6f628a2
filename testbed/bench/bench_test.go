package bench

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake measures figures that are known, in two rows.
func fake(fail error) Bench {
	return Bench{Name: "fake", Doc: "ours beside another", Rounds: 3, Seconds: 1, Measure: func(_ context.Context, o Options, a *Adder) error {
		for round := range o.Rounds {
			if o.Wants("speed") {
				row := Row{Name: "speed", Unit: "Gb/s", Better: More, Base: "another"}
				a.Add(row, "ours", []float64{3, 8, 1}[round])
				a.Add(row, "another", []float64{2, 4, 1}[round])
			}
			if o.Wants("delay") {
				a.Add(Row{Name: "delay", Unit: "ms", Better: Less}, "ours", 0.5)
			}
			a.Note("of version %d", 7)
		}
		return fail
	}}
}

// cells finds the samples of a subject in a row, empty ones if there are none.
func cells(r *Result, row, subject string) *Cells {
	for _, x := range r.Rows {
		for _, c := range x.Samples {
			if x.Name == row && c.Subject == subject {
				return c
			}
		}
	}
	return &Cells{}
}

func TestRun(t *testing.T) {
	r, err := Run(t.Context(), fake(nil), Options{Commit: "c0ffee"})
	if err != nil {
		t.Fatal(err)
	}
	ours := cells(r, "speed", "ours")
	// Ratios are of the same round, so the median is not that of the medians.
	if ours.Median != 3 || ours.Min != 1 || ours.Max != 8 || ours.Ratio == nil || *ours.Ratio != 1.5 {
		t.Errorf("ours: %+v", ours)
	}
	if c := cells(r, "delay", "ours"); c.Ratio != nil || c.Median != 0.5 {
		t.Errorf("a row without a base: %+v", c)
	}
	if len(r.Notes) != 1 {
		t.Errorf("notes %q, expected one", r.Notes)
	}
	text := r.String()
	for _, want := range []string{"of version 7", "speed: Gb/s, more is better", "1.50", "delay: ms, less is better", "3 rounds of 1 s", "c0ffee", strings.Repeat("#", 30)} {
		if !strings.Contains(text, want) {
			t.Errorf("the table does not say %q:\n%s", want, text)
		}
	}
	p, err := r.Picture("ours beside another")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(p.SVG), "3.00 (1.50 x)") {
		t.Error("the picture does not say the ratio")
	}
	if _, err := png.Decode(bytes.NewReader(p.PNG)); err != nil {
		t.Error(err)
	}
}

func TestOnlySomeRows(t *testing.T) {
	r, err := Run(t.Context(), fake(nil), Options{Only: []string{"del"}})
	if err != nil || len(r.Rows) != 1 || r.Rows[0].Name != "delay" {
		t.Errorf("%v, %+v; expected the row delay alone", err, r.Rows)
	}
	far := Options{Only: []string{"TLS 1.2, 200ms", "size, whole"}}
	for row, want := range map[string]bool{
		"EAP-TLS 1.2, 200ms away, warm, whole": true, "EAP-TLS 1.2, 20ms away, warm, whole": false, "EAP-TLS 1.2, cold": false,
		"EAP-TLS 1.3, 200ms away, warm, whole": false, "size, whole": true, "size, warm, whole": false,
	} {
		if far.Wants(row) != want {
			t.Errorf("%q is wanted: %v, expected %v", row, !want, want)
		}
	}
	if _, err := Run(t.Context(), fake(nil), Options{Only: []string{"size"}}); err == nil {
		t.Error("no row was measured, and there is no error")
	}
}

// TestWhatWasMeasuredIsKept: a bench that fails in the end loses nothing.
func TestWhatWasMeasuredIsKept(t *testing.T) {
	broken := errors.New("broken")
	r, err := Run(t.Context(), fake(broken), Options{Rounds: 2})
	if !errors.Is(err, broken) || r == nil || len(cells(r, "speed", "ours").Values) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Run(t.Context(), fake(nil), Options{Seconds: 1e9}); err == nil {
		t.Error("a sample of 30 years is taken")
	}
	if _, err := Find("nothing"); err == nil {
		t.Error("a bench that is not there is found")
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v, expected 2.5", m)
	}
}
