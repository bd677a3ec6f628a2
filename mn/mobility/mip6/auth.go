package mip6

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 is what RFC 6275 section 5.2.4 and RFC 4285 section 5.1 demand
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"openmpa/paa/keys"
)

// authenticatorLen is the first 96 bits of an HMAC-SHA1.
const authenticatorLen = 12

// SPIReserved is the highest mobility security parameter index that is reserved (RFC
// 4285 section 5.1).
const SPIReserved = 255

// subtypeHome is a mobile node and its home agent (RFC 4285 section 5.1).
const subtypeHome = 1

// Errors of authentication. Each is wrapped with what was expected and what came.
var (
	// ErrNoAuthentication says that the option that authenticates the message is missing
	// or not where it must be: the message is discarded silently.
	ErrNoAuthentication = errors.New("no usable authentication option")
	// ErrAuthenticator says that the authenticator does not fit the message and the key.
	ErrAuthenticator = errors.New("wrong authenticator")
	// ErrSPI says that the message uses a security association other than ours.
	ErrSPI = errors.New("unknown mobility security parameter index")
)

// Security is a mobility security association between a mobile node and its home agent
// (RFC 4285 section 5.1). The key stays the caller's, who clears it when nothing uses it
// any more.
type Security struct {
	SPI uint32
	Key *keys.Secret
	// Sequence has replays recognised by sequence numbers alone. The default is by time
	// stamps, which RFC 4285 section 6 describes.
	Sequence bool
}

// Check says what is wrong with the association, or nil.
func (s Security) Check() error {
	switch {
	case s.SPI <= SPIReserved:
		return fmt.Errorf("mip6: mobility security parameter index %d is reserved (RFC 4285 section 5.1): use 256 or more", s.SPI)
	case s.Key.Len() < 16:
		return fmt.Errorf("mip6: the key shared by mobile node and home agent has %d octets: at least 16 are needed", s.Key.Len())
	}
	return nil
}

// Signer authenticates a message that is appended.
type Signer struct {
	option        []byte // up to the authenticator
	begin         int    // where in 8 octets the option begins, so that it ends the message
	first, second netip.Addr
	key           *keys.Secret
}

// Signer makes the mobility message authentication option of RFC 4285 for a message
// about a binding of home to careOf, or about none (then careOf is the source of the
// Update).
func (s Security) Signer(careOf, home netip.Addr) *Signer {
	o := binary.BigEndian.AppendUint32([]byte{OptAuthentication, 5 + authenticatorLen, subtypeHome}, s.SPI)
	return &Signer{option: o, begin: 5, first: careOf, second: home, key: s.Key}
}

// routeSigner makes the binding authorization data of RFC 6275 section 6.2.7. careOf is
// the home address when the binding is deleted.
func routeSigner(kbm *keys.Secret, careOf, correspondent netip.Addr) *Signer {
	return &Signer{option: []byte{OptAuthorization, authenticatorLen}, begin: 2, first: careOf, second: correspondent, key: kbm}
}

// reserve appends the option with an empty authenticator to the message that begins at
// start, and returns the place of the authenticator.
func (s *Signer) reserve(dst []byte, start int) (out, mac []byte, err error) {
	if s.key.Len() == 0 {
		return nil, nil, errors.New("cannot be authenticated: there is no key")
	}
	dst = append(pad(dst, start, 8, s.begin), s.option...)
	dst = append(dst, make([]byte, authenticatorLen)...)
	return dst, dst[len(dst)-authenticatorLen:], nil
}

// authenticate fills the authenticator, the end of the message b, of which the checksum
// is zero.
func (s *Signer) authenticate(mac, b []byte) {
	copy(mac, s.sum(b[:len(b)-authenticatorLen]))
}

// sum is the MAC over the addresses and a message, as if its checksum were zero.
func (s *Signer) sum(covered []byte) []byte {
	mac := hmac.New(sha1.New, s.key.Bytes())
	first, second := s.first.As16(), s.second.As16()
	mac.Write(first[:])
	mac.Write(second[:])
	mac.Write(covered[:4])
	mac.Write([]byte{0, 0})
	mac.Write(covered[headerLen:])
	return mac.Sum(nil)[:authenticatorLen]
}

// Verify checks the mobility message authentication option of RFC 4285 over the octets
// as they were received; see [Security.Signer] for the addresses. The errors are
// ErrNoAuthentication, ErrSPI and ErrAuthenticator.
func (m *Update) Verify(s Security, careOf, home netip.Addr) error {
	return verifyHome(m.raw, m.Options, s, careOf, home)
}

// Verify is as [Update.Verify].
func (m *Ack) Verify(s Security, careOf, home netip.Addr) error {
	return verifyHome(m.raw, m.Options, s, careOf, home)
}

func verifyHome(raw []byte, l Options, s Security, careOf, home netip.Addr) error {
	var found Option
	for _, o := range l {
		switch {
		case o.Type == OptAuthentication && len(o.Data) > 0 && o.Data[0] == subtypeHome:
			if found.Data != nil {
				return fmt.Errorf("mip6: %w: it is there twice", ErrNoAuthentication)
			}
			found = o
		case o.Type != OptAuthentication && found.Data != nil:
			return fmt.Errorf("mip6: %w: option %d comes after it and is not covered", ErrNoAuthentication, o.Type)
		}
	}
	switch spi := s.Signer(careOf, home); {
	case found.Data == nil:
		return fmt.Errorf("mip6: %w: there is none", ErrNoAuthentication)
	case len(found.Data) != 5+authenticatorLen:
		return fmt.Errorf("mip6: %w: it has %d octets, expected %d", ErrNoAuthentication, len(found.Data), 5+authenticatorLen)
	case binary.BigEndian.Uint32(found.Data[1:]) != s.SPI:
		return fmt.Errorf("mip6: %w: expected %d, %d came", ErrSPI, s.SPI, binary.BigEndian.Uint32(found.Data[1:]))
	default:
		return spi.check(raw[:found.at+7], found.Data[5:])
	}
}

func (s *Signer) check(covered, mac []byte) error {
	if s.key.Len() == 0 || !hmac.Equal(s.sum(covered), mac) {
		return fmt.Errorf("mip6: %w for %v and %v: the keys differ, or the message was changed", ErrAuthenticator, s.first, s.second)
	}
	return nil
}

// verifyRoute checks the binding authorization data, which must be the end of the
// message (RFC 6275 section 6.2.7).
func verifyRoute(raw []byte, l Options, kbm *keys.Secret, careOf, correspondent netip.Addr) error {
	if len(l) == 0 || l[len(l)-1].Type != OptAuthorization {
		return fmt.Errorf("mip6: %w: the binding authorization data must be there, and last", ErrNoAuthentication)
	}
	o := l[len(l)-1]
	if len(o.Data) != authenticatorLen || o.at+2+authenticatorLen != len(raw) {
		return fmt.Errorf("mip6: %w: binding authorization data of %d octets, expected %d and no padding behind", ErrNoAuthentication, len(o.Data), authenticatorLen)
	}
	if first, _ := l.find(OptAuthorization); first.at != o.at {
		return fmt.Errorf("mip6: %w: binding authorization data is there twice", ErrNoAuthentication)
	}
	return routeSigner(kbm, careOf, correspondent).check(raw[:o.at+2], o.Data)
}
