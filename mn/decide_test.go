package mn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/internal/osnet"
	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
	"openmpa/mn/link"
)

// walk is a node that walks away from b1, its link and its surroundings at once: signals are of the time since it began.
type walk struct {
	link.Adapter
	mu     sync.Mutex
	began  time.Time
	at     spot
	stands []Standing
	busy   bool
	fails  map[string]error // by what is done
	did    []string
	looks  []time.Duration
	asked  int
	weak   []bool // what it was told, when it changed
	moves  []string
	signal func(p string, after time.Duration) int
}

var (
	somePAA = netip.MustParseAddrPort("10.1.0.1:716")
	around  = []Network{{Name: "b", PAA: somePAA, Points: []string{"b1", "b2"}}, {Name: "a", PAA: somePAA, Points: []string{"a1"}}}
)

func (w *walk) Watch(context.Context) (<-chan osnet.LinkState, error) {
	return nil, errors.New("not here")
}

func (w *walk) Scan(context.Context, ...int) error { return errors.New("all channels") }

func (w *walk) Reported(context.Context) ([]link.Sighting, error) { w.asked++; return nil, nil }

func (w *walk) Look(_ context.Context, points ...string) error {
	w.looks = append(w.looks, time.Since(w.began))
	if slices.Contains(points, w.at.point) || len(points) != 2 {
		return errors.New("expected the other points")
	}
	time.Sleep(100 * time.Millisecond)
	return nil
}

func (w *walk) Seen(context.Context) (out []link.Sighting, err error) {
	for _, n := range around {
		for _, p := range n.Points {
			if s := w.signal(p, time.Since(w.began)); s != 0 {
				out = append(out, link.Sighting{Point: p, Signal: s})
			}
		}
	}
	return append(out, link.Sighting{Point: "02:00:00:00:07:00", Signal: -10}), nil
}

func (w *walk) Signal(context.Context) (int, error) {
	if s := w.signal(w.at.point, time.Since(w.began)); s != 0 {
		return s, nil
	}
	return 0, errors.New("no signal")
}

func (w *walk) position(context.Context) (spot, error) {
	if w.busy {
		return spot{}, ErrBusy
	}
	return w.at, nil
}

func (w *walk) places() []Network { return around }

func (w *walk) Standing() []Standing { return w.stands }

func (w *walk) SetBoth(bool) {}

// Want prepares at once.
func (w *walk) Want(list []Wanted) {
	w.stands = w.stands[:0]
	for _, x := range list {
		w.note("want " + x.Network + " " + x.Depth.String())
		w.stands = append(w.stands, Standing{Network: x.Network, Depth: x.Depth})
	}
}

// note keeps what is done, once where it is done again and again.
func (w *walk) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := len(w.did); k == 0 || w.did[k-1] != what {
		w.did = append(w.did, what)
	}
}

func (w *walk) do(what string) (*Handover, error) {
	w.note(what)
	if err := w.fails[what]; err != nil {
		return nil, err
	}
	h := &Handover{cancel: func() {}, ID: event.HandoverID{1}, done: make(chan struct{}), outcome: event.Completed}
	close(h.done)
	return h, nil
}

func (w *walk) handoverTo(to spot, _ bool) (*Handover, error) {
	h, err := w.do("handover " + to.network)
	if err == nil {
		w.at, w.stands = to, nil
	}
	return h, err
}

func (w *walk) weaken(weak bool) {
	if len(w.weak) == 0 || w.weak[len(w.weak)-1] != weak {
		w.weak = append(w.weak, weak)
	}
}

func (w *walk) roam(_ context.Context, point string) (event.HandoverID, error) {
	_, err := w.do("roam " + point)
	if err == nil {
		w.at.point = point
	}
	return event.HandoverID{2}, err
}

func (w *walk) Known() []neighbourhood.Known { return nil }

func (w *walk) Follows(string) map[string]float64 { return nil }

func (w *walk) Fix() (neighbourhood.Fix, bool) { return neighbourhood.Fix{}, false }

func (w *walk) Moved(from, to string, _ time.Time) { w.moves = append(w.moves, from+">"+to) }

// away gets weaker by 5 dB a second from -50; others stronger.
func away(p string, after time.Duration) int {
	d := int(5 * after.Seconds())
	switch p {
	case "b1":
		return -50 - d
	case "a1":
		return min(-40, -75+d)
	}
	return 0
}

func walking(t *testing.T, w *walk, change ...func(*Deciding)) (*decider, *event.Recorder) {
	t.Helper()
	w.began, w.at = time.Now(), spot{"b", "b1"}
	if w.signal == nil {
		w.signal = away
	}
	r := event.NewRecorder("mn", discard, 1000)
	cfg := &Deciding{Policy: decision.DefaultPolicy(decision.Enterprise)}
	for _, c := range change {
		c(cfg)
	}
	d, err := newDecider(Config{Deciding: cfg, Recorder: r, Log: discard}, w, w, w)
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}

// during runs the decider for a time.
func during(t *testing.T, d *decider, long time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	d.run(ctx)
}

