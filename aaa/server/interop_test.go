package server

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"openmpa/aaa/eap"
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

// hexLine reads the octets that eapol_test prints under a name, the last time it
// does.
func hexLine(t *testing.T, text, name string) []byte {
	t.Helper()
	var octets []byte
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" - hexdump(len=")
		if !ok {
			continue
		}
		_, digits, _ := strings.Cut(rest, "):")
		var err error
		if octets, err = hex.DecodeString(strings.ReplaceAll(digits, " ", "")); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return octets
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// eapolTest is wpa_supplicant's EAP peer, with a server of ours that it authenticates at over loopback.
type eapolTest struct {
	bin, port string
	files     []string // the node's certificate, its key and the authority
	recorder  *event.Recorder
}

// newEapolTest runs the server as cfg says; its certificate, recorder and time of sessions are the test's.
func newEapolTest(t *testing.T, cfg Config) *eapolTest {
	t.Helper()
	e := &eapolTest{bin: program(t, "eapol_test", "eapoltest"), recorder: event.NewRecorder("aaa", nil, 0)}
	dir := t.TempDir()
	state := mustState(t, filepath.Join(dir, "state"))
	cert, err := state.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	if e.files, err = state.Issue(nodeName, dir); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLS, cfg.Recorder, cfg.SessionTimeout = eap.ServerConfig{Certificate: cert, ClientCAs: state.Roots()}, e.recorder, time.Hour
	runRADIUS(t, cfg, []Client{client("127.0.0.0/8", "testing123")}, conn)
	e.port = strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
	return e
}

// run authenticates with what a network of wpa_supplicant's configuration has, lines of it.
func (e *eapolTest) run(t *testing.T, network string, args ...string) (text string, err error) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "eapol.conf")
	mustWrite(t, conf, "network={\n key_mgmt=WPA-EAP\n"+network+"}\n")
	out, err := exec.CommandContext(t.Context(), e.bin, append([]string{"-c", conf, "-a", "127.0.0.1", "-p", e.port, "-s", "testing123"}, args...)...).CombinedOutput()
	return string(out), err
}

// TestEapolTest lets wpa_supplicant's EAP peer authenticate at our server.
func TestEapolTest(t *testing.T) {
	e := newEapolTest(t, Config{})
	dir := t.TempDir()
	rogue, err := mustState(t, filepath.Join(dir, "rogue")).Issue(nodeName, filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		no13, fragment int
		cert           []string
		match          string
		reason         string // of our server; empty: success
	}{
		"TLS 1.3":                   {0, 1398, e.files, serverName, ""},
		"TLS 1.2":                   {1, 1398, e.files, serverName, ""},
		"TLS 1.3 in fragments":      {0, 200, e.files, serverName, ""},
		"TLS 1.2 in fragments":      {1, 200, e.files, serverName, ""},
		"TLS 1.3 client refused":    {0, 1398, rogue, serverName, "issuer is not among"},
		"TLS 1.2 client refused":    {1, 1398, rogue, serverName, "issuer is not among"},
		"TLS 1.3 server name wrong": {0, 1398, e.files, "evil.home.example", "client refused by TLS alert"},
		"TLS 1.2 server name wrong": {1, 1398, e.files, "evil.home.example", "client refused by TLS alert"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := e.run(t, fmt.Sprintf(" eap=TLS\n identity=%q\n ca_cert=%q\n client_cert=%q\n private_key=%q\n domain_match=%q\n phase1=\"tls_disable_tlsv1_3=%d\"\n fragment_size=%d\n",
				nodeName, e.files[2], c.cert[0], c.cert[1], c.match, c.no13, c.fragment), "-t", "20")
			if c.reason == "" {
				if err != nil || !strings.Contains(text, "MPPE keys OK: 1  mismatch: 0") {
					t.Errorf("%v\n%s", err, text)
				}
				if version, _, _ := strings.Cut(name, " in"); !strings.Contains(text, "SSL: Using TLS version "+strings.Replace(version, "TLS ", "TLSv", 1)) {
					t.Error("another TLS version")
				}
				// All 64 octets of what it has derived, against what it got from us.
				msk := hexLine(t, text, "EAP-TLS: Derived key")
				recv, send := hexLine(t, text, "MS-MPPE-Recv-Key (crypt)"), hexLine(t, text, "MS-MPPE-Send-Key (sign)")
				if len(msk) != 64 || !bytes.Equal(msk, append(recv, send...)) {
					t.Errorf("MSK %x at the node, %x and %x from the server", msk, recv, send)
				}
				return
			}
			events := e.recorder.Events(event.HandoverID{})
			if last := events[len(events)-1]; err == nil || last.Outcome != event.Failed || !strings.Contains(last.Reason, c.reason) {
				t.Errorf("%v, %v %q", err, last.Outcome, last.Reason)
			}
		})
	}
}
