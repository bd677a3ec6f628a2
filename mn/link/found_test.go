package link

import (
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/state"
)

// TestFoundAgain: what a run that was killed in a move has left in the networks is undone by the next; an orderly end leaves
// nothing to undo, and another wpa_supplicant is not what was written down.
func TestFoundAgain(t *testing.T) {
	a := newAir(t)
	a.mu.Lock()
	a.priority["0"] = 3
	a.mu.Unlock()
	store := state.NewMemory()
	written := func() bool { _, err := store.Get(foundKey); return err == nil }
	changes := func() (out []string) {
		for _, c := range a.Commands() {
			if word, _, _ := strings.Cut(c, " "); word == "SET_NETWORK" || word == "ENABLE_NETWORK" {
				out = append(out, c)
			}
		}
		return out
	}
	killed := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places, State: store})
	eventually(t, "the networks", written)
	killed.cancel() // whatever it does from here on is not heard
	a.mu.Lock()
	a.listed = "0\tmpa\tany\t[DISABLED]\n1\tother\t" + bssB1.String() + "\t[CURRENT]\n2\tfourth\t" + bssB1.String() + "\t[DISABLED]"
	a.priority["1"] = 4
	a.mu.Unlock()

	next := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places, State: store})
	want := []string{"SET_NETWORK 1 bssid any", "SET_NETWORK 1 priority 0", "ENABLE_NETWORK 0 no-connect"}
	eventually(t, "the repair", func() bool { return len(changes()) >= len(want) })
	if got := changes(); !slices.Equal(got, want) {
		t.Errorf("did %q, want %q", got, want)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	if written() {
		t.Error("after an orderly end it is still written down how the networks were")
	}

	if _, err := state.PutJSON(store, foundKey, found{Socket: "another", Networks: []foundNetwork{{SSID: "mpa", Priority: 9}}}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	n := len(changes())
	supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places, State: store})
	eventually(t, "the networks as they are", func() bool {
		f, _, err := state.GetJSON[found](store, foundKey)
		return err == nil && f.Socket != "another" && len(f.Networks) == 3
	})
	if got := changes()[n:]; len(got) > 0 {
		t.Errorf("changed another wpa_supplicant's networks: %q", got)
	}
}
