package eap

import (
	"encoding/binary"
	"fmt"
)

// TLVs of PEAP's last exchange, an EAP packet of type 33 inside TLS.
//
//	 0                   1                   2                   3
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|M|R|         TLV Type          |            Length             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Value ...
const (
	tlvMandatory     = 0x8000
	tlvResult        = 3
	tlvCryptoBinding = 12

	resultSuccess = 1
	resultFailure = 2

	// maxTLVs bounds one packet; two are needed.
	maxTLVs = 16
)

// tlv is one of them.
type tlv struct {
	kind      uint16
	mandatory bool
	value     []byte
}

// parseTLVs reads what follows the type of such a packet. Values are parts of b.
func parseTLVs(b []byte) ([]tlv, error) {
	var out []tlv
	for len(b) > 0 {
		if len(out) == maxTLVs {
			return nil, &ProtocolError{Detail: fmt.Sprintf("more than %d TLVs in one PEAP message", maxTLVs)}
		}
		if len(b) < 4 {
			return nil, &ProtocolError{Detail: fmt.Sprintf("%d octets where a TLV begins, its header has 4", len(b))}
		}
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b)-4 {
			return nil, &ProtocolError{Detail: fmt.Sprintf("TLV %d says its value has %d octets, there are %d", kind&0x3fff, n, len(b)-4)}
		}
		out = append(out, tlv{kind: kind & 0x3fff, mandatory: kind&tlvMandatory != 0, value: b[4 : 4+n : 4+n]})
		b = b[4+n:]
	}
	return out, nil
}

func (t tlv) appendBinary(dst []byte) []byte {
	kind := t.kind
	if t.mandatory {
		kind |= tlvMandatory
	}
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.value)))
	return append(dst, t.value...)
}

// resultTLV says whether the inner authentication has succeeded.
func resultTLV(success bool) tlv {
	v := []byte{0, resultFailure}
	if success {
		v[1] = resultSuccess
	}
	return tlv{kind: tlvResult, mandatory: true, value: v}
}

// peapResult is what such a packet says.
type peapResult struct {
	success bool
	binding *cryptoBinding // nil: none
}

// parseResult reads a packet that has to carry a Result TLV, and may carry a
// Crypto-Binding TLV. What is mandatory and not known is refused.
func parseResult(b []byte) (peapResult, error) {
	list, err := parseTLVs(b)
	if err != nil {
		return peapResult{}, err
	}
	var out peapResult
	seen := false
	for _, t := range list {
		switch {
		case t.kind == tlvResult:
			if seen || len(t.value) != 2 {
				return peapResult{}, &ProtocolError{Detail: fmt.Sprintf("expected one Result TLV of 2 octets, got one of %d, or a second", len(t.value))}
			}
			switch binary.BigEndian.Uint16(t.value) {
			case resultSuccess:
				out.success = true
			case resultFailure:
			default:
				return peapResult{}, &ProtocolError{Detail: fmt.Sprintf("Result TLV % x, expected 1 (success) or 2 (failure)", t.value)}
			}
			seen = true
		case t.kind == tlvCryptoBinding:
			if out.binding != nil {
				return peapResult{}, &ProtocolError{Detail: "two Crypto-Binding TLVs"}
			}
			c, err := parseCryptoBinding(t.value)
			if err != nil {
				return peapResult{}, err
			}
			c.mandatory = t.mandatory
			out.binding = &c
		case t.mandatory:
			return peapResult{}, &ProtocolError{Detail: fmt.Sprintf("unknown TLV %d that must be understood", t.kind)}
		}
	}
	if !seen {
		return peapResult{}, &ProtocolError{Detail: "PEAP extensions without a Result TLV"}
	}
	return out, nil
}
