package mip6

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // demanded by RFC 6275 section 5.2.4
	"fmt"
	"io"
	"net/netip"

	"openmpa/paa/keys"
)

// Cookie is a home or care-of init cookie (RFC 6275 section 5.2.3).
type Cookie [8]byte

// Token is a keygen token (RFC 6275 section 5.2.3). It is secret, and prints as redacted.
type Token [8]byte

// redacted is all that ever prints of a token.
const redacted = "[redacted]"

// Format hides the token from every verb.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the token.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// The octets that tell tokens of home and care-of addresses apart (section 5.2.5).
const (
	tokenHome   = 0
	tokenCareOf = 1
)

// makeToken makes a keygen token (RFC 6275 section 5.2.5).
func makeToken(kcn *keys.Secret, a netip.Addr, nonce []byte, which byte) Token {
	mac := hmac.New(sha1.New, kcn.Bytes())
	b := a.As16()
	mac.Write(b[:])
	mac.Write(nonce)
	mac.Write([]byte{which})
	return Token(mac.Sum(nil))
}

// bindingKey makes the binding management key Kbm from the tokens: the home one alone
// for a deletion, both otherwise (RFC 6275 section 5.2.5).
func bindingKey(tokens ...Token) *keys.Secret {
	h := sha1.New()
	for _, t := range tokens {
		h.Write(t[:])
	}
	return keys.NewSecret(h.Sum(nil))
}
