package radio

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
)

var target = wpactrl.MAC{2, 0, 0, 0, 1, 1}

// supplicant answers each command with OK, and one that begins with a word with
// events behind it.
func supplicant(t *testing.T, events map[string][]string) (*wpactrltest.Daemon, *Roamer) {
	t.Helper()
	var self atomic.Pointer[wpactrltest.Daemon]
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), func(command string) string {
		word, _, _ := strings.Cut(command, " ")
		for _, e := range events[word] {
			self.Load().Emit("<3>" + e)
			time.Sleep(2 * time.Millisecond)
		}
		return "OK"
	})
	self.Store(d)
	r, err := NewRoamer(t.Context(), d.Socket, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, r
}

const connected = "CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:01:01 completed [id=0 id_str=]"

// TestTimings: what of a roam is EAP, and that none is told as none.
func TestTimings(t *testing.T) {
	d, r := supplicant(t, map[string][]string{
		"SELECT_NETWORK": {"Associated with 02:00:00:00:01:01", eapStarted + " EAP authentication started", eapSuccess + " EAP", connected},
		"ROAM":           {"SME: Trying to authenticate with 02:00:00:00:01:01 (SSID='x' freq=2437 MHz)", "Associated with 02:00:00:00:01:01", connected},
		"FT_DS":          {"FT: something", "Trying to associate with 02:00:00:00:01:01 (SSID='x' freq=2437 MHz)", connected},
		"SCAN":           {wpactrl.EventScanResults + " "},
		"PREAUTH":        {eapStarted + " EAP", eapSuccess + " EAP", "RSN: pre-authentication with 02:00:00:00:01:01 completed successfully"},
	})
	joined, err := r.Join(t.Context(), 3, target)
	if err != nil || joined.EAPs != 1 || joined.EAP <= 0 || joined.EAP >= joined.Total {
		t.Errorf("joined: %+v %v", joined, err)
	}
	if err := r.Scan(t.Context(), 2412, 2437); err != nil {
		t.Error(err)
	}
	pre, err := r.PreAuthenticate(t.Context(), target)
	if err != nil || pre.EAP <= 0 {
		t.Errorf("pre-authenticated: %+v %v", pre, err)
	}
	for _, ds := range []bool{false, true} {
		roam, err := r.Roam(t.Context(), target, ds)
		if err != nil || roam.EAPs != 0 || roam.EAP != 0 || roam.Away() <= 0 || roam.Away() >= roam.Total {
			t.Errorf("roam, ds %v: %+v %v", ds, roam, err)
		}
	}
	want := []string{
		"DISCONNECT", "PMKSA_FLUSH", "SET_NETWORK 3 bssid 02:00:00:00:01:01", "SELECT_NETWORK 3", "SET_NETWORK 3 bssid any",
		"SCAN TYPE=ONLY freq=2412,2437", "PREAUTH 02:00:00:00:01:01", "ROAM 02:00:00:00:01:01", "FT_DS 02:00:00:00:01:01",
	}
	if got := d.Commands(); !slices.Equal(got, want) {
		t.Errorf("asked %q, expected %q", got, want)
	}
}

// TestRoamFails: each way of it ends the wait and is told.
func TestRoamFails(t *testing.T) {
	for event, says := range map[string]string{
		wpactrl.EventAssocReject + " bssid=02:00:00:00:01:01 status_code=55": "status_code=55",
		wpactrl.EventTempDisabled + " id=0 ssid=\"x\"":                       "TEMP-DISABLED",
		strings.Replace(connected, "01:01", "02:02", 1):                      "instead",
		eapFailure + " EAP authentication failed":                            "EAP-FAILURE",
	} {
		_, r := supplicant(t, map[string][]string{"ROAM": {event}})
		if _, err := r.Roam(t.Context(), target, false); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "ROAM") {
			t.Errorf("%s: %v", event, err)
		}
	}
	d, r := supplicant(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Roam(ctx, target, false); err == nil {
		t.Error("nothing happens, and that is a roam")
	}
	d.Stop()
	if _, err := r.Roam(t.Context(), target, false); err == nil {
		t.Error("nobody there, and that is a roam")
	}
}

// TestStaleEvents: what was before a command is no answer to it.
func TestStaleEvents(t *testing.T) {
	d, r := supplicant(t, map[string][]string{"ROAM": {eapStarted + " EAP", eapSuccess + " EAP", connected}})
	d.Emit("<3>" + connected)
	d.Emit("<3>" + wpactrl.EventAssocReject)
	if _, err := r.Status(t.Context()); err == nil {
		t.Error("OK is no status")
	}
	for len(r.sub.C) < 2 {
		time.Sleep(time.Millisecond)
	}
	roam, err := r.Roam(t.Context(), target, false)
	if err != nil || roam.EAPs != 1 {
		t.Errorf("%+v %v, expected the roam that has EAP", roam, err)
	}
}

// TestBSSCommands: what an access point is asked, and what it may refuse.
func TestBSSCommands(t *testing.T) {
	sta := wpactrl.MAC{2, 0, 0, 0, 4, 0}
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), func(command string) string {
		switch {
		case strings.HasPrefix(command, "DEAUTHENTICATE"):
			return "FAIL"
		case strings.HasPrefix(command, "STA "):
			return sta.String() + "\nflags=[AUTH][ASSOC][AUTHORIZED]\n"
		}
		return "OK"
	})
	if err := Forget(t.Context(), d.Socket, sta); err != nil {
		t.Errorf("a station that is not known is forgotten: %v", err)
	}
	if ok, err := Authorized(t.Context(), d.Socket, sta); !ok || err != nil {
		t.Errorf("authorized: %v %v", ok, err)
	}
	if err := Disable(t.Context(), d.Socket); err != nil {
		t.Error(err)
	}
	want := []string{"DEAUTHENTICATE 02:00:00:00:04:00 tx=0", "PMKSA_FLUSH", "STA 02:00:00:00:04:00", "DISABLE"}
	if got := d.Commands(); !slices.Equal(got, want) {
		t.Errorf("asked %q, expected %q", got, want)
	}
	d.Stop()
	if err := Forget(t.Context(), d.Socket, sta); err == nil {
		t.Error("nobody there, and it forgets")
	}
	if _, err := Authorized(t.Context(), d.Socket, sta); err == nil {
		t.Error("nobody there, and it knows")
	}
}
