package mip6

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/paa/keys"
)

var (
	home  = netip.MustParseAddr("2001:db8:1::100")
	agent = netip.MustParseAddr("2001:db8:1::1")
	cn    = netip.MustParseAddr("2001:db8:c::c")
	careA = netip.MustParseAddr("2001:db8:a::100")
	careB = netip.MustParseAddr("2001:db8:b::100")
	careC = netip.MustParseAddr("2001:db8:d::100")
	other = netip.MustParseAddr("2001:db8:1::200")
)

func testSecurity() Security {
	return Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef"))}
}

// every has one message of each type.
func every() []Message {
	return []Message{
		&RefreshRequest{},
		&HomeTestInit{Cookie: Cookie{1, 2, 3, 4, 5, 6, 7, 8}},
		&CareOfTestInit{Cookie: Cookie{8, 7, 6, 5, 4, 3, 2, 1}, Options: Options{BindingID{ID: 3}.Option()}},
		&HomeTest{Index: 0xfffe, Cookie: Cookie{1}, Token: Token{2}},
		&CareOfTest{Index: 7, Cookie: Cookie{3}, Token: Token{4}},
		&Update{Sequence: 65535, Flags: FlagA | FlagH | FlagO, Lifetime: 150, Options: Options{
			BindingID{ID: 1, CareOf: careA}.Option(), BindingID{ID: 2, CareOf: careB}.Option(), BindingID{ID: 9, AtHome: true}.Option(),
			IdentifierOption("mn@example.com"), ReplayOption(0x1122334455667788),
		}},
		&Update{Sequence: 1, Flags: FlagA, Lifetime: 3, Options: Options{AlternateOption(careA), NonceIndices{Home: 1, CareOf: 0xffff}.Option()}},
		&Ack{Status: StatusSequence, KeyMoves: true, Sequence: 9, Lifetime: 5, Options: Options{RefreshAdviceOption(4), {Type: 200, Data: []byte("unknown")}}},
		&Error{Status: ErrorUnknownBinding, Home: home},
	}
}

