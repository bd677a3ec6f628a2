package keys

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// redacted is all that ever prints of a secret.
const redacted = "[redacted]"

// Secret holds key material. It prints as "[redacted]" by every verb of fmt, in
// slog, JSON, text and YAML, and is overwritten by Clear, or by the garbage
// collector when neither the Secret nor what Bytes returned is reachable any more.
//
// A Secret may be read by several goroutines at once; Clear belongs to its owner,
// when nobody reads. A nil Secret is empty.
type Secret struct {
	// Behind a function, since fmt follows pointers (with verbs that do not fit)
	// and does not call methods on unexported fields of other structs: all it can
	// show of a function is an address. Nil: empty.
	get func() *material
}

type material struct {
	b []byte
}

// minBlock keeps key material out of the runtime's shared blocks for tiny
// objects, in which a finalizer need not ever run.
const minBlock = 32

// NewSecret copies b into a new Secret and overwrites b with zeros.
func NewSecret(b []byte) *Secret {
	block := make([]byte, len(b), max(len(b), minBlock))
	copy(block, b)
	clear(b)
	// The block itself is watched, not the Secret: a caller may still use the slice
	// Bytes gave after its last use of the Secret, and must not find it cleared.
	// runtime.AddCleanup cannot do this, its argument would keep the block alive.
	size := cap(block)
	runtime.SetFinalizer(unsafe.SliceData(block), func(p *byte) {
		clear(unsafe.Slice(p, size))
		if f := onFinalClear.Load(); f != nil {
			(*f)(unsafe.Slice(p, size))
		}
	})
	m := &material{b: block}
	return &Secret{get: func() *material { return m }}
}

// onFinalClear lets a test see that the collector cleared a block.
var onFinalClear atomic.Pointer[func(block []byte)]

// Bytes returns the secret itself, not a copy: do not keep, change or print it.
// It is nil after Clear.
func (s *Secret) Bytes() []byte {
	if s == nil || s.get == nil {
		return nil
	}
	return s.get().b
}

// Len returns the number of octets, 0 after Clear.
func (s *Secret) Len() int { return len(s.Bytes()) }

// Clone returns an independent copy, for a second owner who clears it on his own.
func (s *Secret) Clone() *Secret {
	b := s.Bytes()
	tmp := make([]byte, len(b))
	copy(tmp, b)
	return NewSecret(tmp)
}

// Clear overwrites the secret with zeros and empties it. It may be called again.
func (s *Secret) Clear() {
	if s == nil || s.get == nil {
		return
	}
	m := s.get()
	clear(m.b)
	m.b = nil
}

// Equal compares in a time that depends on the lengths only.
func (s *Secret) Equal(other *Secret) bool {
	return subtle.ConstantTimeCompare(s.Bytes(), other.Bytes()) == 1
}

// Format implements fmt.Formatter for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML implements the YAML encoders' interface.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }
