package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func id(n byte) HandoverID { return HandoverID{15: n} }

func TestSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder("a", nil, 100)
		start := time.Now()
		s := r.Begin(id(1), PhaseTunnel, "peer", "10.1.0.1")
		time.Sleep(250 * time.Millisecond)
		r.Point(id(1), PhaseTunnel, "half way", "n", 1)
		time.Sleep(250 * time.Millisecond)
		s.End(nil, "rtt", 3*time.Millisecond)
		s.End(errors.New("too late"))
		s.EndOutcome(Failed, "too late")

		got := r.Events(HandoverID{})
		if len(got) != 3 {
			t.Fatalf("want 3 records, got %+v", got)
		}
		begin, point, end := got[0], got[1], got[2]
		if begin.Kind != KindBegin || begin.Node != "a" || begin.Seq != 1 || !begin.Time.Equal(start) || begin.Attrs["peer"] != "10.1.0.1" || begin.Handover != id(1) {
			t.Errorf("begin: %+v", begin)
		}
		if point.Kind != KindPoint || point.Name != "half way" || point.Seq != 2 || point.Time.Sub(start) != 250*time.Millisecond {
			t.Errorf("point: %+v", point)
		}
		if end.Kind != KindEnd || end.Duration != 500*time.Millisecond || end.Outcome != OK || end.Reason != "" || end.Phase != PhaseTunnel {
			t.Errorf("end: %+v", end)
		}
		if end.Attrs["peer"] != "10.1.0.1" || end.Attrs["rtt"] != 3.0 {
			t.Errorf("end's attributes: %+v", end.Attrs)
		}
		if len(begin.Attrs) != 1 {
			t.Errorf("begin's attributes changed: %+v", begin.Attrs)
		}
	})
}

func TestOutcomes(t *testing.T) {
	r := NewRecorder("a", nil, 100)
	r.Begin(id(1), PhaseDHCP).End(nil)
	r.Begin(id(1), PhaseDHCP).End(errors.New("no offer"))
	r.Begin(id(1), PhaseDHCP).End(fmt.Errorf("stopped: %w", context.Canceled))
	r.Begin(id(1), PhaseDHCP).End(fmt.Errorf("slow: %w", context.DeadlineExceeded))
	r.Begin(id(1), PhaseHandover).EndOutcome(SwitchedBack, "link did not come up")
	var got []string
	for _, e := range r.Events(id(1)) {
		if e.Kind == KindEnd {
			got = append(got, string(e.Outcome)+": "+e.Reason)
		}
	}
	want := []string{
		"ok: ", "failed: no offer", "cancelled: stopped: context canceled",
		"failed: slow: context deadline exceeded", "switched-back: link did not come up",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestRingKeepsTheLast(t *testing.T) {
	r := NewRecorder("a", nil, 4)
	for i := range 11 {
		if got := len(r.Events(HandoverID{})); got != min(i, 4) {
			t.Fatalf("after %d: %d kept", i, got)
		}
		r.Point(id(byte(i%2)), PhaseHold, fmt.Sprint(i))
	}
	var names []string
	for i, e := range r.Events(HandoverID{}) {
		names = append(names, e.Name)
		if e.Seq != uint64(8+i) {
			t.Errorf("want sequence number %d, got %d", 8+i, e.Seq)
		}
	}
	if got := strings.Join(names, " "); got != "7 8 9 10" {
		t.Errorf("kept %s", got)
	}
	if got := r.Events(id(1)); len(got) != 2 || got[0].Name != "7" || got[1].Name != "9" {
		t.Errorf("of one handover: %+v", got)
	}
}

func TestImport(t *testing.T) {
	r := NewRecorder("mn", nil, 10)
	r.Point(id(1), PhaseHold, "own")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.Import(Event{Seq: 99, Time: at, Node: "a", Handover: id(1), Phase: PhaseDrain, Kind: KindPoint, Name: "theirs"})
	got := r.Events(id(1))
	if len(got) != 2 || got[1].Seq != 2 || got[1].Node != "a" || !got[1].Time.Equal(at) {
		t.Errorf("got %+v", got)
	}
}

func TestSubscribe(t *testing.T) {
	r := NewRecorder("a", nil, 3)
	for i := 1; i <= 5; i++ {
		r.Point(id(1), PhaseHold, fmt.Sprint(i))
	}
	seqs := func(es []Event) string {
		var out []string
		for _, e := range es {
			out = append(out, fmt.Sprint(e.Seq))
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		since uint64
		want  string
	}{{0, "3 4 5"}, {2, "3 4 5"}, {3, "4 5"}, {4, "5"}, {5, ""}, {6, ""}, {1<<64 - 1, ""}} {
		past, _, cancel := r.Subscribe(c.since, 1)
		if seqs(past) != c.want {
			t.Errorf("since %d: want %q, got %q", c.since, c.want, seqs(past))
		}
		cancel()
	}

	past, ch, cancel := r.Subscribe(4, 2)
	for i := 6; i <= 9; i++ {
		r.Point(id(1), PhaseHold, fmt.Sprint(i))
	}
	if r.Lost() != 2 {
		t.Errorf("want 2 lost, got %d", r.Lost())
	}
	cancel()
	cancel()
	var live []Event
	for e := range ch {
		live = append(live, e)
	}
	if seqs(past) != "5" || seqs(live) != "6 7" {
		t.Errorf("want 5, then 6 7; got %q, then %q", seqs(past), seqs(live))
	}
	r.Point(id(1), PhaseHold, "after")
	if r.Lost() != 2 {
		t.Errorf("a cancelled follower still loses: %d", r.Lost())
	}
}

// Past and channel together are complete while others record.
func TestSubscribeHasNoGap(t *testing.T) {
	r := NewRecorder("a", nil, 10000)
	const writers, each = 4, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				s := r.Begin(id(byte(w)), PhaseHold)
				r.Point(id(byte(w)), PhaseHold, fmt.Sprint(i))
				s.End(nil)
			}
		})
	}
	past, ch, cancel := r.Subscribe(0, writers*each*3)
	wg.Wait()
	cancel()
	for e := range ch {
		past = append(past, e)
	}
	if len(past) != writers*each*3 {
		t.Errorf("want %d records, got %d", writers*each*3, len(past))
	}
	for i, e := range past {
		if e.Seq != uint64(i+1) {
			t.Fatalf("record %d has sequence number %d", i, e.Seq)
		}
	}
	if r.Lost() != 0 {
		t.Errorf("%d lost", r.Lost())
	}
}

