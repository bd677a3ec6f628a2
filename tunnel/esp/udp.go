package esp

import "encoding/binary"

// Kind says what a datagram on the port of ESP in UDP is.
type Kind uint8

// Kinds of datagrams (RFC 3948 section 2).
const (
	KindInvalid   Kind = iota // too short to be anything
	KindKeepalive             // one octet 0xFF
	KindNonESP                // four octets of zero, then IKE
	KindESP                   // starts with an SPI
)

// Keepalive is the only octet of a NAT keepalive (RFC 3948 section 2.3).
const Keepalive = 0xFF

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case KindKeepalive:
		return "keepalive"
	case KindNonESP:
		return "non-esp"
	case KindESP:
		return "esp"
	}
	return "invalid"
}

// Classify tells what a UDP payload is and, of an ESP packet, its SPI.
func Classify(datagram []byte) (kind Kind, spi uint32) {
	switch {
	case len(datagram) == 1 && datagram[0] == Keepalive:
		return KindKeepalive, 0
	case len(datagram) < 4:
		return KindInvalid, 0
	}
	spi = binary.BigEndian.Uint32(datagram)
	if spi == 0 {
		return KindNonESP, 0
	}
	return KindESP, spi
}
