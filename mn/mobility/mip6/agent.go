package mip6

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Defaults of AgentConfig.
const (
	DefaultLifetime    = 600 * time.Second
	DefaultClockWindow = 7 * time.Second // RFC 4285 section 5.1
	DefaultMaxCareOf   = 8
)

// Node is a mobile node that a home agent serves.
type Node struct {
	Home     netip.Addr
	Security Security
}

// AgentConfig is fixed after NewAgent.
type AgentConfig struct {
	Address     netip.Addr     // the home agent's own
	Prefixes    []netip.Prefix // of the home link
	Nodes       []Node         // who is served
	Lifetime    time.Duration  // longest that is granted
	ClockWindow time.Duration  // how far a request's time stamp may be from our clock
	MaxCareOf   int            // bindings of one home address; 1: one care-of address only
	// Commit makes what is about to be confirmed good, before anything else comes of it: it is
	// stored, and the home address's packets are intercepted. With an error a registration is
	// denied with status 130; a deregistration is accepted all the same. Nil: nothing to do.
	Commit func(home netip.Addr, k Kept) error
	// Now is the wall clock for time stamps. Nil: the now of each call.
	Now func() time.Time
}

// Check completes the defaults and says what is wrong, or nil.
func (c *AgentConfig) Check() error {
	setDefault(&c.Lifetime, DefaultLifetime)
	setDefault(&c.ClockWindow, DefaultClockWindow)
	setDefault(&c.MaxCareOf, DefaultMaxCareOf)
	switch {
	case !Unicast(c.Address):
		return fmt.Errorf("mip6: the home agent's address must be a routable IPv6 address, it is %v", c.Address)
	case c.Lifetime < lifetimeUnit:
		return fmt.Errorf("mip6: a lifetime of %v cannot be granted: at least %v", c.Lifetime, lifetimeUnit)
	case c.ClockWindow <= 3*time.Second:
		return fmt.Errorf("mip6: a clock window of %v is too narrow: RFC 4285 section 5.1 asks for more than 3s", c.ClockWindow)
	case c.MaxCareOf < 1:
		return fmt.Errorf("mip6: %d care-of addresses cannot be bound: at least 1", c.MaxCareOf)
	case len(c.Nodes) == 0:
		return errors.New("mip6: no mobile node is configured: there is nothing to do")
	}
	seen := make(map[netip.Addr]bool)
	for _, n := range c.Nodes {
		switch {
		case !Unicast(n.Home) || n.Home == c.Address:
			return fmt.Errorf("mip6: %v cannot be a home address", n.Home)
		case !c.onLink(n.Home):
			return fmt.Errorf("mip6: home address %v is in none of the home link's prefixes %v", n.Home, c.Prefixes)
		case seen[n.Home]:
			return fmt.Errorf("mip6: home address %v is there twice", n.Home)
		}
		if err := n.Security.Check(); err != nil {
			return fmt.Errorf("mip6: home address %v: %w", n.Home, err)
		}
		seen[n.Home] = true
	}
	return nil
}

func (c *AgentConfig) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

func setDefault[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}

// Agent is a home agent. It is not safe for concurrent use. After each call, Poll until
// it is empty and look at Deadline.
type Agent struct {
	queue
	cfg   AgentConfig // fixed after NewAgent
	nodes map[netip.Addr]*node

	errors limiter
	stats  AgentStats
}

// AgentStats counts what a home agent did and saw.
type AgentStats struct {
	Updates   uint64 // all that were parsed
	Accepted  uint64
	Denied    map[Status]uint64
	Discarded uint64 // packets that were not answered
}

// Binding is one entry of the binding cache.
type Binding struct {
	CareOf
	Since   time.Time // of this care-of address
	Expires time.Time
	// Path is the identification of the change that brought the mobile node here, where it
	// offered path-end markers; 0: it did not. OldPath says that there was a path before,
	// which both ends close with a marker.
	Path    uint64 `json:",omitempty"`
	OldPath bool   `json:"-"`
}

// node is what is known of one home address. What recognises replays outlives the
// bindings.
type node struct {
	Node
	bindings []Binding
	tested   *request // waits for duplicate address detection

	sequence    uint16 // of the last valid Update
	hasSequence bool
	stamp       uint64 // highest that was valid
	hasStamp    bool
	refused     time.Time // when status 146 was last sent
}

