package link

import (
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// TestRekey: what is done when no handshake follows an association that nobody of us made.
func TestRekey(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places, Rekey: 20 * time.Millisecond})
	if err := s.InstallKey(t.Context(), "poa-a2", Key{PMK: keys.NewSecret([]byte(strings.Repeat("Z", 32))), AKM: keys.AKM8021X, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an ear", func() bool { return a.Attached() > 0 })
	var seen int
	did := func() []string {
		var out []string
		for _, c := range a.Commands()[seen:] {
			if word, _, _ := strings.Cut(c, " "); word == "ROAM" || word == "REAUTHENTICATE" {
				out = append(out, c)
			}
		}
		return out
	}
	expect := func(what string, want ...string) {
		t.Helper()
		eventually(t, what, func() bool { return len(did()) >= len(want) })
		time.Sleep(100 * time.Millisecond) // longer than several tries would take
		if got := did(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		seen = len(a.Commands())
	}
	a.mu.Lock()
	a.outcome = nothing
	a.mu.Unlock()
	a.associates(bssA2)
	expect("a key of ours, and it does not help", "ROAM "+bssA2.String(), "REAUTHENTICATE")
	a.Emit(connected(bssA2))
	a.associates(bssB1)
	expect("no key", "REAUTHENTICATE")
	for _, e := range []string{connected(bssA2), "<3>CTRL-EVENT-EAP-STARTED EAP authentication started"} {
		a.associates(bssA2)
		a.Emit(e)
		expect(e)
	}
	a.mu.Lock()
	a.outcome = connects
	a.mu.Unlock()
	a.associates(bssB1) // a handshake that takes long is not disturbed
	a.mu.Lock()
	a.state = "4WAY_HANDSHAKE"
	a.mu.Unlock()
	asked := len(a.Commands())
	eventually(t, "patience", func() bool { return len(a.Commands()) >= asked+patience-1 })
	if got := did(); len(got) > 0 {
		t.Errorf("within a handshake: %q", got)
	}
	a.Emit(connected(bssB1))
	expect("that handshake's end")
	a.associates(bssA2)
	expect("a key of ours, and it helps", "ROAM "+bssA2.String())
}

// TestRekeyTime: a machine on which handshakes take long gives them longer.
func TestRekeyTime(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for usual, want := range map[time.Duration]time.Duration{0: ms(1000), ms(5): ms(300), ms(200): ms(1200), ms(900): ms(2000)} {
		if got := (&handshake{usual: usual}).within(0); got != want {
			t.Errorf("handshakes take %v: %v, want %v", usual, got, want)
		}
	}
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	h := &handshake{timer: time.NewTimer(time.Hour)}
	defer h.timer.Stop()
	at := time.Now()
	say := func(text string, after int) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(text, "<3>"), " ")
		s.hears(t.Context(), h, wpactrl.Event{Name: name, Rest: rest, At: at.Add(ms(after))})
	}
	say("Associated with "+bssA2.String(), 0)
	say(connected(bssA2), 100)
	say("Associated with "+bssB1.String(), 1000)
	say(connected(bssB1), 1050)
	say("Associated with "+bssA2.String(), 2000)
	say("CTRL-EVENT-EAP-STARTED EAP authentication started", 2100)
	say(connected(bssA2), 9000)
	if h.usual != ms(100) {
		t.Errorf("they take %v", h.usual)
	}
}

// TestDriversRoam: the firmware goes to a point for which there is a key, and forgets the handshake: Watch says down at the
// association, and up when we have made up for it.
func TestDriversRoam(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "wlan0", "air0")
	n, err := osnet.Open(nil, osnet.OwnerMobileNode)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places, Rekey: 20 * time.Millisecond, Interface: "wlan0", Net: n})
	if err := s.InstallKey(t.Context(), "poa-a2", Key{PMK: keys.NewSecret([]byte(strings.Repeat("Z", 32))), AKM: keys.AKM8021X, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	ch, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until := func(want bool) {
		t.Helper()
		for {
			select {
			case l := <-ch:
				if l.Up == want {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("no report of up %v", want)
			}
		}
	}
	until(true) // not known to be at first
	eventually(t, "an ear", func() bool { return a.Attached() > 0 })
	a.associates(bssA2)
	until(false)
	until(true)
	if at, err := s.Current(t.Context()); at != "poa-a2" || err != nil {
		t.Errorf("at %q %v", at, err)
	}
}
