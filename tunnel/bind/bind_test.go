package bind

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/ipip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loopback  = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
	addrA     = netip.MustParseAddr("10.81.0.1")
	addrB     = netip.MustParseAddr("10.81.0.2")
	addrC     = netip.MustParseAddr("10.81.0.3")
)

func openUDP(t testing.TB, local netip.AddrPort, o Options) *UDP {
	t.Helper()
	u, err := OpenUDP(local, o)
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

func openIPIP(t testing.TB, local netip.Addr, o Options) *IPIP {
	t.Helper()
	s, err := OpenIPIP(local, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// enter gives the test a namespace with three addresses to tunnel between.
func enter(t testing.TB) {
	t.Helper()
	osnettest.Enter(t)
	osnettest.IP(t, "address add 10.81.0.1/32 dev lo")
	osnettest.IP(t, "address add 10.81.0.2/32 dev lo")
	osnettest.IP(t, "address add 10.81.0.3/32 dev lo")
}

func innerPacket(t testing.TB, tos uint8, payload string) []byte {
	t.Helper()
	b, err := ipip.AppendHeader(nil, ipip.Header{
		Src: netip.MustParseAddr("10.9.0.2"), Dst: netip.MustParseAddr("10.0.4.1"), TOS: tos, Protocol: 17,
	}, len(payload))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, payload...)
}

func TestUDP(t *testing.T) {
	for _, local := range []netip.AddrPort{loopback, loopback6} {
		t.Run(local.Addr().String(), func(t *testing.T) { toAndFro(t, local) })
	}
}

func toAndFro(t *testing.T, local netip.AddrPort) {
	a, b := openUDP(t, local, Options{}), openUDP(t, local, Options{})
	const sent = 50
	for i := range sent {
		if err := a.Send(b.LocalAddr(), fmt.Appendf(nil, "packet %d", i), uint8(4*i)); err != nil {
			t.Fatal(err)
		}
	}
	batch, got := NewBatch(8, 100), 0
	for got < sent {
		packets, err := b.ReadBatch(batch)
		if err != nil {
			t.Fatal(err)
		}
		if len(packets) == 0 || len(packets) > 8 {
			t.Fatalf("batch of %d", len(packets))
		}
		for _, p := range packets {
			if string(p.Data) != fmt.Sprintf("packet %d", got) || p.From != a.LocalAddr() || p.TOS != uint8(4*got) {
				t.Fatalf("packet %d: %q from %v TOS %#x", got, p.Data, p.From, p.TOS)
			}
			got++
		}
	}
	if err := b.Send(a.LocalAddr(), []byte("back"), 0); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	n, from, err := a.Read(buf)
	if err != nil || string(buf[:n]) != "back" || from != b.LocalAddr() {
		t.Fatalf("%q %v %v", buf[:n], from, err)
	}
	if s := a.Stats(); s.Sent != sent || s.Received != 1 || s.SendErrors != 0 {
		t.Fatalf("%+v", s)
	}
	if s := b.Stats(); s.Sent != 1 || s.Received != sent || s.KernelDrops != 0 || s.RecvBuffer == 0 {
		t.Fatalf("%+v", s)
	}
}

func TestBadDestination(t *testing.T) {
	for local, bad := range map[netip.AddrPort][]string{
		loopback:  {"[::1]:7", "[::ffff:127.0.0.1]:7", "127.0.0.1:0"},
		loopback6: {"127.0.0.1:7", "[fe80::1%lo]:7", "[::ffff:127.0.0.1]:7", "[::1]:0"},
	} {
		u := openUDP(t, local, Options{})
		for _, to := range bad {
			if err := u.Send(netip.MustParseAddrPort(to), []byte("x"), 0); err == nil {
				t.Errorf("from %v sent to %s", local, to)
			}
		}
		if err := u.Send(u.LocalAddr(), make([]byte, 65536), 0); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("%v, 64 KiB: %v", local, err)
		}
		if s := u.Stats(); s.SendErrors != uint64(len(bad)+1) || s.Sent != 0 {
			t.Errorf("%v: %+v", local, s)
		}
	}
}

func TestTruncatedIsCounted(t *testing.T) {
	a, b := openUDP(t, loopback, Options{}), openUDP(t, loopback, Options{})
	for _, p := range []string{"short", "much too long", "short again"} {
		if err := a.Send(b.LocalAddr(), []byte(p), 0); err != nil {
			t.Fatal(err)
		}
	}
	packets, err := b.ReadBatch(NewBatch(8, 11))
	if err != nil || len(packets) != 2 || string(packets[0].Data) != "short" || string(packets[1].Data) != "short again" {
		t.Fatalf("%v %v", packets, err)
	}
	if s := b.Stats(); s.Truncated != 1 || s.Received != 2 {
		t.Fatalf("%+v", s)
	}
}

// What the receive buffer has no room for is the kernel's drop: sent = received + dropped.
func TestKernelDropsAreCounted(t *testing.T) {
	a, b := openUDP(t, loopback, Options{}), openUDP(t, loopback, Options{RecvBuffer: 8192})
	const sent = 500
	pkt := make([]byte, 1000)
	for range sent {
		if err := a.Send(b.LocalAddr(), pkt, 0); err != nil {
			t.Fatal(err)
		}
	}
	s := b.Stats()
	if s.KernelDrops == 0 || s.KernelDrops >= sent {
		t.Fatalf("%d packets into a buffer of %d octets, %d drops", sent, s.RecvBuffer, s.KernelDrops)
	}
	batch := NewBatch(16, 2000)
	for b.Stats().Received < sent-s.KernelDrops {
		if _, err := b.ReadBatch(batch); err != nil {
			t.Fatal(err)
		}
	}
	if s = b.Stats(); s.Received+s.KernelDrops != sent {
		t.Fatalf("%d sent, %+v", sent, s)
	}
}

func TestRecvBuffer(t *testing.T) {
	osnettest.NeedRoot(t) // SO_RCVBUFFORCE
	u := openUDP(t, loopback, Options{RecvBuffer: 64 << 20})
	if s := u.Stats(); s.RecvBuffer < 64<<20 {
		t.Fatalf("asked for 64 MiB, got %d octets", s.RecvBuffer)
	}
}

func TestCloseWakesReaders(t *testing.T) {
	u, err := OpenUDP(loopback, Options{})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() { _, err := u.ReadBatch(NewBatch(4, 100)); errs <- err }()
	go func() { _, _, err := u.Read(make([]byte, 10)); errs <- err }()
	time.Sleep(10 * time.Millisecond) // so that they most likely wait; either way they must end
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("reader ended with %v", err)
		}
	}
	if err := u.Send(netip.MustParseAddrPort("127.0.0.1:9"), []byte("x"), 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send: %v", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if s := u.Stats(); s.SendErrors != 1 {
		t.Errorf("%+v", s)
	}
}

