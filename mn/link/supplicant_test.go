package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
)

func TestSupplicantRoam(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	current := func(want string) {
		t.Helper()
		if got, err := s.Current(t.Context()); got != want || err != nil {
			t.Errorf("at %q %v, want %q", got, err, want)
		}
	}
	current("poa-a1")
	for _, poa := range []string{"poa-a1", "poa-a2", "poa-a2", "02:00:00:00:07:00"} {
		if err := s.Attach(t.Context(), poa); err != nil {
			t.Error(err)
		}
		current(poa)
	}
	a.mu.Lock()
	a.unseen[bssA1.String()] = true
	a.mu.Unlock()
	if err := s.Attach(t.Context(), "poa-a1"); err != nil {
		t.Errorf("one that was not seen before: %v", err)
	}
	var moves []string
	for _, c := range a.Commands() {
		if strings.HasPrefix(c, "ROAM") || strings.HasPrefix(c, "SCAN") {
			moves = append(moves, c)
		}
	}
	want := []string{"ROAM 02:00:00:00:01:00", "ROAM 02:00:00:00:07:00", "ROAM 02:00:00:00:00:00", "SCAN TYPE=ONLY freq=2412", "ROAM 02:00:00:00:00:00"}
	if diff := cmp.Diff(want, moves); diff != "" {
		t.Error(diff)
	}
	a.mu.Lock()
	a.at = wpactrl.MAC{}
	a.mu.Unlock()
	current("")
	for _, bad := range []string{"nosuch", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "poa-x"} {
		if err := s.Attach(t.Context(), bad); err == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestSupplicantOtherNetwork(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	if err := s.Attach(t.Context(), "poa-b1"); err != nil {
		t.Error(err)
	}
	if got, err := s.Current(t.Context()); got != "poa-b1" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	changes := func() (out []string) {
		for _, c := range a.Commands() {
			if strings.Contains(c, "_NETWORK ") && !strings.Contains(c, " priority") {
				out = append(out, c)
			}
		}
		return out
	}
	want := []string{
		"SET_NETWORK 1 bssid 02:00:00:00:09:00", "SELECT_NETWORK 1", "SET_NETWORK 1 bssid any",
		"ENABLE_NETWORK 0 no-connect", "ENABLE_NETWORK 2 no-connect",
	}
	if diff := cmp.Diff(want, changes()); diff != "" {
		t.Error(diff)
	}

	// The new one is preferred before others may be chosen.
	all := a.Commands()
	if preferred := slices.Index(all, "SET_NETWORK 1 priority 1"); preferred < 0 || preferred > slices.Index(all, "ENABLE_NETWORK 0 no-connect") {
		t.Errorf("%q", all)
	}

	a.mu.Lock()
	a.at, a.network = bssA1, 0
	a.outcome = func(b wpactrl.MAC) ([]string, bool) {
		return []string{fmt.Sprintf("<3>CTRL-EVENT-ASSOC-REJECT bssid=%v status_code=17", b)}, false
	}
	a.mu.Unlock()
	var e *AttachError
	if err := s.Attach(t.Context(), "poa-b1"); !errors.As(err, &e) || e.Status != 17 || e.Point != "poa-b1" || e.BSSID != bssB1 {
		t.Errorf("refused: %v", err)
	}
	want = append(slices.Clone(want), "SET_NETWORK 1 bssid 02:00:00:00:09:00", "SELECT_NETWORK 1", "SET_NETWORK 1 bssid any",
		"SELECT_NETWORK 0", "ENABLE_NETWORK 2 no-connect")
	if diff := cmp.Diff(want, changes()); diff != "" {
		t.Error(diff)
	}
	if got, err := s.Current(t.Context()); got != "poa-a1" || err != nil {
		t.Errorf("after a failure: %q %v", got, err)
	}
	preferred := func(want ...int) {
		t.Helper()
		eventually(t, "the preference", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.priority["0"] == want[0] && a.priority["1"] == want[1] && a.priority["2"] == want[2]
		})
	}
	preferred(1, 0, 0)
	a.mu.Lock()
	a.priority["2"] = 5 // the operator's
	a.mu.Unlock()
	a.Emit(connected(bssB1)) // somebody else's move
	preferred(0, 6, 5)
	a.Emit(strings.Replace(connected(bssB1), "id=1", "id=2", 1)) // which is the highest anyway, without us
	preferred(0, 0, 5)
	a.Emit(connected(bssA1))
	preferred(6, 0, 5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	preferred(0, 0, 5)
}

// TestHeardLate: of a handshake in another network one hears only in the time of the next move: that one's choice stands, and
// where it has made none the network is preferred all the same.
func TestHeardLate(t *testing.T) {
	for name, c := range map[string]struct {
		at        wpactrl.MAC // of the next move
		network   int
		preferred string
	}{
		"back to where it was": {bssA1, 0, "0"},
		"there already":        {bssB1, 1, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAir(t)
			s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
			_, rest, _ := strings.Cut(connected(bssB1), " ")
			before := wpactrl.Event{Name: wpactrl.EventConnected, Rest: rest, At: time.Now()}
			a.mu.Lock()
			a.at, a.network = c.at, c.network
			a.outcome = func(b wpactrl.MAC) ([]string, bool) {
				return []string{fmt.Sprintf("<3>CTRL-EVENT-ASSOC-REJECT bssid=%v status_code=17", b)}, false
			}
			a.mu.Unlock()
			m, err := s.Ready(t.Context(), "poa-b1")
			if err != nil {
				t.Fatal(err)
			}
			_ = m.Go(t.Context())
			s.hears(t.Context(), &handshake{timer: time.NewTimer(time.Hour)}, before)
			m.Done()
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, network := range []string{"0", "1", "2"} {
				if priority := a.priority[network]; (priority > 0) != (network == c.preferred) {
					t.Errorf("network %s has priority %d, expected %s to be preferred", network, priority, c.preferred)
				}
			}
		})
	}
}

func TestAssociated(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	for state, want := range map[string][2]string{ // current, associated
		wpactrl.StateCompleted: {"poa-a1", "poa-a1"}, wpactrl.StateHandshake: {"", "poa-a1"}, wpactrl.StateGroup: {"", "poa-a1"},
		wpactrl.StateAssociated: {"", "poa-a1"}, "ASSOCIATING": {}, "AUTHENTICATING": {}, "SCANNING": {}, "DISCONNECTED": {},
	} {
		a.mu.Lock()
		a.keyless, a.state = bssA1, state
		a.mu.Unlock()
		current, err1 := s.Current(t.Context())
		associated, err2 := s.Associated(t.Context())
		if got := [2]string{current, associated}; got != want || err1 != nil || err2 != nil {
			t.Errorf("%s: current and associated %q, expected %q; %v, %v", state, got, want, err1, err2)
		}
	}
	a.mu.Lock()
	a.keyless, a.at = wpactrl.MAC{}, wpactrl.MAC{}
	a.mu.Unlock()
	if poa, err := s.Associated(t.Context()); poa != "" || err != nil {
		t.Errorf("nowhere: %q, %v", poa, err)
	}
}

func TestSupplicantFailures(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places, Timeout: 20 * time.Second})
	for name, c := range map[string]struct {
		event string
		fits  func(*AttachError) bool
	}{
		"authentication refused": {"<3>CTRL-EVENT-AUTH-REJECT 02:00:00:00:01:00 auth_type=0 auth_transaction=2 status_code=1", func(e *AttachError) bool { return e.Status == 1 }},
		"association refused":    {"<3>CTRL-EVENT-ASSOC-REJECT status_code=53", func(e *AttachError) bool { return e.Status == 53 }},
		"keys differ":            {"<3>CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:01:00 reason=15", func(e *AttachError) bool { return e.Reason == 15 }},
		"went back":              {connected(bssA1), func(e *AttachError) bool { return strings.Contains(e.Text, bssA1.String()) }},
		"rests":                  {`<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="mpa" auth_failures=1 duration=10 reason=CONN_FAILED`, func(e *AttachError) bool { return strings.Contains(e.Text, "CONN_FAILED") }},
		"not found":              {"<3>CTRL-EVENT-NETWORK-NOT-FOUND ", func(e *AttachError) bool { return strings.Contains(e.Text, "in sight") }},
	} {
		a.mu.Lock()
		a.outcome = func(wpactrl.MAC) ([]string, bool) { return []string{c.event}, false }
		a.mu.Unlock()
		var e *AttachError
		if err := s.Attach(t.Context(), "poa-a2"); !errors.As(err, &e) || !c.fits(e) || e.Point != "poa-a2" || strings.Count(err.Error(), "link: ") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.mu.Lock()
	a.outcome = nothing
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Attach(ctx, "poa-a2"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "COMPLETED") {
		t.Errorf("nothing happens: %v", err)
	}
	done := make(chan error)
	n := len(a.Commands())
	go func() { done <- s.Attach(context.Background(), "poa-a2") }()
	for len(a.Commands()) < n+2 { // STATUS, ROAM
		time.Sleep(time.Millisecond)
	}
	a.Stop()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "went away") {
		t.Errorf("wpa_supplicant ends: %v", err)
	}
	if err := s.Attach(t.Context(), "poa-a2"); !errors.Is(err, wpactrl.ErrGone) {
		t.Errorf("no wpa_supplicant: %v", err)
	}
	for _, bad := range []SupplicantConfig{
		{},
		{Socket: "x", Timeout: -1},
		{Socket: "x", Points: map[string]Place{"a b": {BSSID: bssA1}}},
		{Socket: "x", Points: map[string]Place{"a": {}}},
		{Socket: "x", Points: map[string]Place{"a": {BSSID: bssA1}, "b": {BSSID: bssA1}}},
		{Socket: "x", Points: map[string]Place{"a": {BSSID: bssA1, Network: -2}}},
	} {
		if _, err := NewSupplicant(bad); err == nil {
			t.Errorf("%+v: want an error", bad)
		}
	}
}

