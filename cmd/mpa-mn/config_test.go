package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/config"
	"openmpa/mn"
)

func TestExample(t *testing.T) {
	c, err := config.Parse[configuration]("mn.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	c = c.withDefaults()
	n := c.networks()
	if len(n) != 2 || n[1].PAA.String() != "10.2.0.1:716" || tlsVersion(c.EAP.MaxVersion) != tls.VersionTLS13 {
		t.Errorf("%+v", n)
	}
	if c.Moves != (movesConfig{mn.HoldNext, mn.GuardNever}) {
		t.Errorf("moves %+v", c.Moves)
	}
	if c.timers() != mn.DefaultTimers() {
		t.Errorf("timers %+v", c.timers())
	}
}

func TestMistakes(t *testing.T) {
	for name, edit := range map[string][2]string{
		"no server name":    {"  server-name: aaa.home.example ", "  server-name: '' "},
		"no key":            {"  key: mn.key\n", ""},
		"two of one name":   {"- name: a\n", "- name: b\n"},
		"point in two nets": {"{name: poa-a1,", "{name: poa-b1,"},
		"no points":         {"[{name: poa-b1, bssid: 02:00:00:00:0b:01, ssid: site-b, freq: 2412}]", "[]"},
		"IPv6 home agent":   {"home-agent: 10.0.3.1", "home-agent: 2001:db8::1"},
		"reserved SPI":      {"spi: 256", "spi: 255"},
		"unknown algorithm": {"hmac-sha256", "rot13"},
		"large MTU":         {"mtu: 1400", "mtu: 1500"},
		"unknown key":       {"prepare: true", "prepared: true"},
		"DAD backwards":     {"probe-max: 2s", "probe-max: 500ms"},
		"other link":        {"type: auto", "type: magic"},
		"hasty pings":       {"ping: 15s", "ping: 15ms"},
		"no identity":       {"identity: mn@home.example", "identity: ''"},
		"not a duration":    {"lifetime: 600s", "lifetime: 600"},
		"held by nobody":    {"hold: next ", "hold: nobody "},
		"guarded sometimes": {"guard: never ", "guard: sometimes "},
		"family of none":    {"family: 4 ", "family: 5 "},
		"half an address":   {"ipv6: {", "ipv6: {identifier: 2001:db8::1, "},
		"reserved for all":  {"ipv6: {", "ipv6: {identifier: '::', "},
		"place of nothing":  {"location: {plan: hall, x: 12, y: 4}", "location: {plan: hall, x: 12}"},
		"place off earth":   {"location: {plan: hall, x: 12, y: 4}", "location: {lat: 91, lon: 8}"},
		"two places":        {"location: {plan: hall,", "location: {lat: 1, lon: 8, plan: hall,"},
		"wide prefix":       {"10.2.0.0/24", "10.2.0.1/24"},
		"dear network":      {"cost: 3", "cost: 3000"},
		"odd name":          {"ca: ca.a.example", "ca: 'ca a'"},
		"place of two":      {"discovery: {", "discovery: {position: {gpsd: '127.0.0.1:2947', file: /run/place}, "},
		"no domain":         {"discovery: {", "discovery: {domains: [site_x], "},
		"gpsd nowhere":      {"discovery: {", "discovery: {position: {gpsd: localhost}, "},
		"DAD of IPv6":       {"transmits: 1", "transmits: 101"},
	} {
		text := strings.Replace(example, edit[0], edit[1], 1)
		if text == example {
			t.Fatalf("%s: the example does not contain %q", name, edit[0])
		}
		_, err := config.Parse[configuration]("mn.yaml", []byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "mn.yaml:") {
			t.Errorf("%s: no place in %q", name, err)
		}
	}
}

// TestFamily: what IPv6 asks for.
func TestFamily(t *testing.T) {
	const mip6 = "  mip6: {home-address: 2001:db8:9::2, home-agent: 2001:db8:3::1, spi: 256, key-file: mn-ha.key}\n"
	with := func(edits ...string) (configuration, error) {
		text := strings.NewReplacer(append(edits, "family: 4 ", "# ", mip4Example, mip6)...).Replace(example)
		return config.Parse[configuration]("mn.yaml", []byte(text))
	}
	c, err := with("ipv6: {", "ipv6: {identifier: '::a:b:c:d', ")
	if want := (nd.IID{0, 10, 0, 11, 0, 12, 0, 13}); err != nil || c.withDefaults().Family != 6 || c.identifier() != want {
		t.Errorf("%d, %x, %v", c.Family, c.identifier(), err)
	}
	if c, err := with("    paa: 10.1.0.1 ", "    # "); err != nil || c.withDefaults().networks()[0].PAA.Addr().IsValid() {
		t.Errorf("a PAA that somebody else is to name: %v", err)
	}
	if _, err := with("mtu: 1400", "mtu: 1300"); err == nil || !strings.Contains(err.Error(), "at least 1320") {
		t.Errorf("a small MTU: %v", err)
	}
	for what, edits := range map[string][2]string{
		"expected that of the home address":        {"family: 4 ", "family: 4 "},
		"expected one of mip4, mip6 and hook":      {mip4Example, mip4Example + mip6},
		"expected the routable IPv6 addresses":     {mip4Example, strings.Replace(mip6, "2001:db8:3::1", "fe80::1", 1)},
		"are reserved":                             {mip4Example, strings.Replace(mip6, "256", "255", 1)},
		"expected an IPv6 prefix":                  {mip4Example, strings.Replace(mip6, "spi", "correspondents: [10.0.0.0/8], spi", 1)},
		"expected the IPv4 addresses home-address": {mip4Example, ""},
	} {
		if _, err := with(edits[0], edits[1]); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: expected %q", err, what)
		}
	}
}

