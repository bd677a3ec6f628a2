package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/testbed/traffic"
)

// figureResult is a run of the figures with two handovers in each case.
func figureResult() *Result {
	r := &Result{Scenario: "figure6-mip4"}
	for i, name := range []string{CaseUnbuffered, CaseBuffered, CaseUnprepared} {
		for j := range 2 {
			h := Handover{Case: name, Outcome: "completed", Phases: map[string]float64{"l2_ms": 4 + float64(j)}, Buffer: &Buffer{Packets: 3, HeldMS: ptr(7)}}
			h.Flow.Down = &Flow{Sent: 100, Received: 100 - i - j, Lost: i + j, DelayP50MS: ptr(0.25), DelayP99MS: ptr(2 + float64(j)), DelayMaxMS: ptr(15 + float64(j))}
			r.Handovers = append(r.Handovers, h)
		}
	}
	r.Handovers[0].Phases["l3_ms"] = 0.5
	r.SummarizeCases()
	return r
}

func TestFigureColumns(t *testing.T) {
	got := FigureColumns(figureResult())
	var titles []string
	for _, c := range got {
		titles = append(titles, c.Case+"/"+c.Title)
		if len(c.Values) != len(FigureRows) {
			t.Errorf("%s has %d values for %d rows", titles[len(titles)-1], len(c.Values), len(FigureRows))
		}
	}
	want := []string{
		"buffering off/Fig. 6", "buffering off/Fig. 6, RO", "buffering off/Fig. 7", "buffering off/here",
		"buffering on/Fig. 6", "buffering on/Fig. 6, RO", "buffering on/Fig. 7", "buffering on/here",
		"without MPA/C.5.1", "without MPA/here",
	}
	if d := cmp.Diff(want, titles); d != "" {
		t.Fatal(d)
	}
	// Averages; l3 of the one handover that has it; no buffer where it was off.
	if d := cmp.Diff([]string{"4.50", "0.50", "0.50", "-", "-", "-", "-", "-"}, got[3].Values); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"4.50", "-", "1.50", "-", "-", "-", "7.00", "3.00"}, got[7].Values); d != "" {
		t.Error(d)
	}
	if got[3].Ranges[0] != "4 / 4 / 5" || got[3].Ranges[7] != "" || got[0].Ranges != nil {
		t.Errorf("ranges %q of ours, %q of the RFC's", got[3].Ranges, got[0].Ranges)
	}
	if FigureColumns(sample()) != nil || FigureTable(sample()) != "" {
		t.Error("figures of a scenario that did not measure them")
	}
}

// TestFigureColumnsRouted: with route optimisation there are the four cases of Figure 6 itself.
func TestFigureColumnsRouted(t *testing.T) {
	r := &Result{Scenario: "figure6"}
	for _, name := range []string{CaseUnbuffered, CaseBuffered, CaseUnbufferedRoute, CaseBufferedRoute, CaseUnprepared} {
		r.Handovers = append(r.Handovers, Handover{Case: name, Outcome: "completed", Phases: map[string]float64{"l2_ms": 4}, Buffer: &Buffer{Packets: 3}})
	}
	r.SummarizeCases()
	columns := FigureColumns(r)
	var got []string
	for _, c := range columns {
		got = append(got, c.Case+"/"+c.Title+" "+c.Values[2]+" "+c.Values[7])
	}
	want := []string{
		"buffering off/Fig. 6 1.33 n/a", "buffering off/here - -", "buffering on/Fig. 6 0 2.00", "buffering on/here - 3.00",
		"buffering off, RO/Fig. 6 0.66 n/a", "buffering off, RO/here - -", "buffering on, RO/Fig. 6 0 3.00", "buffering on, RO/here - 3.00",
		"without MPA/C.5.1 ~200 ", "without MPA/here - 3.00",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if text := strings.Join(FigureNotes(r), " "); !strings.Contains(text, "do not pass the home agent") || strings.Contains(text, "Mobile IPv4") {
		t.Errorf("notes: %s", text)
	}
}

func TestFigureTable(t *testing.T) {
	text := FigureTable(figureResult())
	lines := strings.Split(text, "\n")
	for name, column := range map[string]string{"buffering off": "Fig. 6", "without MPA": "C.5.1"} {
		if at := strings.Index(lines[0], name); at < 0 || !strings.HasPrefix(lines[1][at:], column) {
			t.Errorf("%q does not stand above its first column:\n%s", name, text)
		}
	}
	if !strings.Contains(text, "during handover (ms)") || !strings.Contains(text, "4 / 4 / 5") || strings.Contains(text, "RO") {
		t.Errorf("got\n%s", text)
	}
}

func TestDelayRows(t *testing.T) {
	rows := DelayRows(figureResult())
	want := DelayRow{Title: "buffering off, to the mobile node", Median: 0.25, P99: 3, Max: 16}
	if len(rows) != 3 || rows[0] != want {
		t.Errorf("got %+v, expected %+v first of three", rows, want)
	}
	if text := DelayTable(figureResult()); !strings.Contains(text, "10.7 %") {
		t.Errorf("16 of 150 ms:\n%s", text)
	}
	if DelayTable(&Result{}) != "" {
		t.Error("a table of nothing")
	}
}

func TestBeyondFloor(t *testing.T) {
	r := &Result{}
	for i := range 10 {
		h := Handover{Phases: map[string]float64{"l3_ms": 1 + float64(i)/10}}
		h.SetFloor(300 * time.Microsecond)
		r.Handovers = append(r.Handovers, h)
	}
	r.Summarize()
	if got := BeyondFloor(r); !strings.HasSuffix(got, "of 10: p50 1.10 ms, p90 1.50 ms, p99 1.60 ms, max 1.60 ms.") {
		t.Errorf("got %q", got)
	}
	r.Handovers = r.Handovers[:1]
	r.Summarize()
	if got := BeyondFloor(r); got != "" {
		t.Errorf("the distribution of one: %q", got)
	}
}

func TestTrackOfPackets(t *testing.T) {
	origin := time.Unix(100, 0)
	at := func(ms float64) int64 { return origin.UnixNano() + int64(ms*1e6) }
	p := PacketsOf(origin, Strip{
		Sent: []int64{at(-20), at(0), at(20), at(40)},
		Arrivals: []traffic.Arrival{
			{Seq: 0, Sent: at(-20), At: at(-19)},
			{Seq: 2, Sent: at(20), At: at(25.5)},
			{Seq: 1, Sent: at(0), At: at(26)},
			{Seq: 2, Sent: at(20), At: at(30)},
			{Seq: 9, At: at(31)},
		},
	})
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"sent_us":"-20000 20000 20000 20000","delay_us":"1000 26000 5500 -1"}`; string(b) != want {
		t.Errorf("got %s, expected %s", b, want)
	}
	var back Packets
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	type dot struct{ sent, arrived float64 }
	var dots []dot
	back.Each(func(_ int, sent, arrived float64) { dots = append(dots, dot{sent, arrived}) })
	if d := cmp.Diff([]dot{{-20, -19}, {0, 26}, {20, 25.5}, {40, 39.999}}, dots, cmp.AllowUnexported(dot{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`{"sent_us":"1 2","delay_us":"1"}`, `{"sent_us":"1 x","delay_us":"1 1"}`, `{"sent_us":[1]}`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("took %s", bad)
		}
	}
}
