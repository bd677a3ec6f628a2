package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Errors of Sealer.
var (
	// ErrSealShort: what came is too short to be a sealed message.
	ErrSealShort = errors.New("keys: sealed message is too short")
	// ErrSealDirection: the message was made by our own end, or by none.
	ErrSealDirection = errors.New("keys: sealed message of the wrong direction")
	// ErrSealReplay: the counter did not grow.
	ErrSealReplay = errors.New("keys: sealed message was seen before")
	// ErrSealAuth: the message was not sealed under this key with this additional data.
	ErrSealAuth = errors.New("keys: sealed message does not verify")
	// ErrSealExhausted: no counter is left; the session has to re-authenticate.
	ErrSealExhausted = errors.New("keys: sealing counter is used up: re-authenticate")
)

// Direction says which way a sealed message goes.
type Direction uint32

// The directions.
const (
	ToRouter Direction = 1 // mobile node to configuration agent or access router
	ToNode   Direction = 2 // back
)

// String names the direction.
func (d Direction) String() string {
	switch d {
	case ToRouter:
		return "to router"
	case ToNode:
		return "to node"
	}
	return fmt.Sprintf("Direction(%d)", uint32(d))
}

func (d Direction) opposite() Direction {
	if d == ToRouter {
		return ToNode
	}
	return ToRouter
}

const (
	sealNonceLen = 12
	sealTagLen   = 16

	// SealOverhead is how many octets longer a sealed message is than its content.
	SealOverhead = sealNonceLen + sealTagLen

	minSealKey = 16
)

// Sealer seals the messages of one end and opens those of the other. Exactly one
// may be made for a key and a direction: a second one would start its counter
// again and repeat nonces. It has no lock; its owner uses it from one goroutine at a time.
type Sealer struct {
	// fixed after NewSealer
	dir       Direction
	out, into cipher.AEAD

	// owner
	sent uint64 // counter of the last message sealed
	seen uint64 // highest counter opened
}

// NewSealer makes the sealer of the end that sends in direction dir. It keeps
// nothing of key, which must have at least 16 octets (MN-CA and MN-AR have 32).
func NewSealer(key *Secret, dir Direction) (*Sealer, error) {
	if dir != ToRouter && dir != ToNode {
		return nil, fmt.Errorf("keys: sealer: want direction %v or %v, got %v", ToRouter, ToNode, dir)
	}
	if key.Len() < minSealKey {
		return nil, fmt.Errorf("keys: sealer: want a key of at least %d octets, got %d", minSealKey, key.Len())
	}
	out, err := sealCipher(key, dir)
	if err != nil {
		return nil, err
	}
	into, err := sealCipher(key, dir.opposite())
	if err != nil {
		return nil, err
	}
	return &Sealer{dir: dir, out: out, into: into}, nil
}

// sealKey derives the AES-256 key of one direction.
func sealKey(key *Secret, dir Direction) []byte {
	seed := binary.BigEndian.AppendUint32([]byte(labelSeal), uint32(dir))
	return PRFPlus(PRFHMACSHA256, key.Bytes(), seed, 32)
}

func sealCipher(key *Secret, dir Direction) (cipher.AEAD, error) {
	sub := sealKey(key, dir)
	defer clear(sub)
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, fmt.Errorf("keys: sealer: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("keys: sealer: %w", err)
	}
	return aead, nil
}

// Seal encrypts plain and protects it together with aad, which both ends know and
// which does not travel in the result. The only error is ErrSealExhausted.
func (s *Sealer) Seal(plain, aad []byte) ([]byte, error) {
	if s.sent == math.MaxUint64 {
		return nil, ErrSealExhausted
	}
	s.sent++
	out := make([]byte, 0, len(plain)+SealOverhead)
	out = binary.BigEndian.AppendUint32(out, uint32(s.dir))
	out = binary.BigEndian.AppendUint64(out, s.sent)
	return s.out.Seal(out, out[:sealNonceLen], plain, aad), nil
}

// Open returns the content of a message the other end sealed with the same aad.
// It takes each counter once, and only growing ones; a message that fails changes
// nothing. Errors: ErrSealShort, ErrSealDirection, ErrSealReplay, ErrSealAuth.
func (s *Sealer) Open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < SealOverhead {
		return nil, fmt.Errorf("%w: want at least %d octets, got %d", ErrSealShort, SealOverhead, len(sealed))
	}
	if d := Direction(binary.BigEndian.Uint32(sealed)); d != s.dir.opposite() {
		return nil, fmt.Errorf("%w: want %v, got %v", ErrSealDirection, s.dir.opposite(), d)
	}
	counter := binary.BigEndian.Uint64(sealed[4:])
	if counter <= s.seen {
		return nil, fmt.Errorf("%w: want a counter above %d, got %d", ErrSealReplay, s.seen, counter)
	}
	plain, err := s.into.Open(nil, sealed[:sealNonceLen], sealed[sealNonceLen:], aad)
	if err != nil {
		return nil, ErrSealAuth
	}
	s.seen = counter
	return plain, nil
}
