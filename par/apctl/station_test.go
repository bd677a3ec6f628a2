package apctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
	"openmpa/par/apctl/apctltest"
)

// imitation is a fake hostapd with stations, by the method each has authenticated with: 0, it came with a key of ours.
type imitation struct {
	*wpactrltest.Daemon
	mu       sync.Mutex
	stations map[string]int
	heard    map[string]time.Duration // by station: how long ago; none: hostapd does not say
	wait     chan struct{}            // commands wait for it; nil: they do not
}

func imitate(t *testing.T, info Info) *imitation {
	i := &imitation{stations: map[string]int{}, heard: map[string]time.Duration{}}
	i.Daemon = wpactrltest.Start(t, filepath.Join(t.TempDir(), "ap"), func(c string) string {
		word, rest, _ := strings.Cut(c, " ")
		i.mu.Lock()
		wait := i.wait
		i.mu.Unlock()
		if wait != nil && word != "GET_CONFIG" {
			<-wait
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		switch word {
		case "GET_CONFIG":
			return "bssid=" + info.BSSID.String() + "\nkey_mgmt=" + info.AKM.String() + "\n"
		case "STA":
			method, ok := i.stations[rest]
			if !ok {
				return "FAIL"
			}
			text := fmt.Sprintf("%s\nflags=[AUTH][ASSOC][AUTHORIZED]\nlast_eap_type_as=%d (x)\nconnected_time=5\n", rest, method)
			if ago, ok := i.heard[rest]; ok {
				text += fmt.Sprintf("inactive_msec=%d\n", ago.Milliseconds())
			}
			return text
		case "PMKSA_ADD", "PMKSA_FLUSH", "DEAUTHENTICATE":
			return "OK"
		}
		return ""
	})
	return i
}

func (i *imitation) came(s wpactrl.MAC, method int) {
	i.mu.Lock()
	i.stations[s.String()] = method
	i.mu.Unlock()
	i.Emit("<3>AP-STA-CONNECTED " + s.String())
}

// hold makes commands wait until release is called.
func (i *imitation) hold() (release func()) {
	wait := make(chan struct{})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wait = wait
	return func() {
		i.mu.Lock()
		i.wait = nil
		i.mu.Unlock()
		close(wait)
	}
}

func (i *imitation) asked(command string) (n int) {
	for _, c := range i.Commands() {
		if strings.HasPrefix(c, command) {
			n++
		}
	}
	return n
}

// settledLocal opens it and waits until hostapd hears us and is in order.
func settledLocal(t *testing.T, info Info, i *imitation) *Local {
	t.Helper()
	l := openLocal(t, LocalConfig{Info: info, Socket: i.Socket})
	apctltest.Eventually(t, "settled", func() bool { s := l.Status(); return s.Up && !s.Pending && i.Attached() == 1 })
	return l
}

var ap2 = Info{Name: "ap2", BSSID: wpactrl.MAC{2, 0, 0, 0, 1, 1}, AKM: keys.AKM8021X}

// TestStationMoves: the access point that a station has left is told, by no frame, and not if it has come back.
func TestStationMoves(t *testing.T) {
	h1, h2 := imitate(t, ap1), imitate(t, ap2)
	ca := newAuthority(t)
	agent := ca.agent(settledLocal(t, ap2, h2), listenLocal, time.Hour) // the second is on another machine
	p1, p2 := settledLocal(t, ap1, h1), ca.remote(agent.Addr().String(), func(c *RemoteConfig) { c.Info = ap2 })
	c, err := NewController(p1, p2)
	if err != nil {
		t.Fatal(err)
	}
	apctltest.Eventually(t, "the agent is reached", func() bool { s := p2.Status(); return s.Up && !s.Pending })
	derive := func(i Info) (*keys.Secret, error) { return pmk(i.BSSID[5] + 'a'), nil }
	if have, err := c.Install(t.Context(), station, time.Hour, derive); err != nil || len(have) != 2 {
		t.Fatalf("%v, %v", have, err)
	}
	left := "DEAUTHENTICATE " + station.String() + " tx=0"
	stranger := station
	stranger[5] = 99
	h1.came(stranger, 13)
	h1.came(station, 0)
	apctltest.Eventually(t, "the second is told", func() bool { return h2.asked(left) == 1 })
	h2.came(station, 0)
	apctltest.Eventually(t, "the first is told", func() bool { return h1.asked(left) == 1 })
	if n := h2.asked("DEAUTHENTICATE"); n != 1 {
		t.Errorf("the second was told %d times, once for each move of a station with a key", n)
	}

	// It comes back while the first is too busy to be told.
	release := h1.hold()
	go func() { _ = p1.Install(context.Background(), key('z', time.Hour)) }()
	apctltest.Eventually(t, "busy", func() bool { return h1.asked("PMKSA_ADD") == 2 })
	h1.Emit("<3>AP-STA-DISCONNECTED " + station.String())
	h2.came(station, 0)
	apctltest.Eventually(t, "it is to be told", func() bool {
		p1.mu.Lock()
		defer p1.mu.Unlock()
		return slices.ContainsFunc(p1.todo, func(t *task) bool { return !t.left.IsZero() })
	})
	since := time.Now()
	h1.came(station, 0)
	apctltest.Eventually(t, "it is seen", func() bool { return p1.roster.mayBeAfter(station, since) })
	release()
	apctltest.Eventually(t, "the second is told again", func() bool { return h2.asked(left) == 2 && !p1.Status().Pending })
	if n := h1.asked(left); n != 1 {
		t.Error("the association it has come back to was dropped")
	}
}

// TestLeftHeard: news of a station elsewhere that come late do not drop it where it is heard.
func TestLeftHeard(t *testing.T) {
	h := imitate(t, ap1)
	l := settledLocal(t, ap1, h)
	if err := l.Install(t.Context(), key('a', time.Hour)); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	h.came(station, 0)
	apctltest.Eventually(t, "it is seen", func() bool { return l.roster.mayBeAfter(station, before) })
	hears := func(ago time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heard[station.String()] = ago
	}
	done := func() bool { return !l.Status().Pending }
	hears(20 * time.Millisecond)
	l.Left(station, time.Now()) // it is asked for 100 ms later
	apctltest.Eventually(t, "done", done)
	if n := h.asked("STA " + station.String()); n != 1 {
		t.Errorf("asked for %d times", n)
	}
	if n := h.asked("DEAUTHENTICATE"); n != 0 {
		t.Error("dropped, and it is heard here")
	}
	hears(time.Minute)
	l.Left(station, time.Now())
	apctltest.Eventually(t, "done", done)
	if n := h.asked("DEAUTHENTICATE " + station.String() + " tx=0"); n != 1 {
		t.Errorf("told %d times that it has left", n)
	}
}

// TestLeftWaits: while a station does its handshake at one access point the others are not told of it, and then once; what the
// station's key asks for meanwhile does not wait.
func TestLeftWaits(t *testing.T) {
	var k keeper // nobody runs its loop
	k.init(ap1, "", nil, nil)
	k.up = true
	since := time.Now()
	if err := k.want.put(key('a', time.Hour), since); err != nil {
		t.Fatal(err)
	}
	k.Left(station, since)
	k.Left(station, since.Add(time.Millisecond))
	if len(k.todo) != 1 || k.todo.take(since.Add(leftAfter)) != nil {
		t.Errorf("%d tasks, want one that is not due", len(k.todo))
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Remove(short, station); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if task := k.todo.take(since); task == nil || !task.change || task.left.IsZero() {
		t.Errorf("%+v, want it due at once", task)
	}
	k.Left(station, since) // it has no key any more
	if len(k.todo) != 0 {
		t.Error("told of a station that is not ours")
	}
}

// TestRemoveCuts: with a key goes what was made of it, and nothing else.
func TestRemoveCuts(t *testing.T) {
	h := imitate(t, ap1)
	l := settledLocal(t, ap1, h)
	for _, c := range []struct {
		there  bool
		method int
		cut    int
	}{{false, 0, 0}, {true, 13, 0}, {true, 0, 1}} {
		k := key('a', time.Hour)
		k.Station[5]++
		if c.there {
			h.came(k.Station, c.method)
		}
		before := h.asked("DEAUTHENTICATE")
		if err := errors.Join(l.Install(t.Context(), k), l.Remove(t.Context(), k.Station)); err != nil {
			t.Error(err)
		}
		if n := h.asked("DEAUTHENTICATE") - before; n != c.cut {
			t.Errorf("there: %v, by EAP method %d: deauthenticated %d times, want %d", c.there, c.method, n, c.cut)
		}
	}
}

// TestSlow: whoever does not wait for a slow access point loses nothing, and another one's are in its order.
func TestSlow(t *testing.T) {
	h := imitate(t, ap1)
	l := settledLocal(t, ap1, h)
	other := key('b', time.Hour)
	other.Station[5]++
	if err := l.Install(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	release := h.hold()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, err := range []error{
		l.Install(short, key('a', time.Hour)), l.Remove(short, other.Station), l.Install(short, key('c', time.Hour)),
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
	if s := l.Status(); s.Keys != 1 || !s.Pending {
		t.Errorf("%+v", s)
	}
	release()
	apctltest.Eventually(t, "all is done", func() bool { return !l.Status().Pending })
	id, _ := keys.PMKID(ap1.AKM, pmk('c'), ap1.BSSID, station)
	var last string
	for _, c := range h.Commands() {
		if strings.HasPrefix(c, "PMKSA_ADD "+station.String()) {
			last = c
		}
	}
	if !strings.Contains(last, fmt.Sprintf("%x", id)) {
		t.Errorf("the station's last key is not the last one installed: %q", last)
	}
	if h.asked("PMKSA_ADD "+other.Station.String()) != 2 || h.asked("PMKSA_FLUSH") != 1 {
		t.Errorf("expected one key replaced, and no flush for anybody's sake: %q", h.Commands())
	}
}

// TestPending: what is under way is not done.
func TestPending(t *testing.T) {
	h := imitate(t, ap1)
	l := settledLocal(t, ap1, h)
	release := h.hold()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.Install(short, key('a', time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	apctltest.Eventually(t, "the key is under way", func() bool { return h.asked("PMKSA_ADD") == 1 })
	if !l.Status().Pending {
		t.Error("not pending, and hostapd has not answered")
	}
	release()
	apctltest.Eventually(t, "all is done", func() bool { return !l.Status().Pending })
	if err := l.Install(t.Context(), key('c', time.Hour)); err != nil || l.Status().Pending {
		t.Errorf("installed: %v, %+v", err, l.Status())
	}
}

func TestRoster(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	var r roster
	r.reset(at(10))
	for _, c := range []struct {
		do   func()
		t    int64
		want bool
	}{
		{func() {}, 9, true}, // it may have come unheard
		{func() {}, 10, false},
		{func() { r.came(station, at(20)) }, 19, true},
		{func() {}, 20, false},
		{func() { r.went(station) }, 19, false},
		{func() { r.came(station, at(30)); r.reset(at(40)) }, 35, true},
	} {
		if c.do(); r.mayBeAfter(station, at(c.t)) != c.want {
			t.Errorf("after %d: want %v", c.t, c.want)
		}
	}
	for i := range maxRoster + 5 {
		r.came(wpactrl.MAC{2, byte(i >> 8), byte(i)}, at(50))
	}
	if len(r.since) > maxRoster {
		t.Errorf("%d stations", len(r.since))
	}
}
