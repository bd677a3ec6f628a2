package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/testbed/traffic"
)

func ptr(v float64) *float64 { return &v }

func sample() *Result {
	return &Result{
		Scenario: "handover", Commit: "abc", Flags: map[string]string{"rate": "50"},
		Handovers: []Handover{{
			ID: "00", From: "b", To: "a", Outcome: "completed",
			Flow:   Flows{Down: &Flow{Sent: 10, Received: 10, MaxGapMS: ptr(24)}, Up: &Flow{Sent: 10, Received: 9, Lost: 1}},
			Phases: map[string]float64{"l2_ms": 4, "l3_ms": 0.5},
			Buffer: &Buffer{Packets: 3, HeldMS: ptr(5.25)},
		}, {
			ID: "01", From: "a", To: "b", Outcome: "failed", Reason: "no link",
			Flow:   Flows{Down: &Flow{Sent: 12, Received: 12}},
			Phases: map[string]float64{"l2_ms": 6},
		}},
	}
}

// TestJSONShape pins what others read: the names, and that what does not
// apply is absent.
func TestJSONShape(t *testing.T) {
	r := sample()
	r.Summarize()
	path := filepath.Join(t.TempDir(), "out.json")
	if err := r.WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": "01", "from": "a", "to": "b", "outcome": "failed", "reason": "no link",
		"flow":   map[string]any{"down": map[string]any{"sent": 12.0, "received": 12.0, "lost": 0.0, "duplicated": 0.0, "reordered": 0.0}},
		"phases": map[string]any{"l2_ms": 6.0},
	}
	if d := cmp.Diff(want, got["handovers"].([]any)[1]); d != "" {
		t.Error(d)
	}
	first := got["handovers"].([]any)[0].(map[string]any)
	if d := cmp.Diff(map[string]any{"packets": 3.0, "held_ms": 5.25, "dropped": 0.0, "forced_flips": 0.0}, first["buffer"]); d != "" {
		t.Error(d)
	}
	summary := got["summary"].(map[string]any)
	if d := cmp.Diff(map[string]any{"count": 2.0, "mean": 5.0, "min": 4.0, "p50": 4.0, "p90": 6.0, "p99": 6.0, "max": 6.0}, summary["phases.l2_ms"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]any{"count": 1.0, "mean": 1.0, "min": 1.0, "p50": 1.0, "p90": 1.0, "p99": 1.0, "max": 1.0}, summary["flow.up.lost"]); d != "" {
		t.Error(d)
	}
	if _, there := summary["flow.up.max_gap_ms"]; there {
		t.Error("a field that no handover has is in the summary")
	}
	for _, absent := range []string{"problems", "cases", "kernel", "started", "machine"} {
		if _, there := got[absent]; there {
			t.Errorf("%s, of which there is nothing to say", absent)
		}
	}
}

func TestPercentile(t *testing.T) {
	v := make([]float64, 100)
	for i := range v {
		v[i] = float64(i + 1)
	}
	for p, want := range map[int]float64{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(v, p); got != want {
			t.Errorf("p%d of 1..100 is %v, expected %v", p, got, want)
		}
	}
	if percentile([]float64{7}, 50) != 7 || percentile([]float64{7}, 99) != 7 {
		t.Error("percentiles of one value")
	}
}

func TestFromStats(t *testing.T) {
	f := FromStats(traffic.Stats{Sent: 3, Lost: 3})
	if f.MaxGapMS != nil || f.IntervalMS != nil || f.JitterMS != nil || f.DelayMaxMS != nil || f.Clean() {
		t.Errorf("figures of a flow of which nothing arrived: %+v", f)
	}
	f.SetHandoverGap(time.Second)
	if f.HandoverGapMS != nil {
		t.Error("a silence in a flow without an interval")
	}
	f = FromStats(traffic.Stats{Sent: 2, Received: 2, Interval: 20 * time.Millisecond, MaxGap: 1500 * time.Microsecond, MaxDelay: time.Nanosecond * 1600})
	f.SetHandoverGap(26700 * time.Microsecond)
	if *f.HandoverGapMS != 26.7 || *f.HandoverJitterMS != 6.7 {
		t.Errorf("a silence of %v ms, %v ms longer than the interval", *f.HandoverGapMS, *f.HandoverJitterMS)
	}
	if *f.IntervalMS != 20 || *f.MaxGapMS != 1.5 || *f.JitterMS != 0 || *f.DelayMaxMS != 0.002 || !f.Clean() {
		t.Errorf("%+v", f)
	}
}

func TestTables(t *testing.T) {
	r := sample()
	r.Summarize()
	text := Compare([]string{"with", "without"}, r.Handovers)
	for _, want := range []string{"link up to the first packet", "0.50 ms", "-", "held by the router", "completed", "failed"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	text = SummaryTable(r)
	if !strings.Contains(text, "of 2 handovers") || strings.Index(text, "phases.l2_ms") > strings.Index(text, "flow.down.sent") {
		t.Errorf("summary:\n%s", text)
	}
}

func TestTablesTellABusyMachine(t *testing.T) {
	for _, x := range []struct {
		machine *Machine
		busy    bool
	}{{nil, false}, {&Machine{CPUs: 2, Load: 1.9}, false}, {&Machine{CPUs: 2, Load: 5.25}, true}} {
		r := sample()
		r.Machine = x.machine
		r.Summarize()
		if got := strings.Contains(Tables(r), "load of 5.2 on 2 processors"); got != x.busy {
			t.Errorf("%+v: said to be busy: %v", x.machine, got)
		}
	}
}

func TestDrawStrip(t *testing.T) {
	var sent []int64
	for i := range 40 {
		sent = append(sent, int64(i)*int64(20*time.Millisecond))
	}
	arrive := func(late map[int]time.Duration, lost func(int) bool) (a []traffic.Arrival) {
		for i, s := range sent {
			if !lost(i) {
				a = append(a, traffic.Arrival{Seq: uint64(i), Sent: s, At: s + int64(late[i])})
			}
		}
		return a
	}
	none := func(int) bool { return false }
	tr := Strip{Sent: sent, Lost: time.Unix(0, sent[10]), Held: 3 * time.Millisecond}
	tr.Arrivals = arrive(map[int]time.Duration{10: 5 * time.Millisecond}, none)
	if got := tr.Draw(4, 12); got != "....|h......" {
		t.Errorf("got %q", got)
	}
	tr.Arrivals = arrive(nil, func(i int) bool { return i == 9 || (i >= 10 && i < 30) })
	if got := tr.Draw(4, 60); got != "...x|x(20).........." {
		t.Errorf("got %q", got)
	}
	tr.Arrivals = arrive(nil, func(i int) bool { return i == 10 || i == 11 })
	if got := tr.Draw(2, 9); got != "..|xx...." {
		t.Errorf("got %q", got)
	}
}
