package par

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/space"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

const patience = 20 * time.Second // for what takes milliseconds

var (
	routerAddr = netip.MustParseAddr("10.2.0.1")
	leased     = netip.MustParseAddr("10.2.0.100")
	outer      = netip.MustParseAddr("10.1.0.100")
	elsewhere  = net.HardwareAddr{2, 0, 0, 0, 0, 7} // a node that is not on the link
	header     = notify.Header{Handover: event.HandoverID{1, 2, 3}}
)

// bed is a router in this process's namespace, between a correspondent and a
// namespace with everything else: the access link with the DHCP server, and the
// network where the node still is.
type bed struct {
	world
	t      *testing.T
	ra     *advertiser // of IPv6
	r      *Router
	far    *space.Space
	dev    string           // far's end of the access link
	mac    net.HardwareAddr // of dev
	dhcp   *dhcpd.Server
	before string
	cn     *net.UDPConn

	mu   sync.Mutex
	sent map[uint32]chan notify.Message
	term map[uint32]bool

	invited []netip.AddrPort
}

func (b *bed) in(f func()) {
	b.t.Helper()
	if err := b.far.Do(func() error { f(); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// Send implements Sessions.
func (b *bed) Send(sid uint32, m notify.Message) error {
	b.messages(sid) <- m
	return nil
}

// Terminate implements Sessions.
func (b *bed) Terminate(sid uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.term[sid] = true
	return nil
}

// Invite implements Sessions.
func (b *bed) Invite(to netip.AddrPort) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.invited = append(b.invited, to)
	return nil
}

func (b *bed) messages(sid uint32) chan notify.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent[sid] == nil {
		b.sent[sid] = make(chan notify.Message, 100)
	}
	return b.sent[sid]
}

// got takes messages to sid until a T comes.
func got[T notify.Message](b *bed, sid uint32) T {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-b.messages(sid):
			if m, ok := m.(T); ok {
				return m
			}
		case <-timeout:
			var none T
			b.t.Fatalf("session %d was not sent a %T", sid, none)
			return none
		}
	}
}

// buffer is one of 4096 packets.
func buffer() Buffer {
	b := DefaultBuffer()
	b.Each.Packets, b.Each.Bytes = 4096, 8<<20
	b.All.Packets, b.All.Bytes = 4096, 8<<20
	return b
}

func config() Config {
	return Config{
		Access: "lan0", Address: routerAddr, Port: 4500, Device: "mpa0", Fence: netip.MustParsePrefix("169.254.62.52/31"), MTU: 1400,
		DHCPServer: netip.MustParseAddr("10.2.0.3"), DHCPTimeout: 5 * time.Second,
		DAD: acd.Timers{
			ProbeWait: time.Millisecond, ProbeNum: 2, ProbeMin: 10 * time.Millisecond, ProbeMax: 20 * time.Millisecond,
			AnnounceWait: 50 * time.Millisecond, AnnounceNum: 1, AnnounceInterval: time.Millisecond,
			MaxConflicts: 3, RateLimitInterval: time.Minute, DefendInterval: time.Second,
		},
		Buffer: buffer(), Unused: time.Minute,
		Rand: rand.Reader, Recorder: event.NewRecorder("a", nil, 1000), Log: slog.New(slog.DiscardHandler),
	}
}

// network makes the interfaces.
func network(t *testing.T, w world) *bed {
	t.Helper()
	osnettest.NeedRoot(t)
	osnettest.OneCPU(t)
	b := &bed{world: w, t: t, dev: "eth0", sent: map[uint32]chan notify.Message{}, term: map[uint32]bool{}}
	name := fmt.Sprintf("par-%d", os.Getpid())
	var err error
	if b.far, err = space.Create(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.far.Close(), space.Remove(name)); err != nil {
			t.Error(err)
		}
	})
	osnettest.IP(t, "link set lo up")
	osnettest.Forward(t)
	osnettest.VethTo(t, "lan0", "eth0", b.in)
	osnettest.VethTo(t, "old0", "old1", b.in)
	t.Cleanup(func() {
		osnettest.IP(t, "link del lan0")
		osnettest.IP(t, "link del old0")
	})
	osnettest.IP(t, "address add 10.2.0.1/24 dev lan0")
	osnettest.IP(t, "address add 10.1.0.1/24 dev old0")
	b.in(func() {
		osnettest.IP(t, "link set lo up")
		osnettest.IP(t, "address add 10.2.0.3/24 dev eth0")
		osnettest.IP(t, "address add 10.1.0.100/24 dev old1")
		osnettest.IP(t, "route add default via 10.1.0.1")
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		b.mac = link.HardwareAddr
	})
	other := osnettest.Other(t)
	osnettest.VethTo(t, "cn0", "cn1", other)
	t.Cleanup(func() { osnettest.IP(t, "link del cn0") })
	osnettest.IP(t, "address add 10.3.0.1/24 dev cn0")
	other(func() {
		osnettest.IP(t, "address add 10.3.0.2/24 dev cn1")
		osnettest.IP(t, "route add default via 10.3.0.1")
	})
	if w.dual {
		b.sixth(other)
	}
	other(func() { b.cn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.cn, 7000))) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cn.Close() })
	return b
}

