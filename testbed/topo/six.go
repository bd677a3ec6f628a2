package topo

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
)

// Addresses of IPv6 that are no twin of one of IPv4, see [Six].
var (
	// HomeAgent6 belongs to no interface: its packets go into the daemon's TUN.
	HomeAgent6  = netip.MustParseAddr("2001:db8:9::a")
	HomePrefix6 = SixPrefix(HomePrefix)
	// Correspondent6 is where the correspondent does route optimisation; it belongs to no interface, either.
	Correspondent6 = netip.MustParseAddr("2001:db8:0:4::c")
)

// Six is the twin of one of the lab's IPv4 addresses: 10.A.B.C has 2001:db8:A:B::C, digit by digit, so that
// 10.2.0.250 has 2001:db8:2::250. Whoever has the one has the other.
func Six(a netip.Addr) netip.Addr {
	b := a.As4()
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d:%d::%d", b[1], b[2], b[3]))
}

// SixPrefix is the twin of a link's prefix, of 64 bits as links have; of none, the default, it is ::/0.
func SixPrefix(p netip.Prefix) netip.Prefix {
	if p.Bits() == 0 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(Six(p.Addr()), 64)
}

// sixAvailable reports whether the kernel has IPv6.
func sixAvailable() (bool, error) {
	_, err := os.Stat("/proc/sys/net/ipv6")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
