package nd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/acd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addr    = netip.MustParseAddr("2001:db8:2::aabb:ccdd")
	prefix  = netip.MustParsePrefix("2001:db8:2::/64")
	router  = acd.MAC{2, 0, 0, 0, 0, 1}
	visitor = acd.MAC{2, 0, 0, 0, 0, 2}
	other   = acd.MAC{2, 0, 0, 0, 0, 3}
)

func TestGroups(t *testing.T) {
	g := SolicitedNode(addr)
	if g != netip.MustParseAddr("ff02::1:ffbb:ccdd") || GroupMAC(g).String() != "33:33:ff:bb:cc:dd" || AllNodes() != netip.MustParseAddr("ff02::1") {
		t.Errorf("%v %v %v", g, GroupMAC(g), AllNodes())
	}
	for a, want := range map[string]bool{
		"2001:db8::1": true, "fe80::1": true, "fe80::1%eth0": false, "::": false, "::1": false, "ff02::1": false, "10.0.0.1": false, "::ffff:10.0.0.1": false,
	} {
		if got := Unicast(netip.MustParseAddr(a)); got != want {
			t.Errorf("Unicast(%s) is %v", a, got)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	// RFC 4291 appendix A: 34-56-78-9A-BC-DE.
	mac := acd.MAC{0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}
	a, err := Form(prefix, EUI64(mac))
	if err != nil || a != netip.MustParseAddr("2001:db8:2:0:3656:78ff:fe9a:bcde") {
		t.Errorf("%v %v", a, err)
	}
	if l := LinkLocal(mac); l != netip.MustParseAddr("fe80::3656:78ff:fe9a:bcde") {
		t.Error(l)
	}
	for id, want := range map[IID]bool{
		{}:                                   true,
		{7: 1}:                               false,
		{0x02, 0, 0x5e, 0xff, 0xfe, 0, 0, 0}: true,
		{0x02, 0, 0x5e, 0xff, 0xfe, 0xff, 0xff, 0xff}:        true,
		{0x02, 0, 0x5e, 0xff, 0xff, 0, 0, 0}:                 false,
		{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}:     false,
		{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80}:     true,
		{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:     true,
		{0xfe, 0, 0, 0, 0, 0, 0, 0}:                          false,
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:     false,
		{0x02, 0, 0x5e, 0xff, 0xfd, 0xff, 0xff, 0xff}:        false,
		{0x02, 0x00, 0x5e, 0xff, 0xfe, 0x80, 0x00, 0x01}:     true,
		{0x36, 0x56, 0x78, 0xff, 0xfe, 0x9a, 0xbc, 0xde}:     false,
		{0x00, 0x00, 0x5e, 0xff, 0xfe, 0x00, 0x52, 0x13}:     false,
		{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff - 1}: true,
	} {
		if id.Reserved() != want {
			t.Errorf("%x reserved: %v", id[:], !want)
		}
		if _, err := Form(prefix, id); (err != nil) != want {
			t.Errorf("form %x: %v", id[:], err)
		}
	}
	for _, bad := range []string{"2001:db8::/48", "10.0.0.0/24", "ff02::/64", "2001:db8::/65"} {
		if _, err := Form(netip.MustParsePrefix(bad), IID{7: 1}); err == nil {
			t.Errorf("formed an address from %s", bad)
		}
	}
}

func TestStable(t *testing.T) {
	s := Stable{Secret: []byte("0123456789abcdef"), Iface: "wlan0", Network: "net"}
	seen := map[netip.Addr]string{}
	add := func(what string, s Stable, p netip.Prefix, n uint8) {
		a, err := s.Addr(p, n)
		if err != nil || !p.Contains(a) {
			t.Errorf("%s: %v %v", what, a, err)
		}
		if again, _ := s.Addr(p, n); again != a {
			t.Errorf("%s: %v, then %v", what, a, again)
		}
		if before, ok := seen[a]; ok {
			t.Errorf("%s and %s give %v", what, before, a)
		}
		seen[a] = what
	}
	add("first", s, prefix, 0)
	add("after a conflict", s, prefix, 1)
	add("another prefix", s, netip.MustParsePrefix("2001:db8:3::/64"), 0)
	for _, c := range []Stable{
		{s.Secret, "wlan1", "net"},
		{s.Secret, "wlan0", "ten"},
		{s.Secret, "wlan0n", "et"},
		{s.Secret, "wlan0", ""},
		{[]byte("0123456789abcdeg"), "wlan0", "net"},
	} {
		add(fmt.Sprintf("%q %q", c.Iface, c.Network), c, prefix, 0)
	}
	if _, err := (Stable{Secret: s.Secret[:15]}).Addr(prefix, 0); err == nil || !strings.Contains(err.Error(), "15 octets") {
		t.Errorf("short secret: %v", err)
	}
	if _, err := s.Addr(netip.MustParsePrefix("2001:db8::/56"), 0); err == nil {
		t.Error("formed an address from a /56")
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(f, s); strings.Contains(out, "0123") || strings.Contains(out, "30") {
			t.Errorf("%s shows the secret: %s", f, out)
		}
	}
}

func TestRouterAdvert(t *testing.T) {
	ra := RouterAdvert{Prefixes: []PrefixInfo{
		{Prefix: prefix, OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour},
		{Prefix: netip.MustParsePrefix("2001:db8:3::/64"), Autonomous: true, Valid: time.Hour, Preferred: 2 * time.Hour},
		{Prefix: netip.MustParsePrefix("2001:db8:4::/64"), Autonomous: true},
		{Prefix: netip.MustParsePrefix("2001:db8:5::/64"), OnLink: true, Valid: Infinite, Preferred: Infinite},
		{Prefix: netip.MustParsePrefix("2001:db8:6::/56"), Autonomous: true, Valid: time.Hour},
		{Prefix: netip.MustParsePrefix("fe80::/64"), Autonomous: true, Valid: time.Hour},
		{Prefix: netip.MustParsePrefix("2001:db8:7::/64"), Autonomous: true, Valid: Infinite},
		{Prefix: netip.MustParsePrefix("2001:db8:8::/64"), Valid: Infinite},
	}}
	want := []netip.Prefix{prefix, netip.MustParsePrefix("2001:db8:7::/64")}
	if got := ra.Autonomous(); !slices.Equal(got, want) {
		t.Errorf("autonomous %v, want %v", got, want)
	}
	for a, want := range map[string]bool{
		"2001:db8:2::5": true, "2001:db8:5::5": true, "2001:db8:4::5": false, "2001:db8:8::5": false, "2001:db8:9::5": false, "10.2.0.1": false,
	} {
		if ra.Holds(netip.MustParseAddr(a)) != want {
			t.Errorf("%s held: %v", a, !want)
		}
	}
}