// start makes the network with the DHCP server and opens the router.
func start(t *testing.T, edit func(*Config)) *bed {
	t.Helper()
	return startIn(t, world4, time.Minute, edit)
}

// startFor is start with leases that long.
func startFor(t *testing.T, lease time.Duration, edit func(*Config)) *bed {
	t.Helper()
	return startIn(t, world4, lease, edit)
}

func startIn(t *testing.T, w world, lease time.Duration, edit func(*Config)) *bed {
	t.Helper()
	b := network(t, w)
	b.serveFor(lease)
	cfg := config()
	if w.dual {
		cfg.IPv6 = &IPv6{Address: world6.router, DAD: nd.Timers{Delay: time.Millisecond, Transmits: 1, Retrans: 50 * time.Millisecond, LoopTransmits: 1}}
		b.advertise(ra())
	}
	if edit != nil {
		edit(&cfg)
	}
	b.before = osnettest.Snapshot(t)
	b.begin(cfg)
	t.Cleanup(func() {
		b.r.Close()
		if after := osnettest.Snapshot(t); after != b.before {
			t.Errorf("the router left something in the kernel: before\n%s\nafter\n%s", b.before, after)
		}
	})
	return b
}

// serve has a DHCP server that knows of no lease.
func (b *bed) serve() {
	b.t.Helper()
	b.serveFor(time.Minute)
}

func (b *bed) serveFor(lease time.Duration) {
	t := b.t
	t.Helper()
	var err error
	b.dhcp, err = dhcpd.Serve(b.far, []dhcpd.Pool{{
		Network: "a", Interface: "eth0", Server: netip.MustParseAddr("10.2.0.3"), Prefix: netip.MustParsePrefix("10.2.0.0/24"),
		Low: leased, High: netip.MustParseAddr("10.2.0.110"), Router: routerAddr, DNS: netip.MustParseAddr("10.0.4.53"),
	}}, lease)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.dhcp.Close() })
}

// begin opens the router, which is in a hurry.
func (b *bed) begin(cfg Config) {
	b.t.Helper()
	r, err := Open(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	r.leases.pauses = pauses{
		ask: time.Second, part: 200 * time.Millisecond, first: 100 * time.Millisecond, longest: time.Second,
		absence: time.Second, shortAbsence: 300 * time.Millisecond, watch: 300 * time.Millisecond,
	}
	b.r = r
	r.Bind(b)
}

// restart ends the router in a way that the DHCP server does not notice, and opens
// another one.
func (b *bed) restart() {
	b.t.Helper()
	b.dhcp.Mute(true)
	b.r.Close()
	b.dhcp.Mute(false)
	b.begin(b.r.cfg)
}

// idle is what the kernel holds while the router serves nobody.
func (b *bed) idle() string {
	b.t.Helper()
	return osnettest.Snapshot(b.t)
}

func sessionKeys(sid uint32) *keys.SessionKeys {
	return keys.DeriveSession(keys.PRFHMACSHA256, bytes.Repeat([]byte{byte(sid)}, 64), sid, 1, "ca", "ar")
}

// open makes a session and an address for it.
func (b *bed) open(sid uint32, mac net.HardwareAddr) *notify.ConfigReply {
	b.t.Helper()
	b.r.SessionOpened(sid, "mn@home.example", netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(sid), time.Hour)
	if b.six {
		a := b.leased
		for range sid - 1 {
			a = a.Next()
		}
		return b.form(sid, mac, a)
	}
	b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, mac...), MAC: mac})
	return got[*notify.ConfigReply](b, sid)
}

// end is the node's end of a tunnel.
type end struct {
	b         *bed
	sid       uint32
	inner     netip.Addr
	routerSPI uint32
	e         *tunnel.Endpoint
	t         *tunnel.Tunnel
	packets   chan []byte
	adverts   chan nd.RouterAdvert // that came through the tunnel
	markers   chan tunnel.Marker
}

// prepare makes a session with address and tunnel.
func (b *bed) prepare(sid uint32, mac net.HardwareAddr) *end {
	b.t.Helper()
	c := b.open(sid, mac)
	if c.Reason != "" {
		b.t.Fatalf("no address: %s", c.Reason)
	}
	return b.join(sid, c.Addr.Addr())
}

