package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/catest"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
	"openmpa/par/apctl"
	"openmpa/par/apctl/apctltest"
)

func TestMain(m *testing.M) { osnettest.Main(m) }

// TestAgent: from two configuration files to a key in hostapd, and out of it.
func TestAgent(t *testing.T) {
	bssid, station := wpactrl.MAC{2, 0, 0, 0, 1, 1}, wpactrl.MAC{2, 0, 0, 0, 2, 0}
	h := apctltest.Start(t, "ap0", bssid)
	osnettest.IP(t, "link set lo up")
	dir, ca := t.TempDir(), catest.NewAuthority(t)
	ca.Write(dir, "ap-agent", "ap2.a.example", x509.ExtKeyUsageServerAuth)
	ca.Write(dir, "ar", "ar.a.example", x509.ExtKeyUsageClientAuth)
	edit := strings.NewReplacer("10.2.0.5", "127.0.0.1", "/run/openmpa", dir, "/run/hostapd/wlan0", h.Socket)
	file := filepath.Join(dir, "ap-agent.yaml")
	if err := os.WriteFile(file, []byte(edit.Replace(agentExample)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := apAgent.Check(file); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- runAgent(ctx, daemon.Env{ConfigPath: file, Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}

	// The router's second access point of its example is that one.
	text := edit.Replace(pointsExample(t))
	text = strings.Replace(text, `  - {name: poa-a1, bssid: "02:00:00:00:01:00", akm: WPA-EAP, socket: `+h.Socket+"}\n", "", 1)
	c, err := config.Parse[configuration](filepath.Join(dir, "ar.yaml"), []byte(text))
	if err != nil || len(c.Points) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	points, err := openPoints(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	apctltest.Eventually(t, "connected", func() bool { s := points.Status()[0]; return s.Up && !s.Pending })
	pmk := keys.NewSecret([]byte(strings.Repeat("k", keys.PMKLen)))
	have, err := points.Install(t.Context(), station, time.Hour, func(apctl.Info) (*keys.Secret, error) { return pmk.Clone(), nil })
	if err != nil || len(have) != 1 || !h.HasKey(station, pmk) {
		t.Errorf("%v, %v; hostapd has %v", have, err, h.Has())
	}
	var status agentStatus
	if err := control.NewClient(filepath.Join(dir, "ap-agent.sock")).Status(t.Context(), &status); err != nil {
		t.Error(err)
	}
	if len(status.Points) != 1 || status.Points[0].Keys != 1 || !status.Points[0].Up {
		t.Errorf("%+v", status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := len(h.Has()); n != 0 {
		t.Errorf("the agent has left %d keys", n)
	}
	_ = points.Close() // the agent is gone: there is nothing to take away
}

// TestCredentials: what is wrong with the files is told with the key that names them.
func TestCredentials(t *testing.T) {
	dir, ca := t.TempDir(), catest.NewAuthority(t)
	ca.Write(dir, "ar", "ar.a.example", x509.ExtKeyUsageClientAuth)
	at := func(name string) config.File { return config.File(filepath.Join(dir, name)) }
	for want, f := range map[string][3]config.File{
		"certificate: ": {at("ca.pem"), at("none.pem"), at("ar.key")},
		"ca: ":          {at("none.pem"), at("ar.pem"), at("ar.key")},
		"has no cert":   {at("ar.key"), at("ar.pem"), at("ar.key")},
	} {
		if _, _, err := credentials(f[0], f[1], f[2]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	p := point{ID: pointID{Name: "x", BSSID: wpactrl.MAC{2}}, Agent: "127.0.0.1:1", Identity: "x", CA: at("none"), Certificate: at("ar.pem"), Key: at("ar.key")}
	_, err := openPoints(t.Context(), configuration{Points: []point{p}}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(fmt.Sprint(err), "access-points[0]") {
		t.Errorf("%v", err)
	}
}
