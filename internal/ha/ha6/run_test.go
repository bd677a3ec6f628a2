package ha6

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/ha/hatest"
	"openmpa/internal/inet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

// TestHomeAgent: registration, traffic both ways, a move, deregistration, with a real host
// on the home link.
func TestHomeAgent(t *testing.T) {
	l := newLab(t)
	l.start()
	first := l.register(careA)
	if first.Status != mip6.StatusAccepted || first.Lifetime != 600*time.Second {
		t.Errorf("%+v", first)
	}
	if out := osnettest.IP(t, "-6 route show proto 163"); !strings.Contains(out, "2001:db8:9::2 dev hatest6") || !strings.Contains(out, "mtu lock 1320") {
		t.Errorf("routes of ours: %s", out)
	}
	// The host asks for 2001:db8:9::2 on its own link: the home agent answers.
	l.host.Send(1, 1)
	hatest.Equal(l, "down", l.at(careA, 1), hatest.Numbers(1, 1))
	l.host.Send(2, 20)
	hatest.Equal(l, "down", l.at(careA, 19), hatest.Numbers(2, 20))
	var neighbours string
	l.inHost(func() { neighbours = osnettest.IP(t, "-6 neigh show 2001:db8:9::2") })
	if mac := l.agent.home.MAC().String(); !strings.Contains(neighbours, mac) {
		t.Errorf("the host knows %q, the home agent has %s", neighbours, mac)
	}
	l.up(careA, 1, 20)
	hatest.Equal(l, "up", l.host.Read(20), hatest.Numbers(1, 20))

	// Nothing passes that is not bound.
	l.up(careB, 90, 90)
	l.until("the packet from elsewhere is dropped", func() bool { return l.agent.core.Counters()["up_dropped_not_bound"] == 1 })

	// The move, with traffic both ways around it: what is under way on the old path is taken.
	l.host.Send(21, 40)
	hatest.Equal(l, "down", l.at(careA, 20), hatest.Numbers(21, 40))
	if moved := l.register(careB); moved.Renewal || moved.Tries != 1 {
		t.Errorf("%+v", moved)
	}
	l.host.Send(41, 60)
	hatest.Equal(l, "down", l.at(careB, 20), hatest.Numbers(41, 60))
	l.up(careA, 21, 30)
	l.up(careB, 31, 40)
	hatest.Equal(l, "up", l.host.Read(20), hatest.Numbers(21, 40))

	l.until("all packets are counted", func() bool { return l.agent.core.Counters()["up_delivered"] == 40 })
	s := l.agent.Status()
	if b := s.Bindings[0]; !b.Bound || *b.CareOf != careB || *b.Previous != careA || b.Expires.Before(time.Now()) {
		t.Errorf("%+v", b)
	}
	if s.Updates.Accepted != 2 || s.Proxy.Answered == 0 || s.Counters["down_sent"] != 60 {
		t.Errorf("%+v", s)
	}
	l.Deregister(careB)
	if out := osnettest.IP(t, "-6 route show proto 163"); strings.Contains(out, "2001:db8:9::2 ") {
		t.Errorf("routes of ours: %s", out)
	}
	l.until("the timeline has three records", func() bool { return len(l.timeline()) >= 3 })
	hatest.Equal(l, "timeline", l.timeline(), []string{ha.NoticeBound, ha.NoticeMoved, ha.NoticeUnbound})
	l.end()
}

func (l *lab) timeline() (names []string) {
	for _, e := range l.rec.Events(event.HandoverID{}) {
		names = append(names, e.Name)
	}
	return names
}

// TestDuplicateAtHome: a home address that somebody has on the home link is not bound, nor is
// one whose link-local address somebody has; while the node is away nobody can take them.
func TestDuplicateAtHome(t *testing.T) {
	l := newLab(t)
	l.start()
	for _, taken := range []string{"2001:db8:9::2/64", "fe80::2/64"} {
		l.inHost(func() { osnettest.IP(t, "address add "+taken+" dev h0 nodad") })
		l.until("the host hears who asks for it, which it does behind the command", func() (ok bool) {
			l.inHost(func() { ok = strings.Contains(osnettest.IP(t, "-6 maddress show dev h0"), "ff02::1:ff00:2") })
			return ok
		})
		if err := l.client.Register(time.Now(), careA, mip6.CareOf{Addr: careA}); err != nil {
			t.Fatal(err)
		}
		said := l.exchange()
		if o, ok := said.(mip6.Failed); !ok || !strings.Contains(o.Err.Error(), mip6.StatusDuplicate.String()) {
			t.Errorf("%s: %+v\n%s", taken, said, l.status())
		}
		l.inHost(func() { osnettest.IP(t, "address del "+taken+" dev h0") })
	}
	l.register(careA)
	l.inHost(func() {
		osnettest.Sysctl(t, "ipv6/conf/all/accept_dad", "1")
		osnettest.Sysctl(t, "ipv6/conf/h0/accept_dad", "1")
	})
	for _, a := range []string{"2001:db8:9::2/64", "fe80::2/64"} {
		l.inHost(func() { osnettest.IP(t, "address add "+a+" dev h0") })
		l.until("the host finds that "+a+" is taken", func() (failed bool) {
			l.inHost(func() {
				failed = strings.Contains(osnettest.IP(t, "-6 address show dev h0 dadfailed"), strings.TrimSuffix(a, "/64"))
			})
			return failed
		})
	}
}