func (b *bed) join(sid uint32, inner netip.Addr) *end {
	b.t.Helper()
	nonce := bytes.Repeat([]byte{5}, 32)
	spi := 0x1000 + sid
	b.r.SessionMessage(sid, &notify.TunnelRequest{Header: header, Inner: inner, SPI: spi, Nonce: nonce})
	r := got[*notify.TunnelReply](b, sid)
	if r.Reason != "" {
		b.t.Fatalf("no tunnel: %s", r.Reason)
	}
	k := keys.DeriveESP(sessionKeys(sid).MNAR.Bytes(), nonce, r.Nonce, r.SPI, spi, esp.Transform(r.Suite).MaterialLen())
	in, err1 := esp.NewInbound(spi, k.ToNode, esp.DefaultWindow)
	out, err2 := esp.NewOutbound(r.SPI, k.ToRouter)
	n := &end{b: b, sid: sid, inner: inner, routerSPI: r.SPI, e: tunnel.NewEndpoint(nil), packets: make(chan []byte, 10000), adverts: make(chan nd.RouterAdvert, 10), markers: make(chan tunnel.Marker, 10)}
	var socket *tunnel.Socket
	var err3 error
	b.in(func() { socket, err3 = n.e.Listen(netip.AddrPortFrom(b.outer, 0), "") })
	if err := errors.Join(err1, err2, err3); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = n.e.Close() })
	n.t, err1 = n.e.Add(tunnel.TunnelConfig{
		Socket: socket, Peer: netip.AddrPortFrom(r.Outer, r.Port), In: in, Out: out,
		Receive: func(p []byte) { n.came(bytes.Clone(p)) }, Marker: func(m tunnel.Marker, _ tunnel.Origin) { n.markers <- m },
	})
	if err1 != nil {
		b.t.Fatal(err1)
	}
	if err := n.t.SendMarker(tunnel.Marker{Kind: tunnel.Depart, Seq: 1}); err != nil { // of no handover: tells the router where we are
		b.t.Fatal(err)
	}
	b.await("the router to know the node's outer address", func() bool {
		s := b.status(sid)
		return s != nil && s.Outer == socket.LocalAddr().String()
	})
	return n
}

// came takes a packet out of the tunnel: of IPv6 that may be what the link's router advertises.
func (n *end) came(p []byte) {
	if p[0]>>4 == 6 && p[6] == 58 && p[40] == 134 {
		ra, err := osnet.ParseRouterAdvert(p[40:])
		if src, dst, _, _, _ := ipip.ParseIPv6(p); err != nil || p[7] != 255 || src != routerLink || dst != n.inner {
			n.b.t.Errorf("router advertisement %x: %v", p, err)
		}
		n.adverts <- ra
		return
	}
	n.packets <- p
}

// depart has the router hold.
func (n *end) depart() {
	n.b.t.Helper()
	if err := n.t.SendMarker(tunnel.Marker{Kind: tunnel.Depart, Handover: header.Handover, Seq: 7}); err != nil {
		n.b.t.Fatal(err)
	}
	select {
	case m := <-n.markers:
		if m.Kind != tunnel.Departed || m.Handover != header.Handover || m.Seq != 7 {
			n.b.t.Errorf("marker %+v", m)
		}
	case <-time.After(patience):
		n.b.t.Fatal("the router sent no marker")
	}
}

func (n *end) marker() tunnel.Marker {
	return tunnel.Marker{Kind: tunnel.Depart, Handover: header.Handover, Seq: 9}
}

// next is the number in the next packet that came through the tunnel.
func (n *end) next() uint32 {
	n.b.t.Helper()
	select {
	case p := <-n.packets:
		return binary.BigEndian.Uint32(payload(p))
	case <-time.After(patience):
		n.b.t.Fatal("nothing came through the tunnel")
		return 0
	}
}

// send sends numbered packets from the correspondent to a.
func (b *bed) send(a netip.Addr, numbers ...uint32) {
	b.t.Helper()
	for _, k := range numbers {
		if _, err := b.cn.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, k), netip.AddrPortFrom(a, 9000)); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bed) status(sid uint32) *VisitorStatus {
	for _, v := range b.r.Status().Visitors {
		if v.SID == sid {
			return &v
		}
	}
	return nil
}

func (b *bed) await(what string, done func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain for %s; status %+v", what, b.r.Status())
		}
	}
}

// onLink gives far's end of the access link the node's address, and returns a
// socket there.
func (b *bed) onLink(a netip.Addr) (conn *net.UDPConn) {
	b.t.Helper()
	var err error
	b.in(func() {
		how := "" // the kernel detects duplicates, and uses the address meanwhile: the router is not to say that it is one
		if b.six {
			how = " optimistic"
		}
		osnettest.IP(b.t, "address add "+b.with(a)+" dev "+b.dev+how)
		for b.six && !strings.Contains(osnettest.IP(b.t, "-6 route show table local dev "+b.dev), "local "+a.String()+" ") {
			time.Sleep(time.Millisecond) // the kernel takes what is for the address some time after it has it
		}
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9000)))
	})
	if err != nil {
		b.t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// number reads one packet on the link.
func (b *bed) number(conn *net.UDPConn) uint32 {
	b.t.Helper()
	var buf [100]byte
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(buf[:]); err != nil {
		b.t.Fatalf("nothing came on the link: %v", err)
	}
	return binary.BigEndian.Uint32(buf[:])
}
