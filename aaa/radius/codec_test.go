package radius

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"openmpa/paa/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func secret(s string) *keys.Secret { return keys.NewSecret([]byte(s)) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var testAuth = [authLen]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func testRequest() Request {
	return Request{
		UserName: "mn@home.example", EAP: []byte{2, 7, 0, 20, 1, 'm', 'n', '@', 'h', 'o', 'm', 'e', '.', 'e', 'x', 'a', 'm', 'p', 'l', 'e'},
		State: []byte{0xca, 0xfe}, NASPort: "sid-1", CallingStation: "10.1.0.100", CalledStation: "ar.a.example",
	}
}

// goldenRequest is testRequest under identifier 9, testAuth and the secret
// "testing123"; the two sums were computed apart, with Python's hmac.
const goldenRequest = `
	01 09 008d 0102030405060708090a0b0c0d0e0f10
	50 12 4c5e6b4a73a55bc7338275e5aa61cc11
	01 11 6d6e40686f6d652e6578616d706c65
	20 06 61722d61
	3d 06 00000005
	57 07 7369642d31
	1f 0c 31302e312e302e313030
	1e 0e 61722e612e6578616d706c65
	59 03 00
	06 06 00000002
	0c 06 00000488
	4f 16 0207001401 6d6e40686f6d652e6578616d706c65
	18 04 cafe`

