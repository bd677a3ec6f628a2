package mip4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Port is the UDP port of registration messages (RFC 5944 section 3.3).
const Port = 434

// Message types (RFC 5944 section 6.1, RFC 4064 section 7.1).
const (
	TypeRequest      = 1
	TypeReply        = 3
	TypeExperimental = 255
)

// LifetimeInfinite is the lifetime field that means "never ends" (RFC 5944 section 3.3).
const LifetimeInfinite = 0xffff

// Lengths of the fixed portions.
const (
	requestLen = 24
	replyLen   = 20
)

// maxMessage bounds what is parsed. Nothing legitimate comes near it.
const maxMessage = 4096

// Errors of the parsers. Each is wrapped with what was expected and what came; all
// mean that the message is discarded silently.
var (
	// ErrFormat says that the message is not what its type demands.
	ErrFormat = errors.New("malformed message")
	// ErrUnknownExtension says that an extension of type 1 to 127 is not known, which
	// forbids processing the message (RFC 5944 section 1.8).
	ErrUnknownExtension = errors.New("unknown extension that must not be skipped")
	// ErrNoAuthentication says that the Mobile-Home Authentication Extension is missing
	// or there more than once (RFC 5944 section 3.6.2.1).
	ErrNoAuthentication = errors.New("no usable Mobile-Home Authentication Extension")
	// ErrAuthenticator says that the authenticator does not fit the message and the key.
	ErrAuthenticator = errors.New("wrong authenticator")
	// ErrSPI says that the message uses a security association other than ours.
	ErrSPI = errors.New("unknown security parameter index")
)

// Flags are the bits of a request (RFC 5944 section 3.3).
type Flags uint8

// The bits of a request.
const (
	FlagS Flags = 0x80 // simultaneous bindings
	FlagB Flags = 0x40 // broadcast datagrams wanted
	FlagD Flags = 0x20 // decapsulation by the mobile node (co-located care-of address)
	FlagM Flags = 0x10 // minimal encapsulation
	FlagG Flags = 0x08 // GRE encapsulation
	FlagR Flags = 0x04 // r, reserved
	FlagT Flags = 0x02 // reverse tunnelling (RFC 3024)
	FlagX Flags = 0x01 // x, reserved
)

// String prints the letters of the bits that are set.
func (f Flags) String() string {
	const letters = "SBDMGrTx"
	out := make([]byte, 0, len(letters))
	for i := range len(letters) {
		if f&(0x80>>i) != 0 {
			out = append(out, letters[i])
		}
	}
	return string(out)
}

// Request is a Registration Request (RFC 5944 section 3.3).
type Request struct {
	Flags       Flags
	Lifetime    uint16 // seconds; 0 deregisters, LifetimeInfinite never ends
	HomeAddress netip.Addr
	HomeAgent   netip.Addr
	CareOf      netip.Addr // the home address when all bindings are to go
	ID          uint64     // NTP time stamp, section 5.7.1

	Envelope
}

// Reply is a Registration Reply (RFC 5944 section 3.4).
type Reply struct {
	Code        Code
	Lifetime    uint16 // seconds granted; no meaning in a denial, except with code 69
	HomeAddress netip.Addr
	HomeAgent   netip.Addr
	ID          uint64

	Envelope
}

// ParseRequest parses a UDP payload. What it returns aliases b. The authenticator is
// not checked yet: see [Envelope.Verify].
func ParseRequest(b []byte) (Request, error) {
	if err := checkFixed(b, TypeRequest, requestLen, "registration request"); err != nil {
		return Request{}, err
	}
	r := Request{
		Flags:       Flags(b[1]),
		Lifetime:    binary.BigEndian.Uint16(b[2:]),
		HomeAddress: addr4(b[4:]),
		HomeAgent:   addr4(b[8:]),
		CareOf:      addr4(b[12:]),
		ID:          binary.BigEndian.Uint64(b[16:]),
	}
	var err error
	if r.Envelope, err = parseEnvelope(b, requestLen); err != nil {
		return Request{}, err
	}
	return r, nil
}

// ParseReply parses a UDP payload. What it returns aliases b. The authenticator is
// not checked yet: see [Envelope.Verify].
func ParseReply(b []byte) (Reply, error) {
	if err := checkFixed(b, TypeReply, replyLen, "registration reply"); err != nil {
		return Reply{}, err
	}
	r := Reply{
		Code:        Code(b[1]),
		Lifetime:    binary.BigEndian.Uint16(b[2:]),
		HomeAddress: addr4(b[4:]),
		HomeAgent:   addr4(b[8:]),
		ID:          binary.BigEndian.Uint64(b[12:]),
	}
	var err error
	if r.Envelope, err = parseEnvelope(b, replyLen); err != nil {
		return Reply{}, err
	}
	return r, nil
}

// AppendSigned appends the request, its extensions, and a Mobile-Home Authentication
// Extension made with sa. It fails when an address is not IPv4 or an extension does
// not fit its length field.
func (r *Request) AppendSigned(dst []byte, sa Security) ([]byte, error) {
	start := len(dst)
	dst = append(dst, TypeRequest, byte(r.Flags))
	dst = binary.BigEndian.AppendUint16(dst, r.Lifetime)
	dst, err := appendAddrs(dst, r.HomeAddress, r.HomeAgent, r.CareOf)
	if err != nil {
		return nil, fmt.Errorf("mip4: registration request: %w", err)
	}
	dst = binary.BigEndian.AppendUint64(dst, r.ID)
	return appendEnvelope(dst, start, r.Extensions, sa)
}

// AppendSigned appends the reply, its extensions, and a Mobile-Home Authentication
// Extension made with sa. It fails when an address is not IPv4 or an extension does
// not fit its length field.
func (r *Reply) AppendSigned(dst []byte, sa Security) ([]byte, error) {
	start := len(dst)
	dst = append(dst, TypeReply, byte(r.Code))
	dst = binary.BigEndian.AppendUint16(dst, r.Lifetime)
	dst, err := appendAddrs(dst, r.HomeAddress, r.HomeAgent)
	if err != nil {
		return nil, fmt.Errorf("mip4: registration reply: %w", err)
	}
	dst = binary.BigEndian.AppendUint64(dst, r.ID)
	return appendEnvelope(dst, start, r.Extensions, sa)
}

func checkFixed(b []byte, typ byte, size int, what string) error {
	switch {
	case len(b) < size:
		return fmt.Errorf("mip4: %w: a %s has at least %d octets, %d came", ErrFormat, what, size, len(b))
	case len(b) > maxMessage:
		return fmt.Errorf("mip4: %w: a %s of %d octets, at most %d are taken", ErrFormat, what, len(b), maxMessage)
	case b[0] != typ:
		return fmt.Errorf("mip4: %w: expected a %s (type %d), type %d came", ErrFormat, what, typ, b[0])
	}
	return nil
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

func appendAddrs(dst []byte, addrs ...netip.Addr) ([]byte, error) {
	for _, a := range addrs {
		if a = a.Unmap(); !a.Is4() {
			return nil, fmt.Errorf("an IPv4 address is needed, %v was given", a)
		}
		v := a.As4()
		dst = append(dst, v[:]...)
	}
	return dst, nil
}
