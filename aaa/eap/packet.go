package eap

import (
	"encoding/binary"
	"fmt"
)

// Code says what an EAP packet is (RFC 3748 section 4).
type Code uint8

// The codes of RFC 3748.
const (
	CodeRequest  Code = 1
	CodeResponse Code = 2
	CodeSuccess  Code = 3
	CodeFailure  Code = 4
)

// String implements fmt.Stringer.
func (c Code) String() string {
	switch c {
	case CodeRequest:
		return "Request"
	case CodeResponse:
		return "Response"
	case CodeSuccess:
		return "Success"
	case CodeFailure:
		return "Failure"
	}
	return fmt.Sprintf("Code(%d)", uint8(c))
}

// Type is the type of a Request or Response (RFC 3748 section 5).
type Type uint8

// The types this package knows.
const (
	TypeIdentity     Type = 1
	TypeNotification Type = 2
	TypeNak          Type = 3
	TypeTLS          Type = 13
	TypeTTLS         Type = 21
	TypePEAP         Type = 25
	TypeMSCHAPv2     Type = 26 // inside PEAP only
	TypeTLV          Type = 33 // inside PEAP only
	TypeExpanded     Type = 254
)

// String implements fmt.Stringer.
func (t Type) String() string {
	switch t {
	case TypeIdentity:
		return "Identity"
	case TypeNotification:
		return "Notification"
	case TypeNak:
		return "Nak"
	case TypeTLS:
		return "EAP-TLS"
	case TypeTTLS:
		return "EAP-TTLS"
	case TypePEAP:
		return "PEAP"
	case TypeMSCHAPv2:
		return "EAP-MSCHAPv2"
	case TypeTLV:
		return "PEAP extensions"
	case TypeExpanded:
		return "Expanded"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

const (
	headerLen = 4

	// MaxPacket is the largest packet its 16-bit length can say, in octets.
	MaxPacket = 65535
)

// Packet is one EAP packet. Type and Data belong to Requests and Responses only.
type Packet struct {
	Code Code
	ID   uint8
	Type Type
	Data []byte // what follows the type
}

// Parse reads one packet. Octets beyond its length are padding of the layer below
// and ignored (RFC 3748 section 4.1). Data is a part of b, not a copy.
func Parse(b []byte) (Packet, error) {
	if len(b) < headerLen {
		return Packet{}, fmt.Errorf("eap: packet of %d octets, a header has %d", len(b), headerLen)
	}
	n := int(binary.BigEndian.Uint16(b[2:4]))
	if n < headerLen || n > len(b) {
		return Packet{}, fmt.Errorf("eap: length field says %d, got %d octets", n, len(b))
	}
	p := Packet{Code: Code(b[0]), ID: b[1]}
	switch p.Code {
	case CodeRequest, CodeResponse:
		if n == headerLen {
			return Packet{}, fmt.Errorf("eap: %v without a type", p.Code)
		}
		p.Type = Type(b[headerLen])
		if p.Type == 0 {
			return Packet{}, fmt.Errorf("eap: %v with type 0, which is reserved", p.Code)
		}
		if n > headerLen+1 {
			p.Data = b[headerLen+1 : n : n]
		}
	case CodeSuccess, CodeFailure:
		if n != headerLen {
			return Packet{}, fmt.Errorf("eap: %v of %d octets, expected %d", p.Code, n, headerLen)
		}
	default:
		return Packet{}, fmt.Errorf("eap: code %d, expected 1 to 4", b[0])
	}
	return p, nil
}

// AppendBinary appends the packet to dst. It fails when the packet would be longer
// than MaxPacket or its code is unknown.
func (p Packet) AppendBinary(dst []byte) ([]byte, error) {
	n := headerLen
	switch p.Code {
	case CodeRequest, CodeResponse:
		n += 1 + len(p.Data)
	case CodeSuccess, CodeFailure:
		if len(p.Data) > 0 || p.Type != 0 {
			return dst, fmt.Errorf("eap: %v carries no data", p.Code)
		}
	default:
		return dst, fmt.Errorf("eap: code %d, expected 1 to 4", p.Code)
	}
	if n > MaxPacket {
		return dst, fmt.Errorf("eap: packet of %d octets, at most %d", n, MaxPacket)
	}
	dst = append(dst, byte(p.Code), p.ID)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	if n > headerLen {
		dst = append(dst, byte(p.Type))
		dst = append(dst, p.Data...)
	}
	return dst, nil
}

// bytes is AppendBinary for packets this package builds itself, which fit by
// construction: identities and fragments are bounded by their configuration.
func (p Packet) bytes() []byte {
	b, err := p.AppendBinary(make([]byte, 0, headerLen+1+len(p.Data)))
	if err != nil {
		panic("eap: unreachable: " + err.Error())
	}
	return b
}
