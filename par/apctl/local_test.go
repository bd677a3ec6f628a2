package apctl

import (
	"encoding/hex"
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

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// real starts Debian's hostapd as the access point bssid on a cable, which needs no radio to cache keys.
type real struct {
	t              *testing.T
	config, socket string
	*wpactrltest.Process
	look *wpactrl.Client // the test's own
}

func newReal(t *testing.T) *real {
	t.Helper()
	osnettest.NeedRoot(t)
	osnettest.Veth(t, "ap0", "peer0")
	t.Cleanup(func() { osnettest.IP(t, "link del ap0") })
	osnettest.IP(t, "link set ap0 address "+bssid.String())
	dir := t.TempDir()
	r := &real{t: t, config: wpactrltest.HostapdConfig("ap0", "wired", dir), socket: filepath.Join(dir, "ap0")}
	r.start()
	look, err := wpactrl.Open(wpactrl.Config{Socket: r.socket, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { look.Close() })
	r.look = look
	return r
}

func (r *real) start() { r.Process = wpactrltest.Hostapd(r.t, r.config, r.socket) }

// has returns what hostapd has cached.
func (r *real) has() map[wpactrl.MAC]wpactrl.PMKSA {
	r.t.Helper()
	answer, err := r.look.Command(r.t.Context(), "PMKSA")
	if err != nil {
		r.t.Fatal(err)
	}
	list, err := wpactrl.ParsePMKSA(answer)
	if err != nil {
		r.t.Fatal(err)
	}
	out := make(map[wpactrl.MAC]wpactrl.PMKSA)
	for _, p := range list {
		out[p.Addr] = p
	}
	return out
}

// hasKey says whether hostapd has the station's key, by its name.
func (r *real) hasKey(k Key) bool {
	r.t.Helper()
	id, err := keys.PMKID(ap1.AKM, k.PMK, bssid, k.Station)
	if err != nil {
		r.t.Fatal(err)
	}
	got, ok := r.has()[k.Station]
	return ok && got.PMKID == id
}

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
	r := newReal(t)
	stale := key('x', time.Hour)
	id, _ := keys.PMKID(ap1.AKM, stale.PMK, bssid, station)
	if err := r.look.Do(t.Context(), "PMKSA_ADD "+station.String()+" "+hex.EncodeToString(id[:])+" ? 3600 1", stale.PMK); err != nil {
		t.Fatal(err)
	}
	logger, text := log()
	l := openLocal(t, LocalConfig{Info: ap1, Socket: r.socket, Log: logger})
	eventually(t, "what a run before left is gone", func() bool { return len(r.has()) == 0 && !l.Status().Pending })

	k := key('a', time.Hour)
	if err := l.Install(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if !r.hasKey(k) {
		t.Errorf("hostapd has %v", r.has())
	}
	rolled := key('b', 30*time.Minute) // re-authentication
	if err := l.Install(t.Context(), rolled); err != nil || !r.hasKey(rolled) || r.hasKey(k) {
		t.Errorf("rolled: %v, hostapd has %v", err, r.has())
	}
	if s := l.Status(); !s.Up || s.Keys != 1 || s.Pending || s.Name != "ap1" || s.Why != "" {
		t.Errorf("%+v", s)
	}

	for _, end := range []func(){func() { r.Stop() }, func() { r.Kill() }} { // in order, and not
		end()
		eventually(t, "hostapd is missed", func() bool { return !l.Status().Up })
		if s := l.Status(); s.Why == "" || s.Keys != 1 {
			t.Errorf("%+v", s)
		}
		r.start()
		eventually(t, "the key is in hostapd again", func() bool { return r.hasKey(rolled) })
		if left := r.has()[station].Expires; left > 30*time.Minute || left < 25*time.Minute {
			t.Errorf("ends in %v, want what was left of 30 minutes", left)
		}
	}
	eventually(t, "settled", func() bool { s := l.Status(); return s.Up && !s.Pending && s.Restored == 2 })

	if err := l.Remove(t.Context(), station); err != nil || r.hasKey(rolled) {
		t.Errorf("removed: %v, hostapd has %v", err, r.has())
	}
	eventually(t, "nothing is left", func() bool { return len(r.has()) == 0 })

	// Away: remembered, or forgotten, until hostapd is there.
	r.Stop()
	eventually(t, "hostapd is missed", func() bool { return !l.Status().Up })
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
	r.start()
	eventually(t, "what came while it was away", func() bool { return r.hasKey(k) })
	if r.hasKey(other) {
		t.Error("a key that was removed while hostapd was away is there")
	}

	if err := l.Close(); err != nil || len(r.has()) != 0 {
		t.Errorf("closed: %v, hostapd has %v", err, r.has())
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
	r := newReal(t)
	l := openLocal(t, LocalConfig{Info: ap1, Socket: r.socket})
	eventually(t, "settled", func() bool { return !l.Status().Pending })
	if err := l.Install(t.Context(), key('a', 3*time.Second)); err != nil {
		t.Fatal(err)
	}
	if left := r.has()[station].Expires; left < time.Second || left > 3*time.Second {
		t.Errorf("ends in %v", left)
	}
	eventually(t, "the key ends here and there", func() bool { return l.Status().Keys == 0 && len(r.has()) == 0 })
}

func TestLocalMismatch(t *testing.T) {
	r := newReal(t)
	wrong := ap1
	wrong.BSSID[5] = 7
	l := openLocal(t, LocalConfig{Info: wrong, Socket: r.socket})
	if err := l.Install(t.Context(), key('a', time.Hour)); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), bssid.String()) {
		t.Errorf("BSSID: %v", err)
	}
	if n := len(r.has()); n != 0 {
		t.Errorf("%d keys went to another access point", n)
	}
	r.Stop()
	r.config = strings.Replace(r.config, "wpa_key_mgmt=WPA-EAP WPA-EAP-SHA256", "wpa_key_mgmt=WPA-EAP", 1)
	r.start()
	sha := ap1
	sha.AKM = keys.AKM8021XSHA256
	l = openLocal(t, LocalConfig{Info: sha, Socket: r.socket})
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
	eventually(t, "flushed at start", func() bool { return count("PMKSA_FLUSH") == 1 && !l.Status().Pending })

	refuse.set(true)
	if err := l.Install(t.Context(), key('a', time.Hour)); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	eventually(t, "nothing is kept of a refused key", func() bool {
		s := l.Status()
		return s.Keys == 0 && !s.Pending && count("PMKSA_FLUSH") == 2
	})
	refuse.set(false)

	silent.set(true) // the key may be there or not
	if err := l.Install(t.Context(), key('a', time.Hour)); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("silent: %v", err)
	}
	silent.set(false)
	eventually(t, "put in again", func() bool { s := l.Status(); return s.Keys == 1 && !s.Pending })
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
