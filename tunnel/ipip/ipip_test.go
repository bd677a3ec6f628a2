package ipip

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var (
	coa = netip.MustParseAddr("10.1.0.100")
	hag = netip.MustParseAddr("10.0.3.1")
	hoa = netip.MustParseAddr("10.9.0.2")
	cn  = netip.MustParseAddr("10.0.4.1")
)

// packet is an IPv4 packet of protocol 17 from the home address to the correspondent.
func packet(t testing.TB, tos uint8, payload string) []byte {
	t.Helper()
	b, err := AppendHeader(nil, Header{Src: hoa, Dst: cn, TOS: tos, ID: 7, Protocol: 17}, len(payload))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, payload...)
}

func TestGolden(t *testing.T) {
	got, err := AppendHeader(nil, Header{Src: coa, Dst: hag, TOS: 0xb8, ID: 0x1234, DF: true}, 100)
	if err != nil {
		t.Fatal(err)
	}
	const want = "45b8" + "0078" + "1234" + "4000" + "4004" + "1031" + "0a010064" + "0a000301"
	if hex.EncodeToString(got) != want {
		t.Fatalf("got %x, want %s", got, want)
	}
	if err := VerifyChecksum(append(got, make([]byte, 100)...)); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	inner := packet(t, 0xb8, "hello")
	pkt, err := Encapsulate([]byte("kept"), Header{Src: coa, Dst: hag}, append(bytes.Clone(inner), "trailing"...))
	if err != nil {
		t.Fatal(err)
	}
	if string(pkt[:4]) != "kept" || len(pkt) != 4+HeaderLen+len(inner) {
		t.Fatalf("got %x", pkt)
	}
	pkt = pkt[4:]
	if err := VerifyChecksum(pkt); err != nil {
		t.Fatal(err)
	}
	if TOS(pkt) != 0xb8 || DSCP(pkt) != 46 || DontFragment(pkt) {
		t.Fatalf("outer header %x", pkt[:HeaderLen])
	}
	got, src, dst, err := Decapsulate(pkt)
	if err != nil || !bytes.Equal(got, inner) || src != coa || dst != hag {
		t.Fatalf("%x %v %v %v", got, src, dst, err)
	}

	inner[6] |= 0x40 // DF inside must be DF outside
	pkt, err = Encapsulate(nil, Header{Src: coa, Dst: hag}, inner)
	if err != nil || !DontFragment(pkt) {
		t.Fatalf("%x %v", pkt, err)
	}
	pkt, err = Encapsulate(nil, Header{Src: coa, Dst: hag, DF: true, Fragmentable: true, ID: 0x1234}, inner)
	if err != nil || DontFragment(pkt) || pkt[4] != 0x12 || !DontFragment(pkt[HeaderLen:]) {
		t.Fatalf("%x %v", pkt, err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := packet(t, 0, "payload")
	for n := range good {
		if _, _, _, _, _, err := ParseIPv4(good[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	src, dst, proto, headerLen, total, err := ParseIPv4(append(bytes.Clone(good), 1, 2, 3))
	if err != nil || src != hoa || dst != cn || proto != 17 || headerLen != 20 || total != len(good) {
		t.Fatalf("%v %v %d %d %d %v", src, dst, proto, headerLen, total, err)
	}
	for _, c := range []struct {
		at   int
		to   byte
		want error
	}{
		{0, 0x65, ErrVersion},
		{0, 0x44, ErrHeaderLen},
		{0, 0x40, ErrHeaderLen},
		{0, 0x4f, ErrHeaderLen},
		{3, 19, ErrTotalLen},
		{3, byte(len(good) + 1), ErrTotalLen},
		{2, 0xff, ErrTotalLen},
	} {
		bad := bytes.Clone(good)
		bad[c.at] = c.to
		if _, _, _, _, _, err := ParseIPv4(bad); err != c.want {
			t.Errorf("octet %d = %#x: %v, want %v", c.at, c.to, err, c.want)
		}
	}
	if !strings.HasPrefix(ErrShort.Error(), "ipip: ") || errors.Is(ErrShort, ErrVersion) {
		t.Error("error values are wrong")
	}
	bad := bytes.Clone(good)
	bad[12]++
	if err := VerifyChecksum(bad); err != ErrChecksum {
		t.Errorf("checksum: %v", err)
	}
	if err := VerifyChecksum(good[:10]); err != ErrShort {
		t.Errorf("checksum of a short packet: %v", err)
	}
}

func TestEncapsulateRefuses(t *testing.T) {
	good := packet(t, 0, "payload")
	dead := bytes.Clone(good)
	dead[8] = 0
	big := packet(t, 0, strings.Repeat("x", 65535-20-10))
	v6 := netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name  string
		h     Header
		inner []byte
		want  error
	}{
		{"TTL 0", Header{Src: coa, Dst: hag}, dead, ErrTTL},
		{"source is the exit", Header{Src: coa, Dst: hoa}, good, ErrLoop},
		{"too big", Header{Src: coa, Dst: hag}, big, ErrTooBig},
		{"no packet", Header{Src: coa, Dst: hag}, nil, ErrShort},
		{"IPv6 outside", Header{Src: v6, Dst: hag}, good, nil},
		{"no destination", Header{Src: coa}, good, nil},
	} {
		got, err := Encapsulate([]byte("kept"), c.h, c.inner)
		if err == nil || c.want != nil && err != c.want || string(got) != "kept" {
			t.Errorf("%s: %x %v", c.name, got, err)
		}
	}
	if _, err := AppendHeader(nil, Header{Src: coa, Dst: hag}, -1); err != ErrTooBig {
		t.Errorf("negative length: %v", err)
	}
}

func TestDecapsulateRefuses(t *testing.T) {
	inner := packet(t, 0, "payload")
	good, err := Encapsulate(nil, Header{Src: coa, Dst: hag}, inner)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, _, _, err := Decapsulate(good[:n:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		cut := bytes.Clone(good[:n])
		if n >= HeaderLen { // the outer header agrees with the cut
			binary.BigEndian.PutUint16(cut[2:], uint16(n))
			if _, _, _, err := Decapsulate(cut); !errors.Is(err, ErrFormat) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
	for name, c := range map[string]struct {
		at   int
		to   byte
		want error
	}{
		"other protocol":       {9, 17, ErrProtocol},
		"more fragments":       {6, 0x20, ErrFragment},
		"later fragment":       {7, 1, ErrFragment},
		"inner version":        {20, 0x65, ErrVersion},
		"inner TTL 0":          {28, 0, ErrTTL},
		"congestion, no ECT":   {1, 3, ErrECN},
		"inner total too long": {22, 0xff, ErrTotalLen},
	} {
		bad := bytes.Clone(good)
		bad[c.at] = c.to
		if _, _, _, err := Decapsulate(bad); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestSetTOS(t *testing.T) {
	for from := range 256 {
		for _, to := range []uint8{0, 1, 0x20, 0xb8, 0xff, uint8(from)} {
			pkt := packet(t, uint8(from), "x")
			SetTOS(pkt, to)
			if TOS(pkt) != to || VerifyChecksum(pkt) != nil {
				t.Fatalf("%#x to %#x: %x", from, to, pkt)
			}
		}
	}
	for _, other := range [][]byte{nil, {0x45}, {0x60}, append([]byte{0x50}, make([]byte, 39)...)} {
		before := bytes.Clone(other)
		SetTOS(other, 7)
		if !bytes.Equal(before, other) || TOS(other) != 0 || DSCP(other) != 0 {
			t.Errorf("%x was taken for an IP packet", before)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	inner, buf := packet(t, 2, strings.Repeat("x", 1000)), make([]byte, 0, 2000)
	bad := bytes.Clone(inner)
	bad[0] = 0x65
	if n := testing.AllocsPerRun(100, func() {
		pkt, err := Encapsulate(buf, Header{Src: coa, Dst: hag}, inner)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := Decapsulate(pkt); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := Decapsulate(bad); err != ErrVersion {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per packet", n)
	}
}

func FuzzDecapsulate(f *testing.F) {
	inner := packet(f, 2, "payload")
	whole, err := Encapsulate(nil, Header{Src: coa, Dst: hag}, inner)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(inner)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		pkt := bytes.Clone(b)
		inner, src, dst, err := Decapsulate(pkt)
		if err != nil {
			return
		}
		_, _, _, _, total, err := ParseIPv4(inner)
		if err != nil || total != len(inner) {
			t.Fatalf("inner %x does not parse: %d %v", inner, total, err)
		}
		again, err := Encapsulate(nil, Header{Src: src, Dst: dst}, inner)
		if err != nil {
			if err == ErrLoop || err == ErrTooBig {
				return
			}
			t.Fatalf("inner %x cannot be put back: %v", inner, err)
		}
		back, src2, dst2, err := Decapsulate(again)
		if err != nil || !bytes.Equal(back, inner) || src2 != src || dst2 != dst {
			t.Fatalf("inner %x came back as %x %v", inner, back, err)
		}
	})
}

func FuzzParseIPv4(f *testing.F) {
	f.Add(packet(f, 0, "x"), uint8(3))
	f.Add([]byte{0x4f, 0}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, tos uint8) {
		_, _, _, headerLen, total, err := ParseIPv4(b)
		if err != nil {
			return
		}
		if headerLen < 20 || total < headerLen || total > len(b) {
			t.Fatalf("header %d total %d buffer %d", headerLen, total, len(b))
		}
		Fragment(b)
		right := VerifyChecksum(b) == nil
		pkt := bytes.Clone(b)
		SetTOS(pkt, tos)
		if now := VerifyChecksum(pkt) == nil; now != right && binary.BigEndian.Uint16(b[10:]) != 0xffff {
			t.Fatalf("checksum of %x right before %v, after SetTOS %v", b, right, now)
		}
		_, _ = DecapsulateECN(pkt, tos)
	})
}
