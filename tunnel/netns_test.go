package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/ipip"
	"openmpa/tunnel/tun"
)

// node is one end with a TUN in a namespace of its own.
type node struct {
	tun  *tun.Device
	end  *Endpoint
	sock *Socket
	app  *net.UDPConn

	inner netip.Addr
}

// address gives a device one that can be used at once.
func address(t *testing.T, prefix, dev string) {
	t.Helper()
	how := ""
	if netip.MustParsePrefix(prefix).Addr().Is6() {
		how = " nodad"
	}
	osnettest.IP(t, "address add "+prefix+" dev "+dev+how)
}

func newNode(t *testing.T, outer, inner string) *node {
	t.Helper()
	n := &node{end: NewEndpoint(nil), inner: netip.MustParsePrefix(inner).Addr()}
	var err error
	if n.tun, err = tun.Open(tun.Config{Name: "mpa0"}); err != nil {
		t.Fatal(err)
	}
	address(t, inner, "mpa0")
	if n.sock, err = n.end.Listen(netip.MustParseAddrPort(outer), "veth0"); err != nil {
		t.Fatal(err)
	}
	if n.app, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IP(netip.MustParsePrefix(inner).Addr().AsSlice()), Port: 7000}); err != nil {
		t.Fatal(err)
	}
	return n
}

// connect adds the tunnel and carries packets from the TUN into it.
func (n *node) connect(t *testing.T, wg *sync.WaitGroup, cfg TunnelConfig) *Tunnel {
	t.Helper()
	cfg.Socket = n.sock
	cfg.Receive = func(inner []byte) {
		if _, err := n.tun.Write(inner); err != nil {
			t.Error(err)
		}
	}
	link := add(t, n.end, cfg)
	wg.Go(func() {
		buf := make([]byte, n.tun.MTU())
		for {
			k, err := n.tun.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if src, _, _, _, err := ipip.Parse(buf[:k]); err == nil && src == n.inner { // the kernel's router solicitations are not for the tunnel
				if err := link.Send(buf[:k]); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return link
}

// TestThroughNamespaces: applications in two namespaces talk through TUN, tunnel, veth,
// tunnel and TUN, with each family inside and outside, also where what is outside does not fit the path.
func TestThroughNamespaces(t *testing.T) {
	type ends struct{ mn, ar string }
	outer := map[string]ends{"IPv4": {"10.83.0.1", "10.83.0.2"}, "IPv6": {"2001:db8:83::1", "2001:db8:83::2"}}
	inner := map[string]ends{"IPv4": {"10.84.0.1/24", "10.84.0.2/24"}, "IPv6": {"2001:db8:84::1/64", "2001:db8:84::2/64"}}
	for o, out := range outer {
		for i, in := range inner {
			for _, mtu := range []int{1500, 1300} {
				t.Run(fmt.Sprintf("%s in %s, link of %d octets", i, o, mtu), func(t *testing.T) {
					throughNamespaces(t, out.mn, out.ar, in.mn, in.ar, mtu)
				})
			}
		}
	}
}

func throughNamespaces(t *testing.T, outerMN, outerAR, innerMN, innerAR string, mtu int) {
	osnettest.Enter(t)
	far := osnettest.Other(t)
	osnettest.VethTo(t, "veth0", "peer0", far)
	length := "/24"
	if netip.MustParseAddr(outerMN).Is6() {
		length = "/64"
	}
	osnettest.IP(t, fmt.Sprintf("link set veth0 mtu %d", mtu))
	address(t, outerMN+length, "veth0")
	var mn, ar *node
	port := func(a string) string { return netip.AddrPortFrom(netip.MustParseAddr(a), 4500).String() }
	mn = newNode(t, port(outerMN), innerMN)
	far(func() {
		osnettest.IP(t, "link set peer0 down")
		osnettest.IP(t, "link set peer0 name veth0")
		osnettest.IP(t, fmt.Sprintf("link set veth0 up mtu %d", mtu))
		address(t, outerAR+length, "veth0")
		ar = newNode(t, port(outerAR), innerAR)
	})
	if t.Failed() {
		t.FailNow()
	}
	var wg sync.WaitGroup
	up := mn.connect(t, &wg, TunnelConfig{Peer: ar.sock.LocalAddr(), Out: outbound(t, 256, 1), In: inbound(t, 257, 2)})
	down := ar.connect(t, &wg, TunnelConfig{
		FollowPeer: true, Out: outbound(t, 257, 2), In: inbound(t, 256, 1), AllowSrc: mn.inner,
	})

	buf := make([]byte, 2000)
	deadline := time.Now().Add(30 * time.Second) // only against hanging
	for _, c := range []*net.UDPConn{mn.app, ar.app} {
		if err := c.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		// The last fills the TUN's MTU: with all headers of IPv4 it is still no fragment on a
		// link of 1500 octets.
		want := append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte("x"), i*13)...)
		if i == 99 {
			want = bytes.Repeat([]byte("x"), tun.DefaultMTU-8-ipip.HeaderLen)
			if mn.inner.Is6() {
				want = want[ipip.HeaderLen6-ipip.HeaderLen:]
			}
		}
		for _, dir := range [][2]*node{{mn, ar}, {ar, mn}} {
			from, to := dir[0].app, dir[1].app
			if _, err := from.WriteTo(want, to.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			n, src, err := to.ReadFromUDPAddrPort(buf)
			if err != nil || !bytes.Equal(buf[:n], want) || src.String() != from.LocalAddr().String() {
				t.Fatalf("%d octets from %v: %v", n, src, err)
			}
		}
	}
	for _, n := range []*node{mn, ar} {
		if err := errors.Join(n.tun.Close(), n.end.Close(), n.app.Close()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait() // what was sent is counted behind its sending
	for _, tun := range []*Tunnel{up, down} {
		if s := tun.Stats(); s.Sent != 100 || s.Delivered != 100 || sum(s.DroppedIn)+sum(s.DroppedOut) != 0 {
			t.Errorf("%+v", s)
		}
	}
}
