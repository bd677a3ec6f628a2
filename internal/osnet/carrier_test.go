package osnet

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
)

// TestCarrier: what a neighbour entry is worth when the carrier comes back and nobody answers ARP for a while, as on a radio
// where the 4-way handshake is not over. A learned entry went with the carrier, and the packet waits; ours stays, and none does.
func TestCarrier(t *testing.T) {
	osnettest.Enter(t)
	inside := osnettest.Other(t)
	osnettest.VethTo(t, "wlan0", "ap0", inside)
	n := open(t, OwnerMobileNode)
	defer n.Close()
	node, router := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("10.8.0.1")
	must(t, n.AddAddress("wlan0", netip.PrefixFrom(node, 24), AddrOptions{}))
	var (
		at  *net.UDPConn
		hw  net.HardwareAddr
		err error
	)
	inside(func() {
		osnettest.IP(t, "addr add 10.8.0.1/24 dev ap0")
		at, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, 9)))
		if i, e := net.InterfaceByName("ap0"); e == nil {
			hw = i.HardwareAddr
		}
	})
	must(t, err)
	defer at.Close()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, 9)))
	must(t, err)
	defer conn.Close()
	links, err := n.WatchLink(t.Context(), "wlan0")
	must(t, err)
	until := func(up bool) {
		for s := next(t, links); s.Up != up; s = next(t, links) {
		}
	}
	until(true)
	passes := func(within time.Duration) bool {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		must(t, at.SetReadDeadline(time.Now().Add(within)))
		_, err := at.Read(make([]byte, 8))
		return err == nil
	}
	for _, permanent := range []bool{false, true} {
		must(t, n.SetNeighbour("wlan0", router, hw, permanent))
		if !passes(10 * time.Second) {
			t.Fatal("nothing passes")
		}
		inside(func() { osnettest.IP(t, "link set ap0 arp off"); osnettest.IP(t, "link set ap0 down") })
		until(false)
		inside(func() { osnettest.IP(t, "link set ap0 up") })
		until(true)
		within := 300 * time.Millisecond // it cannot come
		if permanent {
			within = 10 * time.Second
		}
		if got := passes(within); got != permanent {
			t.Errorf("permanent %v: the first packet after the carrier passes: %v", permanent, got)
		}
		start := time.Now()
		inside(func() { osnettest.IP(t, "link set ap0 arp on") })
		if !permanent {
			must(t, at.SetReadDeadline(start.Add(10*time.Second)))
			_, err := at.Read(make([]byte, 8))
			if err != nil {
				t.Errorf("the packet that waited: %v", err)
			}
			t.Logf("without an entry the packet that waited came %v after ARP was answered again", time.Since(start).Round(time.Millisecond))
		}
	}
}
