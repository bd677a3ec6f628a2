package enroll

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

const (
	secretLen      = 16 // octets: 128 bits that nobody guesses
	fingerprintLen = 16 // octets of SHA-256 over the public key: a second key with the same is as hard to find
	checkLen       = 2  // octets against typing errors, no more
	group          = 5  // letters between two dashes
)

// Code is what the operator carries.
type Code struct {
	secret      [secretLen]byte
	fingerprint [fingerprintLen]byte
}

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// ErrCode is wrapped when a text is no code.
var ErrCode = errors.New("enroll: that is no code")

// Text is the code as it is typed. It is a secret: no String method, so that no log has it by accident.
func (c Code) Text() string {
	b := append(c.secret[:], c.fingerprint[:]...)
	sum := sha256.Sum256(b)
	text := encoding.EncodeToString(append(b, sum[:checkLen]...))
	var out strings.Builder
	for i := 0; i < len(text); i += group {
		if i > 0 {
			out.WriteByte('-')
		}
		out.WriteString(text[i:min(i+group, len(text))])
	}
	return out.String()
}

// ParseCode reads a code; spaces, dashes and case do not count.
func ParseCode(text string) (Code, error) {
	plain := strings.ToUpper(strings.NewReplacer("-", "", " ", "", "\n", "").Replace(text))
	const whole = secretLen + fingerprintLen + checkLen
	if want := encoding.EncodedLen(whole); len(plain) != want {
		return Code{}, fmt.Errorf("%w: expected %d letters and digits, found %d; copy it whole from the router", ErrCode, want, len(plain))
	}
	b, err := encoding.DecodeString(plain)
	if err != nil {
		return Code{}, fmt.Errorf("%w: expected the letters A to Z and the digits 2 to 7", ErrCode)
	}
	sum := sha256.Sum256(b[:whole-checkLen])
	if string(sum[:checkLen]) != string(b[whole-checkLen:]) {
		return Code{}, fmt.Errorf("%w: a letter is wrong; copy it again from the router", ErrCode)
	}
	var c Code
	copy(c.secret[:], b)
	copy(c.fingerprint[:], b[secretLen:])
	return c, nil
}
