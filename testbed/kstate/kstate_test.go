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
	// A link with a carrier: the kernel forgets proxies with the carrier, and that there is none it may notice a second later.
	if err := n.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "end"}); err != nil {
		t.Fatal(err)
	}
	base, err1 := n.LinkByName("base")
	end, err2 := n.LinkByName("end")
	if err := errors.Join(err1, err2, n.LinkSetUp(end)); err != nil {
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
	_, dst6, _ := net.ParseCIDR("2001:db8:77::/64")
	six := func(last string) *net.IPNet {
		return &net.IPNet{IP: net.ParseIP(last), Mask: net.CIDRMask(64, 128)}
	}
	rule6 := netlink.NewRule()
	rule6.Priority, rule6.Table, rule6.IifName, rule6.Family = 78, 100, "base", netlink.FAMILY_V6
	ip6 := net.ParseIP("2001:db8::9")
	err = errors.Join(
		n.LinkAdd(&netlink.Bridge{LinkAttrs: la}),
		n.LinkSetHardwareAddr(base, net.HardwareAddr{2, 0, 0, 0, 0, 1}),
		n.LinkSetUp(base),
		n.AddrAdd(base, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}),
		n.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: base.Attrs().Index, Table: 100, Protocol: 177}),
		n.RuleAdd(rule),
		n.NeighSet(&netlink.Neigh{LinkIndex: base.Attrs().Index, IP: ip, State: unix.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}),
		n.NeighAdd(&netlink.Neigh{LinkIndex: base.Attrs().Index, IP: ip, Flags: netlink.NTF_PROXY}),
		s.Sysctl("net/ipv4/conf/base/proxy_arp", "1"),
		n.AddrAdd(base, &netlink.Addr{IPNet: six("2001:db8::1")}),
		n.AddrAdd(base, &netlink.Addr{IPNet: six("fe80::77")}),
		// As the kernel makes them: from the hardware address, and from an advertisement.
		n.AddrReplace(base, &netlink.Addr{IPNet: six("fe80::ff:fe00:1")}),
		n.AddrAdd(base, &netlink.Addr{IPNet: six("2001:db8:1::5"), Flags: unix.IFA_F_MANAGETEMPADDR}),
		n.RouteAdd(&netlink.Route{Dst: dst6, LinkIndex: base.Attrs().Index, Table: 100, Protocol: 177}),
		n.RouteAdd(&netlink.Route{Dst: dst6, LinkIndex: base.Attrs().Index, Table: 101, Protocol: unix.RTPROT_RA}),
		n.RuleAdd(rule6),
		n.NeighSet(&netlink.Neigh{LinkIndex: base.Attrs().Index, IP: ip6, State: unix.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}),
		n.NeighAdd(&netlink.Neigh{LinkIndex: base.Attrs().Index, IP: ip6, Flags: netlink.NTF_PROXY}),
		s.Sysctl("net/ipv6/conf/base/accept_ra", "0"),
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
		"left behind: link base veth mtu 1500 up",
		"left behind: address 192.0.2.1/24 on base",
		"left behind: route 198.51.100.0/24 type 1 table 100 protocol 177",
		"left behind: rule family 2 priority 77 table 100 iif base",
		"left behind: neighbour 192.0.2.9 on base at 02:00:00:00:00:09 permanent",
		"left behind: proxy for 192.0.2.9 on base",
		"left behind: setting net/ipv4/conf/base/proxy_arp = 1",
		"missing: setting net/ipv4/conf/base/proxy_arp = 0",
		"left behind: address 2001:db8::1/64 on base",
		"left behind: address fe80::77/64 on base",
		"left behind: route 2001:db8:77::/64 type 1 table 100 protocol 177",
		"left behind: rule family 10 priority 78 table 100 iif base",
		"left behind: neighbour 2001:db8::9 on base at 02:00:00:00:00:09 permanent",
		"left behind: proxy for 2001:db8::9 on base",
		"left behind: setting net/ipv6/conf/base/accept_ra = 0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not told of in:\n%s", want, got)
		}
	}
	for _, kernels := range []string{"fe80::ff:fe00:1", "2001:db8:1::5", "table 101"} {
		if strings.Contains(got, kernels) {
			t.Errorf("%q is the kernel's own, and told of in:\n%s", kernels, got)
		}
	}
}
