package config

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Addr, Prefix and AddrPort are the netip types; they have names here so that
// a configuration struct reads in one vocabulary.
type (
	Addr     = netip.Addr
	Prefix   = netip.Prefix
	AddrPort = netip.AddrPort
)

// Duration is a time span in Go's syntax: 200ms, 1.5s, 10m, 1h30m. Negative
// ones are refused.
type Duration time.Duration

// D returns the span as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes the span in the syntax that UnmarshalText reads.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration: expected a number with a unit, such as 200ms, 1s or 10m", text)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative: expected a duration of zero or more", text)
	}
	*d = Duration(v)
	return nil
}

// Bytes is a size in octets: a whole number, alone or with one of the units B,
// kB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
type Bytes int64

// unit is a number behind a name.
type unit struct {
	name string
	size int64
}

// The units, largest first, so that String picks the shortest exact form.
var byteUnits = []unit{
	{"GiB", 1 << 30},
	{"GB", 1e9},
	{"MiB", 1 << 20},
	{"MB", 1e6},
	{"KiB", 1 << 10},
	{"kB", 1e3},
	{"B", 1},
}

// Int returns the size as an int, saturated on 32-bit machines.
func (b Bytes) Int() int {
	if int64(b) > math.MaxInt {
		return math.MaxInt
	}
	return int(b)
}

// String writes the size in the largest unit that divides it: 8388608 is 8MiB.
func (b Bytes) String() string { return inUnits(int64(b), byteUnits) }

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := parseUnits(string(text), "size", byteUnits)
	if err != nil {
		return err
	}
	*b = Bytes(v)
	return nil
}

// BitRate is in bits a second: a whole number with one of the units kb/s, Mb/s, Gb/s
// (powers of 1000) or b/s.
type BitRate int64

var rateUnits = []unit{{"Gb/s", 1e9}, {"Mb/s", 1e6}, {"kb/s", 1e3}, {"b/s", 1}}

// String writes the rate in the largest unit that divides it: 54000000 is 54Mb/s.
func (r BitRate) String() string {
	if r%1000 != 0 || r == 0 {
		return strconv.FormatInt(int64(r), 10) + "b/s"
	}
	return inUnits(int64(r), rateUnits)
}

// MarshalText implements encoding.TextMarshaler.
func (r BitRate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *BitRate) UnmarshalText(text []byte) error {
	v, err := parseUnits(string(text), "rate", rateUnits)
	if err != nil {
		return err
	}
	*r = BitRate(v)
	return nil
}

// inUnits writes v in the largest of the units that divides it, or without one.
func inUnits(v int64, units []unit) string {
	for _, u := range units {
		if u.size > 1 && v != 0 && v%u.size == 0 {
			return strconv.FormatInt(v/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10)
}

// parseUnits reads a whole number with or without a unit; what is for the error.
func parseUnits(s, what string, units []unit) (int64, error) {
	number, size := s, int64(1)
	names := make([]string, 0, len(units))
	for _, u := range units {
		names = append(names, u.name)
	}
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is no %s: expected a whole number, alone or with %s", s, what, strings.Join(names, ", "))
	}
	if v > uint64(math.MaxInt64/size) {
		return 0, fmt.Errorf("%q is too large: at most %d%s can be said", s, int64(math.MaxInt64), units[len(units)-1].name)
	}
	return int64(v) * size, nil
}

// HexBytes are octets written in hexadecimal; colons, dashes and spaces between
// octets are allowed.
type HexBytes []byte

// String writes the octets as plain hexadecimal.
func (h HexBytes) String() string { return hex.EncodeToString(h) }

// MarshalText implements encoding.TextMarshaler.
func (h HexBytes) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *HexBytes) UnmarshalText(text []byte) error {
	plain := strings.NewReplacer(":", "", "-", "", " ", "").Replace(string(text))
	v, err := hex.DecodeString(plain)
	if err != nil {
		return fmt.Errorf("%q is not hexadecimal: expected two digits an octet, such as 0a1b2c or 0a:1b:2c", text)
	}
	*h = v
	return nil
}

// File names a file the daemon reads, such as a certificate. [CheckFiles] fails
// if it cannot be opened.
type File string

// String returns the name, resolved if it was relative.
func (f File) String() string { return string(f) }

// Path names something the daemon makes itself, such as a socket or a state
// directory; it need not exist.
type Path string

// String returns the name, resolved if it was relative.
func (p Path) String() string { return string(p) }

// StateFile is where a daemon keeps its state (internal/state) unless its file says
// otherwise with the key "state".
func StateFile(daemon string) Path { return Path("/var/lib/openmpa/" + daemon + ".db") }

// Records is how many records of the timeline a daemon keeps; 0, also where the file
// has none: as many as package event says.
type Records int

// Check implements the hook of Load.
func (r *Records) Check() error {
	if *r != 0 && (*r < 64 || *r > 1<<20) {
		return fmt.Errorf("%d: expected 64 to %d records", *r, 1<<20)
	}
	return nil
}