// request is a Binding Update that is being answered.
type request struct {
	*Update
	src    netip.Addr // of the IPv6 header
	routed bool       // it came with a Home Address option
	careOf netip.Addr // that the authenticator is made of
	ids    []BindingID
	stamp  uint64
	timed  bool // it has a time stamp
}

// NewAgent returns a home agent without bindings.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, nodes: make(map[netip.Addr]*node, len(cfg.Nodes))}
	a.stats.Denied = make(map[Status]uint64)
	for _, n := range cfg.Nodes {
		a.nodes[n.Home] = &node{Node: n}
	}
	return a, nil
}

// Bindings returns the bindings of a home address. The slice is not changed any more.
func (a *Agent) Bindings(home netip.Addr) []Binding {
	if n := a.nodes[home]; n != nil {
		return n.bindings
	}
	return nil
}

// Stats returns the counters.
func (a *Agent) Stats() AgentStats { return a.stats }

// Deadline returns when OnDeadline must be called.
func (a *Agent) Deadline() (time.Time, bool) {
	var d time.Time
	for _, n := range a.nodes {
		for _, b := range n.bindings {
			d = earliest(d, b.Expires)
		}
	}
	return d, !d.IsZero()
}

// OnDeadline ends the bindings whose lifetime is over.
func (a *Agent) OnDeadline(now time.Time) {
	for _, n := range a.nodes {
		left := slices.DeleteFunc(slices.Clone(n.bindings), func(b Binding) bool { return due(b.Expires, now) })
		if len(left) != len(n.bindings) {
			n.bindings = left
			a.put(Changed{Home: n.Home, Bindings: left, Expired: true})
		}
	}
}

// HandlePacket takes a packet with a mobility header for the home agent's address. An
// error means that nothing was done for it but perhaps a Binding Error.
func (a *Agent) HandlePacket(now time.Time, pkt []byte) error {
	err := a.handle(now, pkt)
	if err != nil {
		a.stats.Discarded++
	}
	return err
}

func (a *Agent) handle(now time.Time, pkt []byte) error {
	p, m, err := open(pkt, func(p *Packet) bool { return p.Destination() == a.cfg.Address })
	if err != nil {
		return a.answerUnknown(now, &a.errors, &p, a.cfg.Address, err)
	}
	u, ok := m.(*Update)
	if !ok || u.Flags&FlagH == 0 {
		return fmt.Errorf("mip6: %w: a %T is no home registration", ErrUnexpected, m)
	}
	a.stats.Updates++
	return a.update(now, &p, u)
}

// answerUnknown sends the Binding Error that a message of unknown type is answered with
// (RFC 6275 section 9.2), and returns err.
func (q *queue) answerUnknown(now time.Time, l *limiter, p *Packet, from netip.Addr, err error) error {
	var unknown *UnknownTypeError
	if errors.As(err, &unknown) {
		return errors.Join(err, q.bindingError(now, l, p, from, ErrorUnknownType))
	}
	return err
}

// bindingError sends a Binding Error about p (RFC 6275 section 9.3.3).
func (q *queue) bindingError(now time.Time, l *limiter, p *Packet, from netip.Addr, s ErrorStatus) error {
	if !Unicast(p.Src) || !l.allow(now) {
		return nil
	}
	e := &Error{Status: s, Home: netip.IPv6Unspecified()}
	if p.Home.IsValid() {
		e.Home = p.Home
	}
	b, err := build(e, from, p.Src, netip.Addr{}, netip.Addr{}, nil)
	if err == nil {
		q.put(Send{Packet: b})
	}
	return err
}

// DADDone tells the result of duplicate address detection for a home address: unique or
// not. What nobody asked for is ignored.
func (a *Agent) DADDone(now time.Time, home netip.Addr, unique bool) {
	n := a.nodes[home]
	if n == nil || n.tested == nil {
		return
	}
	q := n.tested
	n.tested = nil
	if !unique {
		a.deny(n, q, StatusDuplicate)
		return
	}
	a.bind(now, n, q)
}
