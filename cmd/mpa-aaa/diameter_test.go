package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/diameter"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
)

func TestDiameterExample(t *testing.T) {
	c, err := config.Parse[configuration]("aaa.yaml", []byte(whole()))
	if err != nil {
		t.Fatal(err)
	}
	d := c.Diameter
	if d == nil || d.Identity != "aaa.home.example" || !d.ListenTLS.IsValid() || d.Watchdog.D() != 30*time.Second || len(d.Peers) != 2 || !d.Peers[0].TLS || d.Peers[1].TLS {
		t.Errorf("%+v", d)
	}
}

func TestDiameterMistakes(t *testing.T) {
	for says, edit := range map[string][2]string{
		"diameter.identity: \"aaa\"":                 {"identity: aaa.home.example", "identity: aaa"},
		"diameter.peers[0]: expected identity":       {`{identity: "*.visited.example"}`, "{}"},
		"diameter.peers[1]: expected from":           {", from: [10.0.2.0/24]", ""},
		"diameter: expected ca, certificate and key": {"key: diameter.key", ""},
		"diameter: expected listen-tls or listen":    {"listen-tls: 10.0.5.1:5868", ""},
		"diameter.peers: missing":                    {"peers:                             # routers, and relays that speak for them; *: any name below\n    - {identity: \"*.visited.example\"}\n    - {identity: ar-l.home.example, tls: false, from: [10.0.2.0/24]}", "peers: []"},
	} {
		text := strings.Replace(whole(), edit[0], edit[1], 1)
		if text == whole() {
			t.Fatalf("%s: the example does not contain %q", says, edit[0])
		}
		if _, err := config.Parse[configuration]("aaa.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// TestRunDiameter says that a router can connect to a server that has nothing but
// Diameter, and that the server tells of it.
func TestRunDiameter(t *testing.T) {
	dir := t.TempDir()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.Addr().String()
	_ = probe.Close()
	text := fmt.Sprintf(`node: aaa
control: aaa.sock
state: state
server-name: aaa.home.example
diameter: {identity: aaa.home.example, listen: %q, peers: [{identity: "*.visited.example", tls: false, from: [127.0.0.0/8]}]}
`, addr)
	path := filepath.Join(dir, "aaa.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	env := daemon.Env{ConfigPath: path, Log: slog.New(slog.DiscardHandler), Stdout: &bytes.Buffer{}, Ready: func() { close(ready) }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- run(ctx, env) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	router, err := diameter.NewClient(diameter.Config{
		Identity: "ar-a.visited.example", Realm: "visited.example", Peers: []diameter.Peer{{Identity: "aaa.home.example", Addr: addr}},
	}, diameter.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	carrier := aaa.NewDiameterCarrier(router)
	go func() { done <- carrier.Run(ctx, nil) }()
	with, err := carrier.Open(aaa.SessionInfo{}, "mn@home.example")
	if err != nil {
		t.Fatal(err)
	}
	a, err := with.Ask(t.Context(), append([]byte{2, 1, 0, 20, 1}, "mn@home.example"...))
	if err != nil || a.Decision != aaa.Continue || a.Server != "aaa.home.example" {
		t.Errorf("%+v, %v", a, err)
	}
	var got status
	if err := control.NewClient(filepath.Join(dir, "aaa.sock")).Status(t.Context(), &got); err != nil || got.Diameter == nil || len(got.Diameter.Peers) != 1 || got.Diameter.Peers[0].Identity != "ar-a.visited.example" {
		t.Errorf("%+v, %v", got.Diameter, err)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