func encode(t testing.TB, m Message, sign *Signer) []byte {
	t.Helper()
	b, err := Append(nil, m, careA, agent, sign)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bare is a parsed message without what Append makes by itself.
func bare(m Message) Message {
	clean := func(l Options) Options {
		var out Options
		for _, o := range l {
			out = append(out, Option{Type: o.Type, Data: append([]byte{}, o.Data...)})
		}
		return out
	}
	switch m := m.(type) {
	case *RefreshRequest:
		return &RefreshRequest{clean(m.Options)}
	case *HomeTestInit:
		return &HomeTestInit{m.Cookie, clean(m.Options)}
	case *CareOfTestInit:
		return &CareOfTestInit{m.Cookie, clean(m.Options)}
	case *HomeTest:
		return &HomeTest{m.Index, m.Cookie, m.Token, clean(m.Options)}
	case *CareOfTest:
		return &CareOfTest{m.Index, m.Cookie, m.Token, clean(m.Options)}
	case *Update:
		return &Update{Sequence: m.Sequence, Flags: m.Flags, Lifetime: m.Lifetime, Options: clean(m.Options)}
	case *Ack:
		return &Ack{Status: m.Status, KeyMoves: m.KeyMoves, Sequence: m.Sequence, Lifetime: m.Lifetime, Options: clean(m.Options)}
	case *Error:
		return &Error{m.Status, m.Home, clean(m.Options)}
	}
	panic(fmt.Sprintf("%T", m))
}

func TestRoundTrip(t *testing.T) {
	for _, m := range every() {
		_, name := m.kind()
		b := encode(t, m, nil)
		if len(b)%8 != 0 || len(b) != 8+8*int(b[1]) || b[0] != 59 {
			t.Errorf("%s: %d octets, %x", name, len(b), b)
		}
		got, err := Parse(append(bytes.Clone(b), "what follows"...), careA, agent)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(bare(got), bare(m)) {
			t.Errorf("%s: %+v, expected %+v", name, got, m)
		}
		for _, o := range got.list() {
			if x, y := o.align(); o.at%x != y%x {
				t.Errorf("%s: option %d at octet %d, expected %dn+%d", name, o.Type, o.at, x, y)
			}
		}
		for n := range b {
			if _, err := Parse(b[:n], careA, agent); !errors.Is(err, ErrFormat) {
				t.Errorf("%s cut to %d octets: %v", name, n, err)
			}
		}
		for i := range 8 * len(b) {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if _, err := Parse(c, careA, agent); err == nil {
				t.Errorf("%s: bit %d changed and believed", name, i)
			}
		}
		if _, err := Parse(b, careB, agent); !errors.Is(err, ErrChecksum) {
			t.Errorf("%s from another address: %v", name, err)
		}
	}
}

// TestGolden has messages put together by hand.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{&HomeTestInit{Cookie: Cookie{1, 2, 3, 4, 5, 6, 7, 8}}, "3b 01 01 00 ____ 0000 0102030405060708"},
		{&Update{Sequence: 0x1234, Flags: FlagA | FlagH, Lifetime: 0x96}, "3b 01 05 00 ____ 1234 c000 0096 01020000"},
		{
			&Update{Sequence: 1, Flags: FlagA, Options: Options{AlternateOption(careA)}},
			"3b 03 05 00 ____ 0001 8000 0000 0100 0310 20010db8000a00000000000000000100",
		},
		{
			&Ack{Status: 4, Sequence: 2, Lifetime: 3, Options: Options{BindingID{ID: 5, Status: StatusUnknownCareOf}.Option()}},
			"3b 02 06 00 ____ 0400 0002 0003 2304 0005 a700 01040000 0000",
		},
	} {
		want := strings.ReplaceAll(strings.ReplaceAll(c.want, " ", ""), "____", "0000")
		b := encode(t, c.m, nil)
		sum := binary.BigEndian.Uint16(b[4:])
		b[4], b[5] = 0, 0
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("%+v:\n%s\n%s", c.m, got, want)
		}
		whole := append(append(append(careA.AsSlice(), agent.AsSlice()...), 0, 0, 0, byte(len(b)), 0, 0, 0, 135), b...)
		if sum != ^inet.Fold(inet.Sum(0, whole)) {
			t.Errorf("%+v: checksum %#x", c.m, sum)
		}
	}
}

// checksummed repairs the checksum.
func checksummed(b []byte) []byte {
	b[4], b[5] = 0, 0
	binary.BigEndian.PutUint16(b[4:], ^inet.Fold(inet.Sum(pseudo(careA, agent, len(b)), b)))
	return b
}

