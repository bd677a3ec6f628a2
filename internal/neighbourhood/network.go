package neighbourhood

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"
)

// Bounds of what one source may say, and of all together. What is more is dropped and counted.
const (
	MaxNetworks  = 64
	MaxPoints    = 32   // of a network
	MaxAllPoints = 1024 // of all networks that are known
	MaxPrefixes  = 8
	MaxAgents    = 8
	MaxText      = 64 // octets of a name
	MaxSources   = 32
	MaxHops      = 8 // routers that a statement may have passed
)

// Network is what one source says of a network. What it does not know is zero, or nil.
type Network struct {
	Name     string         `json:"name"`               // as its operator calls it, at most MaxText printable ASCII characters without space
	Operator string         `json:"operator,omitempty"` // its AAA realm
	Agents   []Agent        `json:"agents,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	Points   []Point        `json:"points,omitempty"`
	Cost     *float32       `json:"cost_db,omitempty"` // of being there, dB; nil: not stated
	// Hops is how many routers have passed this on: 0 by the network's own router, or whoever else knows it at first hand.
	Hops uint8 `json:"hops,omitempty"`
	// Lifetime is how long this holds from when it was said; 0: as long as all else that the source says with it.
	Lifetime time.Duration `json:"-"`
}

// Role is what an agent does (RFC 6252 section 4).
type Role uint8

// The roles. One router may have all.
const (
	PAA Role = iota + 1 // authentication
	CA                  // configuration
	AR                  // access router
)

// String names the role.
func (r Role) String() string {
	switch r {
	case PAA:
		return "paa"
	case CA:
		return "ca"
	case AR:
		return "ar"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Role) UnmarshalText(text []byte) error {
	for _, known := range []Role{PAA, CA, AR} {
		if string(text) == known.String() {
			*r = known
			return nil
		}
	}
	return fmt.Errorf("%.20q: expected paa, ca or ar", text)
}

// Fingerprint is the SHA-256 of the SubjectPublicKeyInfo of a certificate; zero: not known.
type Fingerprint [32]byte

// IsZero says that it is not known.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// String is its hexadecimal form.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// MarshalText implements encoding.TextMarshaler.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(f) {
		return fmt.Errorf("%.80q: expected %d hexadecimal digits, the SHA-256 of a SubjectPublicKeyInfo", text, 2*len(f))
	}
	*f = Fingerprint(b)
	return nil
}

// Agent is one that a node deals with before it moves.
type Agent struct {
	Role     Role           `json:"role"`
	Addr     netip.AddrPort `json:"address,omitzero"`   // port 0: the protocol's own
	Identity string         `json:"identity,omitempty"` // as it names itself in PANA; of a PAA empty
	Key      Fingerprint    `json:"key,omitzero"`       // of its certificate
}

// Security of a point's link.
type Security string

// The securities. Others may come.
const (
	Open     Security = "open"
	WPAPSK   Security = "wpa-psk"
	WPAEAP   Security = "wpa-eap"
	FTEAP    Security = "ft-eap"
	Wired    Security = "wired"
	Unstated Security = ""
)

// Point is a point of attachment.
type Point struct {
	Name     string    `json:"name"` // its BSSID in lower case with colons, or what the link calls it
	SSID     string    `json:"ssid,omitempty"`
	Freq     int       `json:"freq_mhz,omitempty"`
	Security Security  `json:"security,omitempty"`
	Location *Location `json:"location,omitempty"`
	Reach    float32   `json:"reach_m,omitempty"`
	Load     *float32  `json:"load,omitempty"` // 0 to 1
}

// Location is a place: in degrees of WGS 84, or in metres of a plan of the site where Plan names one.
type Location struct {
	Plan string  `json:"plan,omitempty"`
	X    float64 `json:"x"` // metres; degrees of longitude where Plan is empty
	Y    float64 `json:"y"` // metres; degrees of latitude where Plan is empty
	Alt  float64 `json:"alt_m,omitempty"`
}

// Kind is a kind of source. The smaller one is believed where two disagree.
type Kind uint8

// The kinds.
const (
	Configured Kind = iota // by the operator of this node
	Router                 // by the serving router, under the keys of its session
	History                // by what this node has seen itself, in earlier moves
	Link                   // DHCP and DNS of the present link: anybody there may have said it
	Air                    // scans and neighbour reports
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Configured:
		return "configured"
	case Router:
		return "router"
	case History:
		return "history"
	case Link:
		return "link"
	case Air:
		return "air"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) error {
	for known := Configured; known <= Air; known++ {
		if string(text) == known.String() {
			*k = known
			return nil
		}
	}
	return fmt.Errorf("%.20q: expected a kind of source, such as %v", text, Configured)
}

// Source is who says something.
type Source struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name,omitempty"` // "dhcp", "router b": for people
}

// String names the source for people.
func (s Source) String() string {
	if s.Name == "" {
		return s.Kind.String()
	}
	return s.Kind.String() + " (" + s.Name + ")"
}

// Known is a network as all sources together have it.
type Known struct {
	Network
	From  []Source  `json:"from"`           // the most trusted first
	Until time.Time `json:"until,omitzero"` // then the word of the first of these is over; zero: never. Of what others added, Table.Next knows
}

// Contradiction is a statement that was not believed.
type Contradiction struct {
	Network string `json:"network"`
	Field   string `json:"field"` // "paa", "prefix", "point", ...
	Kept    string `json:"kept"`  // what is believed, and who says so
	KeptBy  Source `json:"kept_by"`
	Dropped string `json:"dropped"`
	By      Source `json:"by"`
}
