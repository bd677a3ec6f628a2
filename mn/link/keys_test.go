package link

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

func TestSupplicantKeys(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	pmk := keys.NewSecret([]byte(strings.Repeat("Z", 32)))
	mac, err := s.Station(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.PMKID(keys.AKM8021XSHA256, pmk, bssB1, mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.InstallKey(t.Context(), "poa-b1", Key{PMK: pmk, AKM: keys.AKM8021XSHA256, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	// A point may be called by its BSSID. What wpa_supplicant has not need not be taken.
	for _, poa := range []string{bssA2.String(), bssB1.String()} {
		if err := s.RemoveKey(t.Context(), poa); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, c := range a.Commands() {
		if strings.HasPrefix(c, "PMKSA_ADD") {
			got = append(got, c)
		}
	}
	want := fmt.Sprintf("PMKSA_ADD 1 %v %x %s 3600 3600 128 0", bssB1, id, strings.Repeat("5a", 32))
	if len(got) != 1 || got[0] != want || len(a.cache()) > 0 {
		t.Errorf("%q, left %v", got, a.cache())
	}
	for _, bad := range []Key{{PMK: pmk, AKM: 1}, {PMK: pmk, AKM: 8, Lifetime: time.Hour}, {AKM: 1, Lifetime: time.Hour}} {
		if err := s.InstallKey(t.Context(), "poa-a2", bad); err == nil || strings.Contains(err.Error(), "5a5a") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestKeysRemoved: of the present network a key nobody has takes the place of ours; of another one ours is gone and the other
// points' are there.
func TestKeysRemoved(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: map[string]Place{
		"poa-a1": {BSSID: bssA1, Network: 0}, "poa-b1": {BSSID: bssB1, Network: 1}, "poa-b2": {BSSID: wpactrl.MAC{2, 0, 0, 0, 9, 1}, Network: 1},
	}})
	strange := "02:00:00:00:07:00"
	for _, poa := range []string{"poa-a1", strange, "poa-b1", "poa-b2"} {
		if err := s.InstallKey(t.Context(), poa, Key{PMK: keys.NewSecret([]byte(strings.Repeat("Z", 32))), AKM: keys.AKM8021X, Lifetime: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	before := a.cache()
	for _, poa := range []string{"poa-a1", "poa-b1"} {
		if err := s.RemoveKey(t.Context(), poa); err != nil {
			t.Fatal(err)
		}
	}
	after := a.cache()
	if len(after) != 3 || after[bssA1.String()] == before[bssA1.String()] || after[strange] != before[strange] || after["02:00:00:00:09:01"] != before["02:00:00:00:09:01"] {
		t.Errorf("before %v\nafter %v", before, after)
	}
	// It was of the network that was the present one, and still is.
	if err := s.Attach(t.Context(), "poa-b2"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveKey(t.Context(), strange); err != nil {
		t.Fatal(err)
	}
	if after := a.cache(); len(after) != 1 {
		t.Errorf("after leaving: %v", after)
	}
}

// cache returns wpa_supplicant's PMKIDs by BSSID.
func (a *air) cache() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]string{}
	for _, k := range a.pmksa {
		out[k.bssid] = k.id
	}
	return out
}

// installs returns what was said to the daemon about keys: BSSID and lifetime.
func (a *air) installs() (out []string) {
	for _, c := range a.Commands() {
		if f := strings.Fields(c); f[0] == "PMKSA_ADD" {
			out = append(out, f[2]+" "+f[6])
		}
	}
	return out
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + ": does not come")
		}
	}
}

// TestKeysOutlive: a wpa_supplicant that was started anew has its keys again, what has ended and what was removed aside; at the
// end it has none.
func TestKeysOutlive(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	pmk := func() *keys.Secret { return keys.NewSecret([]byte(strings.Repeat("Z", 32))) }
	a2, other := bssA2.String(), "02:00:00:00:07:00"
	for _, k := range []struct {
		poa      string
		lifetime time.Duration
	}{{"poa-a2", time.Hour}, {other, time.Hour}, {"poa-b1", time.Second}, {other, 2 * time.Hour}} {
		if err := s.InstallKey(t.Context(), k.poa, Key{PMK: pmk(), AKM: keys.AKM8021X, Lifetime: k.lifetime}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the short one's end", func() bool { return !s.holds(bssB1) })
	n := len(a.installs())
	a.Stop()
	if err := s.InstallKey(t.Context(), "poa-a1", Key{PMK: pmk(), AKM: keys.AKM8021X, Lifetime: time.Hour}); !errors.Is(err, wpactrl.ErrGone) {
		t.Errorf("no wpa_supplicant: %v", err)
	}
	a.Restart()
	eventually(t, "the keys", func() bool { return len(a.installs()) == n+3 })
	for i, want := range []string{other, bssA1.String(), a2} {
		got := strings.Fields(a.installs()[n+i])
		if left, _ := strconv.Atoi(got[1]); got[0] != want || left > 7200 || left < 3000 {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	last := a.installs()[n+3:]
	slices.Sort(last)
	if len(last) != 3 || !strings.HasPrefix(last[0], bssA1.String()) || !strings.HasPrefix(last[1], a2) || !strings.HasPrefix(last[2], other) {
		t.Errorf("%q", last)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) != 0 {
		t.Errorf("%d keys are held after the end", len(s.held))
	}
}

// TestKeysSwept: what a run before left at points of the configuration is taken; the present one's and others' stay.
func TestKeysSwept(t *testing.T) {
	a := newAir(t)
	a.mu.Lock()
	for i, b := range []string{bssA1.String(), bssA2.String(), "02:00:00:00:07:00"} {
		a.pmksa = append(a.pmksa, cached{"0", b, fmt.Sprintf("%032d", i), "1000"})
	}
	a.pmksa = append(a.pmksa, cached{"1", bssB1.String(), fmt.Sprintf("%032d", 9), "1000"})
	a.mu.Unlock()
	supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	eventually(t, "the sweep", func() bool { return len(a.installs()) > 0 && len(a.cache()) == 3 })
	if diff := cmp.Diff([]string{bssA2.String() + " 1000"}, a.installs()); diff != "" {
		t.Error(diff)
	}
}
