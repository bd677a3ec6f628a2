package mip6

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// Defaults of CorrespondentConfig.
const DefaultMaxBindings = 1024

// refreshLead is how long before its end a binding that is in use is asked for again
// (RFC 6275 section 9.5.5).
const refreshLead = 10 * time.Second

// CorrespondentConfig is fixed after NewCorrespondent.
type CorrespondentConfig struct {
	Address netip.Addr // the correspondent's own
	// Lifetime is the longest that is granted: at most, and by default, MaxRouteLifetime.
	Lifetime time.Duration
	// MaxBindings bounds the binding cache, with those that are over and remembered for
	// their sequence numbers.
	MaxBindings int
	// OldPath is how long packets with a Home Address option are taken from the care-of
	// address before, of which some are still under way; 0: not at all.
	OldPath time.Duration
	// HomeAgentFor says for which home addresses this node has a home registration, whose
	// type may not change (status 139). Nil: none.
	HomeAgentFor func(home netip.Addr) bool
	// Rand supplies node keys and nonces.
	Rand io.Reader
}

// Check completes the defaults and says what is wrong, or nil.
func (c *CorrespondentConfig) Check() error {
	setDefault(&c.Lifetime, MaxRouteLifetime)
	setDefault(&c.MaxBindings, DefaultMaxBindings)
	switch {
	case !Unicast(c.Address):
		return fmt.Errorf("mip6: a correspondent's address must be a routable IPv6 address, it is %v", c.Address)
	case c.Lifetime < lifetimeUnit || c.Lifetime > MaxRouteLifetime:
		return fmt.Errorf("mip6: a lifetime of %v cannot be granted by a correspondent: 4s to %v can (RFC 6275 section 5.2.6)", c.Lifetime, MaxRouteLifetime)
	case c.MaxBindings < 1:
		return fmt.Errorf("mip6: room for %d bindings is too little: at least 1", c.MaxBindings)
	case c.OldPath < 0:
		return fmt.Errorf("mip6: old-path must not be negative, it is %v", c.OldPath)
	case c.Rand == nil:
		return fmt.Errorf("mip6: a source of randomness is missing")
	}
	return nil
}

// Correspondent is a correspondent that does route optimisation. It is not safe for
// concurrent use. After each call, Poll until it is empty and look at Deadline.
type Correspondent struct {
	queue
	cfg    CorrespondentConfig // fixed after NewCorrespondent
	nonces nonces
	cache  map[netip.Addr]*entry
	errors limiter
	stats  CorrespondentStats
}

// CorrespondentStats counts what a correspondent did and saw.
type CorrespondentStats struct {
	Tests     uint64 // answered, both kinds
	Accepted  uint64 // Updates
	Denied    map[Status]uint64
	Discarded uint64 // packets that were not answered
	Unbound   uint64 // packets with a Home Address option without a binding
}

// entry is one of the binding cache. It outlives its binding as long as the tokens that
// made it may still be good, so that the Update is not taken again (RFC 6275 section
// 5.2.8).
type entry struct {
	careOf   netip.Addr // not valid: the binding is over
	since    time.Time  // of this care-of address
	expires  time.Time
	old      netip.Addr // care-of address before, not valid: none
	oldEnd   time.Time
	forget   time.Time // when the binding is over
	sequence uint16
	asked    bool // a Binding Refresh Request was sent
	used     bool // since the last Update
}

// NewCorrespondent returns a correspondent without bindings.
func NewCorrespondent(cfg CorrespondentConfig) (*Correspondent, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := &Correspondent{cfg: cfg, cache: make(map[netip.Addr]*entry)}
	c.stats.Denied = make(map[Status]uint64)
	return c, nil
}

// CareOf returns where packets for a home address go.
func (c *Correspondent) CareOf(home netip.Addr) (netip.Addr, bool) {
	e := c.cache[home]
	if e == nil || !e.careOf.IsValid() {
		return netip.Addr{}, false
	}
	return e.careOf, true
}

// Bindings returns the bindings by home address, for status.
func (c *Correspondent) Bindings() map[netip.Addr]Binding {
	out := make(map[netip.Addr]Binding)
	for home, e := range c.cache {
		if e.careOf.IsValid() {
			out[home] = e.binding()
		}
	}
	return out
}

func (e *entry) binding() Binding {
	return Binding{CareOf: CareOf{Addr: e.careOf}, Since: e.since, Expires: e.expires}
}

// from reports whether packets with a Home Address option may come from careOf.
func (c *Correspondent) from(now time.Time, home, careOf netip.Addr) bool {
	e := c.cache[home]
	return e != nil && e.careOf.IsValid() && (careOf == e.careOf || careOf == e.old && now.Before(e.oldEnd))
}

// Stats returns the counters.
func (c *Correspondent) Stats() CorrespondentStats { return c.stats }

