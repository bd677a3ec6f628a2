package keys

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// unhex decodes a fixture.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("fixture %q: %v", s, err)
	}
	return b
}

// hexBytes is a hexadecimal string in JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

type panaVector struct {
	PRF      PRF        `json:"prf"`
	Integ    Integrity  `json:"integ"`
	MSK      hexBytes   `json:"msk"`
	IPAR     hexBytes   `json:"i_par"`
	IPAN     hexBytes   `json:"i_pan"`
	NPaC     hexBytes   `json:"pac_nonce"`
	NPAA     hexBytes   `json:"paa_nonce"`
	KeyID    hexBytes   `json:"key_id"`
	AuthKey  hexBytes   `json:"pana_auth_key"`
	EncrPaC  hexBytes   `json:"pana_pac_encr_key"`
	EncrPAA  hexBytes   `json:"pana_paa_encr_key"`
	Messages []hexBytes `json:"messages"`
}

func (v panaVector) keyID() uint32 {
	return uint32(v.KeyID[0])<<24 | uint32(v.KeyID[1])<<16 | uint32(v.KeyID[2])<<8 | uint32(v.KeyID[3])
}

// panaVectors are captures of two independent implementations, in each pairing.
func panaVectors(t *testing.T) []panaVector {
	t.Helper()
	text, err := os.ReadFile("testdata/pana-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var captures map[string][]panaVector
	if err := json.Unmarshal(text, &captures); err != nil {
		t.Fatal(err)
	}
	var all []panaVector
	for _, vs := range captures {
		all = append(all, vs...)
	}
	if len(all) < 3 {
		t.Fatalf("want at least 3 keys in the captures, got %d", len(all))
	}
	return all
}

func TestPANAAuthKeyAgainstCaptures(t *testing.T) {
	for _, v := range panaVectors(t) {
		key, err := PANAAuthKey(v.PRF, v.Integ, v.MSK, v.IPAR, v.IPAN, v.NPaC, v.NPAA, v.keyID())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(key.Bytes(), v.AuthKey) {
			t.Errorf("key %x: want %x, got %x", []byte(v.KeyID), []byte(v.AuthKey), key.Bytes())
		}
		pac, paa, err := PANAEncrKeys(v.PRF, v.MSK, v.IPAR, v.IPAN, v.NPaC, v.NPAA, v.keyID())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(pac.Bytes(), v.EncrPaC) || !bytes.Equal(paa.Bytes(), v.EncrPAA) {
			t.Errorf("key %x: want %x and %x to encrypt with, got %x and %x", []byte(v.KeyID), []byte(v.EncrPaC), []byte(v.EncrPAA), pac.Bytes(), paa.Bytes())
		}
		if len(v.Messages) == 0 {
			t.Errorf("key %x: no messages to check AUTH of", []byte(v.KeyID))
		}
		for i, msg := range v.Messages {
			// AUTH is the last AVP in all of them: its value ends the message.
			icv := v.Integ.ICVLen()
			got := bytes.Clone(msg)
			want := bytes.Clone(got[len(got)-icv:])
			clear(got[len(got)-icv:])
			mac := v.Integ.MAC(key.Bytes(), got)
			if !hmac.Equal(mac, want) {
				t.Errorf("key %x message %d: AUTH: want %x, got %x", []byte(v.KeyID), i, want, mac)
			}
		}
	}
}

// Every input must matter, or the key would not bind what it claims to bind.
func TestPANAAuthKeyDependsOnEveryInput(t *testing.T) {
	v := panaVectors(t)[0]
	flip := func(b []byte) []byte {
		c := bytes.Clone(b)
		c[len(c)-1] ^= 1
		return c
	}
	for name, key := range map[string]func() (*Secret, error){
		"prf": func() (*Secret, error) {
			return PANAAuthKey(PRFHMACSHA256, v.Integ, v.MSK, v.IPAR, v.IPAN, v.NPaC, v.NPAA, v.keyID())
		},
		"msk": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, flip(v.MSK), v.IPAR, v.IPAN, v.NPaC, v.NPAA, v.keyID())
		},
		"par": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, v.MSK, flip(v.IPAR), v.IPAN, v.NPaC, v.NPAA, v.keyID())
		},
		"pan": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, v.MSK, v.IPAR, flip(v.IPAN), v.NPaC, v.NPAA, v.keyID())
		},
		"pac": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, v.MSK, v.IPAR, v.IPAN, flip(v.NPaC), v.NPAA, v.keyID())
		},
		"paa": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, v.MSK, v.IPAR, v.IPAN, v.NPaC, flip(v.NPAA), v.keyID())
		},
		"key id": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, v.MSK, v.IPAR, v.IPAN, v.NPaC, v.NPAA, v.keyID()+1)
		},
		"swapped": func() (*Secret, error) {
			return PANAAuthKey(v.PRF, v.Integ, v.MSK, v.IPAN, v.IPAR, v.NPaC, v.NPAA, v.keyID())
		},
	} {
		k, err := key()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if bytes.Equal(k.Bytes(), v.AuthKey) {
			t.Errorf("%s: the key did not change", name)
		}
	}
}

func TestPANAAuthKeyLengthsAndErrors(t *testing.T) {
	b := []byte("0123456789abcdef")
	for _, i := range []Integrity{AuthHMACSHA1_160, AuthHMACSHA256_128, AuthHMACSHA384_192, AuthHMACSHA512_256} {
		k, err := PANAAuthKey(PRFHMACSHA1, i, b, b, b, b, b, 1)
		if err != nil || k.Len() != i.KeyLen() {
			t.Errorf("%v: want a key of %d octets, got %d, %v", i, i.KeyLen(), k.Len(), err)
		}
	}
	if _, err := PANAAuthKey(4, AuthHMACSHA1_160, b, b, b, b, b, 1); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("PRF 4: want ErrAlgorithm, got %v", err)
	}
	if _, err := PANAAuthKey(PRFHMACSHA1, 8, b, b, b, b, b, 1); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("integrity 8: want ErrAlgorithm, got %v", err)
	}
	for i := range 5 {
		in := [5][]byte{b, b, b, b, b}
		in[i] = nil
		if _, err := PANAAuthKey(PRFHMACSHA1, AuthHMACSHA1_160, in[0], in[1], in[2], in[3], in[4], 1); err == nil {
			t.Errorf("input %d empty: want an error", i)
		}
		if pac, paa, err := PANAEncrKeys(PRFHMACSHA1, in[0], in[1], in[2], in[3], in[4], 1); err == nil || pac != nil || paa != nil {
			t.Errorf("input %d empty: want an error and no key to encrypt with", i)
		}
	}
}
