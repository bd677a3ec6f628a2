package esp

import (
	"bytes"
	"slices"
	"testing"

	"openmpa/paa/keys"
)

func material(n int, fill byte) *keys.Secret { return keys.NewSecret(bytes.Repeat([]byte{fill}, n)) }

func TestTransformsCarryPackets(t *testing.T) {
	for _, tr := range Transforms(true) {
		n := tr.MaterialLen()
		one, err := tr.NewPair(0x1001, material(n, 1), 0x1002, material(n, 2))
		if err != nil {
			t.Fatalf("%v: %v", tr, err)
		}
		two, err := tr.NewPair(0x1002, material(n, 2), 0x1001, material(n, 1))
		if err != nil {
			t.Fatalf("%v: %v", tr, err)
		}
		for _, dir := range [][2]Pair{{one, two}, {two, one}} {
			inner, next, err := dir[1].In.Open(seal(t, dir[0].Out, "hello"))
			if err != nil || string(inner) != "hello" || next != NextHeaderIPv4 {
				t.Errorf("%v: %q %d %v", tr, inner, next, err)
			}
		}
		if _, err := tr.NewPair(0x1001, material(n+1, 1), 0x1002, material(n, 2)); err == nil {
			t.Errorf("%v took a key that is too long", tr)
		}
		if _, err := tr.NewPair(0x1001, material(n, 1), 0x1002, nil); err == nil {
			t.Errorf("%v took half a pair of keys", tr)
		}
		if got, err := ParseTransform(tr.String()); err != nil || got != tr {
			t.Errorf("%v by its name: %v, %v", tr, got, err)
		}
	}
	if _, err := Transform(9).NewPair(256, material(20, 1), 257, material(20, 1)); err == nil {
		t.Error("an unknown transform made a pair")
	}
	if _, err := ParseTransform("des"); err == nil {
		t.Error("des is a name")
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		offered []uint8
		allowed []Transform
		want    Transform
	}{
		{Offer(Transforms(true)), Transforms(false), AES128GCM},
		{Offer(Transforms(false)), Transforms(true), ChaCha20},
		{Offer(Transforms(false)), []Transform{AES256GCM, AES128GCM}, AES128GCM},
		{[]uint8{0, 77, 2}, Transforms(true), AES256GCM},
		{[]uint8{77}, append(Transforms(true), 77), 0},
		{[]uint8{3}, []Transform{AES128GCM}, 0},
		{nil, Transforms(true), 0},
	} {
		if got := Choose(c.offered, c.allowed); got != c.want {
			t.Errorf("of %v, allowed %v: %v, want %v", c.offered, c.allowed, got, c.want)
		}
	}
	with, without := Transforms(true), Transforms(false)
	slices.Sort(with)
	slices.Sort(without)
	if !slices.Equal(with, without) || with[0] == 0 {
		t.Errorf("a machine without AES has other transforms: %v, %v", with, without)
	}
}
