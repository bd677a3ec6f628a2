package ipip

import (
	"encoding/binary"
	"net/netip"
)

// ProtocolNumbered is the protocol number of packets that are wrapped with a number: one of those
// for experiments (RFC 3692).
const ProtocolNumbered = 253

// Wrap writes a header from src to dst, both of one family, in front of a payload that is no IP
// packet: buf is room for the header, of HeaderLen or HeaderLen6 octets, and the payload.
// It is an inner packet then, which goes through a tunnel as others do.
func Wrap(buf []byte, src, dst netip.Addr, tos uint8) error {
	if src.Is4() {
		_, err := AppendHeader(buf[:0], Header{Src: src, Dst: dst, TOS: tos, DF: true, Protocol: ProtocolNumbered}, len(buf)-HeaderLen)
		return err
	}
	if !dst.Is6() {
		return ErrVersion6
	}
	size := len(buf) - HeaderLen6
	if size > maxTotal {
		return ErrTooBig
	}
	clear(buf[:8])
	buf[0] = 0x60
	SetTOS(buf, tos)
	binary.BigEndian.PutUint16(buf[4:], uint16(size)) //nolint:gosec // checked above
	buf[6], buf[7] = ProtocolNumbered, DefaultTTL
	s, d := src.As16(), dst.As16()
	copy(buf[8:], s[:])
	copy(buf[24:], d[:])
	return nil
}

// Unwrap returns the payload of a packet that Wrap made between the same addresses, and false for
// all others.
func Unwrap(pkt []byte, src, dst netip.Addr) ([]byte, bool) {
	proto := 9
	if len(pkt) > 0 && pkt[0]>>4 == 6 {
		proto = 6
	}
	if len(pkt) <= proto || pkt[proto] != ProtocolNumbered { // what most packets are
		return nil, false
	}
	s, d, _, total, err := Parse(pkt)
	if err != nil || s != src || d != dst {
		return nil, false
	}
	if proto == 6 {
		return pkt[HeaderLen6:total], true
	}
	if fragment, _ := Fragment(pkt); fragment {
		return nil, false
	}
	return pkt[int(pkt[0]&0x0F)*4 : total], true
}
