package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms float64) time.Time { return epoch.Add(span(ms)) }

func span(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func hid(n byte) event.HandoverID { return event.HandoverID{0: n, 15: 1} }

func begin(node string, p event.Phase, ms float64) event.Event {
	return event.Event{Seq: uint64(ms*10) + 1, Time: at(ms), Node: node, Handover: hid(1), Phase: p, Kind: event.KindBegin}
}

func end(node string, p event.Phase, from, to float64) event.Event {
	return event.Event{
		Seq: uint64(to*10) + 1, Time: at(to), Node: node, Handover: hid(1), Phase: p, Kind: event.KindEnd,
		Duration: span(to - from), Outcome: event.OK,
	}
}

func point(node string, p event.Phase, ms float64, name string) event.Event {
	return event.Event{Time: at(ms), Node: node, Handover: hid(1), Phase: p, Kind: event.KindPoint, Name: name}
}

func describe(rows []row) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%s/%s%s %s+%s %s\n", r.Node, r.Phase, r.Name, ms(r.Start.Sub(epoch)), r.took(), r.verdict())
	}
	return b.String()
}

func TestRows(t *testing.T) {
	events := []event.Event{
		begin("mn", event.PhaseAuth, 1), // before the whole in the list, not in time
		begin("mn", event.PhaseHandover, 0),
		end("mn", event.PhaseAuth, 1, 11),
		begin("a", event.PhaseHold, 20),
		begin("a", event.PhaseHold, 40), // a second one of the same kind
		point("mn", event.PhaseDepart, 21, "marker sent"),
		end("a", event.PhaseHold, 40, 45),
	}
	want := `mn/handover 0.0+50.0 running
mn/tauth 1.0+10.0 ok
a/hold 20.0+30.0 running
mn/departmarker sent 21.0+- -
a/hold 40.0+5.0 ok
`
	if got := describe(rowsOf(events, at(50))); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestEndWithoutBegin(t *testing.T) {
	rows := rowsOf([]event.Event{end("mn", event.PhaseBind, 3, 5)}, at(9))
	if len(rows) != 1 || !rows[0].Start.Equal(at(3)) {
		t.Errorf("got %s", describe(rows))
	}
}

func TestMerge(t *testing.T) {
	mark := func(ms float64) event.Event { return point("a", event.PhaseHold, ms, "packet") }
	rounded := end("a", event.PhaseDAD, 1, 2.0004)
	for _, tc := range []struct {
		name    string
		sources [][]event.Event
		want    int
	}{
		{"nothing", nil, 0},
		{"an import counts once", [][]event.Event{{begin("mn", event.PhaseAuth, 1), end("a", event.PhaseDAD, 1, 2)}, {end("a", event.PhaseDAD, 1, 2)}}, 2},
		{"so does a rounded one", [][]event.Event{{rounded}, {end("a", event.PhaseDAD, 1, 2)}}, 1},
		{"other node", [][]event.Event{{begin("a", event.PhaseAuth, 1)}, {begin("b", event.PhaseAuth, 1)}}, 2},
		{"other time", [][]event.Event{{mark(1)}, {mark(2)}}, 2},
		{"other duration", [][]event.Event{{end("a", event.PhaseDAD, 1, 9)}, {end("a", event.PhaseDAD, 5, 9)}}, 2},
		{"twice in one recorder is twice", [][]event.Event{{mark(1), mark(1.1)}}, 2},
		{"twice in both is twice", [][]event.Event{{mark(1), mark(1.1)}, {mark(1), mark(1.1)}}, 2},
		{"three of one, two of the other", [][]event.Event{{mark(1), mark(1)}, {mark(1), mark(1), mark(1)}}, 3},
		{"three sources", [][]event.Event{{mark(1)}, {mark(1)}, {mark(1)}}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := merge(tc.sources...)
			if len(got) != tc.want {
				t.Errorf("got %d records, want %d: %v", len(got), tc.want, got)
			}
			if !slices.IsSortedFunc(got, func(a, b event.Event) int { return a.Time.Compare(b.Time) }) {
				t.Error("not by time")
			}
		})
	}
}

func TestExplainTable(t *testing.T) {
	whole := end("mn", event.PhaseHandover, 0, 812)
	whole.Outcome, whole.Attrs = event.Completed, map[string]any{"from": "b", "to": "a"}
	failed := end("a", event.PhaseDAD, 60, 61)
	failed.Outcome, failed.Reason, failed.Attrs = event.Failed, "10.2.0.100 is taken\x1b[2J", map[string]any{"by": "02:00", "tries": 3}
	events := []event.Event{whole, end("mn", event.PhaseAuth, 1, 46.25), failed, point("mn", event.PhaseDepart, 700, "marker sent")}
	chose := point("mn", event.PhaseDiscovery, 0, "decision")
	chose.Attrs = map[string]any{"reason": "b1 has -80 dBm"}
	var out bytes.Buffer
	if err := explain(&out, control.Summarize(events)[0], decided([]event.Event{whole, chose}), rowsOf(events, at(900))); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"handover 01000000000000000000000000000001: b to a, completed in 812.0 ms, began ",
		"\ndecision: b1 has -80 dBm\n",
		"PHASE     START ms  TOOK ms   NODE  OUTCOME    DETAIL\n",
		"handover       0.0     812.0  mn    completed  from=b to=a\n",
		"tauth          1.0      45.2  mn    ok         \n",
		"dad           60.0       1.0  a     failed     10.2.0.100 is taken [2J; by=02:00 tries=3\n",
		"depart       700.0         -  mn    -          marker sent\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got:\n%s\nwant it to contain:\n%s", text, want)
		}
	}
	if strings.Contains(text, "clock") {
		t.Errorf("complains about clocks that agree:\n%s", text)
	}
}