func TestOpenErrors(t *testing.T) {
	taken := openUDP(t, loopback, Options{})
	for _, c := range []struct {
		local string
		o     Options
		match error
		want  string
	}{
		{taken.LocalAddr().String(), Options{}, unix.EADDRINUSE, "another process uses the port"},
		{"198.51.100.1:0", Options{}, unix.EADDRNOTAVAIL, "no interface has this address"},
		{"[::ffff:127.0.0.1]:0", Options{}, nil, "expected IPv4"},
		{"[fe80::1%lo]:0", Options{}, nil, "without a zone"},
		{"[2001:db8::1]:0", Options{}, unix.EADDRNOTAVAIL, "no interface has this address"},
		{"127.0.0.1:0", Options{Device: "nosuchdevice"}, unix.ENODEV, "bind to device nosuchdevice"},
		{"127.0.0.1:0", Options{RecvBuffer: -1}, nil, "expected positive sizes"},
	} {
		u, err := OpenUDP(netip.MustParseAddrPort(c.local), c.o)
		if err == nil {
			_ = u.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "bind: ") || !strings.Contains(err.Error(), c.want) || c.match != nil && !errors.Is(err, c.match) {
			t.Errorf("%s %+v: %v", c.local, c.o, err)
		}
	}
	if _, err := OpenIPIP(netip.MustParseAddr("fe80::1%lo"), Options{}); err == nil || !strings.Contains(err.Error(), "without a zone") {
		t.Errorf("IP in IP over an address with a zone: %v", err)
	}
}

