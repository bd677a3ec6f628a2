package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExample(t *testing.T) {
	c, err := config.Parse[configuration]("aaa.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.String() != "10.0.5.1:1812" || c.TLS.Min.number() != 0x303 || c.TLS.Max.number() != 0x304 || len(c.Clients) != 1 {
		t.Errorf("%+v", c)
	}
	short, err := config.Parse[configuration]("aaa.yaml", []byte(strings.Join(strings.Split(example, "\n")[:7], "\n")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := short.withDefaults(), c.withDefaults(); got.TLS != want.TLS || got.SessionTimeout != want.SessionTimeout || got.Sessions != want.Sessions {
		t.Errorf("defaults are not those of the example: %+v", got)
	}
}

func TestMistakes(t *testing.T) {
	for says, edit := range map[string][2]string{
		"node":                   {"node: aaa ", "node: '' "},
		"control socket":         {"/run/openmpa/aaa.sock", "''"},
		"listen":                 {"10.0.5.1:1812", "10.0.5.1:0"},
		"directory":              {"/var/lib/openmpa/aaa", "''"},
		"server-name":            {"server-name: aaa.home.example ", ""},
		"clients: missing":       {"[{prefix: 10.0.0.0/8, secret-file: radius.secret}]", "[]"},
		"clients[0]":             {", secret-file: radius.secret", ""},
		"no TLS version":         {"\"1.2\"", "\"1.1\""},
		"above max-version":      {"min-version: \"1.2\", max-version: \"1.3\"", "min-version: \"1.3\", max-version: \"1.2\""},
		"unknown key":            {"node:", "nod:"},
		"sessions":               {"sessions: 1024", "sessions: -1"},
		"expected a prefix":      {"10.0.0.0/8", "10.0.0.0"},
		"session-timeout: \"x\"": {"session-timeout: 1h", "session-timeout: x"},
	} {
		text := strings.Replace(example, edit[0], edit[1], 1)
		if text == example {
			t.Fatalf("%s: the example does not contain %q", says, edit[0])
		}
		if _, err := config.Parse[configuration]("aaa.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// setup writes a configuration for a free port of the loopback interface.
func setup(t *testing.T) (env daemon.Env, dir string) {
	t.Helper()
	dir = t.TempDir()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := probe.LocalAddr().(*net.UDPAddr).Port
	_ = probe.Close()
	text := strings.NewReplacer("/run/openmpa/aaa.sock", "aaa.sock", "10.0.5.1:1812", "127.0.0.1:"+strconv.Itoa(port), "/var/lib/openmpa/aaa ", "state ").Replace(example)
	for name, content := range map[string]string{"aaa.yaml": text, "radius.secret": "testing123\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return daemon.Env{ConfigPath: filepath.Join(dir, "aaa.yaml"), Log: slog.New(slog.DiscardHandler), Stdout: &bytes.Buffer{}}, dir
}

func TestRun(t *testing.T) {
	env, dir := setup(t)
	if err := config.CheckFiles[configuration](env.ConfigPath); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
		t.Error("checking the configuration made the state directory")
	}
	ready := make(chan struct{})
	env.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, env) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	var got status
	client := control.NewClient(filepath.Join(dir, "aaa.sock"))
	if err := client.Status(t.Context(), &got); err != nil || got.Node != "aaa" || got.ServerName != "aaa.home.example" || got.RADIUS.Requests != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ca.pem", "ca.key", "server.pem", "server.key"} {
		if _, err := os.Stat(filepath.Join(dir, "state", name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "aaa.sock")); err == nil {
		t.Error("the control socket is left")
	}
}

func TestRunFails(t *testing.T) {
	env, dir := setup(t)
	env.Ready = func() { t.Error("ready") }
	if err := os.Chmod(filepath.Join(dir, "radius.secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), env); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open secret: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "radius.secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.Listen))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := run(t.Context(), env); err == nil || !strings.Contains(err.Error(), "port free?") {
		t.Errorf("port taken: %v", err)
	}
}

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	env := daemon.Env{Log: slog.New(slog.DiscardHandler), Stdout: &out}
	i := issue{state: filepath.Join(dir, "state"), name: "mn@home.example", out: filepath.Join(dir, "mn")}
	if err := i.run(t.Context(), env, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mn.pem", "mn.key", "ca.pem"} {
		path := filepath.Join(dir, "mn", name)
		if _, err := os.Stat(path); err != nil || !strings.Contains(out.String(), path+"\n") {
			t.Errorf("%v; said %q", err, out.String())
		}
	}
	for _, bad := range []struct {
		issue
		args []string
	}{{issue{name: "mn@home.example"}, nil}, {issue{state: dir}, nil}, {i, []string{"more"}}, {issue{state: dir, name: "mn", out: dir}, nil}} {
		if err := bad.run(t.Context(), env, bad.args); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
}
