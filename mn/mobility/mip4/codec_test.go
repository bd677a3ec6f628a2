package mip4

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"openmpa/paa/keys"
)

var (
	home   = netip.MustParseAddr("10.9.0.2")
	agent  = netip.MustParseAddr("10.0.3.1")
	careB  = netip.MustParseAddr("10.1.0.100")
	careA  = netip.MustParseAddr("10.2.0.100")
	anID   = uint64(0xe8f2a1b3_5c6d7e8f)
	md5SA  = Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef")), Algorithm: HMACMD5}
	sha2SA = Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef")), Algorithm: HMACSHA256}
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The authenticators were computed with another implementation of HMAC (Python's
// hmac and hashlib) over the octets shown before them.
const (
	goldenRequestMD5 = `01 22 0258  0a090002  0a000301  0a010064  e8f2a1b35c6d7e8f
		ff 0a 62 00 e8f2a1b35c6d7e8f
		20 14 00000100 7b296151bb9f1aa72b6082046d74998a`
	goldenReplySHA = `03 01 012c  0a090002  0a000301  e8f2a1b35c6d7e8f
		ff 0a 62 80 e8f2a1b35c6d7e8f
		20 24 00000100 539bc3e8e83beb5050b3809535c2318103b7d98516b4f92fa3c1e291bd2ee70e`
	goldenMarkerUp = `45 00 0046 0000 4000 40 11 239c 0a090002 0a000301
		01b2 01b2 0032 3d56
		ff 62 00 00 0a090002 0a000301 e8f2a1b35c6d7e8f
		20 14 00000100 d87117d4df236468e8c191afd1ad8aac`
)

func goldenRequest() Request {
	r := Request{Flags: FlagD | FlagT, Lifetime: 600, HomeAddress: home, HomeAgent: agent, CareOf: careB, ID: anID}
	r.Extensions = []Extension{PathMarkers{Path: anID}.Extension()}
	return r
}

func goldenReply() Reply {
	r := Reply{Code: CodeAcceptedOneBinding, Lifetime: 300, HomeAddress: home, HomeAgent: agent, ID: anID}
	r.Extensions = []Extension{PathMarkers{Path: anID, OldPath: true}.Extension()}
	return r
}

func mustRequest(t testing.TB, r Request, sa Security) []byte {
	t.Helper()
	b, err := r.AppendSigned(nil, sa)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustReply(t testing.TB, r Reply, sa Security) []byte {
	t.Helper()
	b, err := r.AppendSigned(nil, sa)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldens(t *testing.T) {
	if got, want := mustRequest(t, goldenRequest(), md5SA), unhex(t, goldenRequestMD5); !bytes.Equal(got, want) {
		t.Errorf("request\n got %x\nwant %x", got, want)
	}
	if got, want := mustReply(t, goldenReply(), sha2SA), unhex(t, goldenReplySHA); !bytes.Equal(got, want) {
		t.Errorf("reply\n got %x\nwant %x", got, want)
	}
	got, err := AppendMarkerPacket(nil, Marker{HomeAddress: home, HomeAgent: agent, ID: anID}, md5SA)
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, goldenMarkerUp); !bytes.Equal(got, want) {
		t.Errorf("marker\n got %x\nwant %x", got, want)
	}
}

func TestParseGoldens(t *testing.T) {
	q, err := ParseRequest(unhex(t, goldenRequestMD5))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Verify(md5SA); err != nil {
		t.Error(err)
	}
	if q.Flags != FlagD|FlagT || q.Lifetime != 600 || q.HomeAddress != home || q.HomeAgent != agent || q.CareOf != careB || q.ID != anID {
		t.Errorf("parsed %+v", q)
	}
	if pm, ok := q.PathMarkers(); !ok || pm != (PathMarkers{Path: anID}) {
		t.Errorf("path markers %+v, %v", pm, ok)
	}
	p, err := ParseReply(unhex(t, goldenReplySHA))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(sha2SA); err != nil {
		t.Error(err)
	}
	if p.Code != 1 || p.Lifetime != 300 || p.HomeAddress != home || p.HomeAgent != agent || p.ID != anID {
		t.Errorf("parsed %+v", p)
	}
	if pm, ok := p.PathMarkers(); !ok || pm != (PathMarkers{Path: anID, OldPath: true}) {
		t.Errorf("path markers %+v, %v", pm, ok)
	}
}

// TestCutAndExtend cuts each message at every octet: none of the pieces may verify.
func TestCutAndExtend(t *testing.T) {
	request, reply := unhex(t, goldenRequestMD5), unhex(t, goldenReplySHA)
	for n := range request {
		r, err := ParseRequest(request[:n])
		if err == nil {
			err = r.Verify(md5SA)
		}
		if err == nil {
			t.Errorf("request cut to %d octets was believed", n)
		}
	}
	for n := range reply {
		r, err := ParseReply(reply[:n])
		if err == nil {
			err = r.Verify(sha2SA)
		}
		if err == nil {
			t.Errorf("reply cut to %d octets was believed", n)
		}
	}
}

// TestTampering flips every bit of each message: it must be refused every time.
func TestTampering(t *testing.T) {
	request, reply := unhex(t, goldenRequestMD5), unhex(t, goldenReplySHA)
	marker, err := AppendMarkerPacket(nil, Marker{HomeAddress: home, HomeAgent: agent, ID: anID, Down: true}, sha2SA)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(request) {
		b := bytes.Clone(request)
		b[i/8] ^= 1 << (i % 8)
		if r, err := ParseRequest(b); err == nil && r.Verify(md5SA) == nil {
			t.Errorf("request with bit %d flipped was believed", i)
		}
	}
	for i := range 8 * len(reply) {
		b := bytes.Clone(reply)
		b[i/8] ^= 1 << (i % 8)
		if r, err := ParseReply(b); err == nil && r.Verify(sha2SA) == nil {
			t.Errorf("reply with bit %d flipped was believed", i)
		}
	}
	for i := 8 * 28; i < 8*len(marker); i++ {
		b := bytes.Clone(marker)
		b[i/8] ^= 1 << (i % 8)
		if _, ok := ParseMarkerPacket(b, sha2SA); ok {
			t.Errorf("marker with bit %d flipped was believed", i)
		}
	}
}

func TestVerifyErrors(t *testing.T) {
	b := mustRequest(t, goldenRequest(), md5SA)
	r, err := ParseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	otherKey := Security{SPI: 256, Key: keys.NewSecret([]byte("fedcba9876543210"))}
	otherSPI := md5SA
	otherSPI.SPI = 257
	for name, c := range map[string]struct {
		sa   Security
		want error
	}{
		"other key":       {otherKey, ErrAuthenticator},
		"other algorithm": {sha2SA, ErrAuthenticator},
		"other spi":       {otherSPI, ErrSPI},
		"cleared key":     {Security{SPI: 256, Key: keys.NewSecret(nil)}, ErrAuthenticator},
	} {
		if err := r.Verify(c.sa); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestExtensionRules(t *testing.T) {
	fixed := unhex(t, goldenRequestMD5)[:requestLen]
	signed := func(before ...byte) []byte {
		b, err := md5SA.sign(append(bytes.Clone(fixed), before...), 0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		msg  []byte
		want error // nil: parsed and verified
	}{
		"none":                              {signed(), nil},
		"padding before":                    {signed(0, 0, 0), nil},
		"padding after":                     {append(signed(), 0, 0), nil},
		"unknown skippable":                 {signed(200, 3, 1, 2, 3), nil},
		"unknown skippable, empty":          {signed(200, 0), nil},
		"unknown not skippable":             {signed(100, 1, 0), ErrUnknownExtension},
		"experimental not skippable":        {signed(127, 1, 0, 0), ErrUnknownExtension},
		"unknown not skippable behind":      {append(signed(), 100, 0), ErrUnknownExtension},
		"mobile-foreign behind":             {append(signed(), 33, 5, 0, 0, 1, 0, 9), nil},
		"type without length":               {append(signed(), 200), ErrFormat},
		"length beyond the end":             {append(signed(), 200, 2, 0), ErrFormat},
		"two mobile-home":                   {append(signed(), 32, 5, 0, 0, 1, 0, 9), ErrNoAuthentication},
		"mobile-home without authenticator": {append(bytes.Clone(fixed), 32, 4, 0, 0, 1, 0), ErrNoAuthentication},
		"no authentication":                 {fixed, ErrNoAuthentication},
		"only others":                       {append(bytes.Clone(fixed), 200, 0), ErrNoAuthentication},
		"too many":                          {signed(bytes.Repeat([]byte{200, 0}, maxExtensions)...), ErrFormat},
		"too long":                          {signed(make([]byte, maxMessage)...), ErrFormat},
	} {
		r, err := ParseRequest(c.msg)
		if err == nil {
			err = r.Verify(md5SA)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestUnprotectedMarkersIgnored: an extension behind the authentication can be put
// there by anybody.
func TestUnprotectedMarkersIgnored(t *testing.T) {
	r := goldenRequest()
	r.Extensions = nil
	b := mustRequest(t, r, md5SA)
	x := PathMarkers{Path: 7}.Extension()
	b = append(append(b, x.Type, byte(len(x.Data))), x.Data...)
	got, err := ParseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.PathMarkers(); ok || !got.Has(ExtExperimental) {
		t.Errorf("protected %v, behind %v", got.Extensions, got.After)
	}
}

func TestAppendErrors(t *testing.T) {
	r := goldenRequest()
	r.CareOf = netip.MustParseAddr("2001:db8::1")
	if _, err := r.AppendSigned(nil, md5SA); err == nil {
		t.Error("IPv6 care-of address was taken")
	}
	r = goldenRequest()
	r.Extensions = []Extension{{Type: 200, Data: make([]byte, 256)}}
	if _, err := r.AppendSigned(nil, md5SA); err == nil {
		t.Error("extension of 256 octets was taken")
	}
	p := goldenReply()
	if _, err := p.AppendSigned(nil, Security{SPI: 256}); err == nil {
		t.Error("signed without a key")
	}
}

func TestSecurityCheck(t *testing.T) {
	long := keys.NewSecret(make([]byte, 32))
	for _, c := range []struct {
		sa Security
		ok bool
	}{
		{md5SA, true},
		{Security{SPI: 255, Key: long}, false},
		{Security{SPI: 256, Key: keys.NewSecret(make([]byte, 15))}, false},
		{Security{SPI: 256}, false},
		{Security{SPI: 256, Key: long, Algorithm: 9}, false},
	} {
		if err := c.sa.Check(); (err == nil) != c.ok {
			t.Errorf("SPI %d, key of %d octets, %v: %v", c.sa.SPI, c.sa.Key.Len(), c.sa.Algorithm, err)
		}
	}
	for _, a := range []Algorithm{HMACMD5, HMACSHA256} {
		if got, err := ParseAlgorithm(a.String()); err != nil || got != a {
			t.Errorf("%v: %v, %v", a, got, err)
		}
	}
	if _, err := ParseAlgorithm("md5"); err == nil {
		t.Error("md5 was taken for a name of an algorithm")
	}
}

func TestWords(t *testing.T) {
	if got := (FlagD | FlagT).String(); got != "DT" {
		t.Errorf("flags %q", got)
	}
	err := &CodeError{Code: CodeIdentification, HomeAgent: "10.0.3.1"}
	for _, want := range []string{"10.0.3.1", "133", "identification mismatch", "clocks"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if got := Code(200).String(); got != "code 200" {
		t.Errorf("unknown code %q", got)
	}
}
