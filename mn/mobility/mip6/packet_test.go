package mip6

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
)

// plain is an IPv6 packet with extension headers as given, the first of type next.
func plain(src, dst netip.Addr, next byte, rest ...byte) []byte {
	b := append([]byte{0x60, 0x12, 0x34, 0x56, 0, 0, next, 64}, src.AsSlice()...)
	b = append(append(b, dst.AsSlice()...), rest...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// The extension headers that packets come with, all followed by UDP.
var (
	udp      = []byte{0x12, 0x34, 0x56, 0x78, 0, 12, 0xab, 0xcd, 1, 2, 3, 4}
	hopOpts  = []byte{17, 0, 5, 2, 0, 0, 1, 0}                                                 // router alert
	destOpts = []byte{17, 0, 0x1e, 4, 1, 2, 3, 4}                                              // experimental
	routing0 = []byte{17, 2, 3, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1} // another routing header
	fragment = []byte{17, 0, 0, 1, 0, 0, 0, 9}                                                 // first fragment
)

// chain puts headers in front of UDP.
func chain(src, dst netip.Addr, types []byte, headers ...[]byte) []byte {
	var rest []byte
	for i, h := range headers {
		h = bytes.Clone(h)
		if i+1 < len(types) {
			h[0] = types[i+1]
		}
		rest = append(rest, h...)
	}
	next := byte(17)
	if len(types) > 0 {
		next = types[0]
	}
	return plain(src, dst, next, append(rest, udp...)...)
}

func chains(src, dst netip.Addr) map[string][]byte {
	return map[string][]byte{
		"bare":                        chain(src, dst, nil),
		"hop-by-hop":                  chain(src, dst, []byte{0}, hopOpts),
		"destination":                 chain(src, dst, []byte{60}, destOpts),
		"hop-by-hop, destination":     chain(src, dst, []byte{0, 60}, hopOpts, destOpts),
		"routing":                     chain(src, dst, []byte{43}, routing0),
		"destination, routing, again": chain(src, dst, []byte{60, 43, 60}, destOpts, routing0, destOpts),
		"fragment":                    chain(src, dst, []byte{44}, fragment),
	}
}

func TestHeadersInAndOut(t *testing.T) {
	for name, b := range chains(home, cn) {
		out, err := AppendFromHome([]byte("xyz"), b, careA)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		out = out[3:]
		p, err := ParsePacket(out)
		if err != nil || len(out) != len(b)+Overhead || p.Src != careA || p.Home != home || p.Dst != cn || p.Source() != home || p.Destination() != cn {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if back := p.AppendStripped([]byte("ab"), out); !bytes.Equal(back[2:], b) {
			t.Errorf("%s: home address option in and out:\n%x\n%x", name, back[2:], b)
		}
		if _, err := AppendFromHome(nil, out, careB); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: a second home address option: %v", name, err)
		}
		// The correspondent may be mobile, too.
		both, err := AppendToCareOf(nil, out, careB)
		if err != nil {
			t.Fatal(err)
		}
		p, err = ParsePacket(both)
		if err != nil || p.Src != careA || p.Dst != careB || p.Source() != home || p.Destination() != cn {
			t.Errorf("%s, both: %+v, %v", name, p, err)
		}
		if p.homeAt.at < p.routedAt.at {
			t.Errorf("%s: the home address option is in front of the routing header", name)
		}
		if back := p.AppendStripped(nil, both); !bytes.Equal(back, b) {
			t.Errorf("%s: both in and out:\n%x\n%x", name, back, b)
		}
	}
	for name, b := range chains(cn, home) {
		out, err := AppendToCareOf(nil, b, careA)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := ParsePacket(out)
		if err != nil || p.Dst != careA || p.Final != home || p.Destination() != home {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if back := p.AppendStripped(nil, out); !bytes.Equal(back, b) {
			t.Errorf("%s: routing header in and out:\n%x\n%x", name, back, b)
		}
		for n := range out {
			if _, err := ParsePacket(out[:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("%s cut to %d octets: %v", name, n, err)
			}
		}
	}
}

// TestPacketGolden has the layout of RFC 6275 sections 6.3 and 6.4 by hand.
func TestPacketGolden(t *testing.T) {
	b, err := AppendFromHome(nil, chain(home, cn, nil), careA)
	if err != nil {
		t.Fatal(err)
	}
	want := "60123456" + "0024" + "3c40" + "20010db8000a00000000000000000100" + "20010db8000c0000000000000000000c" +
		"1102" + "01020000" + "c910" + "20010db8000100000000000000000100" + hex.EncodeToString(udp)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("home address option\n%s\n%s", got, want)
	}
	if b, err = AppendToCareOf(nil, chain(cn, home, nil), careA); err != nil {
		t.Fatal(err)
	}
	want = "60123456" + "0024" + "2b40" + "20010db8000c0000000000000000000c" + "20010db8000a00000000000000000100" +
		"11020201" + "00000000" + "20010db8000100000000000000000100" + hex.EncodeToString(udp)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("type 2 routing header\n%s\n%s", got, want)
	}
}

// TestSharedHeader: what else is in the header of the Home Address option stays.
func TestSharedHeader(t *testing.T) {
	h := append([]byte{17, 3, 0x1e, 2, 9, 9, 0xc9, 16}, home.AsSlice()...)
	h = append(h, 0, 1, 5, 0, 0, 0, 0, 0)
	b := chain(careA, cn, []byte{60}, h)
	p, err := ParsePacket(b)
	if err != nil {
		t.Fatal(err)
	}
	out := p.AppendStripped(nil, b)
	got, err := ParsePacket(out)
	if err != nil || got.Home.IsValid() || got.Src != home || len(out) != len(b) || !bytes.Equal(out[42:46], []byte{0x1e, 2, 9, 9}) {
		t.Errorf("%x: %v", out, err)
	}
}

func TestPacketsRefused(t *testing.T) {
	option := func(a netip.Addr, size byte) []byte {
		return append([]byte{17, 2, 1, 2, 0, 0, 0xc9, size}, a.AsSlice()...)
	}
	route := func(a netip.Addr, size, left byte) []byte {
		return append([]byte{17, size, 2, left, 0, 0, 0, 0}, a.AsSlice()...)
	}
	for name, b := range map[string][]byte{
		"home address twice":         chain(careA, cn, []byte{60, 60}, option(home, 16), option(home, 16)),
		"home address multicast":     chain(careA, cn, []byte{60}, option(netip.MustParseAddr("ff02::1"), 16)),
		"home address unspecified":   chain(careA, cn, []byte{60}, option(netip.IPv6Unspecified(), 16)),
		"home address link-local":    chain(careA, cn, []byte{60}, option(netip.MustParseAddr("fe80::1"), 16)),
		"home address mapped":        chain(careA, cn, []byte{60}, option(netip.MustParseAddr("::ffff:10.0.0.1"), 16)),
		"home address of 15 octets":  chain(careA, cn, []byte{60}, option(home, 15)),
		"routing header used up":     chain(cn, careA, []byte{43}, route(home, 2, 0)),
		"routing header of two":      chain(cn, careA, []byte{43}, append(route(home, 4, 2), make([]byte, 16)...)),
		"routing header twice":       chain(cn, careA, []byte{43, 43}, route(home, 2, 1), route(home, 2, 1)),
		"routing header to loopback": chain(cn, careA, []byte{43}, route(netip.IPv6Loopback(), 2, 1)),
	} {
		if _, err := ParsePacket(b); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
	headers := make([][]byte, maxHeaders+1)
	for i := range headers {
		headers[i] = destOpts
	}
	for name, b := range map[string][]byte{
		"IPv4":               append([]byte{0x45}, make([]byte, 60)...),
		"too many headers":   chain(home, cn, bytes.Repeat([]byte{60}, maxHeaders+1), headers...),
		"option without end": chain(home, cn, []byte{60}, []byte{17, 0, 0x1e, 5, 0, 0, 0, 0}),
	} {
		if _, err := ParsePacket(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	big := plain(home, cn, 17, make([]byte, 0xffff-Overhead+1)...)
	if _, err := AppendFromHome(nil, big, careA); !errors.Is(err, ErrTooBig) {
		t.Errorf("too big: %v", err)
	}
}

func TestHeadersCostNothing(t *testing.T) {
	b := chain(home, cn, nil)
	var buf, back [200]byte
	if n := testing.AllocsPerRun(100, func() {
		out, err := AppendFromHome(buf[:0], b, careA)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePacket(out)
		if err != nil {
			t.Fatal(err)
		}
		p.AppendStripped(back[:0], out)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

func TestUnicast(t *testing.T) {
	for s, want := range map[string]bool{
		"2001:db8::1": true, "fd00::1": true, "fe80::1": false, "::": false, "::1": false, "ff02::1": false, "::ffff:1.2.3.4": false, "1.2.3.4": false,
	} {
		if got := Unicast(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
	if Unicast(netip.Addr{}) || Unicast(netip.MustParseAddr("fd00::1").WithZone("eth0")) {
		t.Error("no address, or one with a zone")
	}
}
