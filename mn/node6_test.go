package mn

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
)

// squat puts another machine with an address on the link of poa, which has never asked whether it may have it.
func (b *bed) squat(poa string, a netip.Addr) {
	b.t.Helper()
	b.air(func() {
		osnettest.IP(b.t, "link add other type veth peer name other0")
		osnettest.IP(b.t, "link set other master "+poa)
		osnettest.IP(b.t, "link set other up")
		osnettest.Sysctl(b.t, "ipv6/conf/other0/disable_ipv6", "0")
		osnettest.IP(b.t, "link set other0 up")
		osnettest.IP(b.t, "address add "+a.String()+"/64 dev other0 nodad")
	})
}

// coa is the care-of address bound.
func (b *bed) coa() netip.Addr {
	b.t.Helper()
	return netip.MustParseAddr(b.node.Status().Bound)
}

// moves is a handover that succeeds.
func (b *bed) moves(to ...string) {
	b.t.Helper()
	for _, name := range to {
		if o, err := b.handover(name); o != event.Completed || err != nil {
			b.t.Fatalf("to %s: %s, %v", name, o, err)
		}
	}
}

// TestConflictAhead: an address that is in use at the next network is found out before the
// move, and another one taken.
func TestConflictAhead(t *testing.T) {
	b := start6(t, nil)
	b.moves("a")
	first := b.coa()
	b.moves("b")
	b.squat("poa-a", first)
	stop := b.flow()
	b.moves("a")
	stop()
	if second := b.coa(); second == first || !netip.MustParsePrefix("2001:db8:2::/64").Contains(second) {
		t.Errorf("%s, which is in use; it was %s", second, first)
	}
}

// TestConflictOnArrival: an address that somebody has taken since it was verified is given up
// on arrival, and the node goes on with another (RFC 4429).
func TestConflictOnArrival(t *testing.T) {
	b := start6(t, nil)
	b.prepare("a")
	first := netip.MustParsePrefix(b.node.Status().Prepared.Address).Addr()
	b.squat("poa-a", first)
	b.moves("a")
	b.eventually("another address", func(s Status) bool {
		return s.State == "attached" && s.Network == "a" && s.Bound != "" && s.Bound != first.String()
	})
	b.works()
}

// TestCrash6: as TestCrash, with addresses that the node has formed.
func TestCrash6(t *testing.T) {
	b := start6(t, remembering)
	for _, network := range []string{"b", "a"} {
		if network != b.node.Status().Network {
			b.moves(network)
		}
		had, asked := b.coa(), b.asked()
		b.kill()
		if flags := osnettest.IP(t, "-6 address show dev eth0"); strings.Contains(flags, had.String()) {
			t.Fatalf("killed, and the address is there: %s", flags)
		}
		b.boot()
		if s := b.node.Status(); s.State != "attached" || s.Network != network || s.Bound != had.String() || b.asked() != asked {
			t.Fatalf("had %s; status %+v, addresses asked for %d and %d", had, s, asked, b.asked())
		}
		b.eventually("the session", func(Status) bool { return b.knownTo(network) })
		b.works()
	}
}

// TestSameRouter6: the routers of both networks have one link-local address, as fe80::1 of many.
func TestSameRouter6(t *testing.T) {
	one := netip.MustParseAddr("fe80::1")
	b := startOf(t, &bed6{local: one}, nil, func(*bed) {}, nil)
	stop := b.flow()
	b.moves("a", "b")
	b.link.die(true, "poa-a")
	if o, err := b.handover("a"); o != event.SwitchedBack || err == nil {
		t.Errorf("%s, %v", o, err)
	}
	b.link.die(false, "poa-a")
	b.moves("a")
	stop()
	if s := b.node.Status(); s.Router != one.String() {
		t.Errorf("status %+v", s)
	}
}

// TestLeased: addresses of a DHCPv6 server, which the routers lease for the node, and the
// node has extended on arrival.
func TestLeased(t *testing.T) {
	b := startOf(t, &bed6{leased: true}, nil, func(*bed) {}, nil)
	if a := b.coa(); a != netip.MustParseAddr("2001:db8:1::100") {
		t.Errorf("bound to %s", a)
	}
	stop := b.flow()
	b.moves("a", "b", "a")
	stop()
	if a, n := b.coa(), b.asked(); a != netip.MustParseAddr("2001:db8:2::100") || n != 1 {
		t.Errorf("bound to %s, the node itself has asked for %d", a, n)
	}
	b.eventually("one lease: what the node had taken itself is given back by the router there", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseRenew && e.Kind == event.KindEnd && e.Outcome != event.OK {
			t.Errorf("not extended: %+v", e)
		}
	}
}

// TestUnplanned6: the link goes without a word, and the node follows with nothing prepared.
func TestUnplanned6(t *testing.T) {
	b := start6(t, nil)
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.eventually("an address there", func(s Status) bool {
		return s.State == "attached" && s.Network == "a" && strings.HasPrefix(s.Bound, "2001:db8:2:")
	})
	b.works()
	if b.adverts["a"].asked.Load() == 0 {
		t.Error("no router was asked for what it advertises")
	}
}

// TestAdvertisedAhead: what the next router's link is like changes while the node is elsewhere
// and everything is prepared: it is told by the tunnel.
func TestAdvertisedAhead(t *testing.T) {
	b := start6(t, nil)
	b.prepare("a")
	b.adverts["a"].say(func(ra *nd.RouterAdvert) { ra.Prefixes[0].Valid, ra.Prefixes[0].Preferred = 5*time.Minute, time.Minute })
	b.eventually("the lifetime advertised now", func(Status) bool {
		return time.Until(b.complete().c.address.lease.Load().expires()) <= 5*time.Minute
	})
	b.moves("a")
}

// TestOverIPv4: a node of IPv6, with routers that it knows by IPv4. It has addresses of that
// which are nothing to mpa-mn, at whatever link it is.
func TestOverIPv4(t *testing.T) {
	here := func(poa string) {
		n := map[string]string{"poa-b": "1", "poa-a": "2"}[poa]
		osnettest.IP(t, "-4 address flush dev eth0")
		osnettest.IP(t, "address add 10."+n+".0.50/24 dev eth0")
		osnettest.IP(t, "route replace default via 10."+n+".0.1")
	}
	b := startOf(t, &bed6{over4: true}, nil, func(b *bed) { here("poa-b") }, nil)
	b.link.onLeave(here)
	stop := b.flow()
	b.moves("a", "b")
	stop()
	here("poa-b")
	if s := b.node.Status(); !strings.HasPrefix(s.Bound, "2001:db8:1:") {
		t.Errorf("status %+v", s)
	}
}