func TestIPIP(t *testing.T) {
	enter(t)
	a, b := openIPIP(t, addrA, Options{}), openIPIP(t, addrB, Options{})
	inner := innerPacket(t, 0xb8|2, "payload")
	if err := a.Send(addrB, append(bytes.Clone(inner), "behind the packet"...), 0xb8|2); err != nil {
		t.Fatal(err)
	}
	if err := a.Send(addrB, inner, 0xb8|3); err != nil { // congestion seen on the way
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	got, src, err := b.Read(buf)
	if err != nil || !bytes.Equal(got, inner) || src != addrA {
		t.Fatalf("%x from %v: %v, want %x", got, src, err, inner)
	}
	packets, err := b.ReadBatch(NewBatch(4, 2000))
	if err != nil || len(packets) != 1 {
		t.Fatalf("%v %v", packets, err)
	}
	p := packets[0]
	if p.From.Addr() != addrA || p.TOS != 0xb8|3 || ipip.TOS(p.Data) != 0xb8|3 || ipip.VerifyChecksum(p.Data) != nil {
		t.Fatalf("%+v", p)
	}
	if a.LocalAddr() != addrA {
		t.Fatal(a.LocalAddr())
	}
	if s := b.Stats(); s.Received != 2 || s.Malformed != 0 {
		t.Fatalf("%+v", s)
	}
}

// A raw socket gets what comes for any address until it is bound; none of it may
// come out of Read.
func TestIPIPWhileBinding(t *testing.T) {
	enter(t)
	a := openIPIP(t, addrA, Options{})
	openIPIP(t, addrB, Options{})
	inner, own := innerPacket(t, 0, "for b"), innerPacket(t, 0, "for c")
	stop, flood := make(chan struct{}), sync.WaitGroup{}
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = a.Send(addrB, inner, 0) // b's queue may be full
			}
		}
	})
	defer flood.Wait()
	defer close(stop)
	seen := uint64(0)
	for try := 0; seen == 0; try++ {
		if try == 20000 {
			t.Fatal("no socket saw a packet before it was bound: the test shows nothing")
		}
		c, err := OpenIPIP(addrC, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Send(addrC, own, 0); err != nil {
			t.Fatal(err)
		}
		if got, _, err := c.Read(make([]byte, 2000)); err != nil || !bytes.Equal(got, own) {
			t.Fatalf("%v read %x, %v; want its own packet", addrC, got, err)
		}
		seen = c.Stats().Foreign
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIPIPRefuses(t *testing.T) {
	enter(t)
	a, b := openIPIP(t, addrA, Options{}), openIPIP(t, addrB, Options{})
	inner := innerPacket(t, 0, "payload")
	dead := bytes.Clone(inner)
	dead[8] = 0
	for _, c := range []struct {
		dst   netip.Addr
		inner []byte
		want  error
	}{
		{addrB, inner[:19], ipip.ErrShort},
		{addrB, dead, ipip.ErrTTL},
		{netip.MustParseAddr("10.9.0.2"), inner, ipip.ErrLoop},
		{netip.IPv6Loopback(), inner, nil},
		{netip.MustParseAddr("203.0.113.1"), inner, unix.ENETUNREACH},
	} {
		if err := a.Send(c.dst, c.inner, 0); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("to %v: %v, want %v", c.dst, err, c.want)
		}
	}
	if s := a.Stats(); s.SendErrors != 5 || s.Sent != 0 {
		t.Fatalf("%+v", s)
	}

	// Around the checks of Send: the reader passes over it and counts.
	for _, bad := range [][]byte{nil, []byte("rubbish"), dead, inner[:25]} {
		if errno, err := a.tx.send(a.raw, netip.AddrPortFrom(addrB, 0), bad, 0, 0); err != nil || errno != 0 {
			t.Fatal(err, errno)
		}
	}
	if err := a.Send(addrB, inner, 0); err != nil {
		t.Fatal(err)
	}
	got, _, err := b.Read(make([]byte, 2000))
	if err != nil || !bytes.Equal(got, inner) {
		t.Fatalf("%x %v", got, err)
	}
	if s := b.Stats(); s.Malformed != 4 || s.Received != 1 {
		t.Fatalf("%+v", s)
	}
	if _, _, err := b.Read(nil); err == nil {
		t.Fatal("read into nothing")
	}
}

// The outer header as it is on the wire, read from a raw socket.
func TestOuterHeader(t *testing.T) {
	enter(t)
	a := openIPIP(t, addrA, Options{})
	b := openIPIP(t, addrB, Options{})
	if err := a.Send(addrB, innerPacket(t, 0x48, "x"), 0x48); err != nil {
		t.Fatal(err)
	}
	batch := NewBatch(1, 2000)
	if _, errno, err := batch.read(b.raw); err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	outer := batch.Packets()[0].Data
	if outer[0] != 0x45 || outer[1] != 0x48 || outer[9] != 4 || ipip.DontFragment(outer) || ipip.VerifyChecksum(outer) != nil {
		t.Fatalf("outer header %x", outer[:20])
	}

	pc, err := net.ListenPacket("ip4:17", addrB.String())
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	u := openUDP(t, netip.AddrPortFrom(addrA, 4500), Options{})
	v := openUDP(t, netip.AddrPortFrom(addrB, 4500), Options{})
	if err := u.Send(v.LocalAddr(), []byte("esp"), 0xb8); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := pc.ReadFrom(buf) // without the IP header
	if err != nil || n != 11 || binary.BigEndian.Uint16(buf[0:]) != 4500 || binary.BigEndian.Uint16(buf[2:]) != 4500 {
		t.Fatalf("%x %v", buf[:n], err)
	}
	if sum := binary.BigEndian.Uint16(buf[6:]); sum != 0 {
		t.Fatalf("UDP checksum %#x, expected none (RFC 3948 section 2.1)", sum)
	}
}

// A path narrower than expected fragments and does not swallow.
func TestNarrowPath(t *testing.T) {
	enter(t)
	osnettest.IP(t, "link set lo mtu 700")
	big := innerPacket(t, 0, strings.Repeat("x", 1380))
	a, b := openIPIP(t, addrA, Options{}), openIPIP(t, addrB, Options{})
	if err := a.Send(addrB, big, 0); err != nil {
		t.Fatal(err)
	}
	got, _, err := b.Read(make([]byte, 2000))
	if err != nil || !bytes.Equal(got, big) {
		t.Fatalf("%d octets, %v", len(got), err)
	}
	u := openUDP(t, netip.AddrPortFrom(addrA, 4500), Options{})
	v := openUDP(t, netip.AddrPortFrom(addrB, 4500), Options{})
	if err := u.Send(v.LocalAddr(), big, 0); err != nil {
		t.Fatal(err)
	}
	if n, _, err := v.Read(make([]byte, 2000)); err != nil || n != len(big) {
		t.Fatal(n, err)
	}
	df := openUDP(t, netip.AddrPortFrom(addrA, 0), Options{DontFragment: true})
	if err := df.Send(v.LocalAddr(), big, 0); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("with DF: %v", err)
	}
}

