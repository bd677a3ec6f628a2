package mip4

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // HMAC-MD5 is what RFC 5944 section 3.5.1 makes mandatory
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"openmpa/paa/keys"
)

// Algorithm computes authenticators (RFC 5944 section 5.1).
type Algorithm uint8

// The algorithms. The zero value is the RFC's default.
const (
	HMACMD5    Algorithm = iota // 16 octets, mandatory to implement
	HMACSHA256                  // 32 octets
)

// ParseAlgorithm reads the name used in configuration; empty is the default.
func ParseAlgorithm(name string) (Algorithm, error) {
	switch name {
	case "", "hmac-md5":
		return HMACMD5, nil
	case "hmac-sha256":
		return HMACSHA256, nil
	}
	return 0, fmt.Errorf("mip4: authentication algorithm %q is not known: use hmac-sha256 or hmac-md5", name)
}

// String is the name used in configuration.
func (a Algorithm) String() string {
	switch a {
	case HMACMD5:
		return "hmac-md5"
	case HMACSHA256:
		return "hmac-sha256"
	}
	return fmt.Sprintf("algorithm(%d)", uint8(a))
}

// Size is the number of octets of an authenticator.
func (a Algorithm) Size() int {
	if a == HMACSHA256 {
		return sha256.Size
	}
	return md5.Size
}

func (a Algorithm) hash() func() hash.Hash {
	if a == HMACSHA256 {
		return sha256.New
	}
	return md5.New
}

// SPIReserved is the highest security parameter index that must not be used (RFC 5944
// section 1.6: 0 to 255 are reserved).
const SPIReserved = 255

// Security is a mobility security association between a mobile node and its home
// agent. The key stays the caller's, who clears it when nothing uses it any more.
type Security struct {
	SPI       uint32
	Key       *keys.Secret
	Algorithm Algorithm
}

// Check says what is wrong with the association, or nil.
func (s Security) Check() error {
	switch {
	case s.SPI <= SPIReserved:
		return fmt.Errorf("mip4: security parameter index %d is reserved (RFC 5944 section 1.6): use 256 or more", s.SPI)
	case s.Key.Len() < 16:
		return fmt.Errorf("mip4: the key shared by mobile node and home agent has %d octets: at least 16 are needed", s.Key.Len())
	case s.Algorithm > HMACSHA256:
		return fmt.Errorf("mip4: %v is not known", s.Algorithm)
	}
	return nil
}

// sign appends a Mobile-Home Authentication Extension over dst[start:].
func (s Security) sign(dst []byte, start int) ([]byte, error) {
	if s.Key.Len() == 0 {
		return nil, fmt.Errorf("mip4: cannot sign: the security association %d has no key", s.SPI)
	}
	dst = append(dst, ExtMobileHome, byte(4+s.Algorithm.Size()))
	dst = binary.BigEndian.AppendUint32(dst, s.SPI)
	mac := hmac.New(s.Algorithm.hash(), s.Key.Bytes())
	mac.Write(dst[start:])
	return mac.Sum(dst), nil
}

// Verify checks the authenticator over the octets as they were received. The errors
// are ErrNoAuthentication, ErrSPI and ErrAuthenticator.
func (e *Envelope) Verify(s Security) error {
	switch {
	case e.authenticator == nil:
		return fmt.Errorf("mip4: %w: there is none", ErrNoAuthentication)
	case e.SPI != s.SPI:
		return fmt.Errorf("mip4: %w: expected %d, %d came", ErrSPI, s.SPI, e.SPI)
	case !s.matches(e.covered, e.authenticator):
		return fmt.Errorf("mip4: %w under security parameter index %d: key or algorithm (%v here) differ, or the message was changed",
			ErrAuthenticator, s.SPI, s.Algorithm)
	}
	return nil
}

func (s Security) matches(covered, authenticator []byte) bool {
	if s.Key.Len() == 0 {
		return false
	}
	mac := hmac.New(s.Algorithm.hash(), s.Key.Bytes())
	mac.Write(covered)
	return hmac.Equal(mac.Sum(nil), authenticator)
}
