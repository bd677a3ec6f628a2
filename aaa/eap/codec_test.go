package eap

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"openmpa/paa/keys"
)

var avpGoldens = []struct {
	hex  string
	list []avp
}{
	{"", nil},
	{"00000001 4000000a 6d6e 0000", []avp{{code: 1, mandatory: true, data: []byte("mn")}}},
	{"0000000b c0000010 00000137 01020304", []avp{{vendor: 311, code: 11, mandatory: true, data: []byte{1, 2, 3, 4}}}},
	{"00000012 00000008 00000002 40000009 61000000", []avp{{code: 18, data: []byte{}}, {code: 2, mandatory: true, data: []byte("a")}}},
}

func TestAVPs(t *testing.T) {
	for _, g := range avpGoldens {
		wire := unhex(t, g.hex)
		got, err := parseAVPs(wire)
		if err != nil {
			t.Fatalf("%s: %v", g.hex, err)
		}
		if d := cmp.Diff(g.list, got, cmp.AllowUnexported(avp{})); d != "" {
			t.Errorf("%s: %s", g.hex, d)
		}
		if out := appendAVPs(nil, g.list...); !bytes.Equal(out, wire) {
			t.Errorf("%s: appended % x", g.hex, out)
		}
	}
	whole := unhex(t, avpGoldens[3].hex)
	for n := range whole {
		got, err := parseAVPs(whole[:n])
		if ok := n == 0 || n == 8 || n >= 17; ok != (err == nil) || ok && n >= 17 && len(got) != 2 {
			t.Errorf("%d octets of two AVPs: %v, %v", n, got, err)
		}
	}
	for what, s := range map[string]string{
		"longer than the message":     "00000001 40000010 6d6e0000",
		"shorter than its header":     "00000001 40000007 6d6e0000",
		"shorter than a vendor's":     "0000000b c000000b 00000137",
		"length of three octets, all": "00000001 40ffffff 6d6e0000",
		"too many":                    strings.Repeat("0000001200000008", maxAVPs+1),
	} {
		if _, err := parseAVPs(unhex(t, s)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestTLVs(t *testing.T) {
	success := unhex(t, "8003 0002 0001")
	got, err := parseResult(success)
	if err != nil || !got.success || got.binding != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if out := resultTLV(true).appendBinary(nil); !bytes.Equal(out, success) {
		t.Errorf("appended % x", out)
	}
	if got, err := parseResult(resultTLV(false).appendBinary(nil)); err != nil || got.success {
		t.Errorf("failure: %+v, %v", got, err)
	}
	k := newPEAPKeys(bytes.Repeat([]byte{7}, keyMaterial), bytes.Repeat([]byte{9}, iskLen))
	c := cryptoBinding{subtype: bindingRequest, nonce: [nonceLen]byte{1, 2, 3}}
	both := c.sealed(k).appendBinary(bytes.Clone(success))
	got, err = parseResult(both)
	if err != nil || !got.success || got.binding == nil || got.binding.nonce != c.nonce {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := got.binding.check(k, bindingRequest); err != nil {
		t.Error(err)
	}
	if err := got.binding.check(k, bindingResponse); err == nil {
		t.Error("a request as a response")
	}
	if err := got.binding.check(newPEAPKeys(bytes.Repeat([]byte{7}, keyMaterial), bytes.Repeat([]byte{8}, iskLen)), bindingRequest); err == nil {
		t.Error("the MAC of another inner key")
	}
	for n := range both {
		if r, err := parseResult(both[:n]); err == nil && n != len(success) {
			t.Errorf("%d octets: %+v", n, r)
		}
	}
	for what, s := range map[string]string{
		"twice":                 "8003 0002 0001 8003 0002 0002",
		"result 3":              "8003 0002 0003",
		"result of 1 octet":     "8003 0001 01",
		"unknown and mandatory": "8003 0002 0001 8007 0000",
		"no result":             "0007 0000",
		"short binding":         "8003 0002 0001 800c 0001 00",
		"too many":              "80030002 0001" + strings.Repeat("00070000", maxTLVs),
	} {
		if r, err := parseResult(unhex(t, s)); err == nil {
			t.Errorf("%s: %+v", what, r)
		}
	}
	if r, err := parseResult(unhex(t, "0007 0000 8003 0002 0001")); err != nil || !r.success {
		t.Errorf("an unknown TLV that need not be understood: %v", err)
	}
}

// rfc2759Sample is section 9.2 of RFC 2759.
func rfc2759Sample(t testing.TB) chap {
	nt, err := NTHash("clientPass")
	if err != nil {
		t.Fatal(err)
	}
	c := chap{user: "User", nt: nt}
	copy(c.server[:], unhex(t, "5B5D7C7D7B3F2F3E3C2C602132262628"))
	copy(c.peer[:], unhex(t, "21402324255E262A28295F2B3A337C7E"))
	return c
}

func TestMSCHAPv2Sample(t *testing.T) {
	c := rfc2759Sample(t)
	if !c.nt.Equal(keys.NewSecret(unhex(t, "44EBBA8D5312B8D611474411F56989AE"))) {
		t.Error("password hash")
	}
	nt := c.ntResponse()
	if got := hex.EncodeToString(nt[:]); got != "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" {
		t.Errorf("NT-Response %s", got)
	}
	const proof = "S=407A5589115FD0D6209F510FE9C04566932CDA56"
	if got := c.authenticator(); got != proof {
		t.Errorf("authenticator response %s", got)
	}
	// RFC 3079 section 3.5.3: the server's sending key is the second of ours.
	key, err := c.key()
	if err != nil || len(key) != iskLen || hex.EncodeToString(key[16:]) != "8b7cdc149b993a1ba118cb153f56dccb" {
		t.Errorf("keys % x, %v", key, err)
	}
	domain := c
	domain.user = `DOMAIN\User`
	if domain.ntResponse() != nt {
		t.Error("the domain goes into the hash")
	}
	for message, want := range map[string]bool{
		proof: true, proof + " M=welcome": true, strings.ToLower(proof[:3]) + proof[3:]: true,
		"": false, proof[:41]: false, "S=507A" + proof[6:]: false,
	} {
		if c.proves(message) != want {
			t.Errorf("%q", message)
		}
	}
	other := c
	other.nt, _ = NTHash("clientpass")
	if other.proves(proof) || other.ntResponse() == nt {
		t.Error("another password proves the same")
	}
}

func TestMSCHAPv2Packets(t *testing.T) {
	for _, p := range []chapPacket{
		{code: chapChallenge, id: 7, challenge: [16]byte{1, 15: 9}, name: "server"},
		{code: chapResponse, id: 7, challenge: [16]byte{1}, response: [24]byte{2, 23: 3}, name: "mn@home.example"},
		{code: chapSuccess, id: 7, message: "S=00 M=ok"},
		{code: chapFailure, id: 7, message: "E=691 R=0 C=00 V=3 M=no"},
		{code: chapSuccess, bare: true},
		{code: chapFailure, bare: true},
	} {
		wire := p.appendBinary(nil)
		got, err := parseCHAP(wire)
		if err != nil || got != p {
			t.Errorf("%+v: %+v, %v", p, got, err)
		}
		for n := range wire {
			if got, err := parseCHAP(wire[:n]); err == nil && !got.bare {
				t.Errorf("%v: %d octets accepted: %+v", p.code, n, got)
			}
		}
		if _, err := parseCHAP(append(wire, 0)); err == nil {
			t.Errorf("%v: an octet more accepted", p.code)
		}
	}
	for _, s := range []string{"", "05", "07 01 0004", "01 01 0006 10 00", "01 01 0015 0f 00000000000000000000000000000000"} {
		if p, err := parseCHAP(unhex(t, s)); err == nil {
			t.Errorf("%q: %+v", s, p)
		}
	}
	for message, want := range map[string]chapError{
		"E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Authentication failed": {691, "Authentication failed"},
		"E=648 R=0":              {648, ""},
		"M=E=5":                  {0, "E=5"},
		"E=x":                    {},
		"E=99999999999999999999": {},
	} {
		if got := parseCHAPError(message); got != want {
			t.Errorf("%q: %+v", message, got)
		}
	}
	c := rfc2759Sample(t)
	ident, peer, response, err := parseAVPResponse(c.avpResponse(9))
	if err != nil || ident != 9 || peer != c.peer || response != c.ntResponse() {
		t.Error("MS-CHAP2-Response", err)
	}
	if _, _, _, err := parseAVPResponse(c.avpResponse(9)[1:]); err == nil {
		t.Error("a short MS-CHAP2-Response")
	}
}

// TestCryptoBindingOfHostapd has the numbers of hostapd 2.10's own record.
func TestCryptoBindingOfHostapd(t *testing.T) {
	tk := unhex(t, "8c941fe770f3b46514111cdf9e7268164791b73cded2d5422ba4b3a1c71b81a0fc4bce3b2e85fe5f30afe0b0")
	isk := unhex(t, "7b512ead681712b888ba08256c976ae8e0247f51697897ae4708ec4fdc2a9c23")
	k := newPEAPKeys(append(tk, make([]byte, keyMaterial)...), isk)
	if got := hex.EncodeToString(k.cmk[:]); got != "726845b95e4aeaa01805a7bf5d5993dab79a1fe6" {
		t.Errorf("CMK %s", got)
	}
	if got := hex.EncodeToString(k.ipmk[:8]); got != "e1967fd5db450d7e" {
		t.Errorf("IPMK %s...", got)
	}
	r, err := parseResult(unhex(t, "800300020001000c003800000000c73abe0adb07102e2c23530669b7539e283175af99eb2769301e6950bac2a0750df4aba3ee1af5b3f5bf8f9e41ebad8a1dd9751f"))
	if err != nil || !r.success || r.binding == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := r.binding.check(k, bindingRequest); err != nil {
		t.Error(err)
	}
}

func FuzzAVPs(f *testing.F) {
	for _, g := range avpGoldens {
		f.Add(unhex(f, g.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseAVPs(b)
		if err != nil {
			return
		}
		again, err := parseAVPs(appendAVPs(nil, list...))
		if d := cmp.Diff(list, again, cmp.AllowUnexported(avp{})); err != nil || d != "" {
			t.Errorf("%v %s", err, d)
		}
	})
}

func FuzzPEAPResult(f *testing.F) {
	f.Add(resultTLV(true).appendBinary(nil))
	f.Add(cryptoBinding{}.tlv().appendBinary(resultTLV(true).appendBinary(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseResult(b)
		if err == nil && r.binding != nil {
			c, err := parseCryptoBinding(r.binding.tlv().value)
			if c.mandatory = r.binding.mandatory; err != nil || c != *r.binding {
				t.Errorf("%v", err)
			}
		}
	})
}

func FuzzMSCHAPv2(f *testing.F) {
	f.Add(chapPacket{code: chapChallenge, name: "x"}.appendBinary(nil))
	f.Add(chapPacket{code: chapFailure, message: "E=691 R=1 C=00 V=3 M=no"}.appendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseCHAP(b)
		if err != nil {
			return
		}
		parseCHAPError(p.message)
		if again, err := parseCHAP(p.appendBinary(nil)); err != nil || again != p {
			t.Errorf("%+v: %+v, %v", p, again, err)
		}
	})
}