// TestSupplicantReal: Debian's wpa_supplicant by 802.1X over a cable. It has the events and states of a radio, and one point.
func TestSupplicantReal(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "port0", "eth0")
	n, err := osnet.Open(nil, osnet.OwnerMobileNode)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ap, sta := t.TempDir(), t.TempDir()
	socket := filepath.Join(sta, "eth0")
	s := supplicant(t, SupplicantConfig{Socket: socket, Interface: "eth0", Net: n})
	ch, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := func() osnet.LinkState {
		t.Helper()
		select {
		case l := <-ch:
			return l
		case <-time.After(30 * time.Second):
			t.Fatal("no report")
			return osnet.LinkState{}
		}
	}
	if l := next(); l.Up { // carrier is there; keys are not
		t.Errorf("%+v", l)
	}
	wpactrltest.Hostapd(t, wpactrltest.WiredAuthenticator(t, "port0", ap), filepath.Join(ap, "port0"))
	wpactrltest.Supplicant(t, "wired", "eth0", wpactrltest.WiredPeer(sta), socket)
	if l := next(); !l.Up {
		t.Errorf("authenticated: %+v", l)
	}
	// wpa_supplicant's name for whoever is at the other end of the cable.
	if at, err := s.Current(t.Context()); at != "01:80:c2:00:00:03" || err != nil {
		t.Errorf("at %q %v", at, err)
	}
	if err := s.Attach(t.Context(), "02:00:00:00:01:00"); err == nil {
		t.Error("a cable that moves")
	}
	given := time.Now()
	if err := s.InstallKey(t.Context(), "02:00:00:00:01:00", Key{PMK: keys.NewSecret(make([]byte, 32)), AKM: keys.AKM8021X, Lifetime: time.Hour}); err != nil {
		t.Error(err)
	}
	pmksa := func() []wpactrl.PMKSA {
		t.Helper()
		answer, err := s.client.Command(t.Context(), "PMKSA")
		if err != nil {
			t.Fatal(err)
		}
		list, err := wpactrl.ParsePMKSA(answer)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	before := pmksa()
	left := time.Hour - time.Since(given).Truncate(time.Second) - time.Second // it counts whole seconds
	if l := before; len(l) != 1 || l[0].Addr.String() != "02:00:00:00:01:00" || l[0].Expires > time.Hour || l[0].Expires < left {
		t.Fatalf("PMKSA: %+v", l)
	}
	if err := s.RemoveKey(t.Context(), "02:00:00:00:01:00"); err != nil {
		t.Error(err)
	}
	if l := pmksa(); len(l) != 1 || l[0].PMKID == before[0].PMKID || l[0].Expires > time.Hour {
		t.Errorf("a removed key: %+v", l)
	}
	osnettest.IP(t, "link set port0 down")
	if l := next(); l.Up {
		t.Errorf("no carrier: %+v", l)
	}
	osnettest.IP(t, "link set port0 up")
	if l := next(); !l.Up {
		t.Errorf("carrier again: %+v", l)
	}
}

