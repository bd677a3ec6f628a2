package ipip

import (
	"encoding/binary"
	"net/netip"
)

// HeaderLen6 is the length of an IPv6 header, in octets.
const HeaderLen6 = 40

// Protocol6 is the number of IPv6 in an outer header (RFC 2473 section 3.1).
const Protocol6 = 41

// Reasons for which an IPv6 packet is refused; they match ErrFormat, too.
var (
	ErrShort6   = wrap("shorter than an IPv6 header")
	ErrVersion6 = wrap("not version 6")
	ErrPayload6 = wrap("payload length beyond the buffer")
	ErrHopLimit = wrap("hop limit is 0")
)

// ParseIPv6 reads the header of the IPv6 packet at the start of pkt and checks what a
// tunnel end relies on: version, and payload length against the buffer. Octets behind
// totalLen are not the packet's.
func ParseIPv6(pkt []byte) (src, dst netip.Addr, next uint8, totalLen int, err error) {
	if len(pkt) < HeaderLen6 {
		return netip.Addr{}, netip.Addr{}, 0, 0, ErrShort6
	}
	if pkt[0]>>4 != 6 {
		return netip.Addr{}, netip.Addr{}, 0, 0, ErrVersion6
	}
	totalLen = HeaderLen6 + int(binary.BigEndian.Uint16(pkt[4:]))
	if totalLen > len(pkt) {
		return netip.Addr{}, netip.Addr{}, 0, 0, ErrPayload6
	}
	return netip.AddrFrom16([16]byte(pkt[8:24])), netip.AddrFrom16([16]byte(pkt[24:40])), pkt[6], totalLen, nil
}

// Parse is ParseIPv4 or ParseIPv6, by the version of the packet at the start of pkt. Of IPv6
// proto is the first next header, which may be that of an extension.
func Parse(pkt []byte) (src, dst netip.Addr, proto uint8, totalLen int, err error) {
	if len(pkt) > 0 && pkt[0]>>4 == 6 {
		return ParseIPv6(pkt)
	}
	src, dst, proto, _, totalLen, err = ParseIPv4(pkt)
	return src, dst, proto, totalLen, err
}

// Encapsulate6 writes the outer header for a tunnel from src to exit into the first
// HeaderLen6 octets of buf; the rest is the inner packet, which ParseIPv6 accepts, of
// exactly its length (RFC 2473 section 3.1). The traffic class is copied (RFC 6040
// section 4.1). Errors are those of CheckEncapsulation6, ErrTooBig, and ErrFormat for
// addresses that are not IPv6.
func Encapsulate6(buf []byte, src, exit netip.Addr) error {
	inner := buf[HeaderLen6:]
	if !src.Is6() || !exit.Is6() {
		return ErrVersion6
	}
	if err := CheckEncapsulation6(inner, exit); err != nil {
		return err
	}
	if len(inner) > maxTotal {
		return ErrTooBig
	}
	clear(buf[:8])
	buf[0] = 0x60
	SetTOS(buf, TOS(inner))
	binary.BigEndian.PutUint16(buf[4:], uint16(len(inner))) //nolint:gosec // checked above
	buf[6], buf[7] = Protocol6, DefaultTTL
	s, d := src.As16(), exit.As16()
	copy(buf[8:], s[:])
	copy(buf[24:], d[:])
	return nil
}

// CheckEncapsulation6 applies the rules by which an IPv6 packet must not enter a tunnel:
// ErrHopLimit for a hop limit of 0, ErrLoop when its source is the tunnel's exit (RFC 2473
// section 4.1.2).
func CheckEncapsulation6(inner []byte, exit netip.Addr) error {
	switch {
	case inner[7] == 0:
		return ErrHopLimit
	case netip.AddrFrom16([16]byte(inner[8:24])) == exit:
		return ErrLoop
	}
	return nil
}
