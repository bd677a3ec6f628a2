package ha6

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
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
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip6"
	"openmpa/paa/keys"
	"openmpa/tunnel/ipip"
	"openmpa/tunnel/tun"
)

// The network of these tests: the home agent's namespace between that of a mobile node,
// whose care-of addresses lead into a TUN as the home agent's own does, and that of a
// host on the home link.
//
//	mn: TUN - m0 2001:db8:3::100 ---- core0 2001:db8:3::1 [home agent] home0 2001:db8:9::ff ---- h0 2001:db8:9::9 :host
var (
	agent  = netip.MustParseAddr("2001:db8:9::1")
	home   = netip.MustParseAddr("2001:db8:9::2")
	home2  = netip.MustParseAddr("2001:db8:9::3")
	atHome = netip.MustParseAddr("2001:db8:9::9")
	careA  = netip.MustParseAddr("2001:db8:a::100")
	careB  = netip.MustParseAddr("2001:db8:b::100")
	prefix = netip.MustParsePrefix("2001:db8:9::/64")
	sa     = mip6.Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef"))}
	sa2    = mip6.Security{SPI: 257, Key: keys.NewSecret([]byte("fedcba9876543210"))}
)

// lab is a home agent in a namespace of its own, with peers.
type lab struct {
	*testing.T
	inMN, inHost func(func())
	before       string // the kernel's state
	agent        *Agent
	rec          *event.Recorder
	end          func() // stops the home agent, and checks that nothing is left

	client   *mip6.Client
	node     *tun.Device  // of the mobile node
	pending  chan []byte  // what it got by mobility header
	down     chan arrival // inner packets it got
	host     *hatest.Host
	lastSent []byte // of the mobile node's messages
}

// arrival is an inner packet at the mobile node.
type arrival struct {
	careOf netip.Addr
	inner  []byte
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
	l := &lab{T: t, inMN: osnettest.Other(t), inHost: osnettest.Other(t), rec: event.NewRecorder("ha", nil, 0)}
	l.inMN(quiet)
	l.inHost(func() {
		osnettest.NoLinkLocal(t)
		osnettest.Sysctl(t, "ipv6/conf/default/accept_dad", "0")
	})
	osnettest.VethTo(t, "core0", "m0", l.inMN)
	osnettest.VethTo(t, "home0", "h0", l.inHost)
	osnettest.IP(t, "address add 2001:db8:3::1/64 dev core0 nodad")
	osnettest.IP(t, "address add 2001:db8:9::ff/64 dev home0 nodad")
	osnettest.IP(t, "address add fe80::ff/64 dev core0 nodad") // the kernel asks for a next hop from such a one
	osnettest.IP(t, "address add fe80::ff/64 dev home0 nodad")
	osnettest.IP(t, "route add 2001:db8:a::/48 via 2001:db8:3::100")
	osnettest.IP(t, "route add 2001:db8:b::/48 via 2001:db8:3::100")
	l.inMN(func() {
		osnettest.IP(t, "address add 2001:db8:3::100/64 dev m0 nodad")
		osnettest.IP(t, "address add fe80::100/64 dev m0 nodad")
		osnettest.IP(t, "route add default via 2001:db8:3::1")
	})
	l.inHost(func() {
		osnettest.IP(t, "address add 2001:db8:9::9/64 dev h0 nodad")
		osnettest.IP(t, "route add default via 2001:db8:9::ff")
	})
	l.until("the links speak IPv6", func() bool {
		ready := speaks(t, "core0") && speaks(t, "home0")
		l.inMN(func() { ready = ready && speaks(t, "m0") })
		l.inHost(func() { ready = ready && speaks(t, "h0") })
		return ready
	})
	l.before = snapshot(t)
	return l
}

// speaks reports whether the kernel has noticed that an interface is up: then it makes this route.
func speaks(t testing.TB, dev string) bool {
	return strings.Contains(osnettest.IP(t, "-6 route show table local dev "+dev), "ff00::/8")
}

