package link

import (
	"context"
	"errors"
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
	// RemoveKeys takes all keys that were given, as Close does. The present attachment stays.
	RemoveKeys(ctx context.Context) error
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
	// Look looks for points on their channels and no others, unless all were seen within the last two seconds. It takes the
	// link off its channel, some 100 ms a channel. Points whose channel nobody knows are passed over; ErrChannel when
	// there is no other.
	Look(ctx context.Context, points ...string) error
	// Seen returns what the last scans saw. It asks nobody on the air.
	Seen(ctx context.Context) ([]Sighting, error)
	// Reported asks the present point for others (802.11k), which it knows without our leaving the channel: no signals,
	// but channels. Look knows them from then on.
	Reported(ctx context.Context) ([]Sighting, error)
	// Signal returns the present point's signal in dBm.
	Signal(ctx context.Context) (int, error)
}

// Meter is a Scanner that tells more of the present point than its signal.
type Meter interface {
	Scanner
	// Measure returns how the present point is received. ErrNoSignal: nobody tells.
	Measure(ctx context.Context) (Quality, error)
}

// Quality is how a point is received.
type Quality struct {
	Point  string  // which; "": the present one
	Signal float32 // dBm; 0: not known
	Loss   float32 // of frames, 0 to 1; less than 0: not known
	Rate   float32 // Mbit/s; 0: not known
}

// Strayer is an Adapter whose link may come up at another point than it was told, and which says so in its answer no later
// than the kernel tells of the link.
type Strayer interface {
	Adapter
	// MayStray only marks it.
	MayStray()
}

// Rekeyer is an Adapter whose link may have no keys for a moment where it is: they are made anew, and it stays.
type Rekeyer interface {
	Adapter
	// Associated returns the point that the interface is with, be its keys set or a handshake under way; "" if none.
	Associated(ctx context.Context) (poa string, err error)
}

// ErrChannel: nobody knows on which channel a point is.
var ErrChannel = errors.New("link: the channel is not known: say the point's freq in the configuration")

// Sighting is a point that was seen.
type Sighting struct {
	Point  string // its name, or its BSSID when it has none
	BSSID  wpactrl.MAC
	SSID   string        // "": not told
	Freq   int           // MHz
	Signal int           // dBm; 0: not told
	Age    time.Duration // since then
}
