package wpactrl

import (
	"fmt"
	"net"
)

// MAC is an address of 48 bits: of a station, or of an access point (its BSSID).
type MAC [6]byte

// ParseMAC reads six octets in hexadecimal, separated by colons.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(m) || len(s) != 17 || s[2] != ':' {
		return m, fmt.Errorf("wpactrl: %.40q: expected an address like 02:00:00:00:01:00", s)
	}
	copy(m[:], hw)
	return m, nil
}

// String writes it as the daemons do.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// IsZero says whether it is 00:00:00:00:00:00, which nobody has.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup says whether it is a group's address or the broadcast address.
func (m MAC) IsGroup() bool { return m[0]&1 == 1 }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}
