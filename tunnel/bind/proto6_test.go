package bind

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/ipip"
)

var (
	addrA6 = netip.MustParseAddr("2001:db8::1")
	addrB6 = netip.MustParseAddr("2001:db8::2")
	addrC6 = netip.MustParseAddr("2001:db8::3")
)

func enter6(t testing.TB) {
	t.Helper()
	osnettest.Enter(t)
	for _, a := range []netip.Addr{addrA6, addrB6, addrC6} {
		osnettest.IP(t, "address add "+a.String()+"/128 dev lo nodad")
	}
}

// packet6 is an IPv6 packet between two addresses that are no tunnel's.
func packet6(tos uint8, src, dst netip.Addr, next uint8, payload []byte) []byte {
	b := append([]byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), next, 64}, src.AsSlice()...)
	b = append(append(b, dst.AsSlice()...), payload...)
	ipip.SetTOS(b, tos)
	return b
}

// TestIPv6InIPv6: packets, their traffic class, the congestion mark, and fragments where
// the path is narrow.
func TestIPv6InIPv6(t *testing.T) {
	enter6(t)
	osnettest.IP(t, "link set lo mtu 1280")
	a, b := openIPIP(t, addrA6, Options{}), openIPIP(t, addrB6, Options{})
	home := netip.MustParseAddr("2001:db8:9::2")
	small := packet6(0xb8|2, home, addrC6, 17, []byte("payload"))
	big := packet6(0, home, addrC6, 17, bytes.Repeat([]byte("x"), 1400))
	if err := errors.Join(
		a.Send(addrB6, append(bytes.Clone(small), "behind the packet"...), 0xb8|2),
		a.Send(addrB6, small, 0xb8|3), // congestion seen on the way
		a.Send(addrB6, big, 0),
	); err != nil {
		t.Fatal(err)
	}
	marked := bytes.Clone(small)
	ipip.SetTOS(marked, 0xb8|3)
	buf := make([]byte, 2000)
	for i, want := range [][]byte{small, marked, big} {
		got, src, err := b.Read(buf)
		if err != nil || !bytes.Equal(got, want) || src != addrA6 {
			t.Fatalf("packet %d: %x from %v: %v, want %x", i, got, src, err, want)
		}
	}
	dead := bytes.Clone(small)
	dead[7] = 0
	for what, err := range map[string]error{
		"IPv4":              a.Send(addrB6, innerPacket(t, 0, ""), 0),
		"no hops left":      a.Send(addrB6, dead, 0),
		"from the exit":     a.Send(addrB6, packet6(0, addrB6, addrC6, 17, nil), 0),
		"to an IPv4 exit":   a.Send(addrA, small, 0),
		"to one with zone":  a.Send(netip.MustParseAddr("fe80::1%lo"), small, 0),
		"what is no packet": a.Send(addrB6, small[:39], 0),
	} {
		if err == nil {
			t.Errorf("%s: sent", what)
		}
	}
	raw, err := OpenRaw(addrA6, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, bad := range [][]byte{{1, 2, 3}, innerPacket(t, 0, "")} {
		if err := raw.Send(packet6(0, addrA6, addrB6, ipip.Protocol6, bad)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Send(addrB6, small, 0); err != nil {
		t.Fatal(err)
	}
	if got, _, err := b.Read(buf); err != nil || !bytes.Equal(got, small) {
		t.Fatalf("%x, %v", got, err)
	}
	if s := b.Stats(); s.Received != 4 || s.Malformed != 2 {
		t.Errorf("%+v", s)
	}
}

// TestProto6: what comes behind one header, from a socket that sends whole packets, for
// one address only.
func TestProto6(t *testing.T) {
	enter6(t)
	raw, err := OpenRaw(addrA6, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	const experimental = 253 // of RFC 3692; the kernel verifies the checksum of some others
	s, err := OpenProto6(addrB6, experimental, Options{})
	if err != nil {
		t.Fatal(err)
	}
	routed, err := OpenProto6(addrB6, unix.IPPROTO_ROUTING, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer routed.Close()
	for _, dst := range []netip.Addr{addrC6, addrB6} {
		if err := raw.Send(packet6(0x20, addrA6, dst, experimental, []byte("to "+dst.String()))); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Send(packet6(0, addrC6, addrB6, experimental, nil)); err == nil {
		t.Error("a packet from another address was sent")
	}
	header := append([]byte{17, 2, 2, 1, 0, 0, 0, 0}, addrC6.AsSlice()...) // a routing header of type 2, which this kernel knows or not
	if err := raw.Send(packet6(0, addrA6, addrB6, unix.IPPROTO_ROUTING, append(header, "datagram"...))); err != nil {
		t.Fatal(err)
	}
	b := NewBatch(4, 2000)
	for sock, want := range map[*Proto6]string{s: "to " + addrB6.String(), routed: string(header) + "datagram"} {
		packets, err := sock.ReadBatch(b)
		if err != nil || len(packets) != 1 || string(packets[0].Data) != want || packets[0].From.Addr() != addrA6 {
			t.Fatalf("%+v, %v; want %q", packets, err, want)
		}
	}
	if st := s.Stats(); st.Received != 1 || st.Truncated != 0 {
		t.Errorf("%+v", st)
	}
	errs := make(chan error)
	go func() { _, err := s.ReadBatch(NewBatch(1, 10)); errs <- err }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := OpenProto6(addrA, experimental, Options{}); err == nil {
		t.Error("an IPv4 address was taken")
	}
}

// TestProto6WhileBinding: nothing comes out that was sent to another address while the
// socket was not bound yet.
func TestProto6WhileBinding(t *testing.T) {
	enter6(t)
	a := openIPIP(t, addrA6, Options{})
	openIPIP(t, addrB6, Options{})
	flood, own := packet6(0, addrC6, addrA6, 17, []byte("for b")), packet6(0, addrB6, addrA6, 17, []byte("for c"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = a.Send(addrB6, flood, 0) // b's queue may be full
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for try, seen := 0, uint64(0); seen == 0; try++ {
		if try == 20000 {
			t.Fatal("no socket saw a packet before it was bound: the test shows nothing")
		}
		c, err := OpenIPIP(addrC6, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Send(addrC6, own, 0); err != nil {
			t.Fatal(err)
		}
		got, _, err := c.Read(make([]byte, 2000))
		if err != nil || !bytes.Equal(got, own) {
			t.Fatalf("read %x, %v; want its own packet", got, err)
		}
		seen = c.Stats().Foreign
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
