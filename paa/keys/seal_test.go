package keys

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

func sealers(t testing.TB) (node, router *Sealer) {
	t.Helper()
	key := NewSecret(bytes.Repeat([]byte{3}, 32))
	node, err := NewSealer(key, ToRouter)
	if err != nil {
		t.Fatal(err)
	}
	router, err = NewSealer(key, ToNode)
	if err != nil {
		t.Fatal(err)
	}
	return node, router
}

func mustSeal(t testing.TB, s *Sealer, plain, aad string) []byte {
	t.Helper()
	b, err := s.Seal([]byte(plain), []byte(aad))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealBothWays(t *testing.T) {
	node, router := sealers(t)
	for i, plain := range []string{"", "a", strings.Repeat("long ", 300)} {
		up := mustSeal(t, node, plain, "aad")
		down := mustSeal(t, router, plain, "aad")
		if len(up) != len(plain)+SealOverhead {
			t.Errorf("want %d octets, got %d", len(plain)+SealOverhead, len(up))
		}
		if bytes.Equal(up[12:], down[12:]) {
			t.Error("both directions have the same ciphertext: the keys are not apart")
		}
		if want := []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, byte(i + 1)}; !bytes.Equal(up[:12], want) {
			t.Errorf("nonce: want %x, got %x", want, up[:12])
		}
		for _, way := range []struct {
			to *Sealer
			b  []byte
		}{{router, up}, {node, down}} {
			got, err := way.to.Open(way.b, []byte("aad"))
			if err != nil || string(got) != plain {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
}

// sealGolden is "hello" with additional data "aad", the first message to the
// router, under a key of 32 times 0x03.
const sealGolden = "000000010000000000000001816d173b14e957de4233ece155de124803972bfd9f"

func TestSealGolden(t *testing.T) {
	node, _ := sealers(t)
	got := mustSeal(t, node, "hello", "aad")
	if want := unhex(t, sealGolden); !bytes.Equal(got, want) {
		t.Errorf("want %x, got %x: both ends must be changed together", want, got)
	}
}

func TestOpenRefuses(t *testing.T) {
	node, router := sealers(t)
	first := mustSeal(t, node, "first", "aad")
	second := mustSeal(t, node, "second", "aad")
	third := mustSeal(t, node, "third", "aad")

	if _, err := node.Open(first, []byte("aad")); !errors.Is(err, ErrSealDirection) {
		t.Errorf("reflected: want ErrSealDirection, got %v", err)
	}
	for n := range first {
		if _, err := router.Open(first[:n], []byte("aad")); err == nil {
			t.Fatalf("cut at %d: opened", n)
		}
	}
	for i := range first {
		bad := bytes.Clone(first)
		bad[i] ^= 1
		if _, err := router.Open(bad, []byte("aad")); err == nil {
			t.Fatalf("octet %d changed: opened", i)
		}
	}
	if _, err := router.Open(first, []byte("other")); !errors.Is(err, ErrSealAuth) {
		t.Errorf("other additional data: want ErrSealAuth, got %v", err)
	}
	// A forged high counter must not shut out what is genuine.
	forged := bytes.Clone(first)
	copy(forged[4:12], bytes.Repeat([]byte{0xff}, 8))
	if _, err := router.Open(forged, []byte("aad")); !errors.Is(err, ErrSealAuth) {
		t.Errorf("forged counter: want ErrSealAuth, got %v", err)
	}
	if got, err := router.Open(second, []byte("aad")); err != nil || string(got) != "second" {
		t.Errorf("second: got %q, %v", got, err)
	}
	for name, b := range map[string][]byte{"repeated": second, "older": first} {
		if _, err := router.Open(b, []byte("aad")); !errors.Is(err, ErrSealReplay) {
			t.Errorf("%s: want ErrSealReplay, got %v", name, err)
		}
	}
	if got, err := router.Open(third, []byte("aad")); err != nil || string(got) != "third" {
		t.Errorf("third: got %q, %v", got, err)
	}
	other, err := NewSealer(NewSecret(bytes.Repeat([]byte{4}, 32)), ToNode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(third, []byte("aad")); !errors.Is(err, ErrSealAuth) {
		t.Errorf("other key: want ErrSealAuth, got %v", err)
	}
}

func TestSealCounterEnds(t *testing.T) {
	node, router := sealers(t)
	node.sent = math.MaxUint64 - 1
	last := mustSeal(t, node, "last", "")
	if _, err := node.Seal(nil, nil); !errors.Is(err, ErrSealExhausted) {
		t.Errorf("want ErrSealExhausted, got %v", err)
	}
	if _, err := router.Open(last, nil); err != nil {
		t.Errorf("the last one: %v", err)
	}
}

func TestNewSealerErrors(t *testing.T) {
	good := NewSecret(bytes.Repeat([]byte{1}, 32))
	cleared := good.Clone()
	cleared.Clear()
	for name, f := range map[string]func() (*Sealer, error){
		"direction": func() (*Sealer, error) { return NewSealer(good, 0) },
		"short":     func() (*Sealer, error) { return NewSealer(NewSecret(make([]byte, 15)), ToNode) },
		"cleared":   func() (*Sealer, error) { return NewSealer(cleared, ToNode) },
		"nil":       func() (*Sealer, error) { return NewSealer(nil, ToNode) },
	} {
		if _, err := f(); err == nil || strings.Count(err.Error(), "keys:") != 1 {
			t.Errorf("%s: want one error with the prefix once, got %v", name, err)
		}
	}
	if ToRouter.String() != "to router" || ToNode.String() != "to node" || Direction(9).String() != "Direction(9)" {
		t.Error("names of directions")
	}
}

func FuzzOpen(f *testing.F) {
	node, _ := sealers(f)
	f.Add(mustSeal(f, node, "seed", "aad"), []byte("aad"))
	f.Add([]byte{}, []byte{})
	f.Add(make([]byte, SealOverhead), []byte("aad"))
	f.Fuzz(func(t *testing.T, sealed, aad []byte) {
		node, router := sealers(t)
		plain, err := router.Open(sealed, aad)
		if err != nil {
			return
		}
		// Whatever opens was made by Seal: at that counter it must come out again.
		node.sent = router.seen - 1
		again, err := node.Seal(plain, aad)
		if err != nil || !bytes.Equal(again, sealed) {
			t.Errorf("opened what Seal does not make: %x, %x, %v", sealed, again, err)
		}
	})
}
