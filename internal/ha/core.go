package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/ipip"
)

// Defaults of CoreConfig.
const (
	DefaultLifetime    = 600 * time.Second
	DefaultClockWindow = 7 * time.Second // RFC 5944 section 5.7.1
	DefaultMaxBindings = 8
)

// World is what the core acts on. To and From are called with a lock of the path of the home
// address held: they must not call the core, and should not block for long. The others
// may take their time: they hold up registrations of the home address only.
type World interface {
	// To sends an inner packet to a care-of address, encapsulated.
	To(careOf netip.Addr, inner []byte) error
	// From gives an inner packet of a mobile node to the network.
	From(inner []byte) error
	// Bound starts intercepting what is sent to a home address. With an error the
	// registration is denied.
	Bound(home netip.Addr) error
	// Unbound ends it. It reports trouble by itself.
	Unbound(home netip.Addr)
	// Keep stores what must be known of a home address after a crash, in place of what
	// was kept of it before, and returns when it is safe. With an error a registration
	// is denied.
	Keep(home netip.Addr, k Kept) error
	// Wake says that Deadline may be earlier than it was. It must not block.
	Wake()
}

// Node is a mobile node the home agent serves.
type Node struct {
	HomeAddress netip.Addr
	Security    mip4.Security
}

// CoreConfig is fixed after NewCore.
type CoreConfig struct {
	Address     netip.Addr    // the home agent's own
	Nodes       []Node        // who is served
	Lifetime    time.Duration // longest that is granted
	ClockWindow time.Duration // how far a request's time stamp may be from our clock
	MaxBindings int           // of one home address at once; 1: one only, whatever is asked for
	path.Limits
}

// Check completes the defaults and says what is wrong, or nil.
func (c *CoreConfig) Check() error {
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.ClockWindow == 0 {
		c.ClockWindow = DefaultClockWindow
	}
	if c.MaxBindings == 0 {
		c.MaxBindings = DefaultMaxBindings
	}
	if err := c.Limits.Check(); err != nil {
		return fmt.Errorf("ha: %w", err)
	}
	if !c.Address.Is4() || c.Address.IsUnspecified() {
		return fmt.Errorf("ha: the home agent's address must be an IPv4 address, it is %v", c.Address)
	}
	if c.Lifetime < time.Second {
		return fmt.Errorf("ha: a lifetime of %v cannot be granted: at least 1s", c.Lifetime)
	}
	if c.MaxBindings < 1 {
		return fmt.Errorf("ha: %d bindings of a home address cannot be: at least 1", c.MaxBindings)
	}
	if c.ClockWindow <= 3*time.Second {
		return fmt.Errorf("ha: a clock window of %v is too narrow: RFC 5944 section 5.7.1 asks for more than 3s", c.ClockWindow)
	}
	seen := make(map[netip.Addr]bool)
	for _, n := range c.Nodes {
		switch {
		case !n.HomeAddress.Is4() || !ordinary(n.HomeAddress) || n.HomeAddress == c.Address:
			return fmt.Errorf("ha: %v cannot be a home address", n.HomeAddress)
		case seen[n.HomeAddress]:
			return fmt.Errorf("ha: home address %v is there twice", n.HomeAddress)
		}
		if err := n.Security.Check(); err != nil {
			return fmt.Errorf("ha: home address %v: %w", n.HomeAddress, err)
		}
		seen[n.HomeAddress] = true
	}
	if len(c.Nodes) == 0 {
		return errors.New("ha: no mobile node is configured: there is nothing to do")
	}
	return nil
}

// ordinary says that an address can be a host's.
func ordinary(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Core is the home agent without sockets. Its methods may be called concurrently.
type Core struct {
	// fixed after NewCore
	cfg   CoreConfig
	world World
	nodes map[netip.Addr]*node

	counters *path.Counters // atomic
}

// node is all the core knows of one home address. Where several locks are needed, they
// are taken in the order of the fields.
type node struct {
	// fixed after NewCore
	home netip.Addr
	sa   mip4.Security

	// registration: held while a request is handled, also while the kernel and the
	// disk are waited for
	registering sync.Mutex
	lastID      uint64 // highest identification that was valid
	hasID       bool
	closed      bool      // the home agent ends
	denied      time.Time // when code 131 was last sent

	// guarded by mu; to change it, registering too
	mu            sync.Mutex
	bindings      bindings
	registrations uint64 // accepted

	path *path.Path
}

// NewCore returns a core without bindings.
func NewCore(cfg CoreConfig, w World) (*Core, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, world: w, nodes: make(map[netip.Addr]*node, len(cfg.Nodes)), counters: path.NewCounters(counterNames())}
	for _, n := range cfg.Nodes {
		c.nodes[n.HomeAddress] = &node{home: n.HomeAddress, sa: n.Security, path: path.New(path.Config{
			Limits: cfg.Limits, World: ends{c, n.HomeAddress}, Markers: pathMarkers{n, cfg.Address}, Header: ipip.HeaderLen, Counters: c.counters,
		})}
	}
	return c, nil
}

