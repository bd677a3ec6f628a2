package scenario

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

func TestDeliveryCells(t *testing.T) {
	all := AllDeliveryCells(3)
	if want := len(DeliveryCases()) * 18; len(all) != want {
		t.Fatalf("%d cells, expected %d", len(all), want)
	}
	for _, c := range all {
		if got, err := ParseDeliveryCell(c.String(), 3); err != nil || got != c {
			t.Errorf("%v is read as %v, %v", c, got, err)
		}
		r := DeliveryRecord{Case: c.Case, Load: c.Load, GapMS: report.MS(c.Gap), DelayMS: report.MS(c.Delay), Moves: c.Moves}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back DeliveryRecord
		if err := json.Unmarshal(text, &back); err != nil || back.Cell() != c {
			t.Errorf("the record of %v is one of %v, %v", c, back.Cell(), err)
		}
	}
	for _, bad := range []string{"", "planned", "planned/50/4ms", "planned/50/5ms/0s", "planned/51/4ms/0s", "flying/50/4ms/0s", "planned/50/4/0s"} {
		if c, err := ParseDeliveryCell(bad, 3); err == nil {
			t.Errorf("%q is read as %v", bad, c)
		}
	}
	some := PairwiseDeliveryCells(3)
	if len(some) >= len(all) {
		t.Errorf("%d of %d cells are pairwise", len(some), len(all))
	}
	for _, c := range some {
		if _, err := ParseDeliveryCell(c.String(), 3); err != nil {
			t.Error(err)
		}
	}
}

func TestDeliveryTables(t *testing.T) {
	silence, interval := 61.0, 20.0
	lost := 3
	records := []DeliveryRecord{
		{
			Case: "planned", Load: "50", GapMS: 50, Passed: true, Handovers: []report.Handover{{
				Phases: map[string]float64{"l2_ms": 50},
				Flow: report.Flows{
					Down: &report.Flow{Sent: 100, IntervalMS: &interval, HandoverGapMS: &silence},
					Up:   &report.Flow{Sent: 90, Lost: 3, LostOnAir: &lost},
				},
			}},
		},
		{
			Case: "planned", Load: loadTCP, GapMS: 4, DelayMS: 40, Problems: []string{"broken"}, Handovers: []report.Handover{{
				TCP: &report.Stream{Timeouts: 2, Retransmitted: 7, Needless: 5, OutOfOrder: 4}, Buffer: &report.Buffer{Dropped: 6, ForcedFlips: 1},
			}},
		},
	}
	fields := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	table := fields(DeliveryTable(records))
	for _, want := range []string{"planned, 50 - ok - - - -", "planned, tcp - - - FAIL - -"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in %s", want, table)
		}
	}
	if strings.Contains(table, "100M") {
		t.Errorf("a line of what was not played: %s", table)
	}
	summary := fields(DeliverySummary(records))
	for _, want := range []string{"planned, 50 1/1 1 190 0 3 0 3 0 0 0 11 11 11 11", "planned 0/1 1 2 7 5 4 6 1", "2 cells, 1 passed, 1 failed"} {
		if !strings.Contains(summary, want) {
			t.Errorf("no %q in %s", want, summary)
		}
	}
}

func TestJudgeCleanStream(t *testing.T) {
	for _, x := range []struct {
		name string
		tcp  report.Stream
		m    measured
		want string
	}{
		{"nothing", report.Stream{}, measured{}, ""},
		{"dropped", report.Stream{}, measured{dropped: map[string]int{"b: age": 2}}, "b: age 2"},
		{"copies of a marker", report.Stream{}, measured{dropped: map[string]int{"a: released": 1, "b: released": 1}}, ""},
		{"held to the end", report.Stream{}, measured{dropped: map[string]int{"a: released": 1, "b: released": 2}}, "b: released 2"},
		{"needless", report.Stream{Retransmitted: 3, Needless: 2, Probes: 1}, measured{}, ""},
		{"sent again", report.Stream{Retransmitted: 3, Needless: 1, Probes: 1}, measured{}, "3 segments"},
		{"sent again by time-out", report.Stream{Retransmitted: 3, Needless: 1, Timeouts: 1}, measured{}, ""},
		{"lost by time-out", report.Stream{Retransmitted: 3, Needless: 1, Timeouts: 1}, measured{kernel: []string{"rb: to lan0 1"}}, "rb: to lan0 1"},
		{"out of order", report.Stream{OutOfOrder: 1}, measured{}, "1 segments out of order"},
		{"out of order in a forced flip", report.Stream{OutOfOrder: 1}, measured{Handover: report.Handover{Buffer: &report.Buffer{ForcedFlips: 1}}}, ""},
	} {
		r := &run{res: &report.Result{}, opt: Options{Gap: 500 * time.Millisecond}}
		x.tcp.Octets = 1
		x.m.Outcome, x.m.TCP = "completed", &x.tcp
		r.judgeCleanStream(x.name, x.m)
		if got := strings.Join(r.res.Problems, "; "); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, expected %q", x.name, got, x.want)
		}
	}
}

