package ipip

import "encoding/binary"

// TOS returns the Type of Service octet (DSCP and ECN) of an IPv4 packet, which
// is also that of the outer header in normal mode (RFC 6040 section 4.1); zero
// for anything that is no IPv4 packet.
func TOS(pkt []byte) uint8 {
	if len(pkt) < HeaderLen || pkt[0]>>4 != 4 {
		return 0
	}
	return pkt[1]
}

// DSCP returns the Differentiated Services code point of an IPv4 packet, 0 to
// 63 (RFC 2474 section 3).
func DSCP(pkt []byte) uint8 { return TOS(pkt) >> 2 }

// SetTOS changes the Type of Service octet of an IPv4 packet in place and
// brings its checksum along (RFC 1624 equation 3), so that a checksum that was
// wrong stays wrong. It leaves alone what is no IPv4 packet.
func SetTOS(pkt []byte, tos uint8) {
	if len(pkt) < HeaderLen || pkt[0]>>4 != 4 || pkt[1] == tos {
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
