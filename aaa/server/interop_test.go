package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/event"
)

// program finds another implementation. Without it the test is skipped, but where
// everything is to be tested it fails.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") == "1" {
		t.Fatalf("%s is not installed: apt-get install %s", name, pkg)
	}
	t.Skipf("%s is not installed: apt-get install %s", name, pkg)
	return ""
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEapolTest lets wpa_supplicant's EAP peer authenticate at our server.
func TestEapolTest(t *testing.T) {
	bin := program(t, "eapol_test", "eapoltest")
	dir := t.TempDir()
	state := mustState(t, filepath.Join(dir, "state"))
	cert, err := state.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	files, err := state.Issue(nodeName, dir)
	if err != nil {
		t.Fatal(err)
	}
	rogue, err := mustState(t, filepath.Join(dir, "rogue")).Issue(nodeName, filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	recorder := event.NewRecorder("aaa", nil, 0)
	s, err := New(Config{
		Clients:  []Client{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Secret: secret("testing123")}},
		TLS:      eap.ServerConfig{Certificate: cert, ClientCAs: state.Roots()},
		Recorder: recorder, SessionTimeout: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	port := strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
	for name, c := range map[string]struct {
		no13, fragment int
		cert           []string
		match          string
		reason         string // of our server; empty: success
	}{
		"TLS 1.3":                   {0, 1398, files, serverName, ""},
		"TLS 1.2":                   {1, 1398, files, serverName, ""},
		"TLS 1.3 in fragments":      {0, 200, files, serverName, ""},
		"TLS 1.2 in fragments":      {1, 200, files, serverName, ""},
		"TLS 1.3 client refused":    {0, 1398, rogue, serverName, "issuer is not among"},
		"TLS 1.2 client refused":    {1, 1398, rogue, serverName, "issuer is not among"},
		"TLS 1.3 server name wrong": {0, 1398, files, "evil.home.example", "client refused by TLS alert"},
		"TLS 1.2 server name wrong": {1, 1398, files, "evil.home.example", "client refused by TLS alert"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "eapol.conf")
			mustWrite(t, conf, fmt.Sprintf("network={\n key_mgmt=WPA-EAP\n eap=TLS\n identity=%q\n ca_cert=%q\n client_cert=%q\n private_key=%q\n domain_match=%q\n phase1=\"tls_disable_tlsv1_3=%d\"\n fragment_size=%d\n}\n",
				nodeName, files[2], c.cert[0], c.cert[1], c.match, c.no13, c.fragment))
			out, err := exec.CommandContext(t.Context(), bin, "-c", conf, "-a", "127.0.0.1", "-p", port, "-s", "testing123", "-t", "20").CombinedOutput()
			text := string(out)
			if c.reason == "" {
				if err != nil || !strings.Contains(text, "MPPE keys OK: 1  mismatch: 0") {
					t.Errorf("%v\n%s", err, text)
				}
				if version, _, _ := strings.Cut(name, " in"); !strings.Contains(text, "SSL: Using TLS version "+strings.Replace(version, "TLS ", "TLSv", 1)) {
					t.Error("another TLS version")
				}
				return
			}
			events := recorder.Events(event.HandoverID{})
			if last := events[len(events)-1]; err == nil || last.Outcome != event.Failed || !strings.Contains(last.Reason, c.reason) {
				t.Errorf("%v, %v %q", err, last.Outcome, last.Reason)
			}
		})
	}
}

// TestFreeRADIUS lets our peer and our RADIUS client authenticate at FreeRADIUS.
func TestFreeRADIUS(t *testing.T) {
	bin := program(t, "freeradius", "freeradius")
	text, err := os.ReadFile("testdata/freeradius.conf")
	if err != nil {
		t.Fatal(err)
	}
	stateDir := filepath.Join(t.TempDir(), "state")
	state := mustState(t, stateDir)
	if _, err := state.ServerCertificate(serverName); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t}
	node := s.issue(state, nodeName)
	rogue := s.issue(mustState(t, t.TempDir()), nodeName)
	rogue.TLS.Roots = node.TLS.Roots
	for name, c := range map[string]struct {
		tls, curve string
		fragment   int
		version    uint16
	}{
		"TLS 1.3":                           {"1.3", "X25519:prime256v1", 1024, tls.VersionTLS13},
		"TLS 1.2":                           {"1.2", "X25519:prime256v1", 1024, tls.VersionTLS12},
		"TLS 1.3 after a HelloRetryRequest": {"1.3", "prime256v1", 1024, tls.VersionTLS13},
		"TLS 1.3 in fragments":              {"1.3", "X25519:prime256v1", 200, tls.VersionTLS13},
		"TLS 1.2 in small fragments":        {"1.2", "X25519:prime256v1", 150, tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			addr := startFreeRADIUS(t, bin, string(text), map[string]string{
				"STATE": stateDir, "TLS": c.tls, "CURVE": c.curve, "FRAGMENT": strconv.Itoa(c.fragment),
			})
			client, err := radius.NewClient(radius.Config{
				NASIdentifier: "ar-a", Servers: []radius.Server{{Addr: addr, Secret: secret("testing123")}}, Timeout: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			cfg := node
			cfg.FragmentSize = c.fragment
			p, r, err := authenticate(t, aaa.NewRADIUS(client), cfg)
			if err != nil || r.Decision != aaa.Accept {
				t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
			}
			_, success, msk := p.Result()
			if !success || !msk.Equal(r.MSK) || r.SessionTimeout != time.Hour || p.TLSVersion() != tls.VersionName(c.version) {
				t.Errorf("success %v, MSK equal %v, session timeout %v, %s", success, msk.Equal(r.MSK), r.SessionTimeout, p.TLSVersion())
			}

			var reject *aaa.RejectError
			var rejected *eap.RejectedError
			bad := rogue
			bad.FragmentSize = c.fragment
			// It sends EAP-Failure at once, without the alert.
			if p, _, err = authenticate(t, aaa.NewRADIUS(client), bad); !errors.As(err, &reject) || !errors.As(p.Err(), &rejected) {
				t.Errorf("client of another CA: %v, node: %v", err, p.Err())
			}
			bad = node
			bad.TLS.ServerName = "evil.home.example"
			if p, _, err = authenticate(t, aaa.NewRADIUS(client), bad); !errors.As(err, &reject) || !errors.Is(p.Err(), eap.ErrWrongName) {
				t.Errorf("server of another name: %v, node: %v", err, p.Err())
			}
			if n := client.Counters(); n.Replies != n.Sent || n.Retransmitted != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// startFreeRADIUS runs a FreeRADIUS on a free port of the loopback interface.
func startFreeRADIUS(t *testing.T, bin, text string, fill map[string]string) netip.AddrPort {
	t.Helper()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = probe.Close()
	dir := t.TempDir()
	fill["DIR"], fill["PORT"] = dir, strconv.Itoa(int(addr.Port()))
	for word, value := range fill {
		text = strings.ReplaceAll(text, "@"+word+"@", value)
	}
	mustWrite(t, filepath.Join(dir, "radiusd.conf"), text)
	cmd := exec.Command(bin, "-d", dir, "-n", "radiusd", "-f", "-l", filepath.Join(dir, "radius.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // of a killed process: always an error
	})
	// It is there once the port is taken.
	for range 200 {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return addr
		}
		_ = c.Close()
		time.Sleep(25 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "radius.log"))
	t.Fatalf("freeradius does not listen:\n%s", log)
	return addr
}
