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
	"openmpa/tunnel/tun"
)

// node is one end with a TUN in a namespace of its own.
type node struct {
	tun  *tun.Device
	end  *Endpoint
	sock *Socket
	app  *net.UDPConn
}

func newNode(t *testing.T, outer, inner string) *node {
	t.Helper()
	n := &node{end: NewEndpoint(nil)}
	var err error
	if n.tun, err = tun.Open(tun.Config{Name: "mpa0"}); err != nil {
		t.Fatal(err)
	}
	osnettest.IP(t, "address add "+inner+"/24 dev mpa0")
	if n.sock, err = n.end.Listen(netip.MustParseAddrPort(outer), "veth0"); err != nil {
		t.Fatal(err)
	}
	if n.app, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(inner), Port: 7000}); err != nil {
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
			if buf[0]>>4 == 4 { // the kernel's router solicitations are not for the tunnel
				if err := link.Send(buf[:k]); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return link
}

// Applications in two namespaces talk through TUN, tunnel, veth, tunnel and TUN.
func TestThroughNamespaces(t *testing.T) {
	osnettest.Enter(t)
	far := osnettest.Other(t)
	osnettest.VethTo(t, "veth0", "peer0", far)
	osnettest.IP(t, "address add 10.83.0.1/24 dev veth0")
	var mn, ar *node
	mn = newNode(t, "10.83.0.1:4500", "10.84.0.1")
	far(func() {
		osnettest.IP(t, "link set peer0 down")
		osnettest.IP(t, "link set peer0 name veth0")
		osnettest.IP(t, "link set veth0 up")
		osnettest.IP(t, "address add 10.83.0.2/24 dev veth0")
		ar = newNode(t, "10.83.0.2:4500", "10.84.0.2")
	})
	if t.Failed() {
		t.FailNow()
	}
	var wg sync.WaitGroup
	up := mn.connect(t, &wg, TunnelConfig{Peer: ar.sock.LocalAddr(), Out: outbound(t, 256, 1), In: inbound(t, 257, 2)})
	down := ar.connect(t, &wg, TunnelConfig{
		FollowPeer: true, Out: outbound(t, 257, 2), In: inbound(t, 256, 1), AllowSrc: netip.MustParseAddr("10.84.0.1"),
	})

	buf := make([]byte, 2000)
	deadline := time.Now().Add(30 * time.Second) // only against hanging
	for _, c := range []*net.UDPConn{mn.app, ar.app} {
		if err := c.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		// The last fills the TUN's MTU: with all headers it is still no fragment.
		want := append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte("x"), i*13)...)
		if i == 99 {
			want = bytes.Repeat([]byte("x"), tun.DefaultMTU-28)
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
	for _, tun := range []*Tunnel{up, down} {
		if s := tun.Stats(); s.Sent != 100 || s.Delivered != 100 || sum(s.DroppedIn)+sum(s.DroppedOut) != 0 {
			t.Errorf("%+v", s)
		}
	}
	for _, n := range []*node{mn, ar} {
		if err := errors.Join(n.tun.Close(), n.end.Close(), n.app.Close()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
