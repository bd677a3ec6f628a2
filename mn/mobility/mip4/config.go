package mip4

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// Infinite is the lifetime of a binding that never ends.
const Infinite = time.Duration(math.MaxInt64)

// Defaults of ClientConfig.
const (
	DefaultLifetime = 600 * time.Second
	DefaultInitial  = time.Second // RFC 5944 section 3.6.3: not less
	DefaultMaximum  = 32 * time.Second
	DefaultGiveUp   = 30 * time.Second
)

// ClientConfig says who registers where, and how. It is fixed after NewClient.
type ClientConfig struct {
	HomeAddress netip.Addr
	HomeAgent   netip.Addr
	SPI         uint32
	Key         *keys.Secret
	Algorithm   Algorithm

	// Lifetime to ask for, in whole seconds: 0 means DefaultLifetime; Infinite is
	// possible, what lies between it and 65534 s is not.
	Lifetime time.Duration
	// Initial is the time-out of the first request; each next one doubles, up to
	// Maximum. RFC 5944 asks for at least a second, which is the default.
	Initial, Maximum time.Duration
	// GiveUp is how long a registration asked for is tried. Renewals are tried until
	// the binding has expired.
	GiveUp time.Duration
	// NoPathMarkers leaves the offer of path-end markers out; see OfferPathMarkers.
	NoPathMarkers bool

	// Rand supplies the low bits of identifications, which no clock has.
	Rand io.Reader
	// Now is the wall clock for identifications. Nil: the now of each call.
	Now func() time.Time
}

// Security is the security association of the configuration.
func (c *ClientConfig) Security() Security {
	return Security{SPI: c.SPI, Key: c.Key, Algorithm: c.Algorithm}
}

// Check completes the defaults and says what is wrong, or nil.
func (c *ClientConfig) Check() error {
	if !c.HomeAddress.Is4() || c.HomeAddress.IsUnspecified() || !c.HomeAgent.Is4() || c.HomeAgent.IsUnspecified() {
		return fmt.Errorf("mip4: home address %v and home agent %v must both be IPv4 addresses", c.HomeAddress, c.HomeAgent)
	}
	if err := c.Security().Check(); err != nil {
		return err
	}
	if c.Rand == nil {
		return fmt.Errorf("mip4: a source of randomness is missing")
	}
	setDefault(&c.Lifetime, DefaultLifetime)
	setDefault(&c.Initial, DefaultInitial)
	setDefault(&c.Maximum, DefaultMaximum)
	setDefault(&c.GiveUp, DefaultGiveUp)
	if c.Lifetime != Infinite && (c.Lifetime < time.Second || c.Lifetime >= LifetimeInfinite*time.Second) {
		return fmt.Errorf("mip4: a lifetime of %v cannot be asked for: 1s to 65534s can", c.Lifetime)
	}
	if c.Initial < 0 || c.GiveUp < 0 || c.Maximum < c.Initial {
		return fmt.Errorf("mip4: time-outs must be positive and the first (%v) not above the maximum (%v)", c.Initial, c.Maximum)
	}
	return nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// LifetimeField converts a lifetime to the field of a message, rounding down.
func LifetimeField(d time.Duration) uint16 {
	if d >= LifetimeInfinite*time.Second {
		return LifetimeInfinite
	}
	return uint16(max(0, d/time.Second)) //nolint:gosec // checked above
}

// LifetimeOf converts the field of a message to a lifetime.
func LifetimeOf(field uint16) time.Duration {
	if field == LifetimeInfinite {
		return Infinite
	}
	return time.Duration(field) * time.Second
}
