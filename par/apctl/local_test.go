package apctl

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
	"openmpa/par/apctl/apctltest"
)

func TestMain(m *testing.M) { osnettest.Main(m) }

var (
	bssid   = wpactrl.MAC{2, 0, 0, 0, 1, 0}
	station = wpactrl.MAC{2, 0, 0, 0, 2, 0}
	ap1     = Info{Name: "ap1", BSSID: bssid, AKM: keys.AKM8021X}
)

func pmk(b byte) *keys.Secret {
	return keys.NewSecret([]byte(strings.Repeat(string(rune(b)), keys.PMKLen)))
}

func key(b byte, life time.Duration) Key { return Key{Station: station, PMK: pmk(b), Lifetime: life} }

// log is a handler that keeps everything, to look for keys.
func log() (*slog.Logger, *syncBuffer) {
	var b syncBuffer
	return slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

// has says whether hostapd has the key.
func has(r *apctltest.Hostapd, k Key) bool { return r.HasKey(k.Station, k.PMK) }

func openLocal(t *testing.T, cfg LocalConfig) *Local {
	t.Helper()
	cfg.Dir, cfg.Ping = t.TempDir(), 20*time.Millisecond
	l, err := OpenLocal(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, ErrAway) {
			t.Error(err)
		}
	})
	return l
}

func TestLocalHostapd(t *testing.T) {
	r := apctltest.Start(t, "ap0", bssid)
	stale := key('x', time.Hour)
	r.Put(station, strings.Repeat("0f", keys.PMKIDLen), string(stale.PMK.Bytes()))
	logger, text := log()
	l := openLocal(t, LocalConfig{Info: ap1, Socket: r.Socket, Log: logger})
	apctltest.Eventually(t, "what a run before left is gone", func() bool { return len(r.Has()) == 0 && !l.Status().Pending })

	k := key('a', time.Hour)
	if err := l.Install(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if !has(r, k) {
		t.Errorf("hostapd has %v", r.Has())
	}
	rolled := key('b', 30*time.Minute) // re-authentication
	if err := l.Install(t.Context(), rolled); err != nil || !has(r, rolled) || has(r, k) {
		t.Errorf("rolled: %v, hostapd has %v", err, r.Has())
	}
	if s := l.Status(); !s.Up || s.Keys != 1 || s.Pending || s.Name != "ap1" || s.Why != "" {
		t.Errorf("%+v", s)
	}

	for _, end := range []func(){func() { r.Stop() }, func() { r.Kill() }} { // in order, and not
		end()
		apctltest.Eventually(t, "hostapd is missed", func() bool { return !l.Status().Up })
		if s := l.Status(); s.Why == "" || s.Keys != 1 {
			t.Errorf("%+v", s)
		}
		r.Again()
		apctltest.Eventually(t, "the key is in hostapd again", func() bool { return has(r, rolled) })
		if left := r.Has()[station].Expires; left > 30*time.Minute || left < 25*time.Minute {
			t.Errorf("ends in %v, want what was left of 30 minutes", left)
		}
	}
	apctltest.Eventually(t, "settled", func() bool { s := l.Status(); return s.Up && !s.Pending && s.Restored == 2 })

	if err := l.Remove(t.Context(), station); err != nil || has(r, rolled) {
		t.Errorf("removed: %v, hostapd has %v", err, r.Has())
	}
	apctltest.Eventually(t, "nothing is left", func() bool { return len(r.Has()) == 0 })

	// Away: remembered, or forgotten, until hostapd is there.
	r.Stop()
	apctltest.Eventually(t, "hostapd is missed", func() bool { return !l.Status().Up })
	other := key('c', time.Hour)
	other.Station[5] = 9
	for _, k := range []Key{k, other} {
		if err := l.Install(t.Context(), k); !errors.Is(err, ErrAway) {
			t.Errorf("away: %v", err)
		}
	}
	if err := l.Remove(t.Context(), other.Station); err != nil {
		t.Errorf("remove while away: %v", err)
	}
	r.Again()
	apctltest.Eventually(t, "what came while it was away", func() bool { return has(r, k) })
	if has(r, other) {
		t.Error("a key that was removed while hostapd was away is there")
	}

	if err := l.Close(); err != nil || len(r.Has()) != 0 {
		t.Errorf("closed: %v, hostapd has %v", err, r.Has())
	}
	if err := l.Install(t.Context(), k); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	for _, secret := range []string{"aaaaaaaa", "61616161", "62626262", "63636363"} {
		if strings.Contains(text.String(), secret) || strings.Contains(r.Log(), secret) {
			t.Errorf("a log has the key %s", secret)
		}
	}
}

func TestLocalExpiry(t *testing.T) {
	r := apctltest.Start(t, "ap0", bssid)
	l := openLocal(t, LocalConfig{Info: ap1, Socket: r.Socket})
	apctltest.Eventually(t, "settled", func() bool { return !l.Status().Pending })
	if err := l.Install(t.Context(), key('a', 3*time.Second)); err != nil {
		t.Fatal(err)
	}
	if left := r.Has()[station].Expires; left < time.Second || left > 3*time.Second {
		t.Errorf("ends in %v", left)
	}
	apctltest.Eventually(t, "the key ends here and there", func() bool { return l.Status().Keys == 0 && len(r.Has()) == 0 })
}

func TestLocalMismatch(t *testing.T) {
	r := apctltest.Start(t, "ap0", bssid)
	wrong := ap1
	wrong.BSSID[5] = 7
	l := openLocal(t, LocalConfig{Info: wrong, Socket: r.Socket})
	if err := l.Install(t.Context(), key('a', time.Hour)); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), bssid.String()) {
		t.Errorf("BSSID: %v", err)
	}
	if n := len(r.Has()); n != 0 {
		t.Errorf("%d keys went to another access point", n)
	}
	r.Stop()
	r.Config = strings.Replace(r.Config, "wpa_key_mgmt=WPA-EAP WPA-EAP-SHA256", "wpa_key_mgmt=WPA-EAP", 1)
	r.Again()
	sha := ap1
	sha.AKM = keys.AKM8021XSHA256
	l = openLocal(t, LocalConfig{Info: sha, Socket: r.Socket})
	if err := l.Install(t.Context(), key('a', time.Hour)); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "add it to wpa_key_mgmt") {
		t.Errorf("suite: %v", err)
	}
}