func TestRefused(t *testing.T) {
	update := func(rest ...byte) []byte {
		return checksummed(append([]byte{59, byte((12 + len(rest)) / 8), 5, 0, 0, 0, 0, 1, 0x80, 0, 0, 1}, rest...))
	}
	var unknown *UnknownTypeError
	if _, err := Parse(checksummed([]byte{59, 0, 8, 0, 0, 0, 0, 0}), careA, agent); !errors.As(err, &unknown) || unknown.Type != 8 {
		t.Errorf("unknown type: %v", err)
	}
	for pointer, b := range map[int][]byte{0: {6, 0, 0, 0, 0, 0, 0, 0}, 1: {59, 0, 1, 0, 0, 0, 0, 0}} {
		var param *ParameterError
		if _, err := Parse(checksummed(b), careA, agent); !errors.As(err, &param) || param.Pointer != pointer {
			t.Errorf("%x: %v", b, err)
		}
	}
	many := encode(t, &RefreshRequest{Options: make200()}, nil)
	for name, b := range map[string][]byte{
		"option beyond the end":        update(4, 3, 0, 0),
		"option without a length":      update(0, 0, 0, 4),
		"more options than is allowed": many,
	} {
		if _, err := Parse(b, careA, agent); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Append(nil, &RefreshRequest{Options: Options{{Type: 77, Data: make([]byte, 256)}}}, careA, agent, nil); err == nil {
		t.Error("an option of 256 octets was sent")
	}
	if _, err := Append(nil, &Update{}, careA, agent, Security{SPI: 256}.Signer(careA, home)); err == nil {
		t.Error("signed without a key")
	}
	long := Options{}
	for range 9 {
		long = append(long, Option{Type: 77, Data: make([]byte, 255)})
	}
	if _, err := Append(nil, &RefreshRequest{Options: long}, careA, agent, nil); err == nil {
		t.Error("a message of more than 2048 octets was sent")
	}
}

func make200() (l Options) {
	for range 200 {
		l = append(l, Option{Type: 200})
	}
	return l
}

func TestOptionsRefused(t *testing.T) {
	twice := Options{AlternateOption(careA), AlternateOption(careB)}
	if _, _, err := twice.Alternate(); !errors.Is(err, ErrFormat) {
		t.Errorf("two alternate care-of addresses: %v", err)
	}
	for typ, get := range map[uint8]func(Options) error{
		OptAlternate:     func(l Options) error { _, _, err := l.Alternate(); return err },
		OptNonceIndices:  func(l Options) error { _, _, err := l.NonceIndices(); return err },
		OptRefreshAdvice: func(l Options) error { _, _, err := l.RefreshAdvice(); return err },
		OptReplay:        func(l Options) error { _, _, err := l.Replay(); return err },
	} {
		if err := get(Options{{Type: typ, Data: make([]byte, 3)}}); !errors.Is(err, ErrFormat) {
			t.Errorf("option %d of 3 octets: %v", typ, err)
		}
		if err := get(nil); err != nil {
			t.Errorf("no option %d: %v", typ, err)
		}
	}
	for n := range 25 {
		_, err := Options{{Type: OptBinding, Data: make([]byte, n)}}.BindingIDs()
		if ok := n == 4 || n == 8 || n == 20; ok != (err == nil) || !ok && !errors.Is(err, ErrBindingOption) {
			t.Errorf("binding identifier of %d octets: %v", n, err)
		}
	}
	if _, ok := (Options{{Type: OptIdentifier, Data: []byte{2, 'x'}}}).Identifier(); ok {
		t.Error("an identifier of another subtype was taken for a network access identifier")
	}
}

// TestAuthenticators computes both kinds as the RFCs write them.
func TestAuthenticators(t *testing.T) {
	sa := testSecurity()
	m := &Update{Sequence: 7, Flags: FlagA | FlagH, Lifetime: 10, Options: Options{AlternateOption(careA), ReplayOption(99)}}
	b := encode(t, m, sa.Signer(careA, home))
	zero := bytes.Clone(b)
	zero[4], zero[5] = 0, 0
	mac := hmac.New(sha1.New, []byte("0123456789abcdef"))
	mac.Write(append(append(careA.AsSlice(), home.AsSlice()...), zero[:len(b)-12]...))
	if !bytes.Equal(mac.Sum(nil)[:12], b[len(b)-12:]) || !bytes.Equal(b[len(b)-19:len(b)-12], []byte{9, 17, 1, 0, 0, 1, 0}) {
		t.Errorf("RFC 4285: %x", b)
	}
	got, err := Parse(b, careA, agent)
	if err != nil {
		t.Fatal(err)
	}
	u := got.(*Update)
	if err := u.Verify(sa, careA, home); err != nil {
		t.Error(err)
	}
	for want, err := range map[error]error{
		ErrSPI: u.Verify(Security{SPI: 257, Key: sa.Key}, careA, home),
		ErrAuthenticator: errors.Join(u.Verify(sa, careB, home), u.Verify(sa, careA, other),
			u.Verify(Security{SPI: 256, Key: keys.NewSecret(make([]byte, 16))}, careA, home)),
		ErrNoAuthentication: verifyHome(u.raw, u.Options[:2], sa, careA, home),
	} {
		if !errors.Is(err, want) {
			t.Errorf("expected %v, %v came", want, err)
		}
	}

	kbm := bindingKey(Token{1}, Token{2})
	b = encode(t, &Update{Sequence: 7, Flags: FlagA, Lifetime: 10, Options: Options{NonceIndices{1, 2}.Option()}}, routeSigner(kbm, careA, cn))
	zero = bytes.Clone(b)
	zero[4], zero[5] = 0, 0
	key := sha1.Sum([]byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})
	mac = hmac.New(sha1.New, key[:])
	mac.Write(append(append(careA.AsSlice(), cn.AsSlice()...), zero[:len(b)-12]...))
	if !bytes.Equal(mac.Sum(nil)[:12], b[len(b)-12:]) || !bytes.Equal(b[len(b)-14:len(b)-12], []byte{5, 12}) {
		t.Errorf("RFC 6275: %x", b)
	}
	got, err = Parse(b, careA, agent)
	if err != nil {
		t.Fatal(err)
	}
	u = got.(*Update)
	if err := verifyRoute(u.raw, u.Options, kbm, careA, cn); err != nil {
		t.Error(err)
	}
	if err := verifyRoute(u.raw, u.Options, kbm, home, cn); !errors.Is(err, ErrAuthenticator) {
		t.Error(err)
	}
	// Padding behind the option.
	b = checksummed(append([]byte{59, b[1] + 1}, append(b[2:], 1, 6, 0, 0, 0, 0, 0, 0)...))
	if got, err = Parse(b, careA, agent); err != nil {
		t.Fatal(err)
	}
	u = got.(*Update)
	if err := verifyRoute(u.raw, u.Options, kbm, careA, cn); !errors.Is(err, ErrNoAuthentication) {
		t.Errorf("padding behind: %v", err)
	}
}

