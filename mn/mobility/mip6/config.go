package mip6

import (
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Defaults of ClientConfig and RouteConfig (RFC 6275 sections 12 and 13).
const (
	DefaultInitial      = time.Second             // INITIAL_BINDACK_TIMEOUT
	DefaultInitialFirst = 1500 * time.Millisecond // InitialBindackTimeoutFirstReg: duplicate address detection takes a second
	DefaultMaximum      = 32 * time.Second        // MAX_BINDACK_TIMEOUT
	DefaultGiveUp       = 30 * time.Second
	DefaultRetries      = 3                 // MAX_RO_FAILURE
	MaxRouteLifetime    = 420 * time.Second // MAX_RR_BINDING_LIFETIME
	maxTokenLifetime    = 210 * time.Second // MAX_TOKEN_LIFETIME
	maxNonceLifetime    = 240 * time.Second // MAX_NONCE_LIFETIME
	nonceInterval       = 30 * time.Second  // RFC 6275 section 5.2.7
)

// minRenew keeps renewals apart when lifetimes are short or renewals fail.
const minRenew = time.Second

// ClientConfig says who registers where, and how. It is fixed after NewClient.
type ClientConfig struct {
	Home      netip.Addr
	HomeAgent netip.Addr
	Security  Security
	// Identifier is a network access identifier to send along (RFC 4283), or empty.
	Identifier string
	// LinkLocal says that the link-local address at home has the home address's
	// interface identifier, and is to be tested and defended with it.
	LinkLocal bool

	// Lifetime to ask for, in units of 4 s: 0 means DefaultLifetime.
	Lifetime time.Duration
	// Initial is the time-out of the first request, InitialFirst when there is no binding
	// yet; each next one doubles, up to Maximum.
	Initial, InitialFirst, Maximum time.Duration
	// GiveUp is how long a registration asked for is tried. Renewals are tried until the
	// binding has expired.
	GiveUp time.Duration

	// Rand supplies the first sequence number and low bits of time stamps.
	Rand io.Reader
	// Now is the wall clock for time stamps. Nil: the now of each call.
	Now func() time.Time
}

// Check completes the defaults and says what is wrong, or nil.
func (c *ClientConfig) Check() error {
	setDefault(&c.Lifetime, DefaultLifetime)
	setDefault(&c.InitialFirst, DefaultInitialFirst)
	setDefault(&c.GiveUp, DefaultGiveUp)
	setDefault(&c.Initial, DefaultInitial)
	setDefault(&c.Maximum, DefaultMaximum)
	if err := checkEnds(c.Home, c.HomeAgent, c.Rand); err != nil {
		return err
	}
	if err := c.Security.Check(); err != nil {
		return err
	}
	switch {
	case c.Lifetime < lifetimeUnit || c.Lifetime > LifetimeOf(0xffff):
		return fmt.Errorf("mip6: a lifetime of %v cannot be asked for: 4s to 262140s can", c.Lifetime)
	case c.GiveUp < 0 || c.InitialFirst < 0:
		return fmt.Errorf("mip6: time-outs must be positive, not %v and %v", c.GiveUp, c.InitialFirst)
	case len(c.Identifier) > 254:
		return fmt.Errorf("mip6: an identifier of %d octets cannot be sent: at most 254", len(c.Identifier))
	}
	return checkTimeouts(c.Initial, c.Maximum)
}

// RouteConfig says which correspondent is to know a mobile node's care-of address. It is
// fixed after NewRoute.
type RouteConfig struct {
	Home          netip.Addr
	Correspondent netip.Addr
	// Lifetime to ask for: at most, and by default, MaxRouteLifetime.
	Lifetime time.Duration
	// Initial is the time-out of the first message of a type; each next one doubles, up
	// to Maximum.
	Initial, Maximum time.Duration
	// Retries is how often messages of a type are repeated.
	Retries int
	// Rand supplies cookies and the first sequence number.
	Rand io.Reader
}

// Check completes the defaults and says what is wrong, or nil.
func (c *RouteConfig) Check() error {
	setDefault(&c.Lifetime, MaxRouteLifetime)
	setDefault(&c.Retries, DefaultRetries)
	setDefault(&c.Initial, DefaultInitial)
	setDefault(&c.Maximum, DefaultMaximum)
	if err := checkEnds(c.Home, c.Correspondent, c.Rand); err != nil {
		return err
	}
	switch {
	case c.Lifetime < lifetimeUnit || c.Lifetime > MaxRouteLifetime:
		return fmt.Errorf("mip6: a lifetime of %v cannot be asked of a correspondent: 4s to %v can (RFC 6275 section 5.2.6)", c.Lifetime, MaxRouteLifetime)
	case c.Retries < 0:
		return fmt.Errorf("mip6: %d retries are less than none", c.Retries)
	}
	return checkTimeouts(c.Initial, c.Maximum)
}

func checkEnds(home, peer netip.Addr, random io.Reader) error {
	switch {
	case !Unicast(home) || !Unicast(peer) || home == peer:
		return fmt.Errorf("mip6: home address %v and peer %v must be two routable IPv6 addresses", home, peer)
	case random == nil:
		return fmt.Errorf("mip6: a source of randomness is missing")
	}
	return nil
}

func checkTimeouts(initial, maximum time.Duration) error {
	if initial < 0 || maximum < initial {
		return fmt.Errorf("mip6: time-outs must be positive and the first (%v) not above the maximum (%v)", initial, maximum)
	}
	return nil
}
