package tunnel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loopback = netip.MustParseAddrPort("127.0.0.1:0")
	visitor  = netip.MustParseAddr("10.2.0.100")
	corr     = netip.MustParseAddr("10.0.4.1")
	visitor6 = netip.MustParseAddr("2001:db8:2::100")
	corr6    = netip.MustParseAddr("2001:db8:4::1")
	handover = event.HandoverID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

// keyOf makes key material that differs with n.
func keyOf(n byte) *keys.Secret { return keys.NewSecret(bytes.Repeat([]byte{n}, 20)) }

func outbound(t testing.TB, spi uint32, key byte) *esp.Outbound {
	t.Helper()
	o, err := esp.NewOutbound(spi, keyOf(key))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func inbound(t testing.TB, spi uint32, key byte) *esp.Inbound {
	t.Helper()
	i, err := esp.NewInbound(spi, keyOf(key), 0)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func endpoint(t testing.TB) (*Endpoint, *Socket) {
	t.Helper()
	e := NewEndpoint(nil)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, listen(t, e)
}

func listen(t testing.TB, e *Endpoint) *Socket {
	t.Helper()
	s, err := e.Listen(loopback, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t testing.TB, e *Endpoint, cfg TunnelConfig) *Tunnel {
	t.Helper()
	tun, err := e.Add(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tun
}

// packet is an IPv4 packet of protocol 17.
func packet(t testing.TB, src, dst netip.Addr, tos uint8, payload string) []byte {
	t.Helper()
	b, err := ipip.AppendHeader(nil, ipip.Header{Src: src, Dst: dst, TOS: tos, Protocol: 17}, len(payload))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, payload...)
}

func up(t testing.TB, payload string) []byte { return packet(t, visitor, corr, 0, payload) }

// packet6 is an IPv6 packet of protocol 17.
func packet6(t testing.TB, src, dst netip.Addr, payload string) []byte {
	t.Helper()
	h := append([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), 17, 64}, src.AsSlice()...)
	return append(append(h, dst.AsSlice()...), payload...)
}

// log collects what a tunnel delivers, as text: "packet PAYLOAD" or "KIND SEQ".
type log chan string

func newLog() log { return make(log, 4096) }

func (l log) receive(inner []byte) {
	n := ipip.HeaderLen
	if inner[0]>>4 == 6 {
		n = ipip.HeaderLen6
	}
	l <- "packet " + string(inner[n:])
}
func (l log) marker(m Marker, _ Origin) { l <- fmt.Sprint(m.Kind, " ", m.Seq) }

func (l log) next(t testing.TB) string {
	t.Helper()
	select {
	case s := <-l:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing arrived")
		return ""
	}
}

func (l log) want(t testing.TB, want string) {
	t.Helper()
	if got := l.next(t); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// link is a mobile node's end and a router's end with a tunnel between them.
type link struct {
	mn, ar         *Tunnel
	mnEnd, arEnd   *Endpoint
	mnSock, arSock *Socket
	atMN, atAR     log
}

const spiToRouter, spiToNode = 0x1001, 0x2002

func newLink(t testing.TB, change func(mn, ar *TunnelConfig)) *link {
	t.Helper()
	l := &link{atMN: newLog(), atAR: newLog()}
	l.mnEnd, l.mnSock = endpoint(t)
	l.arEnd, l.arSock = endpoint(t)
	mn := TunnelConfig{
		Socket: l.mnSock, Peer: l.arSock.LocalAddr(), Out: outbound(t, spiToRouter, 1), In: inbound(t, spiToNode, 2),
		Receive: l.atMN.receive, Marker: l.atMN.marker,
	}
	ar := TunnelConfig{
		Socket: l.arSock, Peer: l.mnSock.LocalAddr(), Out: outbound(t, spiToNode, 2), In: inbound(t, spiToRouter, 1),
		Receive: l.atAR.receive, Marker: l.atAR.marker, AllowSrc: visitor,
	}
	if change != nil {
		change(&mn, &ar)
	}
	l.mn, l.ar = add(t, l.mnEnd, mn), add(t, l.arEnd, ar)
	return l
}

// attacker is a bare socket that sends what it likes.
func attacker(t testing.TB) *bind.UDP {
	t.Helper()
	u, err := bind.OpenUDP(loopback, bind.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

func sendRaw(t testing.TB, u *bind.UDP, to *Socket, pkt []byte, tos uint8) {
	t.Helper()
	if err := u.Send(to.LocalAddr(), bytes.Clone(pkt), tos); err != nil {
		t.Fatal(err)
	}
}

func sum(m map[Reason]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

// balanced ends the tunnels' endpoints, so that nothing is under way, and checks that every
// packet is accounted for.
func balanced(t testing.TB, tunnels []*Tunnel, sockets []*Socket) {
	t.Helper()
	for _, tun := range tunnels {
		if err := tun.e.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, tun := range tunnels {
		if s := tun.Stats(); s.Received != s.Delivered+s.MarkersIn+sum(s.DroppedIn) {
			t.Errorf("tunnel %#x: packets without an owner: %+v", tun.SPI(), s)
		}
	}
	for _, sock := range sockets {
		if s := sock.Stats(); s.Received != s.ToTunnels+s.Keepalives+sum(s.Dropped) {
			t.Errorf("socket %v: datagrams without an owner: %+v", sock.LocalAddr(), s)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