// TestToken has the token of the home and of the care-of address as RFC 6275 section
// 5.2.5 writes them.
func TestToken(t *testing.T) {
	kcn, nonce := bytes.Repeat([]byte{7}, 20), []byte{1, 2, 3, 4, 5, 6, 7, 8}
	for which := range byte(2) {
		mac := hmac.New(sha1.New, kcn)
		mac.Write(append(append(home.AsSlice(), nonce...), which))
		if got := makeToken(keys.NewSecret(bytes.Clone(kcn)), home, nonce, which); !bytes.Equal(got[:], mac.Sum(nil)[:8]) {
			t.Errorf("token %x", got[:])
		}
	}
	if s := fmt.Sprintf("%v %x %d %+v %s", Token{1}, Token{1}, Token{1}, HomeTest{Token: Token{0xaa}}, Token{}); strings.Contains(s, "aa") || strings.Contains(s, "170") || strings.Contains(s, "1 0") {
		t.Errorf("a token prints as %s", s)
	}
}

func TestWords(t *testing.T) {
	if got := (FlagA | FlagH | FlagO).String(); got != "AHO" {
		t.Errorf("flags %q", got)
	}
	err := (&StatusError{Status: StatusAuthentication, Peer: agent}).Error()
	for _, want := range []string{agent.String(), "146", "authentication failed", "spi"} {
		if !strings.Contains(err, want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if Status(77).String() != "status 77" || ErrorStatus(3).String() != "binding error status 3" || ErrorUnknownBinding.String() == ErrorUnknownType.String() {
		t.Error("words of statuses")
	}
	if LifetimeField(time.Hour) != 900 || LifetimeField(1000*time.Hour) != 0xffff || LifetimeField(-time.Second) != 0 || LifetimeOf(3) != 12*time.Second {
		t.Error("lifetimes")
	}
	if (Security{SPI: 255, Key: testSecurity().Key}).Check() == nil || (Security{SPI: 256}).Check() == nil || testSecurity().Check() != nil {
		t.Error("security associations")
	}
}
