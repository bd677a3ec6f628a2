package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record makes one as it comes out of a control socket: by JSON.
func record(t *testing.T, e event.Event) event.Event {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var out event.Event
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func end(node string, p event.Phase, d time.Duration, o event.Outcome, attrs map[string]any) event.Event {
	return event.Event{Node: node, Phase: p, Kind: event.KindEnd, Duration: d, Outcome: o, Attrs: attrs, Time: time.Unix(100, int64(len(p)))}
}

func TestPhases(t *testing.T) {
	got := phases([]event.Event{
		{Phase: event.PhaseAuth, Kind: event.KindBegin},
		end("mn", event.PhaseAuth, 12*time.Millisecond, event.OK, nil),
		end("mn", event.PhaseTunnel, time.Millisecond, event.Failed, nil),
		end("mn", event.PhaseBind, 2500*time.Microsecond, event.OK, nil),
		end("mn", event.PhaseBind, time.Second, event.OK, nil),
		end("mn", event.PhaseL2, 4*time.Millisecond, event.OK, nil),
		end("a", event.PhaseDAD, 300*time.Millisecond, event.OK, nil),
	})
	want := map[string]float64{"tauth_ms": 12, "bind_ms": 2.5, "dad_ms": 300}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTLSVersion(t *testing.T) {
	for want, records := range map[string][]event.Event{
		"":        {end("mn", event.PhaseAuth, 1, event.OK, nil), end("mn", event.PhaseAuth, 1, event.Failed, map[string]any{"tls": "TLS 1.2"})},
		"TLS 1.3": {end("mn", event.PhaseAuth, 1, event.OK, map[string]any{"tls": "TLS 1.3"}), end("mn", event.PhaseAuth, 1, event.OK, nil)},
	} {
		if got := tlsVersion(records); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

func TestBuffer(t *testing.T) {
	drain := record(t, end("a", event.PhaseDrain, time.Millisecond, event.OK, map[string]any{
		"packets": 7, "held_ms": 5.5, "dropped": 2, "reasons": map[string]uint64{"buffer packets": 2, "age": 0},
	}))
	flip := record(t, end("a", event.PhaseFlip, time.Millisecond, event.OK, map[string]any{"forced": true}))
	held := 5.5
	want := &report.Buffer{Packets: 7, HeldMS: &held, Dropped: 2, ForcedFlips: 1, Reasons: map[string]int{"buffer packets": 2}}
	if d := cmp.Diff(want, buffer([]event.Event{drain, flip})); d != "" {
		t.Error(d)
	}
	sized, expected := 30, 12.5
	sizedUp := *want
	sizedUp.SizedPackets, sizedUp.ExpectedMS = &sized, &expected
	hold := record(t, end("a", event.PhaseHold, time.Millisecond, event.OK, map[string]any{"sized_packets": sized, "expected_ms": expected}))
	if d := cmp.Diff(&sizedUp, buffer([]event.Event{hold, drain, flip})); d != "" {
		t.Error(d)
	}
	if b := buffer([]event.Event{hold}); b != nil {
		t.Errorf("%+v of a node that did not arrive", b)
	}
	// The same records from the node and from the router count once.
	other := drain
	other.Seq = 99
	got := buffer(ofNode([]event.Event{drain, other, flip, flip, end("b", event.PhaseFlip, 0, event.OK, map[string]any{"forced": true})}, "a"))
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if b := buffer([]event.Event{end("a", event.PhaseConf, 0, event.OK, nil)}); b != nil {
		t.Errorf("%+v without a drain", b)
	}
}

func TestWatchPairsMoves(t *testing.T) {
	w := &watch{}
	lost, up := time.Unix(1, 0), time.Unix(2, 0)
	dead := linkctl.Move{From: "poa-b1", To: "poa-a1", Lost: lost, Failure: linkctl.Dead}
	back := linkctl.Move{To: "poa-b1", Lost: lost}
	backUp := back
	backUp.Up = up
	for _, m := range []linkctl.Move{dead, dead, back, backUp} {
		w.moved(m)
	}
	if d := cmp.Diff([]linkctl.Move{dead, backUp}, w.done()); d != "" {
		t.Error(d)
	}
}

// TestTrackOfAFailedMove: there is no link until the node is back, and a record
// that came from two recorders is drawn once.
func TestTrackOfAFailedMove(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, int64(ms)*int64(time.Millisecond)) }
	hold := event.Event{Node: "a", Phase: event.PhaseHold, Kind: event.KindEnd, Duration: 30 * time.Millisecond, Outcome: event.SwitchedBack, Time: at(25)}
	imported := hold
	imported.Seq = 7
	got := track(measured{
		moves:   []linkctl.Move{{Lost: at(0), Failure: linkctl.Dead}, {Lost: at(20), Up: at(24)}, {Lost: at(40), Up: at(45)}},
		records: []event.Event{{Node: "a", Phase: event.PhaseHold, Kind: event.KindBegin, Time: at(-5)}, hold, imported},
		strips:  Strips{Down: report.Strip{Sent: []int64{at(-10).UnixNano()}}},
	})
	want := &report.Track{
		Origin: at(0), Away: []report.Span{{AtMS: 0, TookMS: 24}, {AtMS: 40, TookMS: 5}},
		Phases: []report.TrackPhase{{Phase: "hold", Node: "a", Outcome: "switched-back", Span: report.Span{AtMS: -5, TookMS: 30}}},
		Down:   &report.Packets{SentUS: report.Series{-10000}, DelayUS: report.Series{report.Lost}},
		Up:     &report.Packets{SentUS: report.Series{}, DelayUS: report.Series{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestExpectQuiet(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*int64(time.Millisecond)) }
	var sent []int64
	for i := range 10 {
		sent = append(sent, at(i*20).UnixNano())
	}
	track := report.Strip{Sent: sent}
	good := traffic.Stats{Losses: []traffic.Run{{First: 2, Last: 3, At: at(40)}}}
	for _, x := range []struct {
		name string
		up   traffic.Stats
		end  time.Time
		bad  bool
	}{
		{"losses before the end", good, at(70), false},
		{"losses across the end", traffic.Stats{Losses: []traffic.Run{{First: 2, Last: 5, At: at(40)}}}, at(70), true},
		{"losses after the end", traffic.Stats{Losses: []traffic.Run{{First: 8, Last: 8, At: at(160)}}}, at(70), true},
		{"nothing sent after the end", good, at(500), true},
	} {
		r := &run{res: &report.Result{}}
		m := measured{down: good, up: x.up, strips: Strips{Down: track, Up: track}}
		r.expectQuiet(x.name, m, x.end)
		if (len(r.res.Problems) > 0) != x.bad {
			t.Errorf("%s: problems %q", x.name, r.res.Problems)
		}
	}
}

func TestRates(t *testing.T) {
	slow := traffic.PerSecond(50)
	fast, err := traffic.ParseRate("100M")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		rate     traffic.Rate
		dir      Direction
		down, up traffic.Rate
	}{
		{slow, Default, slow, slow},
		{fast, Default, fast, slow},
		{fast, Up, slow, fast},
		{fast, Both, fast, fast},
		{fast, Down, fast, slow},
	} {
		down, up := Options{Rate: x.rate, Direction: x.dir}.rates()
		if down != x.down || up != x.up {
			t.Errorf("%v %q: %v down, %v up", x.rate, x.dir, down, up)
		}
	}
}

func TestScenarioList(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range All() {
		if seen[s.Name] || s.Doc == "" || s.Promise == "" || s.run == nil {
			t.Errorf("scenario %+v", s)
		}
		seen[s.Name] = true
	}
	if _, err := Find("nothing"); err == nil || !strings.Contains(err.Error(), "failed-switch") {
		t.Errorf("an unknown scenario: %v, expected the list of those there are", err)
	}
	o := Options{Gap: 4 * time.Millisecond}
	adjustSmallBuffer(&o, func(string) bool { return true })
	if o.Gap != 4*time.Millisecond {
		t.Error("a gap that was given is changed")
	}
	adjustSmallBuffer(&o, func(string) bool { return false })
	if o.Gap != smallGap {
		t.Error("the gap is too short for the buffer to overflow")
	}
}

func TestProgressOffATerminal(t *testing.T) {
	var b bytes.Buffer
	p := &Progress{w: &b}
	p.Line("one")
	p.Line("one")
	p.With("lab A: ").Line("two")
	p.Done()
	if b.String() != "one\nlab A: two\n" {
		t.Errorf("%q", b.String())
	}
}

func TestUntilHandover(t *testing.T) {
	id, _, err := untilHandover(strings.NewReader("building the network of lab 7\nstarting\nhandover: 1 of 100, from b to a\nmore\n"))
	if err != nil || id != "7" {
		t.Errorf("%q, %v", id, err)
	}
	if _, seen, err := untilHandover(strings.NewReader("mpa-lab: no\n")); err == nil || seen != "mpa-lab: no\n" {
		t.Errorf("%q, %v", seen, err)
	}
}

// TestFloor moves the bare host a few times in a lab without daemons.
func TestFloor(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	b, err := bed.StartNetwork(context.Background(), bed.Options{Bin: t.TempDir(), Gap: 4 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{res: &report.Result{}}
	for i := range 3 {
		d, err := r.floor(context.Background(), b)
		if err != nil {
			t.Error(err)
			break
		}
		if d <= 0 {
			t.Errorf("move %d: the first packet came %v after link up", i, d)
		}
		t.Logf("first packet %v after link up", d)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
