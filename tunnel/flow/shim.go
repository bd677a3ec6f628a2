package flow

import (
	"encoding/binary"
	"fmt"
)

// ShimLen is the length of a shim header in octets.
const ShimLen = 8

const shimVersion = 1

// MaxClass is the highest class a shim header may name.
const MaxClass = 15

// Shim is the header between ESP and an inner packet by which copies are known;
// doc.go draws it.
type Shim struct {
	Class  uint8 // up to MaxClass: each class has a numbering of its own
	Epoch  uint16
	Number uint32
}

// AppendBinary appends the header.
func (s Shim) AppendBinary(b []byte) ([]byte, error) {
	if s.Class > MaxClass {
		return b, fmt.Errorf("%w: shim header of class %d, expected at most %d", ErrFormat, s.Class, MaxClass)
	}
	b = append(b, shimVersion<<4|s.Class, 0)
	b = binary.BigEndian.AppendUint16(b, s.Epoch)
	return binary.BigEndian.AppendUint32(b, s.Number), nil
}

// ErrShim says that a packet has no shim header that is known here. It matches
// ErrFormat, and is not built for the packet at hand.
var ErrShim = fmt.Errorf("%w: no shim header of version %d", ErrFormat, shimVersion)

// ParseShim reads the header and returns what is behind it.
func ParseShim(b []byte) (Shim, []byte, error) {
	if len(b) < ShimLen || b[0]>>4 != shimVersion {
		return Shim{}, nil, ErrShim
	}
	return Shim{Class: b[0] & 0x0F, Epoch: binary.BigEndian.Uint16(b[2:]), Number: binary.BigEndian.Uint32(b[4:])}, b[ShimLen:], nil
}
