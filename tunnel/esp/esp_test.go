package esp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"openmpa/paa/keys"
)

const (
	testSPI = 0x1000
	testKey = "000102030405060708090a0b0c0d0e0f" + "a0a1a2a3"
)

func pair(t testing.TB, window int) (*Outbound, *Inbound) {
	t.Helper()
	out, err := NewOutbound(testSPI, secret(t, testKey))
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInbound(testSPI, secret(t, testKey), window)
	if err != nil {
		t.Fatal(err)
	}
	return out, in
}

func seal(t testing.TB, o *Outbound, inner string) []byte {
	t.Helper()
	pkt, err := o.Seal(nil, []byte(inner), NextHeaderIPv4)
	if err != nil {
		t.Fatal(err)
	}
	return pkt
}

func TestRoundTrip(t *testing.T) {
	out, in := pair(t, 0)
	for n := range 200 {
		inner := bytes.Repeat([]byte{byte(n)}, n)
		pkt, err := out.Seal(nil, inner, byte(n))
		if err != nil {
			t.Fatal(err)
		}
		got, err := in.OpenPacket(pkt)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Inner, inner) || got.NextHeader != byte(n) || got.Sequence != uint32(n+1) || !got.Newest {
			t.Fatalf("%d: got %+v", n, got)
		}
	}
	if s := in.Stats(); s.Packets != 200 || s.Octets != 199*200/2 || s.Sequence != 200 {
		t.Fatalf("stats %+v", s)
	}
	if s := out.Stats(); s.Packets != 200 || s.Octets != 199*200/2 || s.Sequence != 200 {
		t.Fatalf("stats %+v", s)
	}
}

