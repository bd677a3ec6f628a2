package mip6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"openmpa/internal/inet"
)

// Protocol is the Next Header value of the Mobility Header (RFC 6275 section 6.1.1).
const Protocol = 135

// noNext is the Payload Proto of every message: nothing follows.
const noNext = 59

// Types of the Mobility Header (RFC 6275 sections 6.1.2 to 6.1.9).
const (
	TypeRefreshRequest = 0
	TypeHomeTestInit   = 1
	TypeCareOfTestInit = 2
	TypeHomeTest       = 3
	TypeCareOfTest     = 4
	TypeUpdate         = 5
	TypeAck            = 6
	TypeError          = 7
)

// headerLen is what all types have in common; maxHeader is what Header Len can say.
const (
	headerLen = 6
	maxHeader = 8 + 255*8
)

// Errors of the parsers. Each is wrapped with what was expected and what came.
var (
	// ErrFormat says that a message is not what it must be: it is discarded silently.
	ErrFormat = errors.New("malformed message")
	// ErrChecksum says that the checksum does not fit: the message is discarded silently.
	ErrChecksum = errors.New("wrong checksum")
)

// UnknownTypeError says that the Mobility Header is of a type that is not known. It is
// answered with a Binding Error of status 2 (RFC 6275 section 9.2).
type UnknownTypeError struct{ Type uint8 }

// Error implements error.
func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("mip6: mobility header of unknown type %d: types 0 to 7 are known", e.Type)
}

// ParameterError says that a field of the Mobility Header forbids processing it. RFC
// 6275 section 9.2 suggests an ICMP Parameter Problem, code 0, to the sender.
type ParameterError struct {
	Pointer int // octets from the start of the Mobility Header
	Reason  string
}

// Error implements error.
func (e *ParameterError) Error() string {
	return fmt.Sprintf("mip6: mobility header, octet %d: %s", e.Pointer, e.Reason)
}

// Message is one of the types of this package. The set is closed.
type Message interface {
	kind() (typ uint8, name string)
	appendFixed(dst []byte) []byte
	list() Options
}

// Parse parses a Mobility Header that came from src to dst: the addresses of which the
// checksum is made, so the home address where a Home Address option or a type 2 routing
// header names it (see [Packet]). What it returns aliases b. Authenticators are not
// checked yet. Octets after the header are not looked at.
func Parse(b []byte, src, dst netip.Addr) (Message, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("mip6: %w: a mobility header has at least 8 octets, %d came", ErrFormat, len(b))
	}
	size := 8 + 8*int(b[1])
	if len(b) < size {
		return nil, fmt.Errorf("mip6: %w: header length says %d octets, %d came", ErrFormat, size, len(b))
	}
	b = b[:size:size]
	if s := inet.Fold(inet.Sum(pseudo(src, dst, size), b)); s != 0xffff {
		return nil, fmt.Errorf("mip6: %w from %v to %v: the sum is %#04x", ErrChecksum, src, dst, s)
	}
	parse, ok := parsers[b[2]]
	if !ok {
		return nil, &UnknownTypeError{Type: b[2]}
	}
	if b[0] != noNext {
		return nil, &ParameterError{Pointer: 0, Reason: fmt.Sprintf("payload protocol %d, expected %d (nothing follows)", b[0], noNext)}
	}
	if least := (parse.fixed + 7) &^ 7; size < least {
		return nil, &ParameterError{Pointer: 1, Reason: fmt.Sprintf("%d octets, a message of type %d has at least %d", size, b[2], least)}
	}
	o, err := parseOptions(b, parse.fixed)
	if err != nil {
		return nil, err
	}
	return parse.make(b, o), nil
}

type parser struct {
	fixed int // octets of the fixed portion
	make  func(b []byte, o Options) Message
}

var parsers = map[uint8]parser{
	TypeRefreshRequest: {8, parseRefreshRequest},
	TypeHomeTestInit:   {16, parseHomeTestInit},
	TypeCareOfTestInit: {16, parseCareOfTestInit},
	TypeHomeTest:       {24, parseHomeTest},
	TypeCareOfTest:     {24, parseCareOfTest},
	TypeUpdate:         {12, parseUpdate},
	TypeAck:            {12, parseAck},
	TypeError:          {24, parseError},
}

// Append appends a message from src to dst, padded and with its checksum. src and dst
// are those of [Parse]. An [Update] or [Ack] is authenticated when sign is not nil.
func Append(dst []byte, m Message, src, to netip.Addr, sign *Signer) ([]byte, error) {
	start := len(dst)
	typ, name := m.kind()
	dst = append(dst, noNext, 0, typ, 0, 0, 0)
	dst = m.appendFixed(dst)
	dst, err := m.list().appendBinary(dst, start)
	if err != nil {
		return nil, fmt.Errorf("mip6: %s: %w", name, err)
	}
	var mac []byte
	if sign != nil {
		if dst, mac, err = sign.reserve(dst, start); err != nil {
			return nil, fmt.Errorf("mip6: %s: %w", name, err)
		}
	} else {
		dst = pad(dst, start, 8, 0)
	}
	size := len(dst) - start
	if size > maxHeader {
		return nil, fmt.Errorf("mip6: a %s of %d octets cannot be sent: a mobility header has at most %d", name, size, maxHeader)
	}
	b := dst[start:]
	b[1] = byte(size/8 - 1) //nolint:gosec // checked above
	if sign != nil {
		sign.authenticate(mac, b)
	}
	binary.BigEndian.PutUint16(b[4:], ^inet.Fold(inet.Sum(pseudo(src, to, size), b)))
	return dst, nil
}

// pseudo is the sum of the pseudo header (RFC 8200 section 8.1).
func pseudo(src, dst netip.Addr, size int) uint32 {
	s, d := src.As16(), dst.As16()
	return inet.Sum(inet.Sum(Protocol+uint32(size), s[:]), d[:]) //nolint:gosec // at most maxHeader
}
