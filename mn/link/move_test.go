package link

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"openmpa/internal/wpactrl"
)

// TestMoveAsksBefore: between Go and the handshake there is one command, and the rest waits for Done.
func TestMoveAsksBefore(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	swept(t, a)
	since := func(n int) []string { return a.Commands()[n:] }
	move := func(poa string) {
		t.Helper()
		m, err := s.Ready(t.Context(), poa)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Done()
		n := len(a.Commands())
		if err := m.Go(t.Context()); err != nil {
			t.Error(err)
		}
		if got := since(n); len(got) != 1 || !strings.HasPrefix(got[0], "ROAM ") && got[0] != "SELECT_NETWORK 1" {
			t.Errorf("%s: %q", poa, got)
		}
	}
	move("poa-a2") // in the network
	n := len(a.Commands())
	move("poa-b1") // in another
	all := since(n)
	last := slices.Index(all, "SELECT_NETWORK 1")
	want := []string{"SET_NETWORK 1 bssid any", "SET_NETWORK 1 priority 1", "ENABLE_NETWORK 0 no-connect", "ENABLE_NETWORK 2 no-connect"}
	got := slices.DeleteFunc(slices.Clone(all[last+1:]), func(c string) bool { return !slices.Contains(want, c) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%q", diff, all)
	}
}

// TestMoveStays: no scan takes the radio away between the handshake and Done; one that looks for a link goes on.
func TestMoveStays(t *testing.T) {
	for _, lost := range []bool{false, true} {
		a := newAir(t)
		s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
		swept(t, a)
		m, err := s.Ready(t.Context(), "poa-b1")
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Go(t.Context()); err != nil {
			t.Error(err)
		}
		if lost {
			a.Emit("<3>CTRL-EVENT-DISCONNECTED bssid=" + bssB1.String() + " reason=4")
		}
		a.Emit("<3>CTRL-EVENT-SCAN-STARTED ")
		if !lost {
			eventually(t, "the end of the scan", func() bool { return slices.Contains(a.Commands(), "ABORT_SCAN") })
		}
		m.Done()
		if slices.Contains(a.Commands(), "ABORT_SCAN") == lost {
			t.Errorf("link lost: %v: %q", lost, a.Commands())
		}
	}
}

// TestMoveStale: what was found out is found out again if the link has changed since.
func TestMoveStale(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	swept(t, a)
	m, err := s.Ready(t.Context(), "poa-b1") // from the other network
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.at, a.network = wpactrl.MAC{2, 0, 0, 0, 7, 0}, 1 // which wpa_supplicant joins by itself
	a.mu.Unlock()
	a.Emit(strings.Replace(connected(wpactrl.MAC{2, 0, 0, 0, 7, 0}), "id=0", "id=1", 1))
	eventually(t, "the event", func() bool { return len(m.(*supplicantMove).sub.C) > 0 })
	n := len(a.Commands())
	if err := m.Go(t.Context()); err != nil {
		t.Error(err)
	}
	if got := a.Commands()[n:]; !slices.Equal(got, []string{"STATUS", "ROAM " + bssB1.String()}) {
		t.Errorf("%q", got)
	}
	m.Done()
	if !a.pinnedTo().IsZero() {
		t.Errorf("network 1 keeps the bssid %v", a.pinnedTo())
	}
}

// TestMoveGivenUp: a move that is not made leaves nothing, and the next one has its turn.
func TestMoveGivenUp(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	for range 2 {
		m, err := s.Ready(t.Context(), "poa-b1")
		if err != nil {
			t.Fatal(err)
		}
		if !s.moving() {
			t.Error("the turn was not taken")
		}
		m.Done()
	}
	if !a.pinnedTo().IsZero() {
		t.Errorf("network 1 keeps the bssid %v", a.pinnedTo())
	}
	if slices.Contains(a.Commands(), "SELECT_NETWORK 1") {
		t.Error("moved")
	}
	if _, err := s.Ready(t.Context(), "poa-x"); err == nil {
		t.Error("no such network: want an error")
	}
	if s.moving() {
		t.Error("the turn was kept")
	}
}

// pinnedTo is the bssid of network 1.
func (a *air) pinnedTo() wpactrl.MAC {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pinned
}

// swept waits until what the adapter asks at its start is asked.
func swept(t *testing.T, a *air) {
	t.Helper()
	eventually(t, "the first questions", func() bool { return slices.Contains(a.Commands(), "PMKSA") })
}
