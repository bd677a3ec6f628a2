package inet

import "time"

// ntpEpoch is the Unix time of 1900-01-01, negated: seconds to add to a Unix time.
const ntpEpoch = 2208988800

// NTP returns a wall-clock time in the 64-bit format of RFC 5905 section 6, as Mobile IP uses it:
// seconds since 1900 and a binary fraction, modulo 2^64 (it wraps in 2036).
func NTP(t time.Time) uint64 {
	sec := uint64(uint32(t.Unix() + ntpEpoch)) //nolint:gosec // modulo 2^32 is meant
	frac := uint64(t.Nanosecond()) << 32 / uint64(time.Second)
	return sec<<32 | frac
}

// Newer reports whether time stamp a lies after b, right across the wrap of 2036.
func Newer(a, b uint64) bool { return int64(a-b) > 0 } //nolint:gosec // serial numbers

// Skew is a minus b as a duration: at most 68 years either way.
func Skew(a, b uint64) time.Duration {
	d := int64(a - b) //nolint:gosec // serial numbers
	frac := uint64(d) & 0xffffffff
	return time.Duration(d>>32)*time.Second + time.Duration(frac*uint64(time.Second)>>32) //nolint:gosec // below a second
}
