package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

// RFC 4868 section 2.7.1 (PRF test cases, from RFC 4231) and RFC 2202 section 3.
func TestPRFAgainstRFCVectors(t *testing.T) {
	key := bytes.Repeat([]byte{0x0b}, 20)
	for _, c := range []struct {
		integ Integrity
		want  string // of HMAC(key, "Hi There"), truncated
	}{
		{AuthHMACSHA1_160, "b617318655057264e28bc0b6fb378c8ef146be00"},
		{AuthHMACSHA256_128, "b0344c61d8db38535ca8afceaf0bf12b"},
		{AuthHMACSHA384_192, "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec6"},
		{AuthHMACSHA512_256, "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"},
	} {
		if got := c.integ.MAC(key, []byte("Hi There")); !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%v: want %s, got %x", c.integ, c.want, got)
		}
		if len(c.want)/2 != c.integ.ICVLen() {
			t.Errorf("%v: ICV length %d does not fit the vector", c.integ, c.integ.ICVLen())
		}
	}
}

func TestPRFPlusIsTheChainOfRFC7296(t *testing.T) {
	key, seed := []byte("key"), []byte("seed")
	mac := func(parts ...[]byte) []byte {
		m := hmac.New(sha256.New, key)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	t1 := mac(seed, []byte{1})
	t2 := mac(t1, seed, []byte{2})
	t3 := mac(t2, seed, []byte{3})
	all := bytes.Join([][]byte{t1, t2, t3}, nil)
	for _, n := range []int{0, 1, 31, 32, 33, 64, 95, 96} {
		if got := PRFPlus(PRFHMACSHA256, key, seed, n); !bytes.Equal(got, all[:n]) || got == nil {
			t.Errorf("n=%d: want %x, got %x", n, all[:n], got)
		}
	}
}

// 255 blocks are the most: the counter is one octet.
func TestPRFPlusBounds(t *testing.T) {
	for _, p := range []PRF{PRFHMACSHA1, PRFHMACSHA256, PRFHMACSHA384, PRFHMACSHA512} {
		most := 255 * p.Size()
		if got := PRFPlus(p, []byte("k"), []byte("s"), most); len(got) != most {
			t.Errorf("%v: want %d octets, got %d", p, most, len(got))
		}
		for _, n := range []int{-1, most + 1} {
			if got := PRFPlus(p, []byte("k"), []byte("s"), n); got != nil {
				t.Errorf("%v: n=%d: want nil, got %d octets", p, n, len(got))
			}
		}
	}
	if got := PRFPlus(4, []byte("k"), []byte("s"), 16); got != nil {
		t.Errorf("unknown function: want nil, got %x", got)
	}
}

func TestPRFPlusLeavesNothingBehindTheResult(t *testing.T) {
	got := PRFPlus(PRFHMACSHA256, []byte("k"), []byte("s"), 5)
	if cap(got) != 5 {
		t.Errorf("want capacity 5, so that no further key material is reachable, got %d", cap(got))
	}
}

func TestNamesAndSupport(t *testing.T) {
	for p, want := range map[PRF]string{2: "PRF_HMAC_SHA1", 5: "PRF_HMAC_SHA2_256", 6: "PRF_HMAC_SHA2_384", 7: "PRF_HMAC_SHA2_512"} {
		if p.String() != want || !p.Supported() {
			t.Errorf("PRF %d: want %s, supported; got %s, %v", uint32(p), want, p, p.Supported())
		}
	}
	for i, want := range map[Integrity]string{7: "AUTH_HMAC_SHA1_160", 12: "AUTH_HMAC_SHA2_256_128", 13: "AUTH_HMAC_SHA2_384_192", 14: "AUTH_HMAC_SHA2_512_256"} {
		if i.String() != want || !i.Supported() {
			t.Errorf("integrity %d: want %s, supported; got %s, %v", uint32(i), want, i, i.Supported())
		}
	}
	if PRF(4).Supported() || PRF(4).Size() != 0 || !strings.Contains(PRF(4).String(), "4") {
		t.Errorf("PRF 4: %v, %d", PRF(4), PRF(4).Size())
	}
	if i := Integrity(8); i.Supported() || i.KeyLen() != 0 || i.ICVLen() != 0 || i.MAC(nil, nil) != nil || !strings.Contains(i.String(), "8") {
		t.Errorf("integrity 8: %v", i)
	}
}
