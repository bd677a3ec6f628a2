package ipip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// DefaultTTL is the time to live of an outer header unless told otherwise
// (RFC 1700, "IP time to live").
const DefaultTTL = 64

// Header is an outer IPv4 header without options.
type Header struct {
	Src, Dst netip.Addr // IPv4
	TTL      uint8      // zero means DefaultTTL
	TOS      uint8
	Marking  Marking // of Encapsulate, which makes TOS by it
	ID       uint16  // where DF is clear: another one than that of any packet to Dst that may still be on its way
	DF       bool
	// Fragmentable has Encapsulate leave DF clear even where the inner header has it set:
	// what does not fit the path is fragmented outside, and whole again at the exit
	// (RFC 4459 section 3.1). Nothing then hangs on an ICMP message for the outer header.
	Fragmentable bool
	Protocol     uint8 // zero means Protocol (4)
}

// AppendHeader appends the outer header for a payload of payloadLen octets. It
// fails if an address is not IPv4, or with ErrTooBig; dst is then returned
// unchanged.
func AppendHeader(dst []byte, h Header, payloadLen int) ([]byte, error) {
	if !h.Src.Is4() || !h.Dst.Is4() {
		return dst, fmt.Errorf("ipip: outer header from %v to %v: expected two IPv4 addresses", h.Src, h.Dst)
	}
	if payloadLen < 0 || payloadLen > maxTotal-HeaderLen {
		return dst, ErrTooBig
	}
	if h.TTL == 0 {
		h.TTL = DefaultTTL
	}
	if h.Protocol == 0 {
		h.Protocol = Protocol
	}
	var flags uint16
	if h.DF {
		flags = 0x4000
	}
	src, to := h.Src.As4(), h.Dst.As4()
	n := len(dst)
	dst = append(dst, 0x45, h.TOS)
	dst = binary.BigEndian.AppendUint16(dst, uint16(HeaderLen+payloadLen))
	dst = binary.BigEndian.AppendUint16(dst, h.ID)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = append(dst, h.TTL, h.Protocol, 0, 0)
	dst = append(dst, src[:]...)
	dst = append(dst, to[:]...)
	binary.BigEndian.PutUint16(dst[n+10:], checksum(dst[n:n+HeaderLen]))
	return dst, nil
}

// Encapsulate appends to dst the whole IP in IP packet for inner by the rules
// of RFC 2003: TOS by h.Marking, DF set when the inner header has it unless h says otherwise, TTL 0 and a
// source equal to the tunnel's exit refused. inner must not overlap the room
// behind dst. h.TOS and h.Protocol are not used; inner octets behind its total
// length are left out. On error dst is returned unchanged.
func Encapsulate(dst []byte, h Header, inner []byte) ([]byte, error) {
	src, _, _, _, total, err := ParseIPv4(inner)
	if err != nil {
		return dst, err
	}
	if err := CheckEncapsulation(inner, src, h.Dst); err != nil {
		return dst, err
	}
	h.TOS, h.Protocol = h.Marking.Outer(inner[1]), Protocol
	h.DF = !h.Fragmentable && (h.DF || DontFragment(inner))
	out, err := AppendHeader(dst, h, total)
	if err != nil {
		return dst, err
	}
	return append(out, inner[:total]...), nil
}

// CheckEncapsulation applies the rules of RFC 2003 by which a packet must not
// enter a tunnel: ErrTTL for a TTL of 0 (section 3.1), ErrLoop when its source is
// the tunnel's exit (section 3.2). inner is a packet that ParseIPv4 accepts and
// src its source. It serves senders whose outer header is the kernel's.
func CheckEncapsulation(inner []byte, src, exit netip.Addr) error {
	switch {
	case inner[8] == 0:
		return ErrTTL
	case src == exit:
		return ErrLoop
	}
	return nil
}

// Decapsulate removes the outer header of an IP in IP packet and returns the
// inner packet, which lies inside pkt, and both outer addresses. The ECN field of
// the inner packet may have been changed in place.
func Decapsulate(pkt []byte) (inner []byte, src, dst netip.Addr, err error) {
	src, dst, proto, headerLen, total, err := ParseIPv4(pkt)
	if err != nil {
		return nil, netip.Addr{}, netip.Addr{}, err
	}
	fragment, _ := Fragment(pkt)
	switch {
	case proto != Protocol:
		err = ErrProtocol
	case fragment:
		err = ErrFragment
	}
	if err != nil {
		return nil, src, dst, err
	}
	inner = pkt[headerLen:total]
	_, innerTotal, err := lengths(inner)
	if err != nil {
		return nil, src, dst, err
	}
	inner = inner[:innerTotal:innerTotal]
	if inner[8] == 0 { // RFC 2003 section 3.1
		return nil, src, dst, ErrTTL
	}
	if _, err := DecapsulateECN(inner, pkt[1]); err != nil {
		return nil, src, dst, err
	}
	return inner, src, dst, nil
}
