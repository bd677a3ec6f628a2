package apctltest

import (
	"path/filepath"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
)

// Hostapd is Debian's hostapd as an access point on a cable, which needs no radio to cache keys.
type Hostapd struct {
	*wpactrltest.Process
	Config, Socket string

	t     testing.TB
	bssid wpactrl.MAC
	look  *wpactrl.Client // the test's own
}

// Start makes the interface dev, with the BSSID for its address, and starts hostapd on it.
func Start(t testing.TB, dev string, bssid wpactrl.MAC) *Hostapd {
	t.Helper()
	osnettest.NeedRoot(t)
	osnettest.Veth(t, dev, "p-"+dev)
	t.Cleanup(func() { osnettest.IP(t, "link del "+dev) })
	osnettest.IP(t, "link set "+dev+" address "+bssid.String())
	dir := t.TempDir()
	h := &Hostapd{t: t, bssid: bssid, Config: wpactrltest.HostapdConfig(dev, "wired", dir), Socket: filepath.Join(dir, dev)}
	h.Again()
	look, err := wpactrl.Open(wpactrl.Config{Socket: h.Socket, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { look.Close() })
	h.look = look
	return h
}

// Again starts hostapd after it has ended.
func (h *Hostapd) Again() { h.Process = wpactrltest.Hostapd(h.t, h.Config, h.Socket) }

// Put gives hostapd a key behind everybody's back.
func (h *Hostapd) Put(station wpactrl.MAC, id, pmk string) {
	h.t.Helper()
	if err := h.look.Do(h.t.Context(), "PMKSA_ADD "+station.String()+" "+id+" ? 3600 1", keys.NewSecret([]byte(pmk))); err != nil {
		h.t.Fatal(err)
	}
}

// Has returns what hostapd has cached, by station.
func (h *Hostapd) Has() map[wpactrl.MAC]wpactrl.PMKSA {
	h.t.Helper()
	answer, err := h.look.Command(h.t.Context(), "PMKSA")
	if err != nil {
		h.t.Fatal(err)
	}
	list, err := wpactrl.ParsePMKSA(answer)
	if err != nil {
		h.t.Fatal(err)
	}
	out := make(map[wpactrl.MAC]wpactrl.PMKSA)
	for _, p := range list {
		out[p.Addr] = p
	}
	return out
}

// HasKey says whether hostapd has this key of a station's, by its name.
func (h *Hostapd) HasKey(station wpactrl.MAC, pmk *keys.Secret) bool {
	h.t.Helper()
	id, err := keys.PMKID(keys.AKM8021X, pmk, h.bssid, station)
	if err != nil {
		h.t.Fatal(err)
	}
	got, ok := h.Has()[station]
	return ok && got.PMKID == id
}

// Eventually waits until ok, at most half a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
