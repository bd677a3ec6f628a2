package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"openmpa/paa/keys"
)

// RFC 7634 appendix A. Its IV is no counter, so it goes through Open.
func TestChaCha20Poly1305Published(t *testing.T) {
	key := make([]byte, 36)
	for i := range key {
		key[i] = 0x80 + byte(i)
	}
	pkt := unhex(t, "01020304"+"00000005"+"1011121314151617"+
		"24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7"+
		"2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0"+"76aaa8266b7fb0f7b11b369907e1ad43")
	want := unhex(t, "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f10111213"+
		"1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637")
	in, err := ChaCha20Poly1305.NewInbound(0x01020304, keys.NewSecret(key), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := in.OpenPacket(pkt)
	if err != nil || !bytes.Equal(got.Inner, want) || got.NextHeader != NextHeaderIPv4 || got.Sequence != 5 {
		t.Fatalf("%+v %v", got, err)
	}
}

// Each suite opens what it sealed, in place and without an allocation, and nothing of another.
func TestSuites(t *testing.T) {
	for _, s := range []Suite{AESGCM, ChaCha20Poly1305} {
		for _, n := range s.KeyLens() {
			material := bytes.Repeat([]byte{7}, n)
			out, err := s.NewOutbound(testSPI, keys.NewSecret(bytes.Clone(material)))
			if err != nil {
				t.Fatal(err)
			}
			in, err := s.NewInbound(testSPI, keys.NewSecret(bytes.Clone(material)), 0)
			if err != nil {
				t.Fatal(err)
			}
			room := make([]byte, SealedLen(1400))
			turn := func() {
				inner := room[Headroom : Headroom+1400]
				binary.BigEndian.PutUint64(inner, 0x4142434445464748)
				pkt, err := out.Seal(room[:0], inner, NextHeaderIPv4)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := in.Open(pkt)
				if err != nil || len(got) != 1400 || binary.BigEndian.Uint64(got) != 0x4142434445464748 {
					t.Fatalf("%v: %d octets, %v", s, len(got), err)
				}
			}
			turn()
			if a := testing.AllocsPerRun(50, turn); a != 0 && !raceEnabled {
				t.Errorf("%v with %d octets of key: %v allocations", s, n, a)
			}
		}
	}
	key := bytes.Repeat([]byte{7}, 36)
	out, err := AESGCM.NewOutbound(testSPI, keys.NewSecret(bytes.Clone(key)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := ChaCha20Poly1305.NewInbound(testSPI, keys.NewSecret(bytes.Clone(key)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Open(seal(t, out, "x")); err != ErrAuth {
		t.Errorf("another suite: %v", err)
	}
}

func TestSuiteRefuses(t *testing.T) {
	for _, c := range []struct {
		s Suite
		n int
	}{{ChaCha20Poly1305, 20}, {ChaCha20Poly1305, 0}, {ChaCha20Poly1305, 37}, {AESGCM, 3}, {2, 36}, {255, 20}} {
		if _, err := c.s.NewOutbound(testSPI, keys.NewSecret(make([]byte, c.n))); err == nil {
			t.Errorf("%v took %d octets", c.s, c.n)
		}
		if _, err := c.s.NewInbound(testSPI, keys.NewSecret(make([]byte, c.n)), 0); err == nil {
			t.Errorf("%v took %d octets", c.s, c.n)
		}
	}
	for s, want := range map[Suite]string{AESGCM: "AES-GCM", ChaCha20Poly1305: "ChaCha20-Poly1305", 9: "Suite(9)"} {
		if s.String() != want {
			t.Errorf("%d prints as %s", uint8(s), s)
		}
	}
	if Suite(9).KeyLens() != nil {
		t.Error("an unknown suite takes keys")
	}
}

func BenchmarkSuites(b *testing.B) {
	for _, s := range []Suite{AESGCM, ChaCha20Poly1305} {
		for _, n := range s.KeyLens() {
			b.Run(fmt.Sprintf("%v/%d", s, 8*(n-SaltLen)), func(b *testing.B) {
				key := bytes.Repeat([]byte{7}, n)
				out, err := s.NewOutbound(testSPI, keys.NewSecret(bytes.Clone(key)))
				if err != nil {
					b.Fatal(err)
				}
				in, err := s.NewInbound(testSPI, keys.NewSecret(key), 0)
				if err != nil {
					b.Fatal(err)
				}
				buf, inner := make([]byte, 2000), make([]byte, 1400)
				b.SetBytes(int64(len(inner)))
				b.ReportAllocs()
				for b.Loop() {
					pkt, err := out.Seal(buf[:0], inner, NextHeaderIPv4)
					if err != nil {
						b.Fatal(err)
					}
					if _, _, err := in.Open(pkt); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
