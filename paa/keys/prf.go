package keys

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
)

// ErrAlgorithm is wrapped by errors about a transform this package does not have.
var ErrAlgorithm = errors.New("unknown algorithm")

// PRF is a pseudo-random function by its IKEv2 transform type 2 number.
type PRF uint32

// The functions supported (RFC 7296 section 3.3.2, RFC 4868 section 2.1.2).
const (
	PRFHMACSHA1   PRF = 2
	PRFHMACSHA256 PRF = 5
	PRFHMACSHA384 PRF = 6
	PRFHMACSHA512 PRF = 7
)

func (p PRF) hash() func() hash.Hash {
	switch p {
	case PRFHMACSHA1:
		return sha1.New
	case PRFHMACSHA256:
		return sha256.New
	case PRFHMACSHA384:
		return sha512.New384
	case PRFHMACSHA512:
		return sha512.New
	}
	return nil
}

// Supported says whether this package has the function.
func (p PRF) Supported() bool { return p.hash() != nil }

// Size returns the octets of output of one application, 0 when not supported.
func (p PRF) Size() int {
	if h := p.hash(); h != nil {
		return h().Size()
	}
	return 0
}

// String names the transform as IANA does.
func (p PRF) String() string {
	switch p {
	case PRFHMACSHA1:
		return "PRF_HMAC_SHA1"
	case PRFHMACSHA256:
		return "PRF_HMAC_SHA2_256"
	case PRFHMACSHA384:
		return "PRF_HMAC_SHA2_384"
	case PRFHMACSHA512:
		return "PRF_HMAC_SHA2_512"
	}
	return fmt.Sprintf("PRF(%d)", uint32(p))
}

// Integrity is an integrity algorithm by its IKEv2 transform type 3 number.
type Integrity uint32

// The algorithms supported (RFC 5191 section 8.2.1 asks for 7; RFC 4868 for the others).
const (
	AuthHMACSHA1_160   Integrity = 7
	AuthHMACSHA256_128 Integrity = 12
	AuthHMACSHA384_192 Integrity = 13
	AuthHMACSHA512_256 Integrity = 14
)

// params returns the hash, key length and length of the check value in octets.
func (i Integrity) params() (h func() hash.Hash, key, icv int) {
	switch i {
	case AuthHMACSHA1_160:
		return sha1.New, 20, 20
	case AuthHMACSHA256_128:
		return sha256.New, 32, 16
	case AuthHMACSHA384_192:
		return sha512.New384, 48, 24
	case AuthHMACSHA512_256:
		return sha512.New, 64, 32
	}
	return nil, 0, 0
}

// Supported says whether this package has the algorithm.
func (i Integrity) Supported() bool { h, _, _ := i.params(); return h != nil }

// KeyLen returns the length of the key in octets, 0 when not supported.
func (i Integrity) KeyLen() int { _, n, _ := i.params(); return n }

// ICVLen returns the length of the integrity check value in octets, 0 when not supported.
func (i Integrity) ICVLen() int { _, _, n := i.params(); return n }

// MAC returns the integrity check value of msg, ICVLen octets, or nil when the
// algorithm is not supported. Compare with hmac.Equal.
func (i Integrity) MAC(key, msg []byte) []byte {
	h, _, icv := i.params()
	if h == nil {
		return nil
	}
	m := hmac.New(h, key)
	m.Write(msg)
	return m.Sum(nil)[:icv]
}

// String names the transform as IANA does.
func (i Integrity) String() string {
	switch i {
	case AuthHMACSHA1_160:
		return "AUTH_HMAC_SHA1_160"
	case AuthHMACSHA256_128:
		return "AUTH_HMAC_SHA2_256_128"
	case AuthHMACSHA384_192:
		return "AUTH_HMAC_SHA2_384_192"
	case AuthHMACSHA512_256:
		return "AUTH_HMAC_SHA2_512_256"
	}
	return fmt.Sprintf("AUTH(%d)", uint32(i))
}

// PRFPlus returns n octets of prf+(key, seed), RFC 7296 section 2.13:
//
//	T1 = prf(key, seed | 0x01), Tn = prf(key, Tn-1 | seed | n), prf+ = T1 | T2 | ...
//
// It returns nil when p is not supported, or n is negative or more than the 255
// blocks that the definition allows.
func PRFPlus(p PRF, key []byte, seed []byte, n int) []byte {
	h := p.hash()
	if h == nil || n < 0 || n > 255*p.Size() {
		return nil
	}
	m := hmac.New(h, key)
	out := make([]byte, 0, n+m.Size())
	var last []byte
	for i := byte(1); len(out) < n; i++ {
		if i > 1 { // the first one would be kept for more, and there mostly is no more
			m.Reset()
		}
		m.Write(last)
		m.Write(seed)
		m.Write([]byte{i})
		at := len(out)
		out = m.Sum(out)
		last = out[at:]
	}
	clear(out[n:])
	return out[:n:n]
}