// mip4Example is Mobile IPv4 in the example.
const mip4Example = "  mip4: {home-address: 10.9.0.2, home-agent: 10.0.3.1, spi: 256, key-file: mn-ha.key, algorithm: hmac-sha256, lifetime: 600s}\n"

// TestSeveral: several care-of addresses, of either family.
func TestSeveral(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{
		"  mip4: {home-address: 10.9.0.2, home-agent: 10.0.3.1, algorithm: hmac-sha256,",
		"  mip6: {home-address: 2001:db8:9::2, home-agent: 2001:db8:3::1,",
	} {
		for more, beside := range map[string]int{"several: true": 0, "beside: [a, c]": 2} {
			text := strings.NewReplacer("family: 4 ", "# ", mip4Example, family+" spi: 256, key-file: "+key+", "+more+"}\n").Replace(example)
			c, err := config.Parse[configuration]("mn.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			var n mn.Config
			if err := c.withDefaults().Mobility.into(&n); err != nil || !n.Several || len(n.Beside) != beside {
				t.Errorf("%s %s: %v, %v, %v", family, more, n.Several, n.Beside, err)
			}
		}
	}
}

// TestHook: an executable in the place of Mobile IPv4.
func TestHook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	hook := "  hook: {command: [" + path + ", wg0], timeout: 3s}\n"
	with := func(lines string) (configuration, error) {
		text := strings.Replace(example, mip4Example, lines, 1)
		if text == example {
			t.Fatal("the example does not contain what is replaced")
		}
		return config.Parse[configuration]("mn.yaml", []byte(text))
	}
	c, err := with(hook)
	if err != nil {
		t.Fatal(err)
	}
	var n mn.Config
	if err := c.withDefaults().Mobility.into(&n); err != nil || len(n.Hook.Command) != 2 || n.Hook.Timeout != 3*time.Second {
		t.Errorf("%+v, %v", n.Hook, err)
	}
	previous := strings.Replace(strings.Replace(example, mip4Example, hook, 1), "hold: next ", "hold: previous ", 1)
	if _, err := config.Parse[configuration]("mn.yaml", []byte(previous)); err == nil || !strings.Contains(err.Error(), "needs mobility.mip4") {
		t.Errorf("held at the previous router: %v", err)
	}
	for lines, want := range map[string]string{
		mip4Example + hook:                            "expected one of mip4, mip6 and hook",
		"  hook: {command: [wireguard]}\n":            "expected an absolute path",
		"  hook: {command: [/nonexistent/hook]}\n":    "no such file",
		"  hook: {timeout: 3s}\n":                     "or mip6 or a hook in the place of mip4",
		strings.Replace(hook, "3s", "-3s", 1):         "timeout",
		strings.Replace(hook, "timeout", "within", 1): "within",
	} {
		if _, err := with(lines); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", lines, err, want)
		}
	}
}
