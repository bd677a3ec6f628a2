package esp

import (
	"fmt"
	"slices"

	"openmpa/paa/keys"
)

// Transform is a suite with the length of its key, by the number under which two peers
// agree on it.
type Transform uint8

// The transforms. Zero is none.
const (
	AES128GCM Transform = 1 // RFC 4106
	AES256GCM Transform = 2 // RFC 4106
	ChaCha20  Transform = 3 // RFC 7634
)

// transforms is what belongs to each; the names are those of configurations.
var transforms = map[Transform]struct {
	name  string
	suite Suite
	key   int // octets, without salt
}{
	AES128GCM: {"aes-128-gcm", AESGCM, 16},
	AES256GCM: {"aes-256-gcm", AESGCM, 32},
	ChaCha20:  {"chacha20-poly1305", ChaCha20Poly1305, 32},
}

// Transforms are all of them in the order in which a machine likes them: aes says that
// its processor has instructions for AES and GCM. Without, ChaCha20 is several times
// as fast.
func Transforms(aes bool) []Transform {
	if aes {
		return []Transform{AES128GCM, AES256GCM, ChaCha20}
	}
	return []Transform{ChaCha20, AES128GCM, AES256GCM}
}

// ParseTransform finds a transform by its name.
func ParseTransform(name string) (Transform, error) {
	for t, is := range transforms {
		if is.name == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("esp: no suite %q: expected %v, %v or %v", name, AES128GCM, AES256GCM, ChaCha20)
}

// Choose returns the first that the peer offers and allowed has; zero when there is none.
func Choose(offered []uint8, allowed []Transform) Transform {
	for _, o := range offered {
		if t := Transform(o); t.Known() && slices.Contains(allowed, t) {
			return t
		}
	}
	return 0
}

// Offer is a list of transforms as messages have it.
func Offer(liked []Transform) (numbers []uint8) {
	for _, t := range liked {
		numbers = append(numbers, uint8(t))
	}
	return numbers
}

// Known says whether t is one of the above.
func (t Transform) Known() bool { _, ok := transforms[t]; return ok }

// String is the name in configurations.
func (t Transform) String() string {
	if is, ok := transforms[t]; ok {
		return is.name
	}
	return fmt.Sprintf("suite %d", uint8(t))
}

// MaterialLen is the length of its key material, key and salt, in octets; zero for one
// that is not known.
func (t Transform) MaterialLen() int {
	if is, ok := transforms[t]; ok {
		return is.key + SaltLen
	}
	return 0
}

// NewPair makes both halves of a security association with a replay window of
// DefaultWindow: in by inSPI and inKey, out likewise. The keys are of MaterialLen.
func (t Transform) NewPair(inSPI uint32, inKey *keys.Secret, outSPI uint32, outKey *keys.Secret) (p Pair, err error) {
	is, ok := transforms[t]
	if !ok {
		return Pair{}, fmt.Errorf("esp: %v is not known", t)
	}
	for _, k := range []*keys.Secret{inKey, outKey} {
		if k == nil || k.Len() != t.MaterialLen() {
			return Pair{}, fmt.Errorf("esp: key material of another length than %d octets, which %v takes", t.MaterialLen(), t)
		}
	}
	if p.In, err = is.suite.NewInbound(inSPI, inKey, DefaultWindow); err != nil {
		return Pair{}, err
	}
	if p.Out, err = is.suite.NewOutbound(outSPI, outKey); err != nil {
		return Pair{}, err
	}
	return p, nil
}
