package inet

import (
	"encoding/binary"
	"net/netip"
)

const (
	// MinMTU6 is what every link of IPv6 carries, in octets (RFC 8200 section 5).
	MinMTU6 = 1280
	// ICMPv6Len is what all messages of ICMPv6 have in common, with the word behind it
	// that most use (RFC 4443 section 2.1).
	ICMPv6Len = 8
	// ICMPv6TooBig is the type of a Packet Too Big message (RFC 4443 section 3.2).
	ICMPv6TooBig = 2

	protoICMPv6 = 58
	ip6Len      = 40
	hopLimit    = 64
)

// ICMPv6 reports whether m, which came from src to dst, is a message of ICMPv6: long enough,
// and with the right checksum.
func ICMPv6(src, dst netip.Addr, m []byte) bool {
	return len(m) >= ICMPv6Len && Fold(Sum(pseudo(src, dst, len(m)), m)) == 0xffff
}

// AppendICMPv6 appends a whole IPv6 packet of an ICMPv6 message of code 0: word is the four octets
// behind the checksum, rest what follows.
func AppendICMPv6(dst []byte, from, to netip.Addr, typ byte, word, rest []byte) []byte {
	start, size := len(dst), ICMPv6Len+len(rest)
	s, d := from.As16(), to.As16()
	dst = append(dst, 0x60, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(size)) //nolint:gosec // no longer than a packet
	dst = append(dst, protoICMPv6, hopLimit)
	dst = append(append(dst, s[:]...), d[:]...)
	dst = append(append(append(dst, typ, 0, 0, 0), word...), rest...)
	m := dst[start+ip6Len:]
	binary.BigEndian.PutUint16(m[2:], ^Fold(Sum(pseudo(from, to, size), m)))
	return dst
}

// AppendTooBig appends a Packet Too Big message about a packet, of which it quotes as much as fits
// (RFC 4443 section 3.2). mtu is in octets; never less than MinMTU6 is told.
func AppendTooBig(dst []byte, from, to netip.Addr, mtu uint32, pkt []byte) []byte {
	word := binary.BigEndian.AppendUint32(nil, max(mtu, MinMTU6))
	return AppendICMPv6(dst, from, to, ICMPv6TooBig, word, pkt[:min(len(pkt), MinMTU6-ip6Len-ICMPv6Len)])
}

// pseudo is the sum of the pseudo header (RFC 8200 section 8.1).
func pseudo(src, dst netip.Addr, size int) uint32 {
	s, d := src.As16(), dst.As16()
	return Sum(Sum(protoICMPv6+uint32(size), s[:]), d[:]) //nolint:gosec // a packet's
}