// TestNarrowPath6: no router fragments IPv6. What is longer than the path takes is
// fragmented here as soon as the kernel has heard of it; a socket that may not is told.
func TestNarrowPath6(t *testing.T) {
	osnettest.Enter(t)
	far := osnettest.Other(t)
	osnettest.VethTo(t, "near0", "far0", far)
	osnettest.IP(t, "address add 2001:db8::1/64 dev near0 nodad")
	osnettest.IP(t, "route add 2001:db8::2/128 dev near0 mtu 1300")
	u := openUDP(t, netip.MustParseAddrPort("[2001:db8::1]:4500"), Options{})
	var v *UDP
	far(func() {
		osnettest.IP(t, "address add 2001:db8::2/64 dev far0 nodad")
		v = openUDP(t, netip.MustParseAddrPort("[2001:db8::2]:4500"), Options{})
	})
	big := bytes.Repeat([]byte("x"), 1400)
	if err := u.Send(v.LocalAddr(), big, 0xb8); err != nil {
		t.Fatal(err)
	}
	packets, err := v.ReadBatch(NewBatch(1, 2000))
	if err != nil || len(packets) != 1 || !bytes.Equal(packets[0].Data, big) || packets[0].TOS != 0xb8 {
		t.Fatalf("%v, %v", packets, err)
	}
	df := openUDP(t, netip.MustParseAddrPort("[2001:db8::1]:0"), Options{DontFragment: true})
	if err := df.Send(v.LocalAddr(), big, 0); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("may not fragment: %v", err)
	}
}