// AppendOutgoing appends the packet b as it leaves: to the care-of address, with a type 2
// routing header, when there is a binding for its destination (RFC 6275 section 9.3.2).
// Mobility headers go without.
func (c *Correspondent) AppendOutgoing(dst, b []byte) ([]byte, error) {
	p, err := ParsePacket(b)
	if err != nil {
		return nil, err
	}
	e := c.cache[p.Dst]
	if p.Proto == Protocol || e == nil || !e.careOf.IsValid() {
		return append(dst, b...), nil
	}
	e.used = true
	return AppendToCareOf(dst, b, e.careOf)
}

// AppendIncoming appends the packet b as upper layers see it (RFC 6275 section 9.3.1). One
// with a Home Address option for which there is no binding is refused with ErrNoBinding,
// and answered with a Binding Error.
func (c *Correspondent) AppendIncoming(now time.Time, dst, b []byte) ([]byte, error) {
	p, err := ParsePacket(b)
	if err != nil {
		return nil, err
	}
	if p.Home.IsValid() && p.Proto != protoESP && p.Proto != protoAH && p.Proto != Protocol {
		if !c.from(now, p.Home, p.Src) {
			c.stats.Unbound++
			if err := c.bindingError(now, &c.errors, &p, c.cfg.Address, ErrorUnknownBinding); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("mip6: %w: home address %v from %v", ErrNoBinding, p.Home, p.Src)
		}
	}
	return p.AppendStripped(dst, b), nil
}

// Deadline returns when OnDeadline must be called.
func (c *Correspondent) Deadline() (time.Time, bool) {
	d := c.nonces.deadline()
	for _, e := range c.cache {
		switch {
		case !e.careOf.IsValid():
			d = earliest(d, e.forget)
		case e.used && !e.asked:
			d = earliest(d, e.expires.Add(-refreshLead))
		default:
			d = earliest(d, e.expires)
		}
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now; calling it early does nothing.
func (c *Correspondent) OnDeadline(now time.Time) {
	c.nonces.expire(now)
	for home, e := range c.cache {
		switch {
		case !e.careOf.IsValid():
			if due(e.forget, now) {
				delete(c.cache, home)
			}
		case due(e.expires, now):
			c.end(now, home, true)
		case e.used && !e.asked && due(e.expires.Add(-refreshLead), now):
			e.asked = true
			if b, err := build(&RefreshRequest{}, c.cfg.Address, home, netip.Addr{}, netip.Addr{}, nil); err == nil {
				c.put(Send{Packet: b})
			}
		}
	}
}

// bind makes or changes the binding of home.
func (c *Correspondent) bind(now time.Time, home netip.Addr, next entry) {
	next.since = now
	if was := c.cache[home]; was != nil && was.careOf.IsValid() {
		next.old, next.oldEnd = was.careOf, now.Add(c.cfg.OldPath)
		if was.careOf == next.careOf {
			next.since, next.old, next.oldEnd = was.since, was.old, was.oldEnd
		}
	}
	c.cache[home] = &next
	c.put(Changed{Home: home, Bindings: []Binding{next.binding()}})
}

// end ends the binding of home and keeps its sequence number.
func (c *Correspondent) end(now time.Time, home netip.Addr, expired bool) {
	e := c.cache[home]
	was := e.careOf.IsValid()
	*e = entry{sequence: e.sequence, forget: now.Add(maxNonceLifetime)}
	if was {
		c.put(Changed{Home: home, Expired: expired})
	}
}

// nonces are the correspondent's secrets, the newest last: each nonce has a node key of
// its own, so that an index names both (RFC 6275 section 5.2.7).
type nonces struct {
	list []nonce
	last uint16
}

type nonce struct {
	index uint16
	value [8]byte
	kcn   *keys.Secret
	first time.Time // of its use
}

// current returns the nonce for new tokens. A new one is made every 30 s of use.
func (n *nonces) current(now time.Time, random io.Reader) (*nonce, error) {
	n.expire(now)
	if k := len(n.list); k > 0 && now.Sub(n.list[k-1].first) < nonceInterval {
		return &n.list[k-1], nil
	}
	var b [30]byte // key, nonce, and where indices begin
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("mip6: nonce: no randomness: %w", err)
	}
	if n.last == 0 {
		n.last = uint16(b[28])<<8 | uint16(b[29])
	}
	n.last++
	n.list = append(n.list, nonce{index: n.last, value: [8]byte(b[20:28]), first: now, kcn: keys.NewSecret(b[:20])})
	return &n.list[len(n.list)-1], nil
}

// find returns the nonce of an index, or nil.
func (n *nonces) find(now time.Time, index uint16) *nonce {
	n.expire(now)
	for i := range n.list {
		if n.list[i].index == index {
			return &n.list[i]
		}
	}
	return nil
}

// expire forgets what was first used too long ago.
func (n *nonces) expire(now time.Time) {
	for len(n.list) > 0 && now.Sub(n.list[0].first) >= maxNonceLifetime {
		n.list[0].kcn.Clear()
		n.list = n.list[1:]
	}
}

func (n *nonces) deadline() time.Time {
	if len(n.list) == 0 {
		return time.Time{}
	}
	return n.list[0].first.Add(maxNonceLifetime)
}

// token makes the token of an address.
func (n *nonce) token(a netip.Addr, which byte) Token {
	return makeToken(n.kcn, a, n.value[:], which)
}
