package esp

import (
	"errors"
	"fmt"
)

// SaltLen is how many octets of key material follow the key (RFC 4106 section 8.1,
// RFC 7634 section 2).
const SaltLen = 4

// Sizes of RFC 4303 and RFC 4106, in octets.
const (
	headerLen  = 8  // SPI and sequence number
	ivLen      = 8  // explicit IV (RFC 4106 section 3.1)
	icvLen     = 16 // RFC 4106 section 6: full-length tag
	trailerLen = 2  // pad length and next header
	nonceLen   = SaltLen + ivLen
	align      = 4 // the ciphertext ends on a 4 octet boundary (RFC 4303 section 2.4)

	minPacket = headerLen + ivLen + align + icvLen
)

// Headroom is the number of octets Seal puts before the inner packet. A caller
// that reads packets into buf[Headroom:] and calls Seal(buf[:0], buf[Headroom:n])
// has them encrypted in place.
const Headroom = headerLen + ivLen

// Overhead is the largest number of octets that Seal adds to an inner packet.
const Overhead = Headroom + (align - 1) + trailerLen + icvLen

// UDPOverhead is the IPv4 header (without options) and the UDP header around
// an ESP packet, in octets (RFC 3948 section 3.4).
const UDPOverhead = 20 + 8

// MinSPI is the lowest Security Parameters Index that may be used: zero means
// "no SA", 1 to 255 are reserved (RFC 4303 section 2.1).
const MinSPI = 256

// MaxSequence is the last sequence number of an SA without extended sequence
// numbers (RFC 4303 section 3.3.3).
const MaxSequence = 1<<32 - 1

// Values of the Next Header field.
const (
	NextHeaderIPv4  = 4  // tunnel mode, IPv4 inside (RFC 2003)
	NextHeaderIPv6  = 41 // tunnel mode, IPv6 inside (RFC 2473)
	NextHeaderDummy = 59 // no next header: a dummy packet (RFC 4303 section 2.6)
	// NextHeaderNumbered is for experiments (RFC 3692, RFC 4727 section 5), and ours where
	// both ends have agreed: a shim header, then IPv4.
	NextHeaderNumbered = 253
)

// Errors of this package. Those of Open say why a packet was dropped and are
// counted in InboundStats.
var (
	// ErrFormat: the packet cannot be ESP with a suite of ours, or its padding is wrong.
	ErrFormat = errors.New("esp: malformed packet")
	// ErrSPI: the packet carries the SPI of another security association.
	ErrSPI = errors.New("esp: packet of another SPI")
	// ErrReplay: this sequence number was received before (RFC 4303 section 3.4.3).
	ErrReplay = errors.New("esp: replayed packet")
	// ErrTooOld: the sequence number is left of the window. It also matches ErrReplay.
	ErrTooOld = fmt.Errorf("%w: left of the window", ErrReplay)
	// ErrAuth: the integrity check failed (RFC 4303 section 3.4.4.2).
	ErrAuth = errors.New("esp: integrity check failed")
	// ErrSequenceExhausted: 2^32-1 packets were sent; the SA must be replaced.
	ErrSequenceExhausted = errors.New("esp: sequence numbers used up, a new security association is needed")
	// ErrExpired: the hard lifetime of the SA has ended; it must be replaced.
	ErrExpired = errors.New("esp: lifetime of the security association has ended, a new one is needed")
)

// SealedLen is the length in octets of the ESP packet that carries an inner
// packet of n octets.
func SealedLen(n int) int {
	return Headroom + n + padLen(n) + trailerLen + icvLen
}

// MaxPayload is the length in octets of the largest inner packet whose ESP
// packet is not longer than space octets; zero when none fits.
func MaxPayload(space int) int {
	n := (space-Headroom-icvLen)/align*align - trailerLen
	return max(n, 0)
}

// MaxInner is the length in octets of the largest inner packet that ESP in UDP
// over IPv4 carries through a path of the given MTU without fragmentation; zero
// when none fits. It is the MTU to give to a tunnel device.
func MaxInner(mtu int) int {
	return MaxPayload(mtu - UDPOverhead)
}

func padLen(n int) int {
	return (align - (n+trailerLen)%align) % align
}
