package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text, key string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mn-ha.key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "ha.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const goodKey = "hex:000102030405060708090a0b0c0d0e0f"

func TestExample(t *testing.T) {
	if err := check(write(t, example, goodKey)); err != nil {
		t.Error(err)
	}
}

// TestOneSection: each is enough.
func TestOneSection(t *testing.T) {
	six, peer, both := strings.Index(example, "ipv6:"), strings.Index(example, "correspondent:"), strings.Index(example, "# Of all")
	if err := check(write(t, example[:six]+example[both:], goodKey)); err != nil {
		t.Error(err)
	}
	base := example[:strings.Index(example, "address:")]
	for _, rest := range []string{example[six:], example[six:peer] + example[both:], example[peer:]} {
		if err := check(write(t, base+rest, goodKey)); err != nil {
			t.Error(err)
		}
	}
	if err := check(write(t, base+example[both:], goodKey)); err == nil || !strings.Contains(err.Error(), "nodes") {
		t.Errorf("without any: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, key, want string }{
		"unknown key":       {"lifetime: 600s", "lifetimes: 600s", goodKey, "lifetimes"},
		"IPv6 address":      {"address: 10.0.3.1", "address: 2001:db8::1", goodKey, "IPv4"},
		"not at home":       {"home-address: 10.9.0.2", "home-address: 10.8.0.2", goodKey, "10.9.0.0/24"},
		"reserved spi":      {"spi: 256", "spi: 255", goodKey, "reserved"},
		"algorithm":         {"algorithm: hmac-sha256", "algorithm: sha1", goodKey, "sha1"},
		"window too narrow": {"clock-window: 7s", "clock-window: 2s", goodKey, "clock window"},
		"IPv4 in ipv6":      {"address: 2001:db8:9::1 ", "address: 10.0.3.1 ", goodKey, "routable IPv6"},
		"agent not at home": {"address: 2001:db8:9::1 ", "address: 2001:db8:8::1 ", goodKey, "2001:db8:9::/64"},
		"node not at home":  {"home-address: 2001:db8:9::2", "home-address: 2001:db8:8::2", goodKey, "2001:db8:9::/64"},
		"reserved spi of 6": {"spi: 257", "spi: 255", goodKey, "reserved"},
		"narrow tunnel":     {"device: mpa6, mtu: 1320", "device: mpa6, mtu: 1279", goodKey, "1280"},
		"IPv4 by half":      {"address: 10.0.3.1", "", goodKey, "IPv4"},
		"correspondent":     {"address: 2001:db8:4::c", "address: fe80::c", goodKey, "routable IPv6"},
		"narrow link":       {"device: mpac, mtu: 1500", "device: mpac, mtu: 1303", goodKey, "1304"},
		"short key":         {"node: ha", "node: ha", "short", "at least 16"},
	} {
		if !strings.Contains(example, c.old) {
			t.Fatalf("%s: the example lacks %q", name, c.old)
		}
		err := check(write(t, strings.Replace(example, c.old, c.new, 1), c.key))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something about %q", name, err, c.want)
		}
	}
}

func TestNoKey(t *testing.T) {
	name := write(t, example, goodKey)
	if err := os.Remove(filepath.Join(filepath.Dir(name), "mn-ha.key")); err != nil {
		t.Fatal(err)
	}
	if err := check(name); err == nil || !strings.Contains(err.Error(), "mn-ha.key") {
		t.Errorf("got %v", err)
	}
}
