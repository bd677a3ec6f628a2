package config

import (
	"cmp"
	"fmt"
	"time"

	"openmpa/tunnel/esp"
)

// Suite is what protects a tunnel, by its name: aes-128-gcm, aes-256-gcm or
// chacha20-poly1305.
type Suite struct{ esp.Transform }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Suite) UnmarshalText(text []byte) (err error) {
	s.Transform, err = esp.ParseTransform(string(text))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (s Suite) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Transforms are those of a list; nil where it is empty.
func Transforms(list []Suite) (out []esp.Transform) {
	for _, s := range list {
		out = append(out, s.Transform)
	}
	return out
}

// Encapsulation is what packets are carried in: esp, also when nothing is said, or ipip.
type Encapsulation string

// The encapsulations.
const (
	ESP  Encapsulation = "esp"
	IPIP Encapsulation = "ipip" // unprotected, where both ends say so
)

// Plain says that IP in IP is allowed.
func (e Encapsulation) Plain() bool { return e == IPIP }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Encapsulation) UnmarshalText(text []byte) error {
	switch v := Encapsulation(text); v {
	case ESP, IPIP:
		*e = v
		return nil
	}
	return fmt.Errorf("%q is no encapsulation: expected %s or %s", text, ESP, IPIP)
}

// MarshalText implements encoding.TextMarshaler.
func (e Encapsulation) MarshalText() ([]byte, error) { return []byte(cmp.Or(e, ESP)), nil }

// Rekey says when the security association of a tunnel is replaced: whichever comes
// first. What is zero is as by default.
type Rekey struct {
	After   Duration `yaml:"after"`
	Packets uint64   `yaml:"packets"` // of either direction
	Octets  Bytes    `yaml:"octets"`  // of either direction
}

// Limits are the bounds; without a word of the file they are an hour, 256 GiB, and the
// sequence numbers' own.
func (r Rekey) Limits() esp.RekeyLimits {
	Default(&r.After, Duration(time.Hour))
	Default(&r.Octets, 256<<30)
	return esp.RekeyLimits{Age: r.After.D(), Packets: r.Packets, Octets: uint64(r.Octets)}
}

// Check says what cannot be meant: to agree on a successor takes a while, too.
func (r Rekey) Check() error {
	switch {
	case r.After != 0 && r.After < Duration(time.Second):
		return Errorf("after", "%v: expected 1s or more", r.After)
	case r.Packets != 0 && r.Packets < 1000:
		return Errorf("packets", "%d: expected 1000 or more", r.Packets)
	case r.Octets != 0 && r.Octets < 1<<20:
		return Errorf("octets", "%v: expected 1MiB or more", r.Octets)
	}
	return nil
}
