package eap

import (
	"encoding/binary"
	"fmt"
)

// Attributes that EAP-TTLS carries inside TLS (RFC 5281 section 13): RADIUS's numbers,
// and those of Microsoft (RFC 2548).
const (
	avpUserName     = 1
	avpUserPassword = 2
	avpReplyMessage = 18

	vendorMicrosoft = 311
	avpMSError      = 2  // MS-CHAP-Error
	avpMSChallenge  = 11 // MS-CHAP-Challenge
	avpMSResponse2  = 25 // MS-CHAP2-Response
	avpMSSuccess2   = 26 // MS-CHAP2-Success
)

const (
	avpFlagVendor    = 0x80
	avpFlagMandatory = 0x40
	avpMaxLen        = 1<<24 - 1

	// maxAVPs bounds one message; a conversation needs four at most.
	maxAVPs = 64
)

// avp is one attribute inside EAP-TTLS (RFC 5281 section 10.1), which looks like
// Diameter's.
type avp struct {
	vendor    uint32 // 0: the name space of RADIUS and Diameter
	code      uint32
	mandatory bool
	data      []byte
}

// name is for error texts.
func (a avp) name() string {
	if a.vendor != 0 {
		return fmt.Sprintf("AVP %d of vendor %d", a.code, a.vendor)
	}
	return fmt.Sprintf("AVP %d", a.code)
}

// is says whether it is that attribute.
func (a avp) is(vendor, code uint32) bool { return a.vendor == vendor && a.code == code }

// parseAVPs reads a sequence (RFC 5281 section 10.2). Data is a part of b. The last
// one's padding may be missing: some peers leave it out.
func parseAVPs(b []byte) ([]avp, error) {
	var out []avp
	for len(b) > 0 {
		if len(out) == maxAVPs {
			return nil, &ProtocolError{Detail: fmt.Sprintf("more than %d AVPs in one EAP-TTLS message", maxAVPs)}
		}
		if len(b) < 8 {
			return nil, &ProtocolError{Detail: fmt.Sprintf("%d octets where an AVP begins, its header has 8", len(b))}
		}
		a, head := avp{code: binary.BigEndian.Uint32(b), mandatory: b[4]&avpFlagMandatory != 0}, 8
		n := int(binary.BigEndian.Uint32(b[4:8]) & avpMaxLen)
		if b[4]&avpFlagVendor != 0 {
			head = 12
		}
		if n < head || n > len(b) {
			return nil, &ProtocolError{Detail: fmt.Sprintf("AVP %d says it has %d octets, expected %d to %d", a.code, n, head, len(b))}
		}
		if head == 12 {
			a.vendor = binary.BigEndian.Uint32(b[8:12])
		}
		a.data = b[head:n:n]
		out = append(out, a)
		b = b[min(n+pad4(n), len(b)):]
	}
	return out, nil
}

// pad4 is the number of octets from n to the next multiple of four.
func pad4(n int) int { return -n & 3 }

// appendBinary appends the attribute and its padding.
func (a avp) appendBinary(dst []byte) []byte {
	var flags byte
	n := 8 + len(a.data)
	if a.vendor != 0 {
		flags, n = avpFlagVendor, n+4
	}
	if a.mandatory {
		flags |= avpFlagMandatory
	}
	dst = binary.BigEndian.AppendUint32(dst, a.code)
	dst = binary.BigEndian.AppendUint32(dst, uint32(flags)<<24|uint32(n)&avpMaxLen)
	if a.vendor != 0 {
		dst = binary.BigEndian.AppendUint32(dst, a.vendor)
	}
	dst = append(dst, a.data...)
	return append(dst, make([]byte, pad4(n))...)
}

// appendAVPs appends several.
func appendAVPs(dst []byte, list ...avp) []byte {
	for _, a := range list {
		dst = a.appendBinary(dst)
	}
	return dst
}