func TestRequestGolden(t *testing.T) {
	wire := unhex(t, goldenRequest)
	got, err := testRequest().encode(nas{identifier: "ar-a"}, 9, testAuth, secret("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, wire) {
		t.Fatalf("got\n%x, expected\n%x", got, wire)
	}
	r, err := ParseRequest(wire, secret("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	want := &ServerRequest{
		Code: AccessRequest, Identifier: 9, Authenticator: testAuth, UserName: "mn@home.example", EAP: testRequest().EAP, State: []byte{0xca, 0xfe},
		NASIdentifier: "ar-a", NASPort: "sid-1", CallingStation: "10.1.0.100", CalledStation: "ar.a.example", FramedMTU: 1160,
	}
	if d := cmp.Diff(want, r, cmpopts.IgnoreUnexported(ServerRequest{})); d != "" {
		t.Error(d)
	}
	for n := range wire {
		if _, err := ParseRequest(wire[:n], secret("testing123")); err == nil {
			t.Errorf("%d octets of it are accepted", n)
		}
	}
	if _, err := ParseRequest(append(wire, 1, 2, 3), secret("testing123")); err != nil {
		t.Errorf("with padding: %v", err)
	}
}

// goldenAccept answers goldenRequest with EAP-Success, an MSK of 00 to 3f as MPPE
// keys and an hour; also from Python.
const goldenAccept = `
	020900a6e682f38b522c1b60b97799f7718684f35012298f4c2254d19378282e764e23c1adc84f06
	030900041a3a00000137103480010513fc0f1385705d7fc02f3007e7893cb99c899e2f91e88b6450
	53eb69e5dc6dfd0ce5d9e42418a69037c4b2ffb02b2f1a3a0000013711348002ede87ed7ee9463b7
	ce95a3e56f379e5afb6e74bb4d1758211c014749e643f3ead35ba4b125014bd892192039b402fa26
	1b0600000e10`

func TestAcceptGolden(t *testing.T) {
	r, err := parseResponse(unhex(t, goldenAccept), testAuth, secret("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range r.MSK.Bytes() {
		if b != byte(i) {
			t.Fatalf("MSK %x", r.MSK.Bytes())
		}
	}
	if r.MSK.Len() != 64 || r.Code != AccessAccept || !bytes.Equal(r.EAP, []byte{3, 9, 0, 4}) || r.SessionTimeout != time.Hour {
		t.Errorf("%+v", r)
	}
}

// TestRequestTampering changes every octet of a request.
func TestRequestTampering(t *testing.T) {
	wire := unhex(t, goldenRequest)
	for i := range wire {
		bad := bytes.Clone(wire)
		bad[i] ^= 1
		if _, err := ParseRequest(bad, secret("testing123")); err == nil {
			t.Errorf("octet %d changed, and accepted", i)
		}
	}
	if _, err := ParseRequest(wire, secret("testing124")); !errors.Is(err, ErrBadMessageAuthenticator) {
		t.Errorf("wrong secret: %v", err)
	}
	// Without the attribute, and with two.
	plain := append(bytes.Clone(wire[:headerLen]), wire[headerLen+18:]...)
	binary.BigEndian.PutUint16(plain[2:], uint16(len(plain)))
	if _, err := ParseRequest(plain, secret("testing123")); !errors.Is(err, ErrNoMessageAuthenticator) {
		t.Errorf("without Message-Authenticator: %v", err)
	}
	two := append(bytes.Clone(wire), wire[headerLen:headerLen+18]...)
	binary.BigEndian.PutUint16(two[2:], uint16(len(two)))
	if _, err := ParseRequest(two, secret("testing123")); !errors.Is(err, ErrBadMessageAuthenticator) {
		t.Errorf("with two: %v", err)
	}
}

func testReply(t testing.TB, code Code, msk *keys.Secret) (reply []byte) {
	t.Helper()
	req, err := ParseRequest(unhex(t, goldenRequest), secret("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := req.Encode(Reply{
		Code: code, EAP: []byte{3, 7, 0, 4}, State: []byte("state"), MSK: msk,
		SessionTimeout: time.Hour + 700*time.Millisecond, UserName: "mn@home.example",
	}, secret("testing123"), bytes.NewReader(bytes.Repeat([]byte{0x11}, 64)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReplyRoundTrip(t *testing.T) {
	msk := bytes.Repeat([]byte{0}, 64)
	for i := range msk {
		msk[i] = byte(i)
	}
	for _, code := range []Code{AccessAccept, AccessReject, AccessChallenge} {
		var k *keys.Secret
		if code == AccessAccept {
			k = keys.NewSecret(bytes.Clone(msk))
		}
		wire := testReply(t, code, k)
		if wire[headerLen] != 80 || wire[headerLen+1] != 18 {
			t.Errorf("%v: Message-Authenticator is not first", code)
		}
		r, err := parseResponse(wire, testAuth, secret("testing123"))
		if err != nil {
			t.Fatalf("%v: %v", code, err)
		}
		want := Response{Code: code, EAP: []byte{3, 7, 0, 4}, State: []byte("state"), SessionTimeout: time.Hour, UserName: "mn@home.example"}
		if d := cmp.Diff(want, r, cmpopts.IgnoreFields(Response{}, "MSK"), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
			t.Errorf("%v: %s", code, d)
		}
		if code == AccessAccept && !bytes.Equal(r.MSK.Bytes(), msk) {
			t.Errorf("MSK %x", r.MSK.Bytes())
		}
		if code != AccessAccept && r.MSK != nil {
			t.Errorf("%v with keys", code)
		}
		for i := range wire {
			bad := bytes.Clone(wire)
			bad[i] ^= 0x80
			if _, err := parseResponse(bad, testAuth, secret("testing123")); err == nil {
				t.Errorf("%v: octet %d changed, and accepted", code, i)
			}
		}
		for n := range wire {
			if _, err := parseResponse(wire[:n], testAuth, secret("testing123")); err == nil {
				t.Errorf("%v: %d octets of it are accepted", code, n)
			}
		}
		if _, err := parseResponse(wire, [authLen]byte{1}, secret("testing123")); !errors.Is(err, ErrBadAuthenticator) {
			t.Errorf("%v: reply to another request: %v", code, err)
		}
	}
}

// TestReplyWithoutMessageAuthenticator signs a reply as RFC 2865 does, only.
func TestReplyWithoutMessageAuthenticator(t *testing.T) {
	for _, code := range []Code{AccessAccept, AccessReject, AccessChallenge} {
		b := []byte{byte(code), 9, 0, 26}
		b = append(b, testAuth[:]...)
		b = append(b, 79, 6, 4, 7, 0, 4)
		sum := md5.Sum(append(bytes.Clone(b), "testing123"...))
		copy(b[4:], sum[:])
		if _, err := parseResponse(b, testAuth, secret("testing123")); !errors.Is(err, ErrNoMessageAuthenticator) {
			t.Errorf("%v: %v", code, err)
		}
	}
}

func TestUnexpectedCode(t *testing.T) {
	// An accounting answer that is otherwise right.
	b := []byte{5, 9, 0, 38}
	b = append(b, testAuth[:]...)
	b = append(b, 80, 18)
	b = append(b, make([]byte, 16)...)
	mac := hmac.New(md5.New, []byte("testing123"))
	mac.Write(b)
	copy(b[22:], mac.Sum(nil))
	sum := md5.Sum(append(bytes.Clone(b), "testing123"...))
	copy(b[4:], sum[:])
	if _, err := parseResponse(b, testAuth, secret("testing123")); !errors.Is(err, ErrCode) {
		t.Error(err)
	}
	if _, err := ParseRequest(b, secret("testing123")); !errors.Is(err, ErrCode) {
		t.Error(err)
	}
}

func TestEAPMessageSplits(t *testing.T) {
	for _, n := range []int{0, 1, 252, 253, 254, 506, 1200, 3600} {
		eap := bytes.Repeat([]byte{0xab}, n)
		req := testRequest()
		req.EAP = eap
		wire, err := req.encode(nas{identifier: "ar-a"}, 1, testAuth, secret("x"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRequest(wire, secret("x"))
		if err != nil || !bytes.Equal(got.EAP, eap) {
			t.Errorf("%d octets became %d: %v", n, len(got.EAP), err)
		}
	}
	req := testRequest()
	req.EAP = make([]byte, 4000)
	if _, err := req.encode(nas{identifier: "ar-a"}, 1, testAuth, secret("x")); err == nil {
		t.Error("a packet of more than 4096 octets")
	}
}

func TestEncodeRefuses(t *testing.T) {
	req, err := ParseRequest(unhex(t, goldenRequest), secret("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	rnd := bytes.NewReader(make([]byte, 64))
	for name, reply := range map[string]Reply{
		"request code": {Code: AccessRequest},
		"short MSK":    {Code: AccessAccept, MSK: secret("short")},
		"long state":   {Code: AccessChallenge, State: make([]byte, 254)},
	} {
		if _, err := req.Encode(reply, secret("testing123"), rnd); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := req.Encode(Reply{Code: AccessReject}, secret(""), rnd); err == nil {
		t.Error("empty secret accepted")
	}
	if _, err := (Request{EAP: []byte{1}}).encode(nas{identifier: "a"}, 1, testAuth, secret("x")); err == nil {
		t.Error("no user name accepted")
	}
}

func TestProxyStateGoesBack(t *testing.T) {
	var a attributes
	a.addEAP([]byte{2, 1, 0, 5, 1})
	a.add(33, []byte("first"))
	a.add(33, []byte("second"))
	wire, err := a.seal(AccessRequest, 3, testAuth, []byte("s"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := ParseRequest(wire, secret("s"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := req.Encode(Reply{Code: AccessReject}, secret("s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("\x21\x07first\x21\x08second")
	if !bytes.HasSuffix(out, want) {
		t.Errorf("% x", out)
	}
	for range MaxPassed {
		a.add(33, []byte("more"))
	}
	if wire, err = a.seal(AccessRequest, 3, testAuth, []byte("s")); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRequest(wire, secret("s")); err == nil {
		t.Error("any number of proxies")
	}
}

// TestKeysOfAnotherLength puts MPPE keys of 16 octets, as MS-CHAP makes them, and
// one key alone into an accept.
func TestKeysOfAnotherLength(t *testing.T) {
	msk := keys.NewSecret(make([]byte, 64))
	var a attributes
	a.addKeys(msk, []byte("s"), testAuth, bytes.NewReader(make([]byte, 8)))
	if a.err != nil || len(a.list) != 2 {
		t.Fatal(a.err)
	}
	if bytes.Equal(a.list[0].Attribute[6:8], a.list[1].Attribute[6:8]) {
		t.Error("two keys under one salt")
	}
	a.list = a.list[:1]
	if _, err := takeKeys(a.list, []byte("s"), testAuth); err == nil {
		t.Error("one key is enough")
	}
	if k, err := takeKeys(nil, []byte("s"), testAuth); k != nil || err != nil {
		t.Error("keys out of nothing")
	}
}
