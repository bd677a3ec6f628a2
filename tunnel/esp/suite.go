package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"openmpa/paa/keys"
)

// Suite is an algorithm that encrypts and protects. All have an IV of 8 octets, a
// salt of 4 and an ICV of 16: packets have the same form and length.
type Suite uint8

// The suites.
const (
	AESGCM           Suite = iota // RFC 4106: fast where the processor has AES
	ChaCha20Poly1305              // RFC 7634: fast where it has not
)

// String names the suite as its RFC does.
func (s Suite) String() string {
	switch s {
	case AESGCM:
		return "AES-GCM"
	case ChaCha20Poly1305:
		return "ChaCha20-Poly1305"
	}
	return fmt.Sprintf("Suite(%d)", uint8(s))
}

// KeyLens are the lengths of key material that the suite takes, salt included, in octets.
func (s Suite) KeyLens() []int {
	switch s {
	case AESGCM:
		return []int{16 + SaltLen, 24 + SaltLen, 32 + SaltLen}
	case ChaCha20Poly1305:
		return []int{chacha20poly1305.KeySize + SaltLen}
	}
	return nil
}

// newAEAD splits key material into key and salt (RFC 4106 section 8.1, RFC 7634 section 2).
func (s Suite) newAEAD(spi uint32, key *keys.Secret) (cipher.AEAD, [SaltLen]byte, error) {
	var salt [SaltLen]byte
	if spi < MinSPI {
		return nil, salt, fmt.Errorf("esp: SPI %d is reserved (RFC 4303 section 2.1), use %d or more", spi, MinSPI)
	}
	if key == nil {
		return nil, salt, errors.New("esp: no key material, expected a key and 4 octets of salt")
	}
	raw := key.Bytes()
	n := len(raw) - SaltLen
	var aead cipher.AEAD
	var err error
	switch {
	case s == AESGCM && (n == 16 || n == 24 || n == 32):
		var block cipher.Block
		if block, err = aes.NewCipher(raw[:n]); err == nil {
			aead, err = cipher.NewGCM(block)
		}
	case s == ChaCha20Poly1305 && n == chacha20poly1305.KeySize:
		aead, err = chacha20poly1305.New(raw[:n])
	case s > ChaCha20Poly1305:
		return nil, salt, fmt.Errorf("esp: %v is not known, expected %v or %v", s, AESGCM, ChaCha20Poly1305)
	default:
		return nil, salt, fmt.Errorf("esp: key material of %d octets, expected one of %d for %v (key and 4 octets of salt)", len(raw), s.KeyLens(), s)
	}
	if err != nil {
		return nil, salt, fmt.Errorf("esp: %v: %w", s, err)
	}
	copy(salt[:], raw[n:])
	return aead, salt, nil
}
