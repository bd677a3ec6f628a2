package mip6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Next Header values that are looked at (RFC 8200 section 4).
const (
	protoHopByHop    = 0
	protoRouting     = 43
	protoESP         = 50
	protoAH          = 51
	protoDestination = 60
)

// Sizes in octets.
const (
	ip6Len = 40
	// Overhead is what a Home Address option or a type 2 routing header adds to a packet.
	Overhead = 24
)

// maxHeaders bounds the extension headers of a packet. RFC 8200 section 4.1 names six.
const maxHeaders = 8

// homeAddressOption is the type of the Home Address option (RFC 6275 section 6.3).
const homeAddressOption = 0xc9

// hopLimit of packets that are made here.
const hopLimit = 64

// ErrTooBig says that a header would take a packet over 65,535 octets of payload.
var ErrTooBig = errors.New("packet too big for one more header")

// ErrHeader says that a header of Mobile IPv6 in a packet must not be processed as it
// stands: the packet is dropped.
var ErrHeader = errors.New("unusable header")

// Packet is what an IPv6 packet says to Mobile IPv6.
type Packet struct {
	Src, Dst netip.Addr // of the IPv6 header
	Home     netip.Addr // of the Home Address option; not valid: there is none
	Final    netip.Addr // of the type 2 routing header; not valid: there is none
	Proto    uint8      // of the payload
	Payload  []byte     // behind the headers that are looked at; aliases the packet

	// Where the headers are, so that they can be taken out.
	insert   int // where either header belongs
	next     int // the Next Header field that leads to insert
	homeAt   extension
	homeOpt  int // offset of the option; 0: none
	routedAt extension
}

// extension is an extension header's place.
type extension struct {
	at, size int
	next     int // offset of the field that names it
}

// Source is the sender as upper layers see it.
func (p *Packet) Source() netip.Addr {
	if p.Home.IsValid() {
		return p.Home
	}
	return p.Src
}

// Destination is the receiver as upper layers see it.
func (p *Packet) Destination() netip.Addr {
	if p.Final.IsValid() {
		return p.Final
	}
	return p.Dst
}

// ParsePacket looks through the headers of an IPv6 packet in front of a fragment,
// security or upper-layer header. What it returns aliases b. It refuses what RFC 6275
// sections 6.3 and 6.4 forbid: a Home Address option twice, or of an address that is no
// node's, a type 2 routing header that has more than one address or is used up.
func ParsePacket(b []byte) (Packet, error) {
	if len(b) < ip6Len || b[0]>>4 != 6 {
		return Packet{}, fmt.Errorf("mip6: %w: no IPv6 packet (%d octets)", ErrFormat, len(b))
	}
	end := ip6Len + int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < end {
		return Packet{}, fmt.Errorf("mip6: %w: an IPv6 packet of %d octets, %d came", ErrFormat, end, len(b))
	}
	p := Packet{Src: addr(b[8:]), Dst: addr(b[24:]), insert: ip6Len, next: 6}
	at, next := ip6Len, 6
	for range maxHeaders {
		typ := b[next]
		if typ != protoHopByHop && typ != protoRouting && typ != protoDestination {
			p.Proto, p.Payload = typ, b[at:end:end]
			return p, nil
		}
		if at+8 > end || at+8+8*int(b[at+1]) > end {
			return Packet{}, fmt.Errorf("mip6: %w: extension header %d at octet %d does not end within the packet", ErrFormat, typ, at)
		}
		x := extension{at: at, size: 8 + 8*int(b[at+1]), next: next}
		if err := p.extension(b, typ, x); err != nil {
			return Packet{}, err
		}
		at, next = at+x.size, at
		if typ != protoDestination { // behind hop-by-hop options and routing headers
			p.insert, p.next = at, next
		}
	}
	return Packet{}, fmt.Errorf("mip6: %w: more than %d extension headers", ErrFormat, maxHeaders)
}

func (p *Packet) extension(b []byte, typ uint8, x extension) error {
	switch h := b[x.at : x.at+x.size]; {
	case typ == protoDestination:
		return p.options(b, x)
	case typ == protoRouting && h[2] == 2:
		switch {
		case h[1] != 2 || h[3] != 1:
			return fmt.Errorf("mip6: %w: type 2 routing header of length %d with %d segments left, expected 2 and 1", ErrHeader, h[1], h[3])
		case p.Final.IsValid():
			return fmt.Errorf("mip6: %w: two type 2 routing headers", ErrHeader)
		}
		if p.Final = addr(h[8:]); !Unicast(p.Final) {
			return fmt.Errorf("mip6: %w: type 2 routing header to %v, which is no node's address", ErrHeader, p.Final)
		}
		p.routedAt = x
	}
	return nil
}

// options looks for the Home Address option.
func (p *Packet) options(b []byte, x extension) error {
	for at, end := x.at+2, x.at+x.size; at < end; {
		if b[at] == 0 { // Pad1
			at++
			continue
		}
		if at+2 > end || at+2+int(b[at+1]) > end {
			return fmt.Errorf("mip6: %w: destination option %d does not end within its header", ErrFormat, b[at])
		}
		if b[at] == homeAddressOption {
			switch {
			case b[at+1] != 16:
				return fmt.Errorf("mip6: %w: Home Address option of %d octets, expected 16", ErrHeader, b[at+1])
			case p.Home.IsValid():
				return fmt.Errorf("mip6: %w: two Home Address options", ErrHeader)
			}
			if p.Home = addr(b[at+2:]); !Unicast(p.Home) {
				return fmt.Errorf("mip6: %w: Home Address option of %v, which is no node's address", ErrHeader, p.Home)
			}
			p.homeAt, p.homeOpt = x, at
		}
		at += 2 + int(b[at+1])
	}
	return nil
}

