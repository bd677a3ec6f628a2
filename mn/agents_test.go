package mn

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/zone"
)

// serveNames has DHCP name a domain and no PAA, and serves z from the name server that it names.
func (b *bed) serveNames(z *zone.Zone) {
	for i := range b.pools {
		b.pools[i].PAA, b.pools[i].Domain = netip.Addr{}, "site.example"
	}
	_ = b.dhcp.Close() // the one that names PAAs
	var err error
	if b.dhcp, err = dhcpd.Serve(b.far, b.pools, time.Minute); err != nil {
		b.t.Fatal(err)
	}
	var conn *net.UDPConn
	b.core(func() {
		osnettest.IP(b.t, "address add 10.0.4.53/32 dev lo")
		conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 0, 4, 53), Port: 53})
	})
	if err != nil {
		b.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { z.Serve(conn); close(done) }()
	b.t.Cleanup(func() { _ = conn.Close(); <-done })
}

// TestAgentByDHCP6: a node of IPv6 takes the PAA that a DHCPv6 server names (RFC 5192 section 4).
func TestAgentByDHCP6(t *testing.T) {
	b := startOf(t, &bed6{leased: true}, nil, func(b *bed) {
		for i := range b.pools {
			if p := &b.pools[i]; p.Server.Is6() {
				p.PAA = p.Prefix.Addr().Next()
			}
		}
		_ = b.dhcp.Close() // one that names nobody
		var err error
		if b.dhcp, err = dhcpd.Serve(b.far, b.pools, time.Minute); err != nil {
			t.Fatal(err)
		}
	}, func(c *Config) {
		unnamed("a")(c)
		unnamed("b")(c)
	})
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Session == 0 {
		t.Fatalf("status %+v", s)
	}
}

// TestAgentByDNS: where neither the configuration nor DHCP names a PAA, that of the link is the one of its domain that is on
// it; and those of other networks of that domain are known before the node has been there.
func TestAgentByDNS(t *testing.T) {
	z := &zone.Zone{
		Name: "_pana._udp.site.example.",
		SRV:  []dnsmessage.SRVResource{zone.SRV(0, 716, "a.site.example."), zone.SRV(0, 716, "b.site.example."), zone.SRV(0, 716, "elsewhere.site.example.")},
		Addrs: map[string][]netip.Addr{
			"a.site.example.": {netip.MustParseAddr("10.2.0.1")}, "b.site.example.": {netip.MustParseAddr("10.1.0.1")},
			"elsewhere.site.example.": {netip.MustParseAddr("10.77.0.1")},
		},
	}
	b := startOn(t, nil, func(b *bed) { b.serveNames(z) }, func(c *Config) {
		unnamed("a")(c)
		unnamed("b")(c)
		c.Discovery.DNS = true
	})
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Session == 0 {
		t.Fatalf("status %+v", s)
	}
	b.eventually("the PAA of a, from DNS", func(Status) bool {
		a, err := b.node.network("a")
		return err == nil && a.PAA == netip.MustParseAddrPort("10.2.0.1:716")
	})
	for _, to := range []string{"a", "b"} {
		if o, err := b.handover(to); o != event.Completed {
			t.Errorf("to %s: %s, %v", to, o, err)
		}
	}
	if _, err := b.node.network("elsewhere"); err == nil {
		t.Error("a network without points is one to go to")
	}
	for _, k := range b.node.discovery.Known() {
		if k.Name == "a" && (k.From[0].Kind != neighbourhood.Configured || k.From[1].Kind != neighbourhood.History) {
			t.Errorf("a is known from %v, expected the configuration, and that the node has been there", k.From)
		}
	}
}