func TestExplainSaysThatClocksDiffer(t *testing.T) {
	events := []event.Event{end("mn", event.PhaseHandover, 10, 20), end("a", event.PhaseDAD, 1, 2)}
	var out bytes.Buffer
	if err := explain(&out, control.Summarize(events)[0], "", rowsOf(events, at(30))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "Records of a are from before") {
		t.Errorf("got:\n%s", out.String())
	}
}

func TestChoose(t *testing.T) {
	known := []control.Handover{{ID: hid(0x1a), To: "a"}, {ID: hid(0x1b), To: "b"}, {ID: hid(0x2c)}}
	for _, tc := range []struct {
		prefix string
		want   event.HandoverID
		err    string
	}{
		{"", hid(0x1b), ""}, // the attachment 2c is not a move
		{"2", hid(0x2c), ""},
		{"1b", hid(0x1b), ""},
		{"1", event.HandoverID{}, "2 handovers' identifiers begin"},
		{"f", event.HandoverID{}, "no handover's identifier begins"},
	} {
		got, err := choose(known, tc.prefix)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q: got %v, %v", tc.prefix, got, err)
		}
	}
	if got, err := choose(known[2:], ""); err != nil || got != hid(0x2c) {
		t.Errorf("only an attachment: got %v, %v", got, err)
	}
	if _, err := choose(nil, ""); err == nil {
		t.Error("nothing known: no error")
	}
}

func TestJoin(t *testing.T) {
	var list []control.Handover
	list = join(list, control.Handover{ID: hid(2), Start: at(20), Events: 1})
	list = join(list, control.Handover{ID: hid(1), Start: at(10), Events: 1})
	list = join(list, control.Handover{ID: hid(3), Start: at(30), Events: 1})
	list = join(list, control.Handover{ID: hid(2), Start: at(15), To: "a", Outcome: event.Completed, Events: 4})
	if len(list) != 3 || list[0].ID != hid(1) || list[2].ID != hid(3) {
		t.Fatalf("got %+v", list)
	}
	if h := list[1]; h.To != "a" || h.Events != 5 || !h.Start.Equal(at(15)) || h.Outcome != event.Completed {
		t.Errorf("got %+v", h)
	}
}

func TestBlockRedraws(t *testing.T) {
	var out bytes.Buffer
	b := newBlock(&out, screen{terminal: true, width: 40, height: 6})
	b.now = func() time.Time { return at(100) }
	var events []event.Event
	for i, p := range []event.Phase{event.PhaseHandover, event.PhaseAuth, event.PhaseConf, event.PhaseTunnel, event.PhaseBind} {
		e := begin("mn", p, float64(i))
		e.Attrs = map[string]any{"long": strings.Repeat("x", 100)}
		events = append(events, e)
		b.update(events)
	}
	text := out.String()
	if !strings.HasPrefix(text, "\x1b[JPHASE") || strings.Count(text, "\x1b[J") != 5 {
		t.Errorf("got %q, want five drawings, the first where the cursor is", text)
	}
	if !strings.Contains(text, "\x1b[2A") || strings.Contains(text, "\x1b[5A") {
		t.Errorf("got %q, want the cursor to climb over what was drawn, at most 4 lines", text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line[strings.LastIndex(line, "\x1b[")+1:], "\n")
		if len(line) > 41 {
			t.Errorf("line of %d characters would be wrapped: %q", len(line), line)
		}
	}
	if last := text[strings.LastIndex(text, "\x1b[J"):]; !strings.Contains(last, "PHASE") || !strings.Contains(last, "bind") || strings.Contains(last, "tauth") {
		t.Errorf("last drawing %q, want the head and the newest rows", last)
	}
}

func TestStatusText(t *testing.T) {
	var out bytes.Buffer
	err := writeValue(&out, []byte(`{"state":"attached","big":9007199254740993,"nothing":null,"empty":{},"none":[],
		"care_of":{"address":"10.1.0.100"},"visitors":[{"mode":"direct"},"x\u001b[2J"]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := "  state      attached\n  big        9007199254740993\n  nothing    -\n  empty      none\n  none       none\n" +
		"  care of    \n    address  10.1.0.100\n  visitors   \n    1        \n      mode   direct\n    2        x [2J\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, bad := range []string{"", "{", `{"a":}`, "[1"} {
		if err := writeValue(&out, []byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
