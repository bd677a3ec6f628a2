package neighbourhood

import (
	"net/netip"
	"time"
)

// Bounds of what one source may say, and of all together. What is more is dropped and counted.
const (
	MaxNetworks = 64
	MaxPoints   = 32 // of a network
	MaxPrefixes = 8
	MaxAgents   = 8
	MaxText     = 64 // octets of a name
)

// Network is what one source says of a network. What it does not know is zero, or nil.
type Network struct {
	Name     string // as its operator calls it, at most MaxText printable ASCII characters without space
	Operator string // its AAA realm
	Agents   []Agent
	Prefixes []netip.Prefix
	Points   []Point
	Cost     *float32 // of being there, dB; 0: none
}

// Role is what an agent does (RFC 6252 section 4).
type Role uint8

// The roles. One router may have all.
const (
	PAA Role = iota + 1 // authentication
	CA                  // configuration
	AR                  // access router
)

// Agent is one that a node deals with before it moves.
type Agent struct {
	Role     Role
	Addr     netip.AddrPort // port 0: the protocol's own
	Identity string         // as it names itself in PANA; of a PAA empty
	Key      [32]byte       // SHA-256 of the SubjectPublicKeyInfo of its certificate; zero: not known
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
	Name     string // its BSSID in lower case with colons, or what the link calls it
	SSID     string
	Freq     int // MHz
	Security Security
	Location *Location
	Reach    float32  // metres
	Load     *float32 // 0 to 1
}

// Location is a place: in degrees of WGS 84, or in metres of a plan of the site where Plan names one.
type Location struct {
	Plan      string
	X, Y, Alt float64 // metres; degrees of longitude and latitude, and metres, where Plan is empty
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

// Source is who says something.
type Source struct {
	Kind Kind
	Name string // "dhcp", "router b": for people
}

// Known is a network as all sources together have it.
type Known struct {
	Network
	From  []Source  // the most trusted first
	Until time.Time // then the least lasting of it is over; zero: never
}

// Contradiction is a statement that was not believed.
type Contradiction struct {
	Network string
	Field   string // "paa", "prefix", "point", ...
	Kept    string // what is believed, and who says so
	KeptBy  Source
	Dropped string
	By      Source
}