// TestReturnHome: a node that is on the home link, while what is sent to it goes elsewhere,
// is answered there: denied first, then deregistered; then it has its packets itself.
func TestReturnHome(t *testing.T) {
	l := newLab(t)
	l.start()
	l.register(careA)
	l.host.Send(1, 1)
	hatest.Equal(l, "down", l.at(careA, 1), hatest.Numbers(1, 1))

	inNode := osnettest.Other(t)
	l.inHost(func() {
		osnettest.IP(t, "address del 2001:db8:9::9/64 dev h0")
		osnettest.IP(t, "link add br0 type bridge mcast_snooping 0")
		osnettest.VethTo(t, "h1", "n0", inNode)
		osnettest.IP(t, "link set br0 up")
		osnettest.IP(t, "link set h0 master br0")
		osnettest.IP(t, "link set h1 master br0")
		osnettest.IP(t, "address add 2001:db8:9::9/64 dev br0 nodad")
	})
	var conn net.PacketConn
	var err error
	inNode(func() {
		osnettest.IP(t, "address add 2001:db8:9::2/64 dev n0 nodad")
		conn, err = net.ListenPacket("ip6:135", home.String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := &net.IPAddr{IP: agent.AsSlice()}
	// An update that is denied is answered at home, too, past the binding.
	denied := datagramOf(t, &mip6.Update{Flags: mip6.FlagA | mip6.FlagH, Options: mip6.Options{mip6.ReplayOption(1)}})
	if _, err := conn.WriteTo(denied, to); err != nil {
		t.Fatal(err)
	}
	if m, ok := l.answer(conn).(*mip6.Ack); !ok || m.Status != mip6.StatusIdentification {
		t.Errorf("%+v", m)
	}
	l.client.Deregister(time.Now(), home)
	o, _ := l.client.Poll()
	if _, err := conn.WriteTo(o.(mip6.Send).Packet[ipip.HeaderLen6:], to); err != nil {
		t.Fatal(err)
	}
	if m, ok := l.answer(conn).(*mip6.Ack); !ok || m.Status != mip6.StatusAccepted {
		t.Errorf("%+v", m)
	}
	// The neighbours learn the node's own link-layer address, when it says so.
	mac := ""
	inNode(func() {
		if i, err := net.InterfaceByName("n0"); err == nil {
			mac = i.HardwareAddr.String()
		}
		osnettest.Sysctl(t, "ipv6/conf/n0/ndisc_notify", "1")
		osnettest.IP(t, "link set n0 down")
		osnettest.IP(t, "link set n0 up")
		osnettest.IP(t, "address replace 2001:db8:9::2/64 dev n0 nodad")
	})
	l.until("the host sends to "+mac, func() (ok bool) {
		l.host.Send(2, 2)
		l.inHost(func() { ok = strings.Contains(osnettest.IP(t, "-6 neigh show 2001:db8:9::2"), mac) })
		return ok
	})
}

// datagramOf is a mobility header from the home address, authenticated.
func datagramOf(t testing.TB, m mip6.Message) []byte {
	t.Helper()
	b, err := mip6.Append(nil, m, home, agent, sa.Signer(home, home))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answer reads a mobility header.
func (l *lab) answer(conn net.PacketConn) mip6.Message {
	l.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(hatest.Patience))
	buf := make([]byte, 2048)
	n, from, err := conn.ReadFrom(buf)
	if err != nil {
		l.Fatalf("%v\n%s", err, l.status())
	}
	if from.String() != agent.String() {
		l.Errorf("an answer from %v", from)
	}
	m, err := mip6.Parse(buf[:n], agent, home)
	if err != nil {
		l.Fatal(err)
	}
	return m
}

// TestEcho: the home agent's address answers, from the home link and through the tunnel.
func TestEcho(t *testing.T) {
	l := newLab(t)
	l.start()
	for from, in := range map[netip.Addr]func(func()){atHome: l.inHost, netip.MustParseAddr("2001:db8:3::100"): l.inMN} {
		for _, size := range []int{0, 1300} {
			in(func() { l.echo(from, agent, size) })
		}
	}
	l.register(careA)
	inner := inet.AppendICMPv6(nil, home, agent, icmpEchoRequest, []byte{0, 1, 0, 2}, []byte("through the tunnel"))
	l.fromNode(l.tunnelled(careA, inner))
	hatest.Equal(l, "echo through the tunnel", l.at(careA, 1), []string{"through the tunnel"})
}

// echo asks and is answered.
func (l *lab) echo(from, to netip.Addr, size int) {
	l.Helper()
	conn, err := net.ListenPacket("ip6:58", from.String())
	if err != nil {
		l.Error(err)
		return
	}
	defer conn.Close()
	want := append([]byte{0, 1, 0, 2}, make([]byte, size)...)
	if _, err := conn.WriteTo(append([]byte{icmpEchoRequest, 0, 0, 0}, want...), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		l.Error(err)
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(hatest.Patience))
	for buf := make([]byte, 2048); ; {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			l.Errorf("%d octets from %v: %v\n%s", size, from, err, l.status())
			return
		}
		if buf[0] == icmpEchoReply && bytes.Equal(buf[4:n], want) {
			return
		}
	}
}

// TestEndWithBindings: routes and all are gone at the end, and after a crash at the next start.
func TestEndWithBindings(t *testing.T) {
	l := newLab(t)
	l.start()
	l.register(careA)
	l.end()
	osnettest.IP(t, "-6 route add 2001:db8:9::2/128 dev home0 proto 163") // what a crash left
	l.start()
	if out := osnettest.IP(t, "-6 route show proto 163"); strings.Contains(out, "2001:db8:9::2 ") {
		t.Errorf("left: %s", out)
	}
	l.end()
}