func TestJudgeStream(t *testing.T) {
	for _, x := range []struct {
		gap  time.Duration
		tcp  report.Stream
		want string
	}{
		{50 * time.Millisecond, report.Stream{Octets: 1}, ""},
		{50 * time.Millisecond, report.Stream{Octets: 1, Timeouts: 1}, "time-outs"},
		{500 * time.Millisecond, report.Stream{Octets: 1, Timeouts: 1}, ""},
		{50 * time.Millisecond, report.Stream{}, "no octet"},
	} {
		r := &run{res: &report.Result{}, opt: Options{Gap: x.gap}}
		r.judgeStream("move", measured{Handover: report.Handover{Outcome: "completed", TCP: &x.tcp}})
		if got := strings.Join(r.res.Problems, "; "); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%+v: %q, expected %q", x, got, x.want)
		}
	}
}

// TestDeliveryJudges checks that what is not as promised is a problem, for each case.
func TestDeliveryJudges(t *testing.T) {
	lost := traffic.Stats{Sent: 10, Received: 9, Lost: 1}
	twice := traffic.Stats{Sent: 10, Received: 10, Duplicated: 1}
	whole := traffic.Stats{Sent: 10, Received: 10}
	up := time.Now()
	moved := func(m measured) measured {
		m.moves = []linkctl.Move{{From: "poa-b1", To: "poa-c1", Lost: up.Add(-time.Millisecond), Up: up}}
		return m
	}
	done := report.Handover{Outcome: string(event.Completed)}
	failed := report.Handover{Outcome: string(event.Failed), Reason: "it is elsewhere"}
	inGap := lost
	inGap.Losses = []traffic.Run{{At: up}}
	swapped := traffic.Stats{Sent: 10, Received: 10, Reordered: 2}
	away := func(m measured) measured { // two packets came meanwhile
		m.strips.Down.Sent = []int64{up.Add(-800 * time.Microsecond).UnixNano(), up.Add(-500 * time.Microsecond).UnixNano()}
		return moved(m)
	}
	departed := func(at time.Time) measured {
		e := end(topo.MN, event.PhaseDepart, time.Millisecond, event.OK, nil)
		e.Time = at
		return measured{Handover: done, down: whole, up: whole, records: []event.Event{e}}
	}
	held := func(node string, packets int) measured {
		m := measured{Handover: done, down: whole, up: whole}
		m.From = "b"
		m.records = []event.Event{end(node, event.PhaseHold, time.Millisecond, event.SwitchedBack, map[string]any{"packets": packets})}
		return m
	}
	tcpDown := func(m measured) measured {
		m.TCP = &report.Stream{Direction: "down", Octets: 1}
		return m
	}
	for _, x := range []struct {
		name  string
		judge func(*run, string, measured)
		m     measured
		want  string
	}{
		{"cut, lost up on the air", (*run).judgeCut, measured{Handover: done, down: whole, up: lost, onAir: lostOnLinks{down: 3, up: 1}}, ""},
		{"cut, lost up before the air", (*run).judgeCut, measured{Handover: done, down: whole, up: lost, onAir: lostOnLinks{down: 3, refused: 1}}, ""},
		{"cut, not lost up before the air", (*run).judgeCut, measured{Handover: done, down: whole, up: whole, onAir: lostOnLinks{down: 3, refused: 1}}, "and 1 by a device"},
		{"cut, lost up", (*run).judgeCut, measured{Handover: done, down: whole, up: lost, onAir: lostOnLinks{down: 3}}, "1 lost"},
		{"cut, lost down", (*run).judgeCut, measured{Handover: done, down: lost, up: whole, onAir: lostOnLinks{down: 3}}, "1 lost"},
		{"cut, reordered down", (*run).judgeCut, measured{Handover: done, down: traffic.Stats{Sent: 10, Received: 10, Reordered: 2}, up: whole, onAir: lostOnLinks{down: 3}}, "2 reordered"},
		{"cut, reordered up", (*run).judgeCut, measured{Handover: done, down: whole, up: traffic.Stats{Sent: 10, Received: 10, Reordered: 2}, onAir: lostOnLinks{down: 3}}, "2 reordered"},
		{"cut, not really", (*run).judgeCut, measured{Handover: done, down: whole, up: whole}, "nothing was shown"},
		{"cut of a slow flow, not really", (*run).judgeCut, away(measured{Handover: done, down: whole, up: whole}), "nothing was shown"},
		{"cut of a slow flow, nothing came", (*run).judgeCut, moved(measured{Handover: done, down: whole, up: whole}), ""},
		{"cut, not completed", (*run).judgeCut, measured{Handover: failed, down: whole, up: whole, onAir: lostOnLinks{down: 3}}, "it is elsewhere"},
		{"bicast, lost on both", (*run).judgeBicast, moved(measured{Handover: done, down: inGap, up: whole, both: true, neither: 1}), ""},
		{"bicast, lost on one", (*run).judgeBicast, moved(measured{Handover: done, down: inGap, up: whole, both: true}), "1 lost"},
		{"bicast, lost on a link", (*run).judgeBicast, moved(measured{Handover: done, down: lost, up: whole, both: true, neither: 1, missed: 1}), "there the node was"},
		{"bicast, twice", (*run).judgeBicast, moved(measured{Handover: done, down: twice, up: whole, both: true}), "1 duplicated"},
		{"bicast, not really", (*run).judgeBicast, moved(measured{Handover: done, down: whole, up: whole}), "nothing was shown"},
		{"bicast, not really, two came", (*run).judgeBicast, away(departed(up.Add(-time.Millisecond))), "nothing was shown"},
		{"bicast, one came", (*run).judgeBicast, away(departed(up.Add(-600 * time.Microsecond))), ""},
		{"elsewhere", (*run).judgeElsewhere, moved(measured{Handover: failed, down: whole, up: whole}), ""},
		{"elsewhere, lost", (*run).judgeElsewhere, moved(measured{Handover: failed, down: whole, up: lost}), "1 lost"},
		{"elsewhere, completed", (*run).judgeElsewhere, moved(measured{Handover: done, down: whole, up: whole}), "expected"},
		{"elsewhere, reordered up with a forced flip", (*run).judgeElsewhere, moved(measured{
			Handover: report.Handover{Outcome: "failed", Reason: "x", Buffer: &report.Buffer{ForcedFlips: 1}}, down: whole, up: swapped,
		}), "2 reordered"},
		{"previous", (*run).judgePrevious, away(held("b", 2)), ""},
		{"previous, not really", (*run).judgePrevious, measured{Handover: done, down: whole, up: whole}, "forwarded"},
		{"previous, by the other", (*run).judgePrevious, away(held("a", 2)), "forwarded"},
		{"previous, nothing came", (*run).judgePrevious, held("b", 0), ""},
		{"previous, held nothing", (*run).judgePrevious, away(held("b", 0)), "held none"},
		{"previous, tcp", (*run).judgePreviousStream, tcpDown(held("b", 0)), ""},
		{"previous, tcp, by the other", (*run).judgePreviousStream, tcpDown(held("a", 1)), "forwarded"},
	} {
		r := &run{res: &report.Result{}, opt: Options{Direction: Down}}
		if strings.Contains(x.name, "slow") {
			r.opt.Direction = Up
		}
		x.judge(r, x.name, x.m)
		if got := strings.Join(r.res.Problems, "; "); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, expected %q", x.name, got, x.want)
		}
	}
}
