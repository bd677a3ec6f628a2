package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// whole is the example with its commented sections in force.
func whole() string { return strings.ReplaceAll("\n"+example, "\n#", "\n")[1:] }

func TestExample(t *testing.T) {
	for name, text := range map[string]string{"as it is": example, "with all": whole()} {
		c, err := config.Parse[configuration]("aaa.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.RADIUS.Listen.String() != "10.0.5.1:1812" || c.TLS.Min.number() != 0x303 || c.TLS.Max.number() != 0x304 || len(c.RADIUS.Clients) != 1 || len(c.Methods) != 3 {
			t.Errorf("%s: %+v", name, c)
		}
		if all := c.RadSec != nil && c.Diameter != nil && len(c.AAA) == 1; all != (name == "with all") {
			t.Errorf("%s: %+v", name, c)
		}
	}
	c, err := config.Parse[configuration]("aaa.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	short, err := config.Parse[configuration]("aaa.yaml", []byte(strings.Join(strings.Split(example, "\n")[:9], "\n")))
	if err != nil {
		t.Fatal(err)
	}
	if short.TLS != c.TLS || short.SessionTimeout != c.SessionTimeout || short.Sessions != c.Sessions || short.Resume != c.Resume {
		t.Errorf("defaults are not those of the example: %+v", short)
	}
	// Without users there are no passwords to ask for.
	if !slices.Equal(short.Methods, []string{"tls"}) {
		t.Errorf("methods %v", short.Methods)
	}
	at, err := short.RADIUS.Accounting.of(short.RADIUS.Listen)
	if given, givenErr := c.RADIUS.Accounting.of(c.RADIUS.Listen); err != nil || givenErr != nil || at != given {
		t.Errorf("accounting at %v, %v; %v, %v", at, err, given, givenErr)
	}
}

func TestMistakes(t *testing.T) {
	for says, edit := range map[string][2]string{
		"node":                         {"node: aaa ", "node: '' "},
		"control socket":               {"/run/openmpa/aaa.sock", "''"},
		"radius.listen":                {"10.0.5.1:1812 ", "10.0.5.1:0 "},
		"radius.accounting":            {"10.0.5.1:1813", "here"},
		"directory":                    {"/var/lib/openmpa/aaa ", "'' "},
		"server-name":                  {"server-name: aaa.home.example ", ""},
		"clients: missing":             {"[{prefix: 10.0.0.0/8, secret-file: radius.secret, orders: \"0.0.0.0:3799\"}]", "[]"},
		"clients[0]":                   {", secret-file: radius.secret", ""},
		"no TLS version":               {"\"1.2\"", "\"1.1\""},
		"above max-version":            {"min-version: \"1.2\", max-version: \"1.3\"", "min-version: \"1.3\", max-version: \"1.2\""},
		"unknown key":                  {"node:", "nod:"},
		"sessions":                     {"sessions: 1024", "sessions: -1"},
		"expected a prefix":            {"10.0.0.0/8", "10.0.0.0"},
		"session-timeout: \"x\"":       {"session-timeout: 1h", "session-timeout: x"},
		"methods[2]: \"fast\"":         {"ttls, peap]", "ttls, fast]"},
		"methods[1]: \"tls\" is there": {"[tls, ttls, peap]", "[tls, tls]"},
		"users: missing":               {"users: users.json ", ""},
		"interim: expected 1m":         {"interim: 10m", "interim: 5s"},
		"realms: missing":              {"realms: [home.example] ", ""},
		"realms[0]":                    {"realms: [home.example]", "realms: [\"*\"]"},
		"radsec.clients: missing":      {"clients: [ar-a.home.example, \"*.visited.example\"]", "clients: []"},
		"radsec: expected ca":          {"  key: peers.key\n", ""},
		"listen: is now in radius":     {"node: aaa", "listen: 10.0.0.1:1812\nnode: aaa"},
		"clients: is now in radius":    {"node: aaa", "clients: []\nnode: aaa"},
	} {
		text := strings.Replace(whole(), edit[0], edit[1], 1)
		if text == whole() {
			t.Fatalf("%s: the example does not contain %q", says, edit[0])
		}
		if _, err := config.Parse[configuration]("aaa.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := config.Parse[configuration]("aaa.yaml", []byte("node: a\ncontrol: c\nstate: s\nserver-name: a.example\n")); err == nil || !strings.Contains(err.Error(), "radius, radsec or diameter") {
		t.Errorf("nobody could ask: %v", err)
	}
}

func listenLoopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// setup writes a configuration for a free port of the loopback interface.
func setup(t *testing.T) (env daemon.Env, dir string) {
	t.Helper()
	dir = t.TempDir()
	probe := listenLoopback(t)
	port := probe.LocalAddr().(*net.UDPAddr).Port
	_ = probe.Close()
	text := strings.NewReplacer("/run/openmpa/aaa.sock", "aaa.sock", "10.0.5.1:1812", "127.0.0.1:"+strconv.Itoa(port), "accounting: 10.0.5.1:1813", "accounting: none",
		"/var/lib/openmpa/aaa ", "state ", "/var/lib/openmpa/aaa.books", "books").Replace(example)
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
	taken, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.RADIUS.Listen))
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