func TestDeviceAndMark(t *testing.T) {
	enter(t)
	osnettest.Veth(t, "bind0", "bind1")
	osnettest.IP(t, "address add 10.82.0.1/24 dev bind0")
	u := openUDP(t, netip.AddrPortFrom(addrA, 0), Options{Device: "bind0"})
	if err := u.raw.Control(func(fd uintptr) {
		if dev, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || dev != "bind0" {
			t.Errorf("bound to device %q, %v", dev, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	v := openUDP(t, netip.AddrPortFrom(addrB, 0), Options{})
	// By mark 7, and only by it, this destination is reached.
	osnettest.IP(t, "rule add fwmark 7 lookup 77")
	osnettest.IP(t, "route add 203.0.113.0/24 dev bind0 table 77")
	marked := openUDP(t, netip.AddrPortFrom(addrA, 0), Options{Mark: 7})
	if err := marked.Send(netip.MustParseAddrPort("203.0.113.1:9"), []byte("x"), 0); err != nil {
		t.Fatalf("with mark 7: %v", err)
	}
	if err := v.Send(netip.MustParseAddrPort("203.0.113.1:9"), []byte("x"), 0); !errors.Is(err, unix.ENETUNREACH) {
		t.Fatalf("without the mark: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop entries at random")
	}
	for _, local := range []netip.AddrPort{loopback, loopback6} {
		a, b := openUDP(t, local, Options{}), openUDP(t, local, Options{})
		batch, pkt, to := NewBatch(4, 2000), make([]byte, 1400), b.LocalAddr()
		if n := testing.AllocsPerRun(300, func() {
			if err := a.Send(to, pkt, 0xb8); err != nil {
				t.Fatal(err)
			}
			if packets, err := b.ReadBatch(batch); err != nil || len(packets) != 1 {
				t.Fatal(packets, err)
			}
		}); n != 0 {
			t.Fatalf("%v: %v allocations per datagram", local, n)
		}
	}
}

func TestNoAllocationIPIP(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop entries at random")
	}
	enter(t)
	a, b := openIPIP(t, addrA, Options{}), openIPIP(t, addrB, Options{})
	inner, buf := innerPacket(t, 0, "payload"), make([]byte, 2000)
	if n := testing.AllocsPerRun(300, func() {
		if err := a.Send(addrB, inner, 0xb8); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Read(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per packet", n)
	}
}

func FuzzControlTOS(f *testing.F) {
	good := make([]byte, unix.CmsgSpace(1))
	binary.NativeEndian.PutUint64(good, uint64(unix.CmsgLen(1)))
	good[unix.CmsgLen(0)-4] = unix.IP_TOS
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, ctl []byte) { controls(ctl) })
}

func BenchmarkUDP(b *testing.B) {
	s, r := openUDP(b, loopback, Options{}), openUDP(b, loopback, Options{})
	batch, pkt := NewBatch(32, 2000), make([]byte, 1400)
	b.SetBytes(32 * int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		for range 32 {
			if err := s.Send(r.LocalAddr(), pkt, 0); err != nil {
				b.Fatal(err)
			}
		}
		for got := 0; got < 32; {
			p, err := r.ReadBatch(batch)
			if err != nil {
				b.Fatal(err)
			}
			got += len(p)
		}
	}
}
