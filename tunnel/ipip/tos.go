package ipip

import "encoding/binary"

// TOS returns the Type of Service octet of an IPv4 packet, or the traffic class of an IPv6
// packet (both: DSCP and ECN), which is also that of the outer header in normal mode (RFC
// 6040 section 4.1); zero for anything else.
func TOS(pkt []byte) uint8 {
	switch {
	case len(pkt) < HeaderLen:
	case pkt[0]>>4 == 4:
		return pkt[1]
	case pkt[0]>>4 == 6:
		return pkt[0]<<4 | pkt[1]>>4
	}
	return 0
}

// DSCP returns the Differentiated Services code point of an IPv4 or IPv6 packet, 0 to
// 63 (RFC 2474 section 3).
func DSCP(pkt []byte) uint8 { return TOS(pkt) >> 2 }

// SetTOS changes what TOS returns in place. The checksum of an IPv4 header is brought
// along (RFC 1624 equation 3), so that one that was wrong stays wrong; the flow label of
// IPv6 stays. It leaves alone what is neither.
func SetTOS(pkt []byte, tos uint8) {
	switch {
	case len(pkt) < HeaderLen, TOS(pkt) == tos:
		return
	case pkt[0]>>4 == 6:
		pkt[0], pkt[1] = 0x60|tos>>4, tos<<4|pkt[1]&0x0F
		return
	case pkt[0]>>4 != 4:
		return
	}
	before := binary.BigEndian.Uint16(pkt[0:2])
	pkt[1] = tos
	after := binary.BigEndian.Uint16(pkt[0:2])
	sum := uint32(^binary.BigEndian.Uint16(pkt[10:12])) + uint32(^before) + uint32(after)
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	binary.BigEndian.PutUint16(pkt[10:12], ^uint16(sum))
}
