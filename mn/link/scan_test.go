package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/internal/wpactrl"
)

func TestScan(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	scans := func() (out []string) {
		for _, c := range a.Commands() {
			if strings.HasPrefix(c, "SCAN ") {
				out = append(out, c)
			}
		}
		return out
	}
	if err := s.Scan(t.Context(), 2412, 2437); err != nil {
		t.Error(err)
	}
	seen, err := s.Seen(t.Context())
	if diff := cmp.Diff([]Sighting{
		{Point: "poa-a2", BSSID: bssA2, SSID: "mpa", Freq: 2437, Signal: -50, Age: time.Second},
		{Point: "02:00:00:00:07:00", BSSID: wpactrl.MAC{2, 0, 0, 0, 7, 0}, SSID: "mpa", Freq: 2412, Signal: -60, Age: 40 * time.Second},
	}, seen); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if dBm, err := s.Signal(t.Context()); dBm != -42 || err != nil {
		t.Errorf("signal %d %v", dBm, err)
	}
	if diff := cmp.Diff([]string{"poa-a2", "poa-a1", "poa-b1"}, Best(t.Context(), s, []string{"poa-a1", "poa-b1", "poa-a2"})); diff != "" {
		t.Error(diff)
	}

	// Nobody knows where poa-b1 is; poa-a2 was seen just now.
	if err := s.Look(t.Context(), "poa-b1"); !errors.Is(err, ErrChannel) {
		t.Errorf("unknown channel: %v", err)
	}
	if err := s.Look(t.Context(), "poa-b1", "poa-a2"); err != nil || len(scans()) != 1 {
		t.Errorf("fresh: %v %q", err, scans())
	}
	reported, err := s.Reported(t.Context())
	if diff := cmp.Diff([]Sighting{{Point: "poa-b1", BSSID: bssB1, Freq: 5180}, {Point: "poa-a1", BSSID: bssA1}}, reported); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := s.Look(t.Context(), "poa-a1", "poa-b1", "poa-a2", "02:00:00:00:07:00"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"SCAN TYPE=ONLY freq=2412,2437", "SCAN TYPE=ONLY freq=2412,5180", "SCAN TYPE=ONLY freq=2412,5180"}, scans()); diff != "" {
		t.Error(diff)
	}
	// Twice: they are not seen the first time.
	if err := s.Look(t.Context(), "elsewhere"); err == nil {
		t.Error("a point that is none")
	}

	// A move to another network without a look before it looks on the channel that is known now, and on no other.
	if err := s.Attach(t.Context(), "poa-b1"); err != nil {
		t.Fatal(err)
	}
	if got := scans(); len(got) < 3 || got[len(got)-1] != "SCAN TYPE=ONLY freq=5180" {
		t.Errorf("%q", got)
	}
}

// TestReach: what was seen before does not count.
func TestReach(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	reach := func(point string) error {
		m, err := s.Ready(t.Context(), point)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Done()
		return m.(Reacher).Reach(t.Context())
	}
	if err := reach("poa-a2"); err != nil {
		t.Error(err)
	}
	if err := reach("poa-b1"); !errors.Is(err, ErrChannel) {
		t.Errorf("on a channel that nobody knows: %v", err)
	}
	for _, last := range []int{1, 0} { // it was heard before, or never
		a.mu.Lock()
		a.gone = map[string]int{bssA2.String(): last}
		a.mu.Unlock()
		var unreachable *UnreachableError
		if err := reach("poa-a2"); !errors.As(err, &unreachable) || unreachable.Freq != 2437 {
			t.Errorf("last heard in scan %d: %v", last, err)
		}
	}
	var scans []string
	for _, c := range a.Commands() {
		if strings.HasPrefix(c, "SCAN ") {
			scans = append(scans, c)
		}
	}
	once := "SCAN TYPE=ONLY freq=2437"
	if diff := cmp.Diff([]string{once, once, once, once, once}, scans); diff != "" {
		t.Errorf("it asks once, and twice where nobody answers\n%s", diff)
	}
}

// TestReachAndGo: the move that was tested is made.
func TestReachAndGo(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	m, err := Ready(t.Context(), s, "poa-a2")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Done()
	if err := m.(Reacher).Reach(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Go(t.Context()); err != nil {
		t.Error(err)
	}
	if at, err := s.Current(t.Context()); at != "poa-a2" || err != nil {
		t.Errorf("at %q, %v", at, err)
	}
}

// TestRoamDuringLook: a network that somebody else moves to while we look is preferred at
// once: no move of ours would see to that.
func TestRoamDuringLook(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	swept(t, a)
	a.mu.Lock()
	a.slow = true
	a.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	looked := make(chan error)
	go func() { looked <- s.Look(ctx, "poa-a1") }()
	eventually(t, "the scan", func() bool { return slices.Contains(a.Commands(), "SCAN TYPE=ONLY freq=2412") })
	a.Emit(connected(bssB1))
	eventually(t, "the preference", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.priority["1"] == 1
	})
	cancel()
	<-looked
}

// TestLookGivesWay: an attachment does not wait for a look to end by itself.
func TestLookGivesWay(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	a.mu.Lock()
	a.slow = true
	a.mu.Unlock()
	looked := make(chan error)
	go func() { looked <- s.Look(t.Context(), "poa-a1") }()
	eventually(t, "the scan", func() bool { return slices.Contains(a.Commands(), "SCAN TYPE=ONLY freq=2412") })
	if err := s.Look(t.Context(), "poa-a1"); err != nil {
		t.Errorf("a second look: %v", err)
	}
	if err := s.Attach(t.Context(), "poa-a2"); err != nil {
		t.Error(err)
	}
	if err := <-looked; err == nil || !slices.Contains(a.Commands(), "ABORT_SCAN") {
		t.Errorf("look: %v", err)
	}
}

// TestScanAborted: the results of a scan that nobody waits for would come later, and wpa_supplicant could choose by them,
// also of one that was asked for and not answered yet.
func TestScanAborted(t *testing.T) {
	for name, answered := range map[string]bool{"answered": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			a := newAir(t)
			s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
			ctx, cancel := context.WithCancel(t.Context())
			a.mu.Lock()
			a.slow = true
			if !answered {
				a.scanning = cancel
			}
			a.mu.Unlock()
			looked := make(chan error)
			go func() { looked <- s.Look(ctx, "poa-a1") }()
			eventually(t, "the scan", func() bool { return slices.Contains(a.Commands(), "SCAN TYPE=ONLY freq=2412") })
			cancel()
			if err := <-looked; !errors.Is(err, context.Canceled) || !slices.Contains(a.Commands(), "ABORT_SCAN") {
				t.Errorf("%v %q", err, a.Commands())
			}
		})
	}
}

func TestOrder(t *testing.T) {
	points := []string{"a", "b", "c", "d", "e"}
	got := Order(points, []Sighting{
		{Point: "e", Signal: -60},
		{Point: "c", Signal: -40, Age: time.Second},
		{Point: "b", Signal: -30, Age: time.Hour},
		{Point: "d"},
		{Point: "z", Signal: -20},
	})
	if diff := cmp.Diff([]string{"c", "e", "a", "b", "d"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(points, Best(t.Context(), &Ethernet{}, points)); diff != "" {
		t.Error(diff)
	}
}
