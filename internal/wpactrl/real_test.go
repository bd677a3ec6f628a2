package wpactrl_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
)

func pmk() *keys.Secret { return keys.NewSecret([]byte(strings.Repeat("\x5a", 32))) }

const id = "000102030405060708090a0b0c0d0e0f"

func pmksa(t *testing.T, c *wpactrl.Client) []wpactrl.PMKSA {
	t.Helper()
	answer, err := c.Command(t.Context(), "PMKSA")
	if err != nil {
		t.Fatal(err)
	}
	list, err := wpactrl.ParsePMKSA(answer)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestHostapd: the real one, with its PMKSA cache, which needs no radio.
func TestHostapd(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "ap0")
	config := wpactrltest.HostapdConfig("ap0", "none", dir)
	p := wpactrltest.Hostapd(t, config, socket)
	c := open(t, wpactrl.Config{Socket: socket})
	s := subscribe(t, c)
	until(t, s, kind(wpactrl.Back))
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Command(t.Context(), "NOSUCH"); !errors.Is(err, wpactrl.ErrUnknownCommand) {
		t.Errorf("unknown command: %v", err)
	}
	if len(pmksa(t, c)) != 0 {
		t.Error("not empty at first")
	}
	for _, akm := range []string{"1", "128"} { // the second replaces the first
		if err := c.Do(t.Context(), "PMKSA_ADD 02:00:00:00:02:00 "+id+" ? 3600 "+akm, pmk()); err != nil {
			t.Error(err)
		}
	}
	if l := pmksa(t, c); len(l) != 1 || l[0].Addr.String() != "02:00:00:00:02:00" || l[0].PMKID[15] != 15 || l[0].Expires != time.Hour {
		t.Errorf("PMKSA: %+v", l)
	}
	err := c.Do(t.Context(), "PMKSA_ADD nonsense ? 1", pmk())
	if !errors.Is(err, wpactrl.ErrFail) || strings.Contains(err.Error(), "5a5a") {
		t.Errorf("refused: %v", err)
	}
	if err := c.Do(t.Context(), "PMKSA_FLUSH"); err != nil || len(pmksa(t, c)) != 0 {
		t.Errorf("flush: %v", err)
	}
	if log := p.Log(); strings.Contains(log, "5a5a") {
		t.Errorf("hostapd logged the key:\n%s", log)
	}

	p.Stop()
	until(t, s, kind(wpactrl.Gone))
	if err := c.Ping(t.Context()); !errors.Is(err, wpactrl.ErrGone) {
		t.Errorf("stopped: %v", err)
	}
	p = wpactrltest.Hostapd(t, config, socket)
	until(t, s, kind(wpactrl.Back))
	p.Kill() // its socket stays
	until(t, s, kind(wpactrl.Gone))
	if err := c.Ping(t.Context()); !errors.Is(err, wpactrl.ErrGone) {
		t.Errorf("killed: %v", err)
	}
	wpactrltest.Hostapd(t, config, socket)
	until(t, s, kind(wpactrl.Back))
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSupplicant: the real one authenticates by 802.1X over a cable to the real hostapd, and says so.
func TestSupplicant(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "port0", "eth0")
	ap, sta := t.TempDir(), t.TempDir()
	wpactrltest.Hostapd(t, wpactrltest.WiredAuthenticator(t, "port0", ap), filepath.Join(ap, "port0"))
	authenticator := open(t, wpactrl.Config{Socket: filepath.Join(ap, "port0")})
	stations := subscribe(t, authenticator)
	until(t, stations, kind(wpactrl.Back))

	socket := filepath.Join(sta, "eth0")
	p := wpactrltest.Supplicant(t, "wired", "eth0", wpactrltest.WiredPeer(sta), socket)
	c := open(t, wpactrl.Config{Socket: socket, Timeout: 500 * time.Millisecond})
	s := subscribe(t, c)
	until(t, s, kind(wpactrl.Back))
	status := func() wpactrl.Status {
		t.Helper()
		answer, err := c.Command(t.Context(), "STATUS")
		if err != nil {
			t.Fatal(err)
		}
		st, err := wpactrl.ParseStatus(answer)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if status().State != wpactrl.StateCompleted { // it may have been done before we listened
		if e := until(t, s, name(wpactrl.EventConnected)); e.Peer().IsZero() {
			t.Errorf("connected to nobody: %+v", e)
		}
	}
	st := status()
	if st.State != wpactrl.StateCompleted || st.Network != 0 || st.BSSID.String() != "01:80:c2:00:00:03" {
		t.Errorf("%+v", st)
	}
	if err := c.Do(t.Context(), "REASSOCIATE"); err != nil {
		t.Error(err)
	}
	until(t, s, name(wpactrl.EventConnected))
	if answer, err := authenticator.Command(t.Context(), "STA "+st.Address.String()); err != nil {
		t.Error(err)
	} else if x, err := wpactrl.ParseStation(answer); err != nil || x.MAC != st.Address {
		t.Errorf("%+v %v", x, err)
	}
	if err := c.Do(t.Context(), "ROAM 02:00:00:00:01:00"); !errors.Is(err, wpactrl.ErrFail) {
		t.Errorf("roam without a radio: %v", err)
	}

	p.Pause() // hangs, its socket still there
	if err := c.Ping(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hangs: %v", err)
	}
	until(t, s, kind(wpactrl.Gone))
	p.Resume()
	until(t, s, kind(wpactrl.Back))
	if err := c.Do(t.Context(), "DISCONNECT"); err != nil {
		t.Error(err)
	}
	until(t, s, name(wpactrl.EventDisconnected))
}