// TestLocalFaults: what a hostapd does that no real one can be made to do.
func TestLocalFaults(t *testing.T) {
	var refuse, silent syncFlag
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "ap0"), func(c string) string {
		switch {
		case c == "GET_CONFIG":
			return "bssid=" + bssid.String() + "\nkey_mgmt=WPA-EAP\n"
		case silent.get():
			return wpactrltest.Silent
		case refuse.get() && strings.HasPrefix(c, "PMKSA_ADD"):
			return "FAIL"
		}
		return "OK"
	})
	count := func(prefix string) (n int) {
		for _, c := range d.Commands() {
			if strings.HasPrefix(c, prefix) {
				n++
			}
		}
		return n
	}
	l := openLocal(t, LocalConfig{Info: ap1, Socket: d.Socket, Timeout: 100 * time.Millisecond})
	apctltest.Eventually(t, "flushed at start", func() bool { return count("PMKSA_FLUSH") == 1 && !l.Status().Pending })

	refuse.set(true)
	if err := l.Install(t.Context(), key('a', time.Hour)); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	apctltest.Eventually(t, "nothing is kept of a refused key", func() bool {
		s := l.Status()
		return s.Keys == 0 && !s.Pending && count("PMKSA_FLUSH") == 2
	})
	refuse.set(false)

	silent.set(true) // the key may be there or not
	if err := l.Install(t.Context(), key('a', time.Hour)); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("silent: %v", err)
	}
	silent.set(false)
	apctltest.Eventually(t, "put in again", func() bool { s := l.Status(); return s.Keys == 1 && !s.Pending })
	last := d.Commands()
	if !strings.HasPrefix(last[len(last)-1], "PMKSA_ADD "+station.String()) {
		t.Errorf("last: %q", last[len(last)-1])
	}

	for _, bad := range []Key{
		{Station: station, PMK: pmk('a')},
		{Station: station, PMK: pmk('a'), Lifetime: -time.Second},
		{Station: station, PMK: pmk('a'), Lifetime: 8 * 24 * time.Hour},
		{Station: station, PMK: keys.NewSecret(make([]byte, 64)), Lifetime: time.Hour},
		{PMK: pmk('a'), Lifetime: time.Hour},
		{Station: wpactrl.MAC{1}, PMK: pmk('a'), Lifetime: time.Hour},
	} {
		if err := l.Install(t.Context(), bad); err == nil {
			t.Errorf("%+v: want an error", bad)
		}
	}
	for _, bad := range []Info{{}, {Name: "x", BSSID: wpactrl.MAC{1}, AKM: 1}, {Name: "x", BSSID: bssid, AKM: 8}} {
		if _, err := OpenLocal(t.Context(), LocalConfig{Info: bad, Socket: d.Socket}); err == nil {
			t.Errorf("%+v: want an error", bad)
		}
	}
}

func TestBookLimit(t *testing.T) {
	b, now := make(book), time.Unix(1000, 0)
	at := func(i int) Key {
		return Key{Station: wpactrl.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, PMK: pmk('a'), Lifetime: time.Duration(i+10) * time.Second}
	}
	for i := range maxKeys {
		if err := b.put(at(i), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.put(at(maxKeys), now); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if err := b.put(at(3), now); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	if at := b.next(); !at.Equal(now.Add(9 * time.Second)) {
		t.Errorf("next %v", at)
	}
	if ended := b.expire(now.Add(10 * time.Second)); len(ended) != 1 || len(b) != maxKeys-1 {
		t.Errorf("%d ended, want those with less than a second left", len(ended))
	}
	for _, k := range b.all(now.Add(20 * time.Second)) {
		if k.Lifetime < MinLifetime || k.PMK.Len() != keys.PMKLen {
			t.Errorf("%+v", k)
		}
	}
	b.clear()
	if len(b) != 0 || !b.next().IsZero() {
		t.Error("not clear")
	}
}
