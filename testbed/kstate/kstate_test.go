package kstate

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

func TestDiff(t *testing.T) {
	got := Diff(State{"a", "b", "b", "c"}, State{"a", "b", "d"})
	want := []string{"left behind: d", "missing: b", "missing: c"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := Diff(State{"a"}, State{"a"}); len(got) != 0 {
		t.Errorf("%q of equal states", got)
	}
}

// TestTakeSeesEverything leaves one thing of each kind behind.
func TestTakeSeesEverything(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	s, err := space.Create(fmt.Sprintf("kstatetest-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), space.Remove(s.Name())); err != nil {
			t.Error(err)
		}
	})
	n := s.Netlink()
	la := netlink.NewLinkAttrs()
	la.Name = "base"
	if err := n.LinkAdd(&netlink.Bridge{LinkAttrs: la}); err != nil {
		t.Fatal(err)
	}
	base, err := n.LinkByName("base")
	if err != nil {
		t.Fatal(err)
	}
	before, err := Take(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Take(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(before, again); len(d) != 0 {
		t.Fatalf("nothing happened, and yet: %q", d)
	}

	la.Name = "extra"
	_, dst, _ := net.ParseCIDR("198.51.100.0/24")
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.IifName = 77, 100, "base"
	ip := net.IPv4(192, 0, 2, 9)
	err = errors.Join(
		n.LinkAdd(&netlink.Bridge{LinkAttrs: la}),
		n.LinkSetUp(base),
		n.AddrAdd(base, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}),
		n.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: base.Attrs().Index, Table: 100, Protocol: 177}),
		n.RuleAdd(rule),
		n.NeighSet(&netlink.Neigh{LinkIndex: base.Attrs().Index, IP: ip, State: unix.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}),
		n.NeighAdd(&netlink.Neigh{LinkIndex: base.Attrs().Index, IP: ip, Flags: netlink.NTF_PROXY}),
		s.Sysctl("net/ipv4/conf/base/proxy_arp", "1"),
	)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Take(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(Diff(before, after), "\n")
	for _, want := range []string{
		"left behind: link extra bridge",
		"left behind: link base bridge mtu 1500 up",
		"left behind: address 192.0.2.1/24 on base",
		"left behind: route 198.51.100.0/24 type 1 table 100 protocol 177",
		"left behind: rule family 2 priority 77 table 100 iif base",
		"left behind: neighbour 192.0.2.9 on base at 02:00:00:00:00:09 permanent",
		"left behind: proxy for 192.0.2.9 on base",
		"left behind: setting net/ipv4/conf/base/proxy_arp = 1",
		"missing: setting net/ipv4/conf/base/proxy_arp = 0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not told of in:\n%s", want, got)
		}
	}
}
