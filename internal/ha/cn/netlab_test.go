package cn

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha/hatest"
	"openmpa/internal/host"
	"openmpa/internal/inet"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/tun"
)

// The network of these tests: the correspondent's namespace, and that of everybody else, who
// speaks by a TUN: the mobile node at its care-of addresses, and its home agent.
//
//	correspondent: TUN - e0 2001:db8:4::1 ---- e1 2001:db8:4::ff - TUN :mobile node
//
// lab is a correspondent in a namespace, and a mobile node.
type lab struct {
	*testing.T
	before string
	agent  *Agent
	rec    *event.Recorder
	node   *tun.Device
	got    chan []byte // what came to the mobile node
	route  *mip6.Route
	sock   *net.UDPConn // of an application at the correspondent
}

func newLab(t *testing.T) *lab {
	t.Helper()
	osnettest.Enter(t)
	quiet := func() {
		osnettest.NoLinkLocal(t)
		osnettest.Sysctl(t, "ipv6/conf/default/accept_dad", "0")
		osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "1")
		osnettest.Sysctl(t, "ipv6/conf/default/forwarding", "1")
	}
	quiet()
	l := &lab{T: t, rec: event.NewRecorder("cn", nil, 0), got: make(chan []byte, 256)}
	inNode := osnettest.Other(t)
	inNode(quiet)
	osnettest.VethTo(t, "e0", "e1", inNode)
	osnettest.IP(t, "link set lo up")
	osnettest.IP(t, "address add 2001:db8:4::1/64 dev e0 nodad")
	osnettest.IP(t, "address add fe80::1/64 dev e0 nodad")
	osnettest.IP(t, "route add default via 2001:db8:4::ff")
	var err error
	inNode(func() {
		osnettest.IP(t, "address add 2001:db8:4::ff/64 dev e1 nodad")
		osnettest.IP(t, "address add fe80::ff/64 dev e1 nodad")
		if l.node, err = tun.Open(tun.Config{Name: "node0", MTU: 1500}); err == nil {
			osnettest.IP(t, "route add 2001:db8::/32 dev node0")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); l.read() }()
	t.Cleanup(func() { l.node.Close(); <-done })
	if l.route, err = mip6.NewRoute(mip6.RouteConfig{Home: home, Correspondent: address, Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	hatest.Until(t, "the link speaks IPv6", func() bool {
		return strings.Contains(osnettest.IP(t, "-6 route show table local dev e0"), "local 2001:db8:4::1")
	}, func() string { return "" })
	l.before = snapshot(t)
	l.start()
	if l.sock, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(hostPort)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.sock.Close() })
	return l
}

// snapshot is what the correspondent may change; what the kernel makes by itself it makes later.
func snapshot(t testing.TB) string {
	return osnettest.IP(t, "-6 -o address show") + osnettest.IP(t, "-6 route show table all proto 163") + osnettest.IP(t, "-6 rule show")
}

func (l *lab) start() {
	l.Helper()
	h, err := host.LinuxIPv6(nil, osnet.OwnerHomeAgent)
	if err != nil {
		l.Fatal(err)
	}
	if l.agent, err = Open(Config{Core: config(), Host: h, Interface: "e0", Device: "cntest", Recorder: l.rec}); err != nil {
		l.Fatal(err)
	}
	hatest.Run(l, func(ctx context.Context) error { return errors.Join(l.agent.Run(ctx), h.Close()) }, func() {
		if after := snapshot(l); after != l.before {
			l.Errorf("left in the kernel:\n%s\nbefore:\n%s", after, l.before)
		}
	})
}

// read is the mobile node's ear.
func (l *lab) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := l.node.Read(buf)
		if err != nil {
			return
		}
		if buf[0]>>4 == 6 && buf[24] != 0xff {
			l.got <- slices.Clone(buf[:n])
		}
	}
}

func (l *lab) fromNode(pkt []byte) {
	l.Helper()
	if _, err := l.node.Write(pkt); err != nil {
		l.Fatal(err)
	}
}

// next is the next packet that comes to the mobile node.
func (l *lab) next() []byte {
	l.Helper()
	select {
	case pkt := <-l.got:
		return pkt
	case <-time.After(hatest.Patience):
		l.Fatalf("nothing comes\n%+v", l.agent.Status())
	}
	return nil
}

// bind makes a binding of careOf.
func (l *lab) bind(careOf netip.Addr) {
	l.Helper()
	l.route.Start(time.Now(), careOf, time.Time{})
	for {
		for o, ok := l.route.Poll(); ok; o, ok = l.route.Poll() {
			switch o := o.(type) {
			case mip6.Send:
				l.fromNode(o.Packet)
			case mip6.RouteUp:
				return
			default:
				l.Fatalf("%+v", o)
			}
		}
		pkt := l.next()
		p, err := mip6.ParsePacket(pkt)
		if err != nil {
			l.Fatal(err)
		}
		if err := l.route.HandlePacket(time.Now(), pkt, p.Dst == home); err != nil {
			l.Fatalf("%v: %x", err, pkt)
		}
	}
}

