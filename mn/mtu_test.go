package mn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/par"
)

// fullSize is what fits the node's TUN, less the headers of IP and UDP.
const fullSize = 1400 - 28

// whole makes a socket send with DF, and never smaller packets for what it has heard
// of the path: what comes is there because the path takes it.
func whole(t *testing.T, c *net.UDPConn) {
	t.Helper()
	option(t, c, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
}

// passes sends packets of this size, numbered, and wants all of them.
func passes(t *testing.T, what string, from, to *net.UDPConn, dst netip.Addr, size int) {
	t.Helper()
	buf := make([]byte, 2000)
	for n := range 20 {
		want := bytes.Repeat([]byte{byte(n)}, size)
		if _, err := from.WriteToUDPAddrPort(want, netip.AddrPortFrom(dst, 7000)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_ = to.SetReadDeadline(time.Now().Add(patience))
		k, err := to.Read(buf)
		if err != nil || !bytes.Equal(buf[:k], want) {
			t.Fatalf("%s, packet %d: %d octets came, %v", what, n, k, err)
		}
	}
}

// narrow gives the core links of both networks a smaller MTU.
func (b *bed) narrow(mtu string) {
	for _, n := range []string{"a", "b"} {
		b.inside[n](func() { osnettest.IP(b.t, "link set core0 mtu "+mtu) })
		b.core(func() { osnettest.IP(b.t, "link set c"+n+" mtu "+mtu) })
	}
}

// TestNoBlackHole: packets of full size with DF pass the old link, the tunnel and the
// new link, also where the core takes less than IP-in-IP and ESP make of them: what
// does not fit is fragmented outside and put together at the other end.
func TestNoBlackHole(t *testing.T) {
	for name, c := range map[string]struct {
		core  string
		plain bool
	}{"1500": {"1500", false}, "1400": {"1400", false}, "1280": {"1280", false}, "1400, IP-in-IP": {"1400", true}} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(n *Config) { n.MTU, n.Plain = 1400, c.plain }, func(r *par.Config) { r.Plain = c.plain })
			b.narrow(c.core)
			mn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: homeAddress.AsSlice(), Port: 7000})
			if err != nil {
				t.Fatal(err)
			}
			defer mn.Close()
			whole(t, mn)
			whole(t, b.cn)
			both := func(where string) {
				t.Helper()
				passes(t, where+", up", mn, b.cn, agentAddr, fullSize)
				passes(t, where+", down", b.cn, mn, homeAddress, fullSize)
			}
			both("old link")
			b.prepared()
			both("tunnel")
			if o, err := b.handover("a"); o != event.Completed {
				t.Fatalf("%s, %v", o, err)
			}
			both("new link")
			for c, name := range map[*net.UDPConn]string{mn: "node", b.cn: "correspondent"} {
				to := agentAddr
				if c == b.cn {
					to = homeAddress
				}
				if _, err := c.WriteToUDPAddrPort(make([]byte, fullSize+1), netip.AddrPortFrom(to, 7000)); !errors.Is(err, unix.EMSGSIZE) {
					t.Errorf("%s, one octet more: %v", name, err)
				}
			}
			if n := b.node.Status().Dropped["IP-in-IP not opened"]; n != 0 {
				t.Errorf("%d packets out of the tunnel were not opened", n)
			}
		})
	}
}

// TestTCPHasNoBlackHole: a transfer each way goes on through handovers there and back
// although the core takes less than the access links.
func TestTCPHasNoBlackHole(t *testing.T) {
	mtu := func(c *Config) { c.MTU = 1400 }
	t.Run("IPv4", func(t *testing.T) { transferred(t, start(t, mtu), nil, "a", "b") })
	t.Run("IPv6", func(t *testing.T) { transferred(t, start6(t, mtu), nil, "a") })
	t.Run("IPv6 without the home agent", func(t *testing.T) {
		b := start6(t, func(c *Config) {
			mtu(c)
			c.Correspondents = []netip.Prefix{netip.PrefixFrom(correspondentAddr, 128)}
		})
		_, _, in := b.correspondent6()
		transferred(t, b, in, "a")
	})
}

// transferred is the test in one bed, with handovers; in is the namespace of the
// correspondent, nil: the core.
func transferred(t *testing.T, b *bed, in func(func()), networks ...string) {
	b.narrow("1400")
	home, peer := b.addresses()
	if in == nil {
		in = b.core
	} else {
		peer = correspondentAddr
	}
	var l *net.TCPListener
	var err error
	in(func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(peer, 0))) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(home, 0)), Timeout: patience}
	mn, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 4)
	defer func() {
		mn.Close()
		cn.Close()
		for range 4 {
			<-ended
		}
	}()
	var up, down atomic.Int64
	for _, way := range []struct {
		from, to net.Conn
		count    *atomic.Int64
	}{{mn, cn, &up}, {cn, mn, &down}} {
		go func() {
			defer func() { ended <- struct{}{} }()
			chunk := make([]byte, 1<<15)
			for {
				if _, err := way.from.Write(chunk); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond) // segments of full size, and no processor in full use
			}
		}()
		go func() {
			defer func() { ended <- struct{}{} }()
			_, _ = io.Copy(counter{way.count}, way.to)
		}()
	}
	goesOn := func(where string) {
		t.Helper()
		u, d := up.Load(), down.Load()
		for end := time.Now().Add(patience); up.Load() < u+1<<18 || down.Load() < d+1<<18; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d octets up and %d down in %v", where, up.Load()-u, down.Load()-d, patience)
			}
		}
	}
	goesOn("old link")
	for _, to := range networks {
		b.preparedFor(to)
		goesOn("tunnel to " + to)
		if o, err := b.handover(to); o != event.Completed {
			t.Fatalf("%s, %v", o, err)
		}
		goesOn("link of " + to)
	}
}

// counter counts the octets that are written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// TestTunnelMTU: a router says what its tunnel takes, and no application sends more.
func TestTunnelMTU(t *testing.T) {
	b := start(t, nil, func(r *par.Config) { r.MTU = 1200 })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	mn := b.socket(netip.AddrPortFrom(homeAddress, 7000))
	defer mn.Close()
	option(t, mn, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	to := netip.AddrPortFrom(agentAddr, 7000)
	const longest = 1200 - 20 - 28 // the headers of IP-in-IP, and of IP and UDP
	if _, err := mn.WriteToUDPAddrPort(make([]byte, longest+1), to); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("one octet too much: %v", err)
	}
	if _, err := mn.WriteToUDPAddrPort(make([]byte, longest), to); err != nil {
		t.Errorf("what fits: %v", err)
	}
	b.prepare("a")
	if _, err := mn.WriteToUDPAddrPort(make([]byte, longest), to); err != nil {
		t.Errorf("what fits, prepared: %v", err)
	}
}
