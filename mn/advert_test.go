package mn

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp6"
	"openmpa/internal/osnet"
	"openmpa/tunnel/ipip"
)

// inTunnel is an advertisement as a router sends it through the tunnel to a node at to.
func inTunnel(t *testing.T, ra nd.RouterAdvert, to netip.Addr) []byte {
	t.Helper()
	icmp, err := osnet.AppendRouterAdvert(nil, ra)
	if err != nil {
		t.Fatal(err)
	}
	pkt := make([]byte, ipip.HeaderLen6, 200)
	pkt[0], pkt[offsetNextProto], pkt[offsetHopLimit] = 0x60, protoICMPv6, hopLimitOnLink
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(icmp)))
	from, dst := netip.MustParseAddr("fe80::1").As16(), to.As16()
	copy(pkt[8:], from[:])
	copy(pkt[24:], dst[:])
	return append(pkt, icmp...)
}

// TestAdvertised: what the next router says of its link changes how long the address lasts, and
// its prefix gone ends what is prepared; packets pass.
func TestAdvertised(t *testing.T) {
	a := netip.MustParseAddr("2001:db8:1::5")
	six := lease6{Lease: dhcp6.Lease{Addr: a}, OnLink: prefix6, Router: netip.MustParseAddr("fe80::1")}
	six = six.lasting(time.Now(), time.Hour, 24*time.Hour)
	passed := 0
	c := &candidate{n: &Node{cfg: Config{Log: discard}}, address: newAddress(lease{Six: &six}), path: &path{}}
	c.path.merges.deliver = func([]byte) { passed++ }

	ra := advertising()
	pkt := inTunnel(t, ra, a)
	c.received(pkt)
	if left := time.Until(c.address.lease.Load().expires()); passed != 0 || left > 30*time.Minute || left < 29*time.Minute {
		t.Errorf("%v left, %d passed", left, passed)
	}
	forwarded, global, cut := append([]byte(nil), pkt...), append([]byte(nil), pkt...), pkt[:ipip.HeaderLen6]
	forwarded[offsetHopLimit]--
	global[8] = 0x20
	for _, p := range [][]byte{forwarded, global, cut, {0x45, 19: 0}} {
		c.received(p)
	}
	if passed != 4 || c.voided.Load() != nil {
		t.Errorf("%d packets of 4 passed", passed)
	}
	ra.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:7::/64")
	c.received(inTunnel(t, ra, a)[:ipip.HeaderLen6+12]) // malformed
	if c.voided.Load() != nil {
		t.Error("void by a malformed advertisement")
	}
	c.received(inTunnel(t, ra, a))
	if c.voided.Load() == nil {
		t.Error("its prefix is gone, and what is prepared is used")
	}
}