// up has the application get what the mobile node sends it.
func (l *lab) up(pkt []byte, want string) {
	l.Helper()
	l.fromNode(pkt)
	_ = l.sock.SetReadDeadline(time.Now().Add(hatest.Patience))
	buf := make([]byte, 2048)
	n, from, err := l.sock.ReadFromUDPAddrPort(buf)
	if err != nil || from != nodePort || string(buf[:n]) != want {
		l.Fatalf("%q from %v, %v\n%+v", buf[:n], from, err, l.agent.Status())
	}
}

// down has the mobile node get what the application sends it, by way of careOf; not valid: of
// its home agent.
func (l *lab) down(text string, careOf netip.Addr) {
	l.Helper()
	if _, err := l.sock.WriteToUDPAddrPort([]byte(text), nodePort); err != nil {
		l.Fatal(err)
	}
	pkt := l.next()
	p, err := mip6.ParsePacket(pkt)
	if err != nil || p.Destination() != home || p.Final.IsValid() != careOf.IsValid() || careOf.IsValid() && p.Dst != careOf {
		l.Fatalf("from %v to %v by %v, %v", p.Src, p.Dst, p.Final, err)
	}
	got := p.AppendStripped(nil, pkt)
	m := got[40:]
	if !strings.HasSuffix(string(got), text) || inet.Fold(inet.Sum(inet.Sum(17+uint32(len(m)), got[8:40]), m)) != 0xffff {
		l.Errorf("%x", got)
	}
}

// TestCorrespondent: an application that knows nothing of mobility, before, with and after a
// binding.
func TestCorrespondent(t *testing.T) {
	l := newLab(t)
	plain := datagram(nodePort, hostPort, "by way of home")
	l.up(plain, "by way of home")
	l.down("by way of home", netip.Addr{})
	for _, careOf := range []netip.Addr{careA, careB} {
		l.bind(careOf)
		pkt, err := l.route.AppendOutgoing(nil, datagram(nodePort, hostPort, "directly"))
		if err != nil {
			t.Fatal(err)
		}
		l.up(pkt, "directly")
		l.down("directly", careOf)
	}
	if list := l.agent.Status().Bindings; len(list) != 1 || list[0].CareOf != careB {
		t.Errorf("%+v", list)
	}
	l.route.Delete(time.Now(), careB)
	for o, ok := l.route.Poll(); ok; o, ok = l.route.Poll() {
		if o, ok := o.(mip6.Send); ok {
			l.fromNode(o.Packet)
		}
	}
	for end := time.Now().Add(hatest.Patience); len(l.agent.Status().Bindings) > 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case pkt := <-l.got:
			p, _ := mip6.ParsePacket(pkt)
			_ = l.route.HandlePacket(time.Now(), pkt, p.Dst == home)
			for o, ok := l.route.Poll(); ok; o, ok = l.route.Poll() {
				if o, ok := o.(mip6.Send); ok {
					l.fromNode(o.Packet)
				}
			}
		default:
		}
	}
	l.up(plain, "by way of home")
	for len(l.got) > 0 {
		<-l.got // the acknowledgement
	}
	l.down("by way of home", netip.Addr{})
	var bound, unbound int
	for _, e := range l.rec.Events(event.HandoverID{}) {
		switch e.Name {
		case "bound":
			bound++
		case "unbound":
			unbound++
		}
	}
	if bound != 2 || unbound != 1 {
		t.Errorf("%d bindings, %d ends in the timeline", bound, unbound)
	}
}

// TestPathMTU: a socket hears of a path that carries less, with a binding.
func TestPathMTU(t *testing.T) {
	l := newLab(t)
	l.bind(careA)
	conn, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)), net.UDPAddrFromAddrPort(nodePort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	big := make([]byte, 1476-48)
	if _, err := conn.Write(big); err != nil {
		t.Fatal(err)
	}
	pkt := l.next()
	if len(pkt) != 1500 {
		t.Fatalf("%d octets came", len(pkt))
	}
	l.fromNode(inet.AppendTooBig(nil, netip.MustParseAddr("2001:db8:5::1"), address, 1400, pkt))
	get := func() string { return osnettest.IP(t, "-6 route get 2001:db8:9::2 from 2001:db8:4::c") }
	hatest.Until(t, "the path's MTU is known", func() bool { return strings.Contains(get(), "mtu 1376") }, get)
}

func TestMain(m *testing.M) { osnettest.Main(m) }
