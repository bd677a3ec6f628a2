package mn

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha/cn"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip6"
)

// correspondentAddr is that of a host behind the core that does route optimisation.
var correspondentAddr = netip.MustParseAddr("2001:db8:4::7")

// correspondent6 starts one, and returns a socket of an application there, and its namespace.
func (b *bed) correspondent6() (a *cn.Agent, sock *net.UDPConn, in func(func())) {
	t := b.t
	t.Helper()
	in = osnettest.Other(t)
	in(func() { forward6(t) })
	b.core(func() {
		osnettest.VethTo(t, "x0", "x1", in)
		osnettest.IP(t, "address add 2001:db8:4::1/64 dev x0 nodad")
	})
	var h host.IPv6
	var err error
	in(func() {
		osnettest.IP(t, "address add 2001:db8:4::2/64 dev x1 nodad")
		osnettest.IP(t, "-6 route add default via 2001:db8:4::1")
		if h, err = host.LinuxIPv6(discard, osnet.OwnerHomeAgent); err != nil {
			return
		}
		a, err = cn.Open(cn.Config{
			Host: h, Interface: "x1", Recorder: event.NewRecorder("cn", nil, 1000), Log: discard,
			Core: mip6.CorrespondentConfig{Address: correspondentAddr, OldPath: time.Second, Rand: rand.Reader},
		})
		if err == nil {
			sock, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(correspondentAddr, 7000)))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		_ = sock.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = h.Close()
	})
	return a, sock, in
}

// byHomeAgent counts the packets that have passed the home agent of IPv6.
func (b *bed) byHomeAgent() (n uint64) {
	b.t.Helper()
	b.core(func() {
		r, err := osnet.OpenReader()
		if err != nil {
			b.t.Error(err)
			return
		}
		defer r.Close()
		c, err := r.Counters("mpa6")
		if err != nil {
			b.t.Error(err)
		}
		n = c.Received + c.Sent
	})
	return n
}

// TestRoutes: packets to and from a correspondent that does route optimisation pass no home
// agent, also while and after the node moves: return routability is done before the link moves.
func TestRoutes(t *testing.T) {
	b := start6(t, func(c *Config) { c.Correspondents = []netip.Prefix{netip.MustParsePrefix("2001:db8:4::/64")} })
	peer, sock, _ := b.correspondent6()
	mn := b.socket(netip.AddrPortFrom(homeAddress6, 7000))
	to := func(a netip.Addr) func() netip.AddrPort {
		return func() netip.AddrPort { return netip.AddrPortFrom(a, 7000) }
	}
	// One way and the other no order is promised between two paths.
	stop := b.streams(mn,
		&stream{what: "uplink", from: mn, to: sock, every: time.Millisecond, dst: to(correspondentAddr), anyOrder: true},
		&stream{what: "downlink", from: sock, to: mn, every: time.Millisecond, dst: to(homeAddress6), anyOrder: true})
	at := func(prefix string) {
		t.Helper()
		b.eventually("a route from "+prefix, func(s Status) bool {
			return strings.HasPrefix(s.Routes[correspondentAddr.String()], prefix) && s.Routes[correspondentAddr.String()] == s.Bound
		})
		if l := peer.Status().Bindings; len(l) != 1 || l[0].HomeAddress != homeAddress6 || l[0].CareOf.String() != b.node.Status().Bound {
			t.Errorf("the correspondent has %+v, the node is at %s", l, b.node.Status().Bound)
		}
	}
	at("2001:db8:1:")
	before := b.byHomeAgent()
	time.Sleep(300 * time.Millisecond)
	if n := b.byHomeAgent() - before; n > 10 {
		t.Errorf("%d packets have passed the home agent in 300 ms", n)
	}
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	at("2001:db8:2:")
	stop()
	n := b.byHomeAgent() - before // return routability and binding updates
	if t.Logf("%d packets have passed the home agent", n); n > 60 {
		t.Error("expected what is said about bindings only")
	}
}
