package pana

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// VendorID is the default Vendor-Id of the AVPs that notifications carry. It
// is the number that RFC 5612 reserves for documentation, and serves until one
// is assigned; whoever builds AVPs may use another.
const VendorID uint32 = 32473

// AVP codes of RFC 5191 section 8 and RFC 6786. 10 and 11 are the relay's (RFC 6345).
const (
	CodeAUTH       uint16 = 1
	CodeEAP        uint16 = 2 // EAP-Payload
	CodeIntegrity  uint16 = 3 // Integrity-Algorithm, IKEv2 transform type 3
	CodeKeyID      uint16 = 4
	CodeNonce      uint16 = 5
	CodePRF        uint16 = 6  // PRF-Algorithm, IKEv2 transform type 2
	CodeResult     uint16 = 7  // Result-Code
	CodeLifetime   uint16 = 8  // Session-Lifetime, seconds
	CodeTermCause  uint16 = 9  // Termination-Cause
	CodeEncap      uint16 = 12 // Encryption-Encap (RFC 6786)
	CodeEncryption uint16 = 13 // Encryption-Algorithm (RFC 6786)
	lastIETFInUse         = CodeEncryption
	avpHeaderLen          = 8
	avpVendorBit          = 0x8000
	maxAVPs               = 128 // per message; the largest legal one needs about 20
	minNonce              = 8
	maxNonce              = 256
	maxAVPValueLen        = 65535
	maxCarried            = 30000 // octets of AVPs that a caller may put into a message
	maxEAP                = 32000 // octets of an EAP packet; with the above it fits into a datagram
)

// AVP is one attribute-value pair. Vendor 0 means that the V bit is clear and
// Code is an IETF code; the flag bits besides V do not exist yet and are not
// kept.
type AVP struct {
	Code   uint16
	Vendor uint32
	Data   []byte
}

// ErrAVP is wrapped by every error about an AVP that cannot be read or sent.
var ErrAVP = errors.New("bad AVP")

// String names the AVP without its value, which may be confidential.
func (a AVP) String() string {
	if a.Vendor != 0 {
		return fmt.Sprintf("AVP %d of vendor %d (%d octets)", a.Code, a.Vendor, len(a.Data))
	}
	return fmt.Sprintf("AVP %d (%d octets)", a.Code, len(a.Data))
}

// wireLen is the length with header and padding.
func (a AVP) wireLen() int {
	n := avpHeaderLen + (len(a.Data)+3)&^3
	if a.Vendor != 0 {
		n += 4
	}
	return n
}

// appendAVP appends a in wire format (RFC 5191 section 6.3). The length field
// counts the value only.
func appendAVP(dst []byte, a AVP) []byte {
	var flags uint16
	if a.Vendor != 0 {
		flags = avpVendorBit
	}
	dst = binary.BigEndian.AppendUint16(dst, a.Code)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Data)))
	dst = append(dst, 0, 0)
	if a.Vendor != 0 {
		dst = binary.BigEndian.AppendUint32(dst, a.Vendor)
	}
	dst = append(dst, a.Data...)
	for i := len(a.Data); i&3 != 0; i++ {
		dst = append(dst, 0)
	}
	return dst
}

// parseAVP reads one AVP and returns what follows it. Data aliases b.
func parseAVP(b []byte) (a AVP, rest []byte, err error) {
	if len(b) < avpHeaderLen {
		return AVP{}, nil, fmt.Errorf("%w: expected a header of %d octets, %d are left", ErrAVP, avpHeaderLen, len(b))
	}
	a.Code = binary.BigEndian.Uint16(b)
	flags := binary.BigEndian.Uint16(b[2:])
	n := int(binary.BigEndian.Uint16(b[4:]))
	b = b[avpHeaderLen:]
	if flags&avpVendorBit != 0 {
		if len(b) < 4 {
			return AVP{}, nil, fmt.Errorf("%w: AVP %d says it has a Vendor-Id, %d octets are left", ErrAVP, a.Code, len(b))
		}
		a.Vendor = binary.BigEndian.Uint32(b)
		if a.Vendor == 0 {
			return AVP{}, nil, fmt.Errorf("%w: AVP %d has the V bit and Vendor-Id 0", ErrAVP, a.Code)
		}
		b = b[4:]
	}
	padded := (n + 3) &^ 3
	if padded > len(b) {
		return AVP{}, nil, fmt.Errorf("%w: AVP %d announces %d octets, %d are left", ErrAVP, a.Code, n, len(b))
	}
	a.Data = b[:n:n]
	return a, b[padded:], nil
}

func avp32(code uint16, v uint32) AVP {
	return AVP{Code: code, Data: binary.BigEndian.AppendUint32(nil, v)}
}

// checkCarried refuses AVPs that a caller may not put into a message: those
// of RFC 5191 belong to the machines.
func checkCarried(avps []AVP) error {
	if len(avps) > maxAVPs-16 {
		return fmt.Errorf("pana: %w: %d AVPs in one message, at most %d", ErrAVP, len(avps), maxAVPs-16)
	}
	size := 0
	for _, a := range avps {
		if a.Vendor == 0 && (a.Code == 0 || a.Code <= lastIETFInUse) {
			return fmt.Errorf("pana: %w: code %d of RFC 5191 cannot be carried for others, use a Vendor-Id", ErrAVP, a.Code)
		}
		if len(a.Data) > maxAVPValueLen {
			return fmt.Errorf("pana: %w: value of %d octets, at most %d", ErrAVP, len(a.Data), maxAVPValueLen)
		}
		size += a.wireLen()
	}
	if size > maxCarried {
		return fmt.Errorf("pana: %w: %d octets of AVPs do not fit into a message", ErrAVP, size)
	}
	return nil
}

// cloneAVPs copies the values, so that they outlive the datagram.
func cloneAVPs(in []AVP) []AVP {
	if len(in) == 0 {
		return nil
	}
	out := make([]AVP, len(in))
	for i, a := range in {
		out[i] = AVP{Code: a.Code, Vendor: a.Vendor, Data: append([]byte{}, a.Data...)}
	}
	return out
}
