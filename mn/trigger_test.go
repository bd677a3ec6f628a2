package mn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/mn/decision/bylevel"
	"openmpa/mn/link"
)

// walk is a node that walks away from b1 and its link at once: signals are of the time since it began.
type walk struct {
	link.Adapter
	mu       sync.Mutex
	began    time.Time
	at       bylevel.Point
	prepared []string
	busy     bool
	fails    map[string]error // by what is done
	did      []string
	looks    []time.Duration
	asked    int
	weak     []bool // what it was told, when it changed
	signal   func(p bylevel.Point, after time.Duration) int
}

var places = []Network{{Name: "b", Points: []string{"b1", "b2"}}, {Name: "a", Points: []string{"a1"}}}

func (w *walk) Watch(context.Context) (<-chan osnet.LinkState, error) {
	return nil, errors.New("not here")
}

func (w *walk) Scan(context.Context, ...int) error { return errors.New("all channels") }

func (w *walk) Reported(context.Context) ([]link.Sighting, error) { w.asked++; return nil, nil }

func (w *walk) Look(_ context.Context, points ...string) error {
	w.looks = append(w.looks, time.Since(w.began))
	if slices.Contains(points, w.at.Name) || len(points) != 2 {
		return errors.New("expected the other points")
	}
	time.Sleep(100 * time.Millisecond)
	return nil
}

func (w *walk) Seen(context.Context) (out []link.Sighting, err error) {
	for _, n := range places {
		for _, p := range n.Points {
			if s := w.signal(bylevel.Point{Network: n.Name, Name: p}, time.Since(w.began)); s != 0 {
				out = append(out, link.Sighting{Point: p, Signal: s})
			}
		}
	}
	return append(out, link.Sighting{Point: "02:00:00:00:07:00", Signal: -10}), nil
}

func (w *walk) Signal(context.Context) (int, error) {
	if s := w.signal(w.at, time.Since(w.began)); s != 0 {
		return s, nil
	}
	return 0, errors.New("no signal")
}

func (w *walk) position(context.Context) (bylevel.Point, []string, error) {
	if w.busy {
		return bylevel.Point{}, nil, ErrBusy
	}
	return w.at, w.prepared, nil
}

// do notes what is done, in the second it is done in.
func (w *walk) do(what string) (*Handover, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, what)
	if err := w.fails[what]; err != nil {
		return nil, err
	}
	h := &Handover{cancel: func() {}, ID: event.HandoverID{1}, done: make(chan struct{}), outcome: event.OK}
	close(h.done)
	return h, nil
}

func (w *walk) Prepare(network string) (*Handover, error) {
	h, err := w.do("prepare " + network)
	if err == nil {
		w.prepared = []string{network}
	}
	return h, err
}

func (w *walk) Handover(network string) (*Handover, error) {
	h, err := w.do("handover " + network)
	if err == nil {
		w.at, w.prepared = bylevel.Point{Network: network, Name: network + "1"}, nil
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
		w.at.Name = point
	}
	return event.HandoverID{2}, err
}

// away gets weaker by 5 dB a second from -50; others stronger.
func away(p bylevel.Point, after time.Duration) int {
	d := int(5 * after.Seconds())
	switch p.Name {
	case "b1":
		return -50 - d
	case "a1":
		return min(-40, -75+d)
	}
	return 0
}

func walking(t *testing.T, w *walk) (*trigger, *event.Recorder) {
	t.Helper()
	w.began, w.at = time.Now(), bylevel.Point{Network: "b", Name: "b1"}
	if w.signal == nil {
		w.signal = away
	}
	r := event.NewRecorder("mn", discard, 1000)
	tr, err := newTrigger(Config{Trigger: &Trigger{Levels: bylevel.Default()}, Networks: places, Recorder: r, Log: discard}, w, w)
	if err != nil {
		t.Fatal(err)
	}
	return tr, r
}

// during runs the trigger for a time.
func during(t *testing.T, tr *trigger, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tr.run(ctx)
}

func TestTriggerMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &walk{}
		tr, r := walking(t, w)
		during(t, tr, 2900*time.Millisecond)
		if s := tr.report(); len(w.did) > 0 || s.Point != "b1" || s.Action != "stay" || !strings.Contains(s.Reason, "above look") || len(w.looks) > 0 {
			t.Errorf("too early: %q %+v, looked %v", w.did, s, w.looks)
		}
		during(t, tr, 10*time.Second)
		if want := []string{"prepare a", "handover a"}; !slices.Equal(w.did, want) || w.at.Name != "a1" {
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
		if s := tr.report(); s.Point != "a1" || s.Signal != -40 {
			t.Errorf("%+v", s)
		}
		var told []string
		for _, e := range r.Events(event.HandoverID{1}) {
			told = append(told, e.Attrs["action"].(string)+": "+e.Attrs["reason"].(string))
		}
		if len(told) != 2 || !strings.HasPrefix(told[0], "prepare: b1 has") || !strings.HasPrefix(told[1], "handover: b1 has") {
			t.Errorf("%q", told)
		}
	})
}

// TestTriggerRoams: a better point of the same network comes before another network; what fails is tried again later, and
// nothing is done while somebody else moves the link, or where nothing serves.
func TestTriggerRoams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := func(p bylevel.Point, after time.Duration) int {
			if p.Name == "b2" {
				return -50
			}
			return away(p, after)
		}
		w := &walk{signal: near, fails: map[string]error{"roam b2": errors.New("refused")}}
		tr, _ := walking(t, w)
		during(t, tr, 5*time.Second)
		if want := []string{"roam b2", "prepare a"}; !slices.Equal(w.did, want) {
			t.Errorf("%q", w.did)
		}
		w.fails = map[string]error{"handover a": ErrBusy}
		w.busy = true
		during(t, tr, 5*time.Second)
		w.busy = false
		if len(w.did) != 2 {
			t.Errorf("while busy: %q", w.did)
		}
		during(t, tr, 2*time.Second)
		if got := w.did[len(w.did)-1]; got != "roam b2" || w.at.Name != "b2" {
			t.Errorf("%q at %v", w.did, w.at)
		}
		w.at = bylevel.Point{}
		during(t, tr, time.Second)
		if s := tr.report(); s.Reason != "attached nowhere" || s.Point != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestTriggerNeedsSignals(t *testing.T) {
	cable := new(link.Ethernet)
	if _, err := newTrigger(Config{Trigger: &Trigger{Levels: bylevel.Default()}}, nil, cable); err == nil || !strings.Contains(err.Error(), "wpa_supplicant") {
		t.Errorf("%v", err)
	}
	if _, err := newTrigger(Config{Trigger: &Trigger{}}, nil, &walk{}); err == nil || !strings.Contains(err.Error(), "look") {
		t.Errorf("%v", err)
	}
	if s := (*trigger)(nil).report(); s != nil {
		t.Errorf("%+v", s)
	}
}
