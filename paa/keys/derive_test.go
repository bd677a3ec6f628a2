package keys

import (
	"bytes"
	"errors"
	"testing"
)

func TestDeriveSessionGolden(t *testing.T) {
	msk := bytes.Repeat([]byte{0x5a}, 64)
	k := DeriveSession(PRFHMACSHA256, msk, 0x01020304, 0x0a0b0c0d, "ca.a.example", "ar.a.example")
	want := func(label, id string) []byte {
		seed := append([]byte(label), 1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d)
		return PRFPlus(PRFHMACSHA256, msk, append(seed, id...), 32)
	}
	if !bytes.Equal(k.MNCA.Bytes(), want("openmpa MN-CA", "ca.a.example")) {
		t.Errorf("MN-CA: got %x", k.MNCA.Bytes())
	}
	if !bytes.Equal(k.MNAR.Bytes(), want("openmpa MN-AR", "ar.a.example")) {
		t.Errorf("MN-AR: got %x", k.MNAR.Bytes())
	}
	k.Clear()
	if k.MNCA.Len() != 0 || k.MNAR.Len() != 0 {
		t.Error("Clear left something")
	}
	(*SessionKeys)(nil).Clear()
}

// TestSessionPMK: what both ends make of their session is DerivePMK of its MSK.
func TestSessionPMK(t *testing.T) {
	for _, p := range []PRF{PRFHMACSHA1, PRFHMACSHA256} {
		msk := counting(64)
		k := DeriveSession(p, msk, 1, 2, "ca", "ar")
		want, err := DerivePMK(p, counting(64), 1, 2, testBSSID)
		if err != nil {
			t.Fatal(err)
		}
		clear(msk) // the caller's
		if got, err := k.PMK(testBSSID); err != nil || !got.Equal(want) {
			t.Errorf("%v: got %x, want %x, %v", p, got.Bytes(), want.Bytes(), err)
		}
		k.Clear()
		if got, err := k.PMK(testBSSID); err == nil {
			t.Errorf("%v: cleared keys gave %x", p, got.Bytes())
		}
	}
	if _, err := DeriveSession(0, counting(64), 1, 2, "ca", "ar").PMK(testBSSID); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("no PRF: %v", err)
	}
}

func TestDeriveSessionKeepsKeysApart(t *testing.T) {
	msk := bytes.Repeat([]byte{1}, 64)
	seen := map[string]string{}
	add := func(name string, k *SessionKeys) {
		for part, s := range map[string]*Secret{"MN-CA": k.MNCA, "MN-AR": k.MNAR} {
			if s.Len() != SessionKeyLen {
				t.Errorf("%s %s: %d octets", name, part, s.Len())
			}
			if other, ok := seen[string(s.Bytes())]; ok {
				t.Errorf("%s %s equals %s", name, part, other)
			}
			seen[string(s.Bytes())] = name + " " + part
		}
	}
	add("base", DeriveSession(PRFHMACSHA256, msk, 1, 1, "x", "x")) // same identity: the labels keep them apart
	add("sid", DeriveSession(PRFHMACSHA256, msk, 2, 1, "x", "x"))
	add("key id", DeriveSession(PRFHMACSHA256, msk, 1, 2, "x", "x"))
	add("identity", DeriveSession(PRFHMACSHA256, msk, 1, 1, "y", "y"))
	add("msk", DeriveSession(PRFHMACSHA256, bytes.Repeat([]byte{2}, 64), 1, 1, "x", "x"))
}

func TestDeriveESP(t *testing.T) {
	mnAR := bytes.Repeat([]byte{7}, 32)
	n1, n2 := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
	base := DeriveESP(mnAR, n1, n2, 0x100, 0x200, 20)
	seed := append([]byte("openmpa ESP"), 0, 16)
	seed = append(append(append(seed, n1...), 0, 16), n2...)
	seed = append(seed, 0, 0, 1, 0, 0, 0, 2, 0)
	want := PRFPlus(PRFHMACSHA256, mnAR, seed, 40)
	if !bytes.Equal(base.ToRouter.Bytes(), want[:20]) || !bytes.Equal(base.ToNode.Bytes(), want[20:]) {
		t.Errorf("got %x and %x, want %x", base.ToRouter.Bytes(), base.ToNode.Bytes(), want)
	}
	for name, other := range map[string]*ESPKeys{
		"key":     DeriveESP(bytes.Repeat([]byte{8}, 32), n1, n2, 0x100, 0x200, 20),
		"nonces":  DeriveESP(mnAR, n2, n1, 0x100, 0x200, 20),
		"spis":    DeriveESP(mnAR, n1, n2, 0x200, 0x100, 20),
		"lengths": DeriveESP(mnAR, append(bytes.Clone(n1), n2[0]), n2[1:], 0x100, 0x200, 20),
	} {
		for _, s := range []*Secret{other.ToRouter, other.ToNode} {
			if s.Equal(base.ToRouter) || s.Equal(base.ToNode) {
				t.Errorf("%s: a key repeats", name)
			}
		}
	}
	for _, n := range []int{-1, 5000} {
		if k := DeriveESP(mnAR, n1, n2, 1, 2, n); k.ToRouter.Len() != 0 || k.ToNode.Len() != 0 {
			t.Errorf("n=%d: want empty keys", n)
		}
	}
	base.Clear()
	if base.ToRouter.Len() != 0 || base.ToNode.Len() != 0 {
		t.Error("Clear left something")
	}
	(*ESPKeys)(nil).Clear()
}