// snapshot is what the home agent may change.
func snapshot(t testing.TB) string {
	return osnettest.IP(t, "-6 -o address show") + osnettest.IP(t, "-6 route show table all proto 163") + osnettest.IP(t, "-6 rule show")
}

func labConfig(h host.IPv6, rec *event.Recorder) Config {
	return Config{
		HomeInterface: "home0", Device: "hatest6", Recorder: rec, Host: h,
		Core: CoreConfig{Agent: mip6.AgentConfig{
			Address: agent, Prefixes: []netip.Prefix{prefix},
			Nodes: []mip6.Node{{Home: home, Security: sa}, {Home: home2, Security: sa2}},
		}},
	}
}

func (l *lab) start() {
	l.Helper()
	h, err := host.LinuxIPv6(nil, osnet.OwnerHomeAgent)
	if err != nil {
		l.Fatal(err)
	}
	if l.agent, err = Open(labConfig(h, l.rec)); err != nil {
		l.Fatal(err)
	}
	l.end = hatest.Run(l, func(ctx context.Context) error { return errors.Join(l.agent.Run(ctx), h.Close()) }, l.Clean)
	l.peers()
}

// peers opens what the mobile node and the host speak by, the first time.
func (l *lab) peers() {
	l.Helper()
	if l.client != nil {
		return
	}
	var err error
	l.client, err = mip6.NewClient(mip6.ClientConfig{
		Home: home, HomeAgent: agent, Security: sa, Rand: rand.Reader, Lifetime: 600 * time.Second, LinkLocal: true,
	})
	if err != nil {
		l.Fatal(err)
	}
	l.pending, l.down = make(chan []byte, 64), make(chan arrival, 4096)
	l.inMN(func() {
		if l.node, err = tun.Open(tun.Config{Name: "node0", MTU: 1500}); err != nil {
			return
		}
		for _, p := range []string{"2001:db8:a::/48", "2001:db8:b::/48"} {
			osnettest.IP(l, "route add "+p+" dev node0")
		}
	})
	if err != nil {
		l.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); l.read() }()
	l.Cleanup(func() { l.node.Close(); <-done })
	l.inHost(func() { l.host = hatest.OpenHost(l, hostPort, nodePort, l.status) })
	if l.host == nil {
		l.FailNow()
	}
}

// read is the mobile node's ear.
func (l *lab) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := l.node.Read(buf)
		if err != nil {
			return
		}
		p, err := mip6.ParsePacket(slices.Clone(buf[:n]))
		switch {
		case err != nil:
			l.Logf("the mobile node got %x: %v", buf[:n], err)
		case p.Proto == mip6.Protocol:
			l.pending <- slices.Clone(buf[:n])
		case p.Proto == ipip.Protocol6 && p.Src == agent:
			l.down <- arrival{p.Dst, p.Payload}
		}
	}
}

// Clean implements hatest.Bench.
func (l *lab) Clean() {
	l.Helper()
	if after := snapshot(l); after != l.before {
		l.Errorf("left in the kernel:\n%s\nbefore:\n%s", after, l.before)
	}
}

// fromNode sends a whole packet from the mobile node.
func (l *lab) fromNode(pkt []byte) {
	l.Helper()
	if _, err := l.node.Write(pkt); err != nil {
		l.Fatal(err)
	}
}

// exchange drives the client until it says something.
func (l *lab) exchange() mip6.Output {
	l.Helper()
	for end := time.Now().Add(hatest.Patience); time.Now().Before(end); {
		for {
			o, ok := l.client.Poll()
			if !ok {
				break
			}
			s, isSend := o.(mip6.Send)
			if !isSend {
				return o
			}
			l.lastSent = s.Packet
			l.fromNode(s.Packet)
		}
		at, _ := l.client.Deadline()
		select {
		case <-time.After(time.Until(at)):
			l.client.OnDeadline(time.Now())
		case pkt := <-l.pending:
			if err := l.client.HandlePacket(time.Now(), pkt); err != nil {
				l.Logf("the mobile node did not take a message: %v", err)
			}
		}
	}
	l.Fatalf("no end of the registration\n%s", l.status())
	return nil
}

