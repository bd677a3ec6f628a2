package link

import (
	"context"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// Keyer is an Adapter that can be given the key of a point before the move (RFC 6252 section 7.7.1): the move is then
// association and 4-way handshake, without an authentication.
type Keyer interface {
	Adapter
	// InstallKey gives the link the key shared with a point, in place of any before. The move to it works without: it takes
	// longer. The key stays the caller's.
	InstallKey(ctx context.Context, poa string, k Key) error
	// RemoveKey takes a point's key. The present attachment stays.
	RemoveKey(ctx context.Context, poa string) error
	// Station returns our own link-layer address, to which keys are bound.
	Station(ctx context.Context) (wpactrl.MAC, error)
}

// Key is what we share with one access point.
type Key struct {
	PMK      *keys.Secret // 32 octets
	AKM      keys.AKM
	Lifetime time.Duration // from now, at most that of the MSK; whole seconds count
}

// Scanner is an Adapter that sees points before it moves.
type Scanner interface {
	Adapter
	// Scan looks on the channels given (MHz; none: all) and returns when that is done. It takes the link off its channel.
	Scan(ctx context.Context, freqs ...int) error
	// Seen returns what the last scans saw.
	Seen(ctx context.Context) ([]Sighting, error)
	// Signal returns the present point's signal in dBm.
	Signal(ctx context.Context) (int, error)
}

// Sighting is a point that was seen.
type Sighting struct {
	Point  string // its name, or its BSSID when it has none
	BSSID  wpactrl.MAC
	SSID   string
	Freq   int // MHz
	Signal int // dBm
}
