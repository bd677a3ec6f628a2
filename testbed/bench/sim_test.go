package bench

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestSim: the bench of decisions compares all policies on the same maps, and says how sure it is.
func TestSim(t *testing.T) {
	r, err := Run(t.Context(), Sim(), Options{Rounds: 3, Seconds: 120, Nodes: 12})
	if err != nil {
		t.Fatal(err)
	}
	const figure = "drops"
	base := cells(r, figure, "predictive")
	if base.Mean == nil || base.More != nil || len(base.Values) != 3 {
		t.Errorf("predictive, to which the others are compared: %+v", base)
	}
	for _, s := range []string{"sra", "era", "hara", "predictive-blind"} {
		c := cells(r, figure, s)
		if c.More == nil || c.More.Low > c.More.Value || c.More.High < c.More.Value {
			t.Errorf("%s: %+v, expected a difference with its interval", s, c)
			continue
		}
		if d := c.Mean.Value - base.Mean.Value - c.More.Value; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: mean %g, predictive's %g, difference %g: they do not fit", s, c.Mean.Value, base.Mean.Value, c.More.Value)
		}
	}
	text := r.String()
	for _, want := range []string{"map by map, of 3", "of processor time", "in reach of none", "3 rounds of 120 s of 12 nodes", "ratio, or difference"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table does not say %q:\n%s", want, text)
		}
	}
	if len(r.Pictures) != 1 || !strings.Contains(string(r.Pictures[0].SVG), "predictive-blind: ") {
		t.Errorf("%d pictures, expected one with the paths of all", len(r.Pictures))
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"more_than_base":{"value"`) {
		t.Errorf("JSON without differences: %v\n%s", err, b)
	}
	r, err = Run(t.Context(), Sim(), Options{Seconds: 60, Nodes: 3, Only: []string{"era"}})
	if err != nil || len(r.Rows[0].Samples) != 1 || r.Rounds != 1 {
		t.Errorf("only era: %v, %+v", err, r.Rows[0])
	}
	if r, err = Run(t.Context(), Sim(), Options{Seconds: 60, Nodes: 3, Only: []string{"era"}, Map: "large"}); err != nil || !strings.Contains(r.String(), "map: large") {
		t.Errorf("another kind of map: %v", err)
	}
	for _, o := range []Options{{Nodes: 1, Seconds: 100_000}, {Nodes: 1, Seconds: 60, Map: "flat"}, {Nodes: 1, Seconds: 60, Only: []string{"nobody"}}} {
		if _, err := Run(t.Context(), Sim(), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if _, err := Run(t.Context(), fake(nil), Options{Nodes: 7}); err == nil {
		t.Error("nodes of a bench that has none: no error")
	}
}
