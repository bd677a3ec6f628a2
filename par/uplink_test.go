package par

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/tunnel/ipip"
)

// TestUplink: what the node sends through the tunnel is forwarded from its
// care-of address only, to the correspondent and to other visitors.
func TestUplink(t *testing.T) { families(t, uplink) }

func uplink(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	one := b.prepare(1, elsewhere)
	two := b.prepare(2, net.HardwareAddr{2, 0, 0, 0, 0, 8})
	packet := func(src, dst netip.Addr, port uint16) []byte {
		if b.six {
			return udpIn6(src, dst, port, 42)
		}
		p, err := ipip.Encapsulate(nil, ipip.Header{Src: src, Dst: dst, TTL: 64}, udpIn(src, dst, port, 42))
		if err != nil {
			t.Fatal(err)
		}
		return p[ipip.HeaderLen:]
	}
	for _, p := range [][]byte{packet(two.inner, b.world.cn, 7000), packet(one.inner, two.inner, 9000), packet(one.inner, b.world.cn, 7000)} {
		if err := one.t.Send(p); err != nil {
			t.Fatal(err)
		}
	}
	if k := two.next(); k != 42 {
		t.Errorf("the other visitor got %d", k)
	}
	var buf [100]byte
	_ = b.cn.SetReadDeadline(time.Now().Add(patience))
	_, from, err := b.cn.ReadFromUDPAddrPort(buf[:])
	if err != nil || from.Addr() != one.inner {
		t.Errorf("the correspondent heard from %v, %v", from, err)
	}
	if !b.six {
		b.send(netip.MustParseAddr("169.254.62.53"), 1) // to the fence
	}
	before := b.r.Status().Stray
	b.r.take([]byte{0x60})
	if s := b.r.Status(); s.Stray != before+1 || s.Device != "mpa0" || s.Access != "lan0" {
		t.Errorf("status %+v", s)
	}
}

// udpIn6 is a UDP packet of IPv6.
func udpIn6(src, dst netip.Addr, port uint16, number uint32) []byte {
	p := make([]byte, 52)
	p[0], p[5], p[6], p[7] = 6<<4, 12, 17, 64
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[40:], 5000)
	binary.BigEndian.PutUint16(p[42:], port)
	binary.BigEndian.PutUint16(p[44:], 12)
	binary.BigEndian.PutUint32(p[48:], number)
	binary.BigEndian.PutUint16(p[46:], ^inet.Fold(inet.Sum(17+12, p[8:])))
	return p
}

// udpIn is a UDP packet without checksum.
func udpIn(src, dst netip.Addr, port uint16, number uint32) []byte {
	p := make([]byte, 32)
	p[0], p[3], p[8], p[9] = 0x45, 32, 64, 17
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(p[20:], 5000)
	binary.BigEndian.PutUint16(p[22:], port)
	binary.BigEndian.PutUint16(p[24:], 12)
	binary.BigEndian.PutUint32(p[28:], number)
	return p
}