func (l *lab) register(careOf netip.Addr) mip6.Registered {
	l.Helper()
	if err := l.client.Register(time.Now(), careOf, mip6.CareOf{Addr: careOf}); err != nil {
		l.Fatal(err)
	}
	o := l.exchange()
	r, ok := o.(mip6.Registered)
	if !ok {
		l.Fatalf("%+v\n%s", o, l.status())
	}
	return r
}

var (
	nodePort = netip.AddrPortFrom(home, 7000)
	hostPort = netip.AddrPortFrom(atHome, 5000)
)

// datagram is an IPv6 and UDP packet with text in it.
func datagram(src, dst netip.AddrPort, class byte, text string) []byte {
	size := 8 + len(text)
	b := make([]byte, ipip.HeaderLen6, ipip.HeaderLen6+size)
	b[0] = 0x60
	ipip.SetTOS(b, class)
	binary.BigEndian.PutUint16(b[4:], uint16(size))
	b[6], b[7] = 17, 64
	s, d := src.Addr().As16(), dst.Addr().As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(append(b, 0, 0), text...)
	sum := inet.Sum(inet.Sum(inet.Sum(17+uint32(size), s[:]), d[:]), b[ipip.HeaderLen6:])
	binary.BigEndian.PutUint16(b[ipip.HeaderLen6+6:], ^inet.Fold(sum))
	return b
}

// tunnelled is an inner packet in one from careOf to the home agent.
func (l *lab) tunnelled(careOf netip.Addr, inner []byte) []byte {
	l.Helper()
	b := append(make([]byte, ipip.HeaderLen6), inner...)
	if err := ipip.Encapsulate6(b, careOf, agent); err != nil {
		l.Fatal(err)
	}
	return b
}

// up sends numbers from the mobile node by way of careOf.
func (l *lab) up(careOf netip.Addr, first, last int) {
	l.Helper()
	for i := first; i <= last; i++ {
		l.fromNode(l.tunnelled(careOf, datagram(nodePort, hostPort, 0, fmt.Sprintf("%06d", i))))
	}
}

// at reads at the mobile node what comes to careOf.
func (l *lab) at(careOf netip.Addr, count int) (got []string) {
	l.Helper()
	for range count {
		select {
		case a := <-l.down:
			if a.careOf != careOf {
				l.Errorf("%s came to %v, expected %v", a.inner[48:], a.careOf, careOf)
			}
			got = append(got, string(a.inner[48:]))
		case <-time.After(hatest.Patience):
			l.Fatalf("after %d of %d: nothing comes\n%s", len(got), count, l.status())
		}
	}
	return got
}

// status is that of the home agent, if it runs in this process.
func (l *lab) status() string {
	if l.agent == nil {
		return ""
	}
	return fmt.Sprintf("%+v", l.agent.Status())
}

// until waits for what happens in the home agent or the kernel by itself.
func (l *lab) until(what string, happened func() bool) {
	l.Helper()
	hatest.Until(l, what, happened, l.status)
}

func TestMain(m *testing.M) {
	hatest.Main(m, func(ctx context.Context, store state.Store, ready func()) error {
		h, err := host.LinuxIPv6(slog.Default(), osnet.OwnerHomeAgent)
		if err != nil {
			return err
		}
		defer h.Close()
		cfg := labConfig(h, event.NewRecorder("ha", nil, 0))
		cfg.State, cfg.Log = store, slog.Default()
		a, err := Open(cfg)
		if err != nil {
			return err
		}
		ready()
		return a.Run(ctx)
	})
}
