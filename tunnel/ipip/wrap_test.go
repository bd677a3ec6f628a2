package ipip

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, ends := range [][2]netip.Addr{
		{netip.MustParseAddr("10.0.3.1"), netip.MustParseAddr("10.9.0.2")},
		{netip.MustParseAddr("2001:db8:9::1"), netip.MustParseAddr("2001:db8:9::2")},
	} {
		header := HeaderLen
		if ends[0].Is6() {
			header = HeaderLen6
		}
		pkt := append(make([]byte, header), "numbered"...)
		if err := Wrap(pkt, ends[0], ends[1], 0xb8); err != nil {
			t.Fatal(err)
		}
		if _, _, proto, total, err := Parse(pkt); err != nil || proto != ProtocolNumbered || total != len(pkt) || TOS(pkt) != 0xb8 {
			t.Errorf("%x: protocol %d, %d octets, %v", pkt, proto, total, err)
		}
		if got, ok := Unwrap(append(bytes.Clone(pkt), "behind it"...), ends[0], ends[1]); !ok || string(got) != "numbered" {
			t.Errorf("%q, %v", got, ok)
		}
		if _, ok := Unwrap(pkt, ends[1], ends[0]); ok {
			t.Error("taken from another")
		}
		for n := range pkt {
			if _, ok := Unwrap(pkt[:n], ends[0], ends[1]); ok {
				t.Errorf("cut to %d octets it was taken", n)
			}
		}
		other := bytes.Clone(pkt)
		other[map[int]int{HeaderLen: 9, HeaderLen6: 6}[header]] = 17
		if _, ok := Unwrap(other, ends[0], ends[1]); ok {
			t.Error("taken with another protocol")
		}
	}
	fragment := append(make([]byte, HeaderLen), "part"...)
	a, b := netip.MustParseAddr("10.0.3.1"), netip.MustParseAddr("10.9.0.2")
	if err := Wrap(fragment, a, b, 0); err != nil {
		t.Fatal(err)
	}
	fragment[6] |= 0x20
	if _, ok := Unwrap(fragment, a, b); ok {
		t.Error("a fragment was taken")
	}
	if err := Wrap(make([]byte, 48), b, netip.MustParseAddr("2001:db8:9::2"), 0); err == nil {
		t.Error("two families")
	}
	if err := Wrap(make([]byte, HeaderLen6+1<<16), netip.IPv6Loopback(), netip.IPv6Loopback(), 0); err == nil {
		t.Error("too big")
	}
}

func FuzzUnwrap(f *testing.F) {
	a, b := netip.MustParseAddr("10.0.3.1"), netip.MustParseAddr("10.9.0.2")
	pkt := append(make([]byte, HeaderLen), "numbered"...)
	if err := Wrap(pkt, a, b, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(pkt)
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if got, ok := Unwrap(pkt, a, b); ok && len(got) > len(pkt)-HeaderLen {
			t.Fatal("more than there is")
		}
	})
}