// TestWifiWatch: what the two say, in any order, becomes the transitions that data sees.
func TestWifiWatch(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	type step struct {
		kernel *osnet.LinkState
		event  wpactrl.Event
		asked  bool
		with   wpactrl.MAC

		unasked bool // at the kernel's up
	}
	var none wpactrl.MAC
	k := func(up bool, ms int, with wpactrl.MAC) step {
		return step{kernel: &osnet.LinkState{Up: up, At: at(ms)}, with: with}
	}
	e := func(text string, ms int) step {
		name, rest, _ := strings.Cut(strings.TrimPrefix(text, "<3>"), " ")
		return step{event: wpactrl.Event{Name: name, Rest: rest, At: at(ms)}}
	}
	kind := func(kind wpactrl.Kind, ms int, asked bool, with wpactrl.MAC) step {
		return step{event: wpactrl.Event{Kind: kind, At: at(ms)}, asked: asked, with: with}
	}
	left := "CTRL-EVENT-DISCONNECTED bssid=" + bssA1.String() + " reason=3 locally_generated=1"
	start := k(true, 0, bssA1)
	for name, c := range map[string]struct {
		steps []step
		want  []string
	}{
		"carrier before keys":              {[]step{k(false, 0, none), k(true, 10, none), e(connected(bssA1), 20)}, []string{"down 0", "up 20"}},
		"roam":                             {[]step{start, k(false, 10, none), k(true, 15, none), e(connected(bssA2), 20)}, []string{"up 0", "down 10", "up 20"}},
		"roam, operational after the keys": {[]step{start, k(false, 10, none), e(connected(bssA2), 20), k(true, 21, bssA2)}, []string{"up 0", "down 10", "up 21"}},
		"keys first, nobody is asked": {
			[]step{start, k(false, 10, none), e("Associated with "+bssA2.String(), 15), e(connected(bssA2), 20), {kernel: &osnet.LinkState{Up: true, At: at(21)}, unasked: true}},
			[]string{"up 0", "down 10", "up 21"},
		},
		"operational first, nobody is asked": {
			[]step{start, k(false, 10, none), {kernel: &osnet.LinkState{Up: true, At: at(19)}, unasked: true}, e(connected(bssA2), 20)},
			[]string{"up 0", "down 10", "up 20"},
		},
		"roam, the kernel's down read late": {
			[]step{start, e(connected(bssA2), 20), k(false, 10, none), k(true, 15, bssA2)},
			[]string{"up 0", "up 20 missed", "down 10", "up 15"},
		},
		"roam without a change of carrier": {[]step{start, e(connected(bssA2), 20)}, []string{"up 0", "up 20 missed"}},
		"the old one is left behind":       {[]step{start, e(connected(bssA2), 20), e(left, 21)}, []string{"up 0", "up 20 missed"}},
		"a driver's roam": {
			[]step{start, e("Associated with "+bssA2.String(), 15), e(connected(bssA2), 20)}, []string{"up 0", "down 15", "up 20"},
		},
		"a driver's roam, asked before it is read": {
			[]step{start, k(true, 20, bssA2), e("Associated with "+bssA2.String(), 15), e(connected(bssA2), 18)}, []string{"up 0"},
		},
		"told what was asked before": {[]step{start, e(connected(bssA1), 20)}, []string{"up 0"}},
		"disconnected, carrier up":   {[]step{start, e(left, 10), e(connected(bssA1), 20)}, []string{"up 0", "down 10", "up 20"}},
		"wpa_supplicant restarts": {
			[]step{start, kind(wpactrl.Gone, 10, false, none), kind(wpactrl.Back, 20, true, none), e(connected(bssA1), 30)},
			[]string{"up 0", "down 20", "up 30"},
		},
		"found connected": {[]step{k(true, 0, none), kind(wpactrl.Back, 20, true, bssA1)}, []string{"down 0", "up 20"}},
		"other events":    {[]step{start, e("CTRL-EVENT-SCAN-RESULTS", 5)}, []string{"up 0"}},
	} {
		w := &wifiWatch{out: make(chan osnet.LinkState, watchQueue)}
		for _, s := range c.steps {
			if s.kernel != nil {
				w.kernelSays(*s.kernel, s.kernel.Up && !s.unasked, s.with)
			} else {
				w.supplicantSays(s.event, s.asked, s.with)
			}
		}
		close(w.out)
		var got []string
		for l := range w.out {
			text := fmt.Sprintf("%s %d", map[bool]string{true: "up", false: "down"}[l.Up], l.At.Sub(t0).Milliseconds())
			if l.Missed {
				text += " missed"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestEthernet(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "eth0", "port0")
	n, err := osnet.Open(nil, osnet.OwnerMobileNode)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	e, err := NewEthernet("", "eth0", n)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := e.Current(t.Context()); at != Wired || err != nil {
		t.Errorf("%q %v", at, err)
	}
	if err := e.Attach(t.Context(), Wired); err != nil {
		t.Error(err)
	}
	if err := e.Attach(t.Context(), "elsewhere"); err == nil {
		t.Error("a cable that moves")
	}
	ch, err := e.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for s := range ch {
		if s.Up {
			break
		}
	}
	osnettest.IP(t, "link set port0 down")
	if s := <-ch; s.Up {
		t.Errorf("%+v", s)
	}
	if at, err := e.Current(t.Context()); at != "" || err != nil {
		t.Errorf("no carrier: %q %v", at, err)
	}
	if err := e.Attach(t.Context(), Wired); err == nil {
		t.Error("no carrier: want an error")
	}
	for _, dev := range []string{"", "eth0"} {
		if _, err := NewEthernet("with space", dev, n); err == nil {
			t.Errorf("%q: want an error", dev)
		}
	}
}

func TestFind(t *testing.T) {
	socket := &fstest.MapFile{Mode: 0o770 | fs.ModeSocket}
	root := fstest.MapFS{
		"sys/class/net/eth0/ifindex":         {},
		"sys/class/net/wlan0/phy80211/index": {},
		"sys/class/net/wlan1/phy80211/index": {},
		"sys/class/net/wlan2/phy80211/index": {},
		"run/wpa_supplicant/wlan0":           socket,
		"run/wpa_supplicant/eth0":            socket, // 802.1X on a cable: nothing to move
		"run/wpa_supplicant/wlan2":           {},     // no socket
	}
	if f, err := Find(root, "wlan0"); f != (Found{KindSupplicant, "/run/wpa_supplicant/wlan0"}) || err != nil {
		t.Errorf("%+v %v", f, err)
	}
	if f, err := Find(root, "eth0"); f != (Found{Kind: KindEthernet}) || err != nil {
		t.Errorf("%+v %v", f, err)
	}
	for _, dev := range []string{"wlan1", "wlan2"} {
		if _, err := Find(root, dev); !errors.Is(err, ErrNoSupplicant) || !strings.Contains(err.Error(), "ctrl_interface") {
			t.Errorf("%s: %v", dev, err)
		}
	}
	for _, bad := range []string{"", "nosuch", "../x", "."} {
		if f, err := Find(root, bad); err == nil {
			t.Errorf("%q: %+v", bad, f)
		}
	}
}
