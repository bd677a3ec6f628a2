package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/flow"
)

// Defaults of CoreConfig.
const (
	DefaultLifetime    = 600 * time.Second
	DefaultClockWindow = 7 * time.Second // RFC 5944 section 5.7.1
	DefaultMarkerWait  = 500 * time.Millisecond
	DefaultOldPath     = 5 * time.Second
	DefaultHoldPackets = 4096
	DefaultHoldBytes   = 8 << 20
)

// World is what the core acts on. To and From are called with a lock of the home
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
	MarkerWait  time.Duration // how long packets of a new path wait for the marker on the old one
	OldPath     time.Duration // how long packets are taken from the just-previous care-of address
	Hold        flow.Limits   // of packets that wait, for each home address
}

// Check completes the defaults and says what is wrong, or nil.
func (c *CoreConfig) Check() error {
	for d, v := range map[*time.Duration]time.Duration{
		&c.Lifetime: DefaultLifetime, &c.ClockWindow: DefaultClockWindow,
		&c.MarkerWait: DefaultMarkerWait, &c.OldPath: DefaultOldPath,
	} {
		if *d == 0 {
			*d = v
		}
		if *d < 0 {
			return fmt.Errorf("ha: lifetime, clock-window, marker-wait and old-path must be positive, one is %v", *d)
		}
	}
	if c.Hold.Packets == 0 {
		c.Hold.Packets = DefaultHoldPackets
	}
	if c.Hold.Bytes == 0 {
		c.Hold.Bytes = DefaultHoldBytes
	}
	if !c.Address.Is4() || c.Address.IsUnspecified() {
		return fmt.Errorf("ha: the home agent's address must be an IPv4 address, it is %v", c.Address)
	}
	if c.Lifetime < time.Second {
		return fmt.Errorf("ha: a lifetime of %v cannot be granted: at least 1s", c.Lifetime)
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

	counters counters // atomic
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

	// downlink, guarded by mu; to change it, registering too
	mu            sync.Mutex
	binding       *binding
	registrations uint64 // accepted
	end           pathEnd

	// uplink, guarded by up
	up      sync.Mutex
	current netip.Addr // care-of address, zero: none
	reverse bool       // reverse tunnel granted
	old     netip.Addr // just-previous care-of address, zero: none
	ended   netip.Addr // was old until the marker came
	oldEnd  time.Time  // until when
	path    uint64     // of the change from old to current; 0: without markers
	gate    *flow.Gate
}

// binding is an entry of the mobility binding list (RFC 5944 section 3.8.1).
type binding struct {
	careOf  netip.Addr
	id      uint64 // identification of the current registration
	granted uint16
	since   time.Time // of this care-of address
	expires time.Time // zero: never
	reverse bool
	markers mip4.PathMarkers // what the replies say; Path 0: nothing
	offered bool
}

// NewCore returns a core without bindings.
func NewCore(cfg CoreConfig, w World) (*Core, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, world: w, nodes: make(map[netip.Addr]*node, len(cfg.Nodes))}
	for _, n := range cfg.Nodes {
		c.nodes[n.HomeAddress] = &node{home: n.HomeAddress, sa: n.Security, gate: flow.NewGate(cfg.Hold)}
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
		if n.binding != nil {
			earlier(n.binding.expires)
		}
		earlier(n.end.due)
		n.mu.Unlock()
		n.up.Lock()
		if at, ok := n.gate.Deadline(); ok {
			earlier(at)
		}
		if n.old.IsValid() {
			earlier(n.oldEnd)
		}
		n.up.Unlock()
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now and returns what came of it. Calling it early
// does nothing.
func (c *Core) OnDeadline(now time.Time) []Notice {
	var out []Notice
	for _, n := range c.nodes {
		n.up.Lock()
		if n.old.IsValid() && !now.Before(n.oldEnd) {
			n.old = netip.Addr{}
			if n.gate.Armed() { // no marker, and nobody waits yet: nobody has to
				c.flush(n)
			}
		}
		if at, ok := n.gate.Deadline(); ok && !now.Before(at) {
			n.gate.OnDeadline(now)
			out = append(out, Notice{What: NoticeMarkerMissed, Home: n.home, CareOf: n.current, Path: n.path, Released: c.drain(n)})
		}
		n.up.Unlock()

		n.mu.Lock()
		if !n.end.due.IsZero() && !now.Before(n.end.due) {
			c.sendMarker(now, n)
		}
		n.mu.Unlock()
	}
	// After all gates: a registration that waits for the disk holds up what follows.
	for _, n := range c.nodes {
		if !n.expired(now) {
			continue
		}
		n.registering.Lock()
		if n.expired(now) { // still
			careOf := n.binding.careOf
			c.unbind(n)
			out = append(out, Notice{What: NoticeExpired, Home: n.home, CareOf: careOf})
		}
		n.registering.Unlock()
	}
	return out
}

func (n *node) expired(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.binding
	return b != nil && !b.expires.IsZero() && !now.Before(b.expires)
}

// Close ends all bindings, for an orderly end of the home agent. What was kept of them
// stays, for the next one. No request is answered any more.
func (c *Core) Close() {
	for _, n := range c.nodes {
		n.registering.Lock()
		n.closed = true
		if n.binding != nil {
			c.unbind(n)
		}
		n.registering.Unlock()
	}
}

// unbind removes the binding of n. n.registering is held.
func (c *Core) unbind(n *node) {
	c.world.Unbound(n.home)
	n.mu.Lock()
	n.binding, n.end = nil, pathEnd{}
	n.mu.Unlock()
	n.up.Lock()
	defer n.up.Unlock()
	c.flush(n)
	n.current, n.old, n.ended, n.reverse, n.path = netip.Addr{}, netip.Addr{}, netip.Addr{}, false, 0
}

// Notice says what happened, for the timeline.
type Notice struct {
	What     string
	Home     netip.Addr
	CareOf   netip.Addr
	Previous netip.Addr // care-of address before, if it changed
	Path     uint64     // path identification, 0: without markers
	Lifetime time.Duration
	Code     mip4.Code
	Reason   string // of a denial
	Released int    // packets that had waited
}

// The values of Notice.What.
const (
	NoticeBound        = "bound"         // first binding
	NoticeMoved        = "moved"         // another care-of address
	NoticeRenewed      = "renewed"       // the same care-of address
	NoticeRestored     = "restored"      // kept over the end of the home agent before
	NoticeUnbound      = "unbound"       // deregistered
	NoticeExpired      = "expired"       // lifetime over
	NoticeDenied       = "denied"        // a request was denied
	NoticeMarker       = "marker"        // the mobile node's marker came
	NoticeMarkerMissed = "marker-missed" // it did not, in time
)

// BindingStatus is one binding as status shows it.
type BindingStatus struct {
	HomeAddress   netip.Addr  `json:"home_address"`
	Bound         bool        `json:"bound"`
	CareOf        *netip.Addr `json:"care_of,omitempty"`
	Since         *time.Time  `json:"since,omitempty"`
	Expires       *time.Time  `json:"expires,omitempty"`
	ReverseTunnel bool        `json:"reverse_tunnel,omitempty"`
	PathMarkers   bool        `json:"path_markers,omitempty"`
	Previous      *netip.Addr `json:"previous_care_of,omitempty"`
	Registrations uint64      `json:"registrations"`
	Gate          GateStatus  `json:"gate"`
}

// GateStatus counts packets from the mobile node at the gate of its home address.
type GateStatus struct {
	Packets    uint64                 `json:"packets"`
	Delivered  uint64                 `json:"delivered"`
	Waiting    uint64                 `json:"waiting"`
	Held       uint64                 `json:"held"` // ever
	HighWater  int                    `json:"high_water"`
	Dropped    map[flow.Reason]uint64 `json:"dropped,omitempty"`
	Changes    uint64                 `json:"changes"` // of path, with markers
	ByMarker   uint64                 `json:"opened_by_marker"`
	ByDeadline uint64                 `json:"opened_by_deadline"`
	ByLimit    uint64                 `json:"opened_by_limit"`
	Late       uint64                 `json:"late"` // came by an old path when nobody waited for it
}

func gateStatus(s flow.GateStats) GateStatus {
	return GateStatus{
		Packets: s.In, Delivered: s.Delivered, Waiting: s.Queued, Held: s.Held, HighWater: s.HighWater, Dropped: s.Dropped,
		Changes: s.Armed, ByMarker: s.ByMarker, ByDeadline: s.ByDeadline, ByLimit: s.ByLimit, Late: s.Late,
	}
}

// Bindings returns the state of every home address, in the order of configuration.
func (c *Core) Bindings() []BindingStatus {
	out := make([]BindingStatus, 0, len(c.cfg.Nodes))
	for _, cfg := range c.cfg.Nodes {
		n := c.nodes[cfg.HomeAddress]
		s := BindingStatus{HomeAddress: n.home}
		n.mu.Lock()
		s.Registrations = n.registrations
		if b := n.binding; b != nil {
			careOf, since, expires := b.careOf, b.since, b.expires
			s.Bound, s.CareOf, s.Since = true, &careOf, &since
			if !expires.IsZero() {
				s.Expires = &expires
			}
			s.ReverseTunnel, s.PathMarkers = b.reverse, b.offered
		}
		n.mu.Unlock()
		n.up.Lock()
		if n.old.IsValid() {
			old := n.old
			s.Previous = &old
		}
		s.Gate = gateStatus(n.gate.Stats())
		n.up.Unlock()
		out = append(out, s)
	}
	return out
}