// Unicast reports whether an address is routable and a node's, as RFC 6275 demands of
// home and care-of addresses (section 3.1: link-local ones are not routable).
func Unicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// AppendFromHome appends the packet b, which comes from a home address, as it leaves
// from careOf: with a Home Address option (RFC 6275 section 11.3.1).
func AppendFromHome(dst, b []byte, careOf netip.Addr) ([]byte, error) {
	p, err := ParsePacket(b)
	if err != nil {
		return nil, err
	}
	h := [Overhead]byte{0, 2, 1, 2, 0, 0, homeAddressOption, 16}
	copy(h[8:], b[8:24])
	return p.appendWith(dst, b, protoDestination, h, 8, careOf)
}

// AppendToCareOf appends the packet b, which goes to a home address, as it goes to
// careOf: with a type 2 routing header (RFC 6275 section 9.3.2).
func AppendToCareOf(dst, b []byte, careOf netip.Addr) ([]byte, error) {
	p, err := ParsePacket(b)
	if err != nil {
		return nil, err
	}
	h := [Overhead]byte{0, 2, 2, 1}
	copy(h[8:], b[24:40])
	return p.appendWith(dst, b, protoRouting, h, 24, careOf)
}

// appendWith appends b with the header h of type typ, and its address at octet at changed
// to careOf. A packet that has either header of Mobile IPv6 is refused.
func (p *Packet) appendWith(dst, b []byte, typ uint8, h [Overhead]byte, at int, careOf netip.Addr) ([]byte, error) {
	end := ip6Len + int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case typ == protoDestination && p.Home.IsValid() || typ == protoRouting && p.Final.IsValid():
		return nil, fmt.Errorf("mip6: %w: the packet has the header already", ErrHeader)
	case end-ip6Len+Overhead > 0xffff:
		return nil, fmt.Errorf("mip6: %w: %d octets", ErrTooBig, end)
	}
	start := len(dst)
	h[0] = b[p.next]
	dst = append(dst, b[:p.insert]...)
	dst = append(dst, h[:]...)
	dst = append(dst, b[p.insert:end]...)
	out := dst[start:]
	out[p.next] = typ
	binary.BigEndian.PutUint16(out[4:], uint16(end-ip6Len+Overhead)) //nolint:gosec // checked above
	a := careOf.As16()
	copy(out[at:], a[:])
	return dst, nil
}

// AppendStripped appends the packet b, which p was parsed from, as upper layers see it:
// with the addresses that its Home Address option and type 2 routing header name, and
// without both (RFC 6275 sections 9.3.1 and 11.3.3). Other options that share the header
// with the Home Address option stay.
func (p *Packet) AppendStripped(dst, b []byte) []byte {
	end := ip6Len + int(binary.BigEndian.Uint16(b[4:]))
	start := len(dst)
	dst = append(dst, b[:end]...)
	src, to := p.Source().As16(), p.Destination().As16()
	copy(dst[start+8:], src[:])
	copy(dst[start+24:], to[:])
	cut := func(x extension) {
		out := dst[start:]
		out[x.next] = out[x.at]
		dst = append(dst[:start+x.at], out[x.at+x.size:]...)
	}
	// From the back, so that what is in front keeps its place.
	home := func() {
		if p.homeOpt == 0 {
			return
		}
		if p.alone(b) {
			cut(p.homeAt)
			return
		}
		o := dst[start+p.homeOpt:][:18]
		clear(o)
		o[0], o[1] = 1, 16 // PadN
	}
	routed := func() {
		if p.Final.IsValid() {
			cut(p.routedAt)
		}
	}
	if p.homeAt.at > p.routedAt.at {
		home()
		routed()
	} else {
		routed()
		home()
	}
	binary.BigEndian.PutUint16(dst[start+4:], uint16(len(dst)-start-ip6Len)) //nolint:gosec // not longer than before
	return dst
}

// alone reports whether nothing but padding is beside the Home Address option.
func (p *Packet) alone(b []byte) bool {
	for at, end := p.homeAt.at+2, p.homeAt.at+p.homeAt.size; at < end; at += 2 + int(b[at+1]) {
		for at < end && b[at] == 0 {
			at++
		}
		if at < end && b[at] > 1 && at != p.homeOpt {
			return false
		}
		if at >= end {
			break
		}
	}
	return true
}

// build makes a whole packet of a message from src to dst, by way of the care-of address
// of one of them where that is valid: of src with a Home Address option, of dst with a
// type 2 routing header.
func build(m Message, src, dst, fromCareOf, toCareOf netip.Addr, sign *Signer) ([]byte, error) {
	s, d := src.As16(), dst.As16()
	b := append([]byte{0x60, 0, 0, 0, 0, 0, Protocol, hopLimit}, s[:]...)
	b, err := Append(append(b, d[:]...), m, src, dst, sign)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ip6Len)) //nolint:gosec // at most maxHeader
	switch {
	case fromCareOf.IsValid():
		return AppendFromHome(nil, b, fromCareOf)
	case toCareOf.IsValid():
		return AppendToCareOf(nil, b, toCareOf)
	}
	return b, nil
}

// open parses a packet and the mobility header in it, when it is ours.
func open(pkt []byte, ours func(p *Packet) bool) (Packet, Message, error) {
	p, err := ParsePacket(pkt)
	if err != nil {
		return p, nil, err
	}
	if p.Proto != Protocol || !ours(&p) {
		return p, nil, fmt.Errorf("mip6: %w: protocol %d from %v to %v", ErrNotOurs, p.Proto, p.Source(), p.Destination())
	}
	m, err := Parse(p.Payload, p.Source(), p.Destination())
	return p, m, err
}