func TestSealInPlace(t *testing.T) {
	for _, shift := range []int{0, 1, Headroom - 1, Headroom, Headroom + 1, Headroom + 40} {
		out, in := pair(t, 0)
		buf := make([]byte, 400)
		inner := bytes.Repeat([]byte("0123456789"), 12)
		copy(buf[shift:], inner)
		pkt, err := out.Seal(buf[:0], buf[shift:shift+len(inner)], NextHeaderIPv4)
		if err != nil {
			t.Fatal(err)
		}
		if &pkt[0] != &buf[0] {
			t.Fatalf("shift %d: not sealed in the buffer given", shift)
		}
		got, _, err := in.Open(pkt)
		if err != nil || !bytes.Equal(got, inner) {
			t.Fatalf("shift %d: %q %v", shift, got, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for space := range 3000 {
		n := MaxPayload(space)
		if n == 0 {
			if space >= SealedLen(1) {
				t.Fatalf("space %d: nothing fits, but %d octets do", space, SealedLen(1))
			}
			continue
		}
		if SealedLen(n) > space || SealedLen(n+1) <= space {
			t.Fatalf("space %d: MaxPayload %d sealed %d, one more %d", space, n, SealedLen(n), SealedLen(n+1))
		}
	}
	if got := MaxInner(1500); got != 1438 {
		t.Fatalf("MaxInner(1500) = %d, want 1438", got)
	}
	if MaxInner(0) != 0 || MaxInner(-5) != 0 {
		t.Fatal("MaxInner of no room is not zero")
	}
}

func TestReplayWindow(t *testing.T) {
	out, in := pair(t, 64)
	var pkts [][]byte
	for range 200 {
		pkts = append(pkts, seal(t, out, "x"))
	}
	open := func(seq int, want error, newest bool) {
		t.Helper()
		got, err := in.OpenPacket(bytes.Clone(pkts[seq-1]))
		if !errors.Is(err, want) || got.Newest != newest {
			t.Fatalf("sequence %d: %+v, error %v, want %v", seq, got, err, want)
		}
	}
	open(1, nil, true)
	open(1, ErrReplay, false)
	open(100, nil, true)
	open(100, ErrReplay, false)
	open(37, nil, false) // 100-63: the leftmost of the window
	open(37, ErrReplay, false)
	open(36, ErrTooOld, false)
	open(99, nil, false)
	open(200, nil, true)
	open(137, nil, false)
	open(136, ErrTooOld, false)
	if !errors.Is(ErrTooOld, ErrReplay) {
		t.Fatal("ErrTooOld is not an ErrReplay")
	}
	if s := in.Stats(); s.Packets != 6 || s.Replayed != 3 || s.TooOld != 2 {
		t.Fatalf("stats %+v", s)
	}
}

// A forged packet must not move the window.
func TestForgeryLeavesWindow(t *testing.T) {
	out, in := pair(t, 64)
	first := seal(t, out, "one")
	forged := bytes.Clone(first)
	binary.BigEndian.PutUint32(forged[4:], 1_000_000)
	if _, _, err := in.Open(forged); !errors.Is(err, ErrAuth) {
		t.Fatalf("forged packet: %v", err)
	}
	zero := bytes.Clone(first)
	binary.BigEndian.PutUint32(zero[4:], 0)
	if _, _, err := in.Open(zero); !errors.Is(err, ErrReplay) {
		t.Fatalf("sequence number zero: %v", err)
	}
	if _, _, err := in.Open(first); err != nil {
		t.Fatal(err)
	}
	if s := in.Stats(); s.Auth != 1 || s.Replayed != 1 || s.Packets != 1 || s.Sequence != 1 {
		t.Fatalf("stats %+v", s)
	}
}

// The window against a set that remembers everything.
func TestWindowAgainstModel(t *testing.T) {
	for _, size := range []int{32, 64, 65, 100, 1024} {
		for _, base := range []uint64{0, 1 << 20, MaxSequence - 6000} {
			rng := rand.New(rand.NewPCG(uint64(size), base))
			w := newWindow(size)
			seen, top := map[uint64]bool{}, uint64(0)
			for range 20000 {
				var seq uint64
				switch rng.IntN(10) {
				case 0:
					seq = base + 1 + rng.Uint64N(5000)
				case 1:
					seq = top + rng.Uint64N(uint64(2*size))
				default:
					seq = top + 4 - min(top+4, rng.Uint64N(uint64(size)+40))
				}
				seq = min(seq, MaxSequence)
				var want error
				switch {
				case seq == 0:
					want = ErrReplay
				case seq+uint64(size) <= top:
					want = ErrTooOld
				case seen[seq]:
					want = ErrReplay
				}
				err := w.check(seq)
				if err != want {
					t.Fatalf("size %d top %d seq %d: %v, want %v", size, top, seq, err, want)
				}
				if err == nil {
					if newest := w.accept(seq); newest != (seq > top) {
						t.Fatalf("size %d top %d seq %d: newest %v", size, top, seq, newest)
					}
					seen[seq], top = true, max(top, seq)
				}
			}
		}
	}
}

func TestSequenceExhausted(t *testing.T) {
	out, in := pair(t, 0)
	out.seq.Store(MaxSequence - 1)
	last := seal(t, out, "last")
	for range 3 {
		dst := []byte("kept")
		got, err := out.Seal(dst, []byte("more"), NextHeaderIPv4)
		if !errors.Is(err, ErrSequenceExhausted) || string(got) != "kept" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	got, err := in.OpenPacket(bytes.Clone(last))
	if err != nil || got.Sequence != MaxSequence {
		t.Fatalf("%+v %v", got, err)
	}
	if _, _, err := in.Open(last); !errors.Is(err, ErrReplay) {
		t.Fatalf("the last packet twice: %v", err)
	}
	if s := out.Stats().Sequence; s != MaxSequence {
		t.Fatalf("sequence %d", s)
	}
}

func TestLifetime(t *testing.T) {
	out, in := pair(t, 0)
	soft := 0
	out.SetLifetime(Lifetime{SoftPackets: 2, HardPackets: 4}, func() { soft++ })
	inSoft := 0
	in.SetLifetime(Lifetime{SoftOctets: 5, HardOctets: 9}, func() { inSoft++ })
	for i := range 4 {
		pkt := seal(t, out, "abc")
		if want := min(i, 1); soft != want {
			t.Fatalf("packet %d: hook called %d times, want %d", i, soft, want)
		}
		_, _, err := in.Open(pkt)
		if i < 3 && err != nil || i == 3 && !errors.Is(err, ErrExpired) {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
	if _, err := out.Seal(nil, []byte("abc"), NextHeaderIPv4); !errors.Is(err, ErrExpired) {
		t.Fatalf("fifth packet: %v", err)
	}
	if soft != 1 || inSoft != 1 || in.Stats().Expired != 1 {
		t.Fatalf("hooks %d %d, stats %+v", soft, inSoft, in.Stats())
	}

	out, in = pair(t, 0)
	pkt := seal(t, out, "abc")
	out.Expire()
	in.Expire()
	if _, err := out.Seal(nil, nil, NextHeaderIPv4); !errors.Is(err, ErrExpired) {
		t.Fatalf("after Expire: %v", err)
	}
	if _, _, err := in.Open(pkt); !errors.Is(err, ErrExpired) {
		t.Fatalf("after Expire: %v", err)
	}
}

func TestBadPackets(t *testing.T) {
	out, _ := pair(t, 0)
	good := seal(t, out, "the quick brown fox")
	t.Run("cut at every octet", func(t *testing.T) {
		_, in := pair(t, 0)
		for n := range good {
			if _, _, err := in.Open(bytes.Clone(good[:n])); err == nil {
				t.Fatalf("opened when cut at %d", n)
			}
		}
		if s := in.Stats(); s.Format+s.Auth != uint64(len(good)) || s.Packets != 0 {
			t.Fatalf("stats %+v for %d packets", s, len(good))
		}
	})
	t.Run("every bit flipped", func(t *testing.T) {
		_, in := pair(t, 0)
		for bit := range len(good) * 8 {
			pkt := bytes.Clone(good)
			pkt[bit/8] ^= 1 << (bit % 8)
			_, _, err := in.Open(pkt)
			switch {
			case bit < 32 && errors.Is(err, ErrSPI):
			case bit >= 32 && (errors.Is(err, ErrAuth) || errors.Is(err, ErrReplay)):
			default:
				t.Fatalf("bit %d: %v", bit, err)
			}
		}
	})
	t.Run("padding", func(t *testing.T) {
		for name, body := range map[string]string{
			"wrong octets":      "inner." + "\x01\x03\x02\x04",
			"longer than it is": "inner." + "\x01\x02\x09\x04",
			"255":               "inner." + "\x01\x02\xff\x04",
		} {
			o, in := pair(t, 0)
			pkt := rawSeal(o, []byte("ab"+body))
			if _, _, err := in.Open(bytes.Clone(pkt)); !errors.Is(err, ErrFormat) {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := in.Open(pkt); !errors.Is(err, ErrReplay) {
				t.Errorf("%s: an authenticated packet did not enter the window: %v", name, err)
			}
		}
	})
	t.Run("more padding than needed", func(t *testing.T) {
		o, in := pair(t, 0)
		got, nh, err := in.Open(rawSeal(o, []byte("in\x01\x02\x03\x04\x04\x29")))
		if err != nil || string(got) != "in" || nh != NextHeaderIPv6 {
			t.Fatalf("%q %d %v", got, nh, err)
		}
	})
}

// rawSeal encrypts a body with a trailer of the test's own.
func rawSeal(o *Outbound, body []byte) []byte {
	seq, _ := o.next()
	pkt := binary.BigEndian.AppendUint32(nil, o.spi)
	pkt = binary.BigEndian.AppendUint32(pkt, uint32(seq))
	pkt = binary.BigEndian.AppendUint64(pkt, seq)
	nonce := append(o.salt[:len(o.salt):len(o.salt)], pkt[8:16]...)
	return o.aead.Seal(pkt, nonce, body, pkt[:8])
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		spi    uint32
		key    *keys.Secret
		window int
		want   string
	}{
		{0, secret(t, testKey), 0, "reserved"},
		{255, secret(t, testKey), 0, "reserved"},
		{256, nil, 0, "no key material"},
		{256, secret(t, testKey[:32]), 0, "16 octets"},
		{256, secret(t, testKey), 31, "window of 31"},
		{256, secret(t, testKey), -1, "window of -1"},
		{256, secret(t, testKey), 1<<16 + 1, "window of 65537"},
	} {
		_, err := NewInbound(c.spi, c.key, c.window)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v", c, err)
		}
		if c.window == 0 {
			if _, err := NewOutbound(c.spi, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("outbound %+v: error %v", c, err)
			}
		}
	}
}

func TestConcurrent(t *testing.T) {
	const workers, each = 4, 500
	out, in := pair(t, 4096)
	pkts := make(chan []byte, 2*workers*each)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				p, err := out.Seal(nil, []byte("payload"), NextHeaderIPv4)
				if err != nil {
					t.Error(err)
				}
				pkts <- p
				pkts <- bytes.Clone(p)
			}
		})
	}
	wg.Wait()
	close(pkts)
	for range workers {
		wg.Go(func() {
			for p := range pkts {
				_, _, _ = in.Open(p)
			}
		})
	}
	wg.Wait()
	if s := in.Stats(); s.Packets != workers*each || s.Replayed != workers*each {
		t.Fatalf("stats %+v, want %d opened and as many replays", s, workers*each)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		in   string
		kind Kind
		spi  uint32
	}{
		{"", KindInvalid, 0},
		{"\xff", KindKeepalive, 0},
		{"\x00", KindInvalid, 0},
		{"\xff\xff", KindInvalid, 0},
		{"\x00\x00\x00", KindInvalid, 0},
		{"\x00\x00\x00\x00", KindNonESP, 0},
		{"\x00\x00\x00\x00ike", KindNonESP, 0},
		{"\x00\x00\x01\x00", KindESP, 256},
		{"\xff\xff\xff\xff", KindESP, 1<<32 - 1},
	} {
		if kind, spi := Classify([]byte(c.in)); kind != c.kind || spi != c.spi {
			t.Errorf("%q: %v %d", c.in, kind, spi)
		}
	}
	for k, want := range map[Kind]string{KindInvalid: "invalid", KindESP: "esp", KindNonESP: "non-esp", KindKeepalive: "keepalive"} {
		if k.String() != want {
			t.Errorf("%d prints as %s", k, k)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop entries at random")
	}
	out, in := pair(t, 0)
	buf := make([]byte, 2000)
	inner := make([]byte, 1400)
	if n := testing.AllocsPerRun(500, func() {
		pkt, err := out.Seal(buf[:0], inner, NextHeaderIPv4)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.Open(pkt); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per packet", n)
	}
}

func FuzzOpen(f *testing.F) {
	out, _ := pair(f, 0)
	f.Add(seal(f, out, ""))
	f.Add(seal(f, out, "inner packet"))
	f.Add([]byte{})
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		_, in := pair(t, 0)
		inner, _, err := in.Open(bytes.Clone(pkt))
		if err == nil && len(inner) > len(pkt)-minPacket+2 {
			t.Fatalf("%d octets out of a packet of %d", len(inner), len(pkt))
		}
		s := in.Stats()
		if n := s.Packets + s.Format + s.SPI + s.Replayed + s.TooOld + s.Auth + s.Expired; n != 1 {
			t.Fatalf("one packet was counted %d times: %+v", n, s)
		}
		// The same octets as the plaintext of an authentic packet: trailer parsing.
		if len(pkt) == 0 || len(pkt)%4 != 0 {
			return
		}
		o, in := pair(t, 0)
		inner, nh, err := in.Open(rawSeal(o, pkt))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(pkt, inner) || nh != pkt[len(pkt)-1] || len(inner)+2+int(pkt[len(pkt)-2]) != len(pkt) {
			t.Fatalf("body %x: inner %x, next header %d", pkt, inner, nh)
		}
	})
}

func FuzzSealOpen(f *testing.F) {
	f.Add([]byte("inner"), byte(4))
	f.Add([]byte{}, byte(59))
	f.Fuzz(func(t *testing.T, inner []byte, nh byte) {
		out, in := pair(t, 0)
		pkt, err := out.Seal(nil, inner, nh)
		if err != nil || len(pkt) != SealedLen(len(inner)) {
			t.Fatalf("%d octets, %v", len(pkt), err)
		}
		got, gotNH, err := in.Open(pkt)
		if err != nil || !bytes.Equal(got, inner) || gotNH != nh {
			t.Fatalf("%x %d %v", got, gotNH, err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	out, _ := pair(b, 0)
	buf, inner := make([]byte, 2000), make([]byte, 1400)
	b.SetBytes(int64(len(inner)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := out.Seal(buf[:0], inner, NextHeaderIPv4); err != nil {
			b.Fatal(err)
		}
	}
}
