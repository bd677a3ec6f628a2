package peers

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/testbed/dhcpd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMissingProgramNamesItsPackage(t *testing.T) {
	_, err := Program("no-such-server", "its-package")
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install --no-install-recommends its-package") {
		t.Errorf("%v", err)
	}
}

// TestNothingOutsideTheRunDirectory: every file either server writes is there.
func TestNothingOutsideTheRunDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a, b") // a name that has to be quoted
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := FreeRADIUS{
		Dir: dir, Name: "aaa", Listen: netip.MustParseAddrPort("10.0.5.1:1812"), Clients: netip.MustParsePrefix("10.0.0.0/8"),
		Secret: "00ff", State: dir, MinTLS: "1.2", MaxTLS: "1.3", Curves: "X25519", Fragment: 1024, SessionTimeout: time.Hour,
	}
	var text strings.Builder
	if err := freeradiusConf.Execute(&text, f); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"logdir = '" + dir + "'", "run_dir = '" + dir + "'", "pidfile = '" + dir + "/aaa.radiusd.pid'",
		"port = 1812", "ipaddr = 10.0.0.0/8", "Session-Timeout := 3600",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	k := Kea{Dir: dir, Name: "dhcp", Lifetime: time.Hour, Pools: []dhcpd.Pool{{
		Network: "b", Interface: "lanb", Server: netip.MustParseAddr("10.1.0.3"), Prefix: netip.MustParsePrefix("10.1.0.0/24"),
		Low: netip.MustParseAddr("10.1.0.100"), High: netip.MustParseAddr("10.1.0.199"),
		Router: netip.MustParseAddr("10.1.0.1"), DNS: netip.MustParseAddr("10.0.4.53"),
	}}}
	b, err := json.Marshal(k.settings("/hook.so"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name":"` + dir + `/dhcp.csv"`, `"socket-name":"` + dir + `/dhcp.ctl"`, `"pool":"10.1.0.100 - 10.1.0.199"`, `"output":"stdout"`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
	for _, v := range k.Environment() {
		if _, value, _ := strings.Cut(v, "="); value != dir {
			t.Errorf("%s leads elsewhere", v)
		}
	}
}

// TestNobodyThere: what is asked of a server that does not run ends with the
// context, and says what was expected.
func TestNobodyThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	f := FreeRADIUS{Listen: netip.MustParseAddrPort("127.0.0.1:9"), Secret: "00ff"}
	if err := f.Answers(ctx, "mn@home.example", nil); err == nil || !strings.Contains(err.Error(), "no answer from 127.0.0.1:9") {
		t.Errorf("%v", err)
	}
	k := Kea{Dir: t.TempDir(), Name: "dhcp"}
	if _, err := k.Leases(); err == nil || !strings.Contains(err.Error(), "Kea's control socket") {
		t.Errorf("%v", err)
	}
}
