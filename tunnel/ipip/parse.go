package ipip

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// HeaderLen is the length of an IPv4 header without options, and of the outer
// header this package builds, in octets.
const HeaderLen = 20

// Protocol is the number of IP in IP in the outer header (RFC 2003 section 3.1).
const Protocol = 4

const maxTotal = 1<<16 - 1

// Reasons for which a packet is refused. They are values, not built for the
// packet at hand, so that refusing costs no allocation.
var (
	// ErrFormat is matched by all of them.
	ErrFormat = errors.New("ipip: malformed packet")

	ErrShort     = wrap("shorter than an IPv4 header")
	ErrVersion   = wrap("not version 4")
	ErrHeaderLen = wrap("header length below 5 words or beyond the packet")
	ErrTotalLen  = wrap("total length below the header length or beyond the buffer")
	ErrChecksum  = wrap("wrong header checksum")
	ErrProtocol  = wrap("outer protocol is not 4")
	ErrFragment  = wrap("outer packet is a fragment")
	ErrTTL       = wrap("time to live is 0")
	ErrECN       = wrap("congestion marked outside, but not capable of it inside")
	ErrLoop      = wrap("source address is the exit of the tunnel")
	ErrTooBig    = wrap("longer than 65535 octets with the outer header")
)

type formatError string

func wrap(s string) error             { return formatError(s) }
func (e formatError) Error() string   { return "ipip: malformed packet: " + string(e) }
func (formatError) Is(err error) bool { return err == ErrFormat }

// ParseIPv4 reads the header of the IPv4 packet at the start of pkt and checks
// what a tunnel end relies on: version, header length and total length against
// each other and against the buffer. Octets behind totalLen are not the packet's.
// The header checksum is VerifyChecksum's matter.
func ParseIPv4(pkt []byte) (src, dst netip.Addr, proto uint8, headerLen, totalLen int, err error) {
	headerLen, totalLen, err = lengths(pkt)
	if err != nil {
		return netip.Addr{}, netip.Addr{}, 0, 0, 0, err
	}
	src = netip.AddrFrom4([4]byte(pkt[12:16]))
	dst = netip.AddrFrom4([4]byte(pkt[16:20]))
	return src, dst, pkt[9], headerLen, totalLen, nil
}

func lengths(pkt []byte) (headerLen, totalLen int, err error) {
	if len(pkt) < HeaderLen {
		return 0, 0, ErrShort
	}
	if pkt[0]>>4 != 4 {
		return 0, 0, ErrVersion
	}
	headerLen = int(pkt[0]&0x0F) * 4
	if headerLen < HeaderLen || headerLen > len(pkt) {
		return 0, 0, ErrHeaderLen
	}
	totalLen = int(binary.BigEndian.Uint16(pkt[2:4]))
	if totalLen < headerLen || totalLen > len(pkt) {
		return 0, 0, ErrTotalLen
	}
	return headerLen, totalLen, nil
}

// Fragment tells whether an IPv4 packet that ParseIPv4 accepts is a fragment,
// and whether it is the first one.
func Fragment(pkt []byte) (fragment, first bool) {
	f := binary.BigEndian.Uint16(pkt[6:8])
	offset, more := f&0x1FFF, f&0x2000 != 0
	return offset != 0 || more, offset == 0
}

// DontFragment tells whether the DF bit is set in an IPv4 packet that ParseIPv4
// accepts.
func DontFragment(pkt []byte) bool { return pkt[6]&0x40 != 0 }

// VerifyChecksum tells whether the header checksum of an IPv4 packet is right.
// It is ErrChecksum if not, or the error of ParseIPv4.
func VerifyChecksum(pkt []byte) error {
	n, _, err := lengths(pkt)
	if err != nil {
		return err
	}
	if checksum(pkt[:n]) != 0 {
		return ErrChecksum
	}
	return nil
}

// checksum is that of RFC 1071 over a header of an even number of octets; over
// a header with a right checksum in it it is zero.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	return ^uint16(sum)
}