// Deadline returns when OnDeadline must be called.
func (c *Core) Deadline() (time.Time, bool) {
	var d time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	for _, n := range c.nodes {
		n.mu.Lock()
		for _, b := range n.bindings {
			earlier(b.expires)
		}
		n.mu.Unlock()
		earlier(n.path.Deadline())
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now and returns what came of it. Calling it early
// does nothing.
func (c *Core) OnDeadline(now time.Time) []Notice {
	var out []Notice
	for _, n := range c.nodes {
		if o, ok := n.path.OnDeadline(now); ok {
			out = append(out, Missed(n.home, o))
		}
	}
	// After all gates: a registration that waits for the disk holds up what follows.
	for _, n := range c.nodes {
		if !n.expired(now) {
			continue
		}
		n.registering.Lock()
		live, over := n.bindings.at(now)
		for _, b := range over {
			out = append(out, Notice{What: NoticeExpired, Home: n.home, CareOf: b.careOf})
		}
		if len(over) > 0 { // still
			c.set(now, n, live, 0)
		}
		n.registering.Unlock()
	}
	return out
}

func (n *node) expired(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, over := n.bindings.at(now)
	return len(over) > 0
}

// Close ends all bindings, for an orderly end of the home agent. What was kept of them
// stays, for the next one. No request is answered any more.
func (c *Core) Close() {
	for _, n := range c.nodes {
		n.registering.Lock()
		n.closed = true
		c.set(time.Time{}, n, nil, 0)
		n.registering.Unlock()
	}
}

// set makes list the bindings of n, and has its path follow: ends is what markers say that
// end the one before, 0: nothing does. Intercepting has begun. n.registering is held.
func (c *Core) set(now time.Time, n *node, list bindings, ends uint64) {
	was := n.bindings
	if len(list) == 0 && len(was) > 0 {
		c.world.Unbound(n.home)
	}
	n.mu.Lock()
	n.bindings = list
	n.mu.Unlock()
	if len(list) == 0 {
		n.path.Clear()
		return
	}
	n.path.Bind(now, path.Target{CareOf: list.careOf(), Reverse: list[0].reverse, Numbers: list[0].offered, Ends: ends})
}

// BindingStatus is one binding as status shows it.
type BindingStatus struct {
	HomeAddress   netip.Addr      `json:"home_address"`
	Bound         bool            `json:"bound"`
	CareOf        *netip.Addr     `json:"care_of,omitempty"`
	Also          []netip.Addr    `json:"also,omitempty"` // further care-of addresses
	Since         *time.Time      `json:"since,omitempty"`
	Expires       *time.Time      `json:"expires,omitempty"`
	ReverseTunnel bool            `json:"reverse_tunnel,omitempty"`
	PathMarkers   bool            `json:"path_markers,omitempty"`
	Previous      *netip.Addr     `json:"previous_care_of,omitempty"`
	Registrations uint64          `json:"registrations"`
	Gate          path.GateStatus `json:"gate"`
}

// Bindings returns the state of every home address, in the order of configuration.
func (c *Core) Bindings() []BindingStatus {
	out := make([]BindingStatus, 0, len(c.cfg.Nodes))
	for _, cfg := range c.cfg.Nodes {
		n := c.nodes[cfg.HomeAddress]
		s := BindingStatus{HomeAddress: n.home}
		n.mu.Lock()
		s.Registrations = n.registrations
		if len(n.bindings) > 0 {
			b := n.bindings[0]
			s.Also = n.bindings.careOf()[1:]
			careOf, since, expires := b.careOf, b.since, b.expires
			s.Bound, s.CareOf, s.Since = true, &careOf, &since
			if !expires.IsZero() {
				s.Expires = &expires
			}
			s.ReverseTunnel, s.PathMarkers = b.reverse, b.offered
		}
		n.mu.Unlock()
		if old, _ := n.path.Old(); len(old) > 0 {
			s.Previous = &old[0]
		}
		s.Gate = n.path.Gate()
		out = append(out, s)
	}
	return out
}
