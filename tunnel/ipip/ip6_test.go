package ipip

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
)

var (
	coa6 = netip.MustParseAddr("2001:db8:1::100")
	hag6 = netip.MustParseAddr("2001:db8:9::1")
	hoa6 = netip.MustParseAddr("2001:db8:9::2")
	cn6  = netip.MustParseAddr("2001:db8:4::1")
)

// packet6 is an IPv6 packet of protocol 17 with room for an outer header in front.
func packet6(src, dst netip.Addr, tc uint8, payload string) (buf, inner []byte) {
	buf = make([]byte, 2*HeaderLen6, 2*HeaderLen6+len(payload))
	inner = buf[HeaderLen6:]
	inner[0] = 0x60
	SetTOS(inner, tc)
	inner[5], inner[6], inner[7] = byte(len(payload)), 17, 63
	s, d := src.As16(), dst.As16()
	copy(inner[8:], s[:])
	copy(inner[24:], d[:])
	buf = append(buf, payload...)
	return buf, buf[HeaderLen6:]
}

func TestEncapsulate6(t *testing.T) {
	buf, inner := packet6(cn6, hoa6, 0xb8, "hello")
	was := bytes.Clone(inner)
	if err := Encapsulate6(buf, hag6, coa6); err != nil {
		t.Fatal(err)
	}
	const want = "6b800000" + "002d2940" + "20010db8000900000000000000000001" + "20010db8000100000000000000000100"
	if got := hex.EncodeToString(buf[:HeaderLen6]); got != want {
		t.Errorf("outer header\n%s, want\n%s", got, want)
	}
	if !bytes.Equal(inner, was) {
		t.Error("the inner packet was changed")
	}
	src, dst, next, total, err := ParseIPv6(append(buf, "trailing"...))
	if err != nil || src != hag6 || dst != coa6 || next != Protocol6 || total != len(buf) {
		t.Errorf("%v %v %d %d %v", src, dst, next, total, err)
	}
}

func TestEncapsulate6Refuses(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(inner []byte)
		src, exit netip.Addr
		want      error
	}{
		"hop limit":    {func(b []byte) { b[7] = 0 }, hag6, coa6, ErrHopLimit},
		"loop":         {func([]byte) {}, hag6, cn6, ErrLoop},
		"exit of IPv4": {func([]byte) {}, hag6, coa, ErrVersion6},
		"IPv4 source":  {func([]byte) {}, hag, coa6, ErrVersion6},
	} {
		buf, inner := packet6(cn6, hoa6, 0, "x")
		c.change(inner)
		if err := Encapsulate6(buf, c.src, c.exit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	buf, _ := packet6(cn6, hoa6, 0, "x")
	big := append(buf, make([]byte, 1<<16)...)
	if err := Encapsulate6(big, hag6, coa6); !errors.Is(err, ErrTooBig) {
		t.Errorf("more than 65,535 octets: %v", err)
	}
}

func TestParse6Refuses(t *testing.T) {
	_, good := packet6(cn6, hoa6, 0, "payload")
	for n := range good {
		if _, _, _, _, err := ParseIPv6(good[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	good[0] = 0x45
	if _, _, _, _, err := ParseIPv6(good); !errors.Is(err, ErrVersion6) {
		t.Errorf("version 4: %v", err)
	}
}

// TestECN6: the table of RFC 6040 is applied, the flow label and the DSCP stay.
func TestECN6(t *testing.T) {
	for _, c := range []struct {
		inner, outer, want uint8
		err                error
	}{
		{0xb8, 0x00, 0xb8, nil}, {0xb9, 0x03, 0xbb, nil}, {0xba, 0x03, 0xbb, nil}, {0x02, 0xb9, 0x01, nil}, {0xb8, 0x03, 0xb8, ErrECN},
	} {
		_, b := packet6(cn6, hoa6, c.inner, "x")
		b[1], b[2], b[3] = b[1]|0x0a, 0xbc, 0xde
		_, err := DecapsulateECN(b, c.outer)
		if !errors.Is(err, c.err) || err == nil != (c.err == nil) || TOS(b) != c.want {
			t.Errorf("%#x inside, %#x outside: %#x, %v", c.inner, c.outer, TOS(b), err)
		}
		if b[0]>>4 != 6 || b[1]&0x0f != 0x0a || b[2] != 0xbc || b[3] != 0xde {
			t.Errorf("version or flow label changed: %x", b[:4])
		}
	}
}
