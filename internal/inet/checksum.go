// Package inet is the small arithmetic that several protocols share: the Internet
// checksum (RFC 1071) and the time stamps of NTP (RFC 5905).
package inet

// Sum adds the 16-bit words of b to s, a last odd octet padded with zero (RFC 1071).
// It cannot overflow as long as less than 2^16 words are added in all.
func Sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// Fold makes a one's complement sum of s. Its complement is the checksum; over data
// with a right checksum in it, it is 0xffff.
func Fold(s uint32) uint16 {
	s = s>>16 + s&0xffff
	s += s >> 16
	return uint16(s) //nolint:gosec // folded
}