func TestSpanEndsOnce(t *testing.T) {
	r := NewRecorder("a", nil, 100)
	s := r.Begin(id(1), PhaseHold)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { s.End(nil) })
	}
	wg.Wait()
	if got := len(r.Events(id(1))); got != 2 {
		t.Errorf("want a begin and an end, got %d records", got)
	}
}

func TestNilRecorder(t *testing.T) {
	var r *Recorder
	s := r.Begin(id(1), PhaseHold, "k", 1)
	s.End(nil)
	(*Span)(nil).End(nil)
	r.Point(id(1), PhaseHold, "p")
	r.Import(Event{})
	past, ch, cancel := r.Subscribe(0, 1)
	cancel()
	if _, open := <-ch; open || past != nil || r.Events(id(1)) != nil || r.Lost() != 0 {
		t.Error("a nil recorder has records")
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "duration" {
			return slog.Attr{}
		}
		return a
	}}))
	r := NewRecorder("a", log, 0)
	s := r.Begin(id(1), PhaseDHCP, "z", 1, "b", 2)
	r.Point(HandoverID{}, PhaseDHCP, "offer")
	r.Import(Event{Node: "b", Phase: PhaseDrain, Kind: KindPoint, Name: "x"})
	s.End(errors.New("no offer"))
	want := `level=DEBUG msg=dhcp kind=begin handover=00000000000000000000000000000001 b=2 z=1
level=INFO msg=dhcp kind=point name=offer
level=INFO msg=drain kind=point node=b name=x
level=WARN msg=dhcp kind=end handover=00000000000000000000000000000001 outcome=failed reason="no offer" b=2 z=1
`
	if out.String() != want {
		t.Errorf("want\n%s\ngot\n%s", want, out.String())
	}
}
