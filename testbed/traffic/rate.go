package traffic

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RTPPayload is the payload of the default flow: twenty milliseconds of
// 64 kb/s speech behind an RTP header.
const RTPPayload = 172

// fullPacket is the length of an IP packet of a flow given as a bit rate, and fullPacket6 that of one of IPv6, which has to leave
// room for three headers of 20 octets more, and for copies to several care-of addresses.
const (
	fullPacket  = 1400
	fullPacket6 = 1300
)

const (
	headers  = 20 + 8 // IPv4 and UDP
	headers6 = 40 + 8 // IPv6 and UDP
)

// A Rate is how fast a flow sends, and how large its datagrams are.
type Rate struct {
	PerSecond float64 // datagrams
	Payload   int     // octets of UDP payload
	text      string
}

// ParseRate understands "50" (datagrams a second of RTPPayload octets) and
// "100M", "2.5M", "400k", "1G" (bits a second in IP packets of 1400 octets).
func ParseRate(s string) (Rate, error) {
	v, bits, err := parseNumber(s)
	if err != nil {
		return Rate{}, fmt.Errorf(`traffic: rate %q: expected packets a second ("50") or bits a second ("100M")`, s)
	}
	r := Rate{PerSecond: v, Payload: RTPPayload, text: s}
	if bits {
		r.PerSecond = v / (8 * fullPacket)
		r.Payload = fullPacket - headers
	}
	if r.PerSecond < 0.1 || r.PerSecond > 1e6 {
		return Rate{}, fmt.Errorf("traffic: rate %q is %.3g packets a second; from 0.1 to 1000000 can be sent", s, r.PerSecond)
	}
	return r, nil
}

// ParseBits understands bits a second as ParseRate does, and bare numbers.
func ParseBits(s string) (float64, error) {
	v, _, err := parseNumber(s)
	if err != nil {
		return 0, fmt.Errorf(`traffic: %q: expected bits a second, such as "10M"`, s)
	}
	return v, nil
}

// parseNumber reads a positive number; bits says that a unit of bits a second
// stood behind it, which is multiplied in.
func parseNumber(s string) (v float64, bits bool, err error) {
	factor := 1.0
	number := s
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k', 'K':
			factor = 1e3
		case 'm', 'M':
			factor = 1e6
		case 'g', 'G':
			factor = 1e9
		}
		if factor != 1 {
			number = s[:n-1]
		}
	}
	v, err = strconv.ParseFloat(strings.TrimSpace(number), 64)
	// Written so that NaN does not pass.
	if err == nil && (!(v > 0) || v > 1e12) {
		err = strconv.ErrRange
	}
	return v * factor, factor != 1, err
}

// PerSecond is a rate in datagrams a second of the default payload.
func PerSecond(n float64) Rate {
	return Rate{PerSecond: n, Payload: RTPPayload, text: strconv.FormatFloat(n, 'g', -1, 64)}
}

// Bits reports whether the rate was given in bits a second.
func (r Rate) Bits() bool {
	return r.Payload == fullPacket-headers || r.Payload == fullPacket6-headers6
}

// WithIPv6 is the same rate in packets of IPv6.
func (r Rate) WithIPv6() Rate {
	if r.Payload == fullPacket-headers {
		r.PerSecond *= float64(fullPacket) / fullPacket6
		r.Payload = fullPacket6 - headers6
	}
	return r
}

// Interval is the time between two datagrams.
func (r Rate) Interval() time.Duration {
	return time.Duration(float64(time.Second) / r.PerSecond)
}

// Flag is the rate as it was given.
func (r Rate) Flag() string { return r.text }

// String is the rate in words.
func (r Rate) String() string {
	switch r.Payload {
	case fullPacket - headers:
		return fmt.Sprintf("%sbit/s in packets of %d octets", r.text, fullPacket)
	case fullPacket6 - headers6:
		return fmt.Sprintf("%sbit/s in packets of %d octets", r.text, fullPacket6)
	}
	return r.text + " packets/s"
}