// TestDecides: the node stays while it hears well, prepares what it hears better, and moves; and says why at each step.
func TestDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &walk{}
		d, r := walking(t, w)
		during(t, d, 1900*time.Millisecond)
		if s := d.report(); len(w.did) > 0 || s.Point != "b1" || s.Action != "stay" || s.Reason == "" || s.Samples < 2 {
			t.Errorf("too early: %q %+v, looked %v", w.did, s, w.looks)
		}
		during(t, d, 10*time.Second)
		if k := len(w.did); k < 2 || !strings.HasPrefix(w.did[0], "want a ") || !slices.Contains(w.did, "handover a") || w.at.point != "a1" {
			t.Errorf("%q at %v", w.did, w.at)
		}
		if !slices.Equal(w.weak, []bool{false, true, false}) {
			t.Errorf("the signal was called weak %v", w.weak)
		}
		if w.asked != 1 || len(w.looks) == 0 {
			t.Errorf("asked %d, looked %v", w.asked, w.looks)
		}
		for i := 1; i < len(w.looks); i++ {
			if w.looks[i]-w.looks[i-1] < lookPause {
				t.Errorf("looked at %v", w.looks)
			}
		}
		if s := d.report(); s.Point != "a1" || s.Signal != -40 || s.Counts.Chosen != 1 {
			t.Errorf("%+v", s)
		}
		if !slices.Equal(w.moves, []string{"b1>a1"}) {
			t.Errorf("moves %q", w.moves)
		}
		events := r.Events(event.HandoverID{1})
		if len(events) != 1 || events[0].Attrs["action"] != "handover" || !strings.Contains(events[0].Attrs["reason"].(string), "b1") {
			t.Errorf("%+v", events)
		}
		var moved bool
		for _, e := range d.diary.entries {
			if e.Reason == "" || e.Until.Before(e.From) {
				t.Errorf("%+v", e)
			}
			moved = moved || e.Action == "handover" && e.Into == "a"
		}
		if !moved {
			t.Errorf("%+v", d.diary.entries)
		}
	})
}

// TestObserves: it decides, and does nothing.
func TestObserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &walk{}
		d, _ := walking(t, w, func(c *Deciding) { c.Observe = true })
		during(t, d, 12*time.Second)
		if len(w.did) > 0 || len(w.weak) > 0 || w.at.point != "b1" {
			t.Errorf("%q, weak %v", w.did, w.weak)
		}
		if s := d.report(); !s.Observe || s.Action != "handover" || s.Into != "a" {
			t.Errorf("%+v", s)
		}
	})
}

// TestDecidesRoams: a better point of the same network is gone to; what fails is tried again later, and nothing is done while
// somebody else moves the link, or where nothing serves.
func TestDecidesRoams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := func(p string, after time.Duration) int {
			switch p {
			case "b2":
				return -50
			case "a1":
				return 0
			}
			return away(p, after)
		}
		w := &walk{signal: near, fails: map[string]error{"roam b2": errors.New("refused")}}
		d, _ := walking(t, w)
		during(t, d, 6*time.Second)
		if want := []string{"roam b2"}; !slices.Equal(w.did, want) {
			t.Errorf("%q", w.did)
		}
		w.fails, w.did = nil, nil
		w.busy = true
		during(t, d, 5*time.Second)
		w.busy = false
		if len(w.did) != 0 {
			t.Errorf("while busy: %q", w.did)
		}
		during(t, d, 4*time.Second)
		if len(w.did) == 0 || w.did[0] != "roam b2" || w.at.point != "b2" {
			t.Errorf("%q at %v", w.did, w.at)
		}
		w.at = spot{}
		during(t, d, time.Second)
		if s := d.report(); s.Point != "" || len(w.did) != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// page is a trace in memory.
type page struct{ bytes.Buffer }

func (*page) Close() error { return nil }

// TestTraced: another engine that is told what the trace has decides what this one did, one decision after the other.
func TestTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text page
		w := &walk{}
		policy := decision.DefaultPolicy(decision.Enterprise)
		d, _ := walking(t, w, func(c *Deciding) {
			c.Policy.Hold = 0 // as the timers have it
			c.Trace = trace.NewWriter(&text, trace.Header{Node: "mn", Began: time.Now(), Policy: policy})
		})
		during(t, d, 12*time.Second)
		r, err := trace.NewReader(&text)
		if err != nil {
			t.Fatal(err)
		}
		var (
			other                     = decision.New(d.engine.Policy())
			got                       decision.Decision
			samples, decisions, moves int
		)
		for {
			x, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case x.Know != nil:
				if err := other.Know(x.Know.Networks, x.Know.Points); err != nil {
					t.Fatal(err)
				}
			case x.Sample != nil:
				samples++
				got = other.Step(x.Sample)
			case x.Moved != nil:
				moves++
				other.Moved(x.At, *x.Moved)
			case x.Took != nil:
				other.Took(x.At, x.Took.Network, x.Took.Depth, x.Took.Took, x.Took.OK)
			case x.Decided != nil:
				decisions++
				if got.Action != x.Decided.Action || got.To != x.Decided.To || got.Reason.Code != x.Decided.Reason.Code || len(got.Ladder) != len(x.Decided.Ladder) {
					t.Errorf("%v: %+v, the trace has %+v", x.At, got, x.Decided)
				}
			}
		}
		if samples < 20 || decisions < 4 || moves != 1 {
			t.Errorf("%d samples, %d decisions, %d moves", samples, decisions, moves)
		}
	})
}

func TestDeciderNeedsSignals(t *testing.T) {
	cable := struct{ link.Adapter }{}
	good := &Deciding{Policy: decision.DefaultPolicy(decision.Sticky)}
	if _, err := newDecider(Config{Deciding: good}, nil, nil, cable); err == nil || !strings.Contains(err.Error(), "wpa_supplicant") {
		t.Errorf("%v", err)
	}
	if _, err := newDecider(Config{Deciding: &Deciding{}}, nil, nil, &walk{}); err == nil || !strings.Contains(err.Error(), "look") {
		t.Errorf("%v", err)
	}
	if s := (*decider)(nil).report(); s != nil {
		t.Errorf("%+v", s)
	}
}
