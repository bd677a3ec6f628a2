package mip4

import (
	"bytes"
	"encoding/binary"
	"testing"

	"openmpa/internal/inet"
)

func marker(t testing.TB, m Marker, sa Security) []byte {
	t.Helper()
	b, err := AppendMarkerPacket(nil, m, sa)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMarkerRoundTrip(t *testing.T) {
	for _, sa := range []Security{md5SA, sha2SA} {
		for _, down := range []bool{false, true} {
			want := Marker{HomeAddress: home, HomeAgent: agent, ID: anID, Down: down}
			pkt := append([]byte{0xaa}, marker(t, want, sa)...)[1:]
			if got, ok := ParseMarkerPacket(pkt, sa); !ok || got != want {
				t.Errorf("%v down=%v: %+v, %v", sa.Algorithm, down, got, ok)
			}
			if inet.Fold(inet.Sum(0, pkt[:ipHeaderLen])) != 0xffff {
				t.Error("IP checksum")
			}
			pseudo := inet.Sum(0, pkt[12:20]) + protoUDP + uint32(len(pkt)-ipHeaderLen)
			if inet.Fold(pseudo+inet.Sum(0, pkt[ipHeaderLen:])) != 0xffff {
				t.Error("UDP checksum")
			}
		}
	}
}

func TestMarkerAppends(t *testing.T) {
	m := Marker{HomeAddress: home, HomeAgent: agent, ID: 1}
	b, err := AppendMarkerPacket([]byte("abc"), m, md5SA)
	if err != nil || string(b[:3]) != "abc" {
		t.Fatalf("%x, %v", b, err)
	}
	if !bytes.Equal(b[3:], marker(t, m, md5SA)) {
		t.Error("the checksums depend on what was there before")
	}
}

func TestMarkerRefused(t *testing.T) {
	good := marker(t, Marker{HomeAddress: home, HomeAgent: agent, ID: anID}, md5SA)
	for n := range good {
		if _, ok := ParseMarkerPacket(good[:n], md5SA); ok {
			t.Errorf("cut to %d octets was believed", n)
		}
	}
	for name, change := range map[string]func(b []byte) []byte{
		"longer":              func(b []byte) []byte { return append(b, 0) },
		"sender is another":   func(b []byte) []byte { b[15]++; return b },
		"receiver is another": func(b []byte) []byte { b[19]++; return b },
		"fragment":            func(b []byte) []byte { b[6] |= 0x20; return b },
		"later fragment":      func(b []byte) []byte { b[7] = 1; return b },
		"IP options":          func(b []byte) []byte { b[0] = 0x46; return b },
		"another port":        func(b []byte) []byte { b[23]++; return b },
		"another protocol":    func(b []byte) []byte { b[9] = 6; return b },
		"wrong UDP length":    func(b []byte) []byte { b[25]++; return b },
		"direction out of range": func(b []byte) []byte {
			b[30] = 2
			return b
		},
	} {
		if _, ok := ParseMarkerPacket(change(bytes.Clone(good)), md5SA); ok {
			t.Errorf("%s: believed", name)
		}
	}
	if _, ok := ParseMarkerPacket(good, sha2SA); ok {
		t.Error("believed under another algorithm")
	}
}

// ordinary is a UDP packet with n octets of data.
func ordinary(n int) []byte {
	pkt := make([]byte, 28+n)
	pkt[0], pkt[8], pkt[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	binary.BigEndian.PutUint16(pkt[22:], 5001)
	return pkt
}

func TestOrdinaryPacketsCostNothing(t *testing.T) {
	pkt := ordinary(1000)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := ParseMarkerPacket(pkt, md5SA); ok {
			t.Error("taken for a marker")
		}
	}); n != 0 {
		t.Errorf("%v allocations for an ordinary packet", n)
	}
}

func BenchmarkOrdinaryPacket(b *testing.B) {
	pkt := ordinary(1000)
	for b.Loop() {
		ParseMarkerPacket(pkt, md5SA)
	}
}
