package mip6

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/inet"
)

// maxOutstanding is how many Updates of a registration may still be acknowledged.
const maxOutstanding = 8

// Client is the mobile node's registration machine for one home agent. It is not safe
// for concurrent use. After each call, Poll until it is empty and look at Deadline.
type Client struct {
	queue
	cfg ClientConfig // fixed after NewClient

	offset    time.Duration // home agent's clock minus ours, whole seconds, from status 144
	stamp     uint64        // highest time stamp sent
	accepted  uint64        // highest time stamp the home agent accepted
	sequence  uint16        // of the last Update sent
	hasNumber bool          // sequence is meant
	rate      rate

	markers  bool // offered by registrations from now on
	pending  *attempt
	bindings *bindings
	doubt    bool // an Update went out that may have replaced bindings at the home agent

	stats ClientStats
}

// attempt is a registration under way: one or more Updates for the same thing.
type attempt struct {
	from     netip.Addr
	list     []CareOf // empty: all bindings go
	lifetime uint16
	renewal  bool
	markers  bool
	path     uint64 // with markers; 0: to be made

	sent     []outstanding
	held     bool // the next Update waits for the rate, not for an answer
	started  time.Time
	deadline time.Time
	giveUp   time.Time
	timeout  time.Duration
	tries    int
	resyncs  int
	discard  error
}

// outstanding is an Update that may be acknowledged.
type outstanding struct {
	sequence uint16
	stamp    uint64
	at       time.Time
}

// bindings are what the home agent has confirmed.
type bindings struct {
	from    netip.Addr
	list    []CareOf
	path    uint64 // what a renewal carries; 0: none
	renewAt time.Time
	expires time.Time
}

// ClientStats counts what a client did and saw.
type ClientStats struct {
	Updates   uint64 // sent, all kinds
	Accepted  uint64 // acknowledgements
	Denied    uint64 // acknowledgements, resynchronisations apart
	Resyncs   uint64 // acknowledgements with status 135 or 144
	Discarded uint64 // packets that were not believed
	Timeouts  uint64 // registrations given up
}

// NewClient returns a client without a binding.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg}, nil
}

// Register asks for bindings to the care-of addresses of list and to no others. The
// Updates come from from, which must be one of them. Several care-of addresses need
// binding identifiers, each another one that is not 0; one may go without. It replaces a
// registration that is under way.
func (c *Client) Register(now time.Time, from netip.Addr, list ...CareOf) error {
	seen := make(map[uint16]bool)
	for _, a := range list {
		if !Unicast(a.Addr) || seen[a.ID] || a.ID == 0 && len(list) > 1 {
			return fmt.Errorf("mip6: %v with identifier %d cannot be registered: addresses must be routable, identifiers of several not 0 and not equal", a.Addr, a.ID)
		}
		seen[a.ID] = true
	}
	if !slices.ContainsFunc(list, func(a CareOf) bool { return a.Addr == from }) {
		return fmt.Errorf("mip6: a registration from %v, which is none of the care-of addresses %v", from, list)
	}
	c.start(now, &attempt{from: from, list: slices.Clone(list), lifetime: LifetimeField(c.cfg.Lifetime)})
	return nil
}

// Deregister asks the home agent to delete all bindings; the Updates come from from, a
// care-of address, or the home address when at home.
func (c *Client) Deregister(now time.Time, from netip.Addr) {
	c.start(now, &attempt{from: from})
}

// OfferPathMarkers says whether registrations from now on offer path-end markers: on when
// the old path still works while the binding moves, off when it does not, so that the home
// agent does not wait for a marker that cannot come. It is off at first.
func (c *Client) OfferPathMarkers(on bool) { c.markers = on }

// Cancel forgets a registration that is under way. What the home agent makes of the
// Updates sent so far is not known.
func (c *Client) Cancel() { c.pending = nil }

// CareOf returns the bindings the home agent has confirmed, and until when.
func (c *Client) CareOf() ([]CareOf, time.Time) {
	if c.bindings == nil {
		return nil, time.Time{}
	}
	return slices.Clone(c.bindings.list), c.bindings.expires
}

// Busy reports whether a registration is under way.
func (c *Client) Busy() bool { return c.pending != nil }

// Stats returns the counters.
func (c *Client) Stats() ClientStats { return c.stats }

// Deadline returns when OnDeadline must be called.
func (c *Client) Deadline() (time.Time, bool) {
	var d time.Time
	if b := c.bindings; b != nil {
		d = earliest(d, b.expires)
		if c.pending == nil {
			d = earliest(d, b.renewAt)
		}
	}
	if p := c.pending; p != nil {
		d = earliest(earliest(d, p.deadline), p.giveUp)
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now; calling it early does nothing.
func (c *Client) OnDeadline(now time.Time) {
	if b := c.bindings; b != nil && due(b.expires, now) {
		c.bindings, c.doubt = nil, false
		c.put(Expired{CareOf: b.list})
		if c.pending != nil && c.pending.renewal {
			c.giveUp(now)
		}
	}
	if p := c.pending; p != nil {
		switch {
		case due(p.giveUp, now):
			c.giveUp(now)
		case due(p.deadline, now):
			if !p.held {
				p.timeout = min(2*p.timeout, c.cfg.Maximum)
			}
			c.send(now)
		}
	}
	if b := c.bindings; b != nil && c.pending == nil && due(b.renewAt, now) {
		c.renew(now)
	}
}

func (c *Client) renew(now time.Time) {
	b := c.bindings
	c.start(now, &attempt{from: b.from, list: b.list, lifetime: LifetimeField(c.cfg.Lifetime), path: b.path, renewal: true, giveUp: b.expires})
}

func (c *Client) start(now time.Time, p *attempt) {
	p.started = now
	p.markers = c.markers && p.lifetime != 0
	p.timeout = c.cfg.Initial
	if c.bindings == nil && p.lifetime != 0 {
		p.timeout = c.cfg.InitialFirst
	}
	if !p.renewal {
		p.giveUp = now.Add(c.cfg.GiveUp)
	}
	c.pending = p
	c.send(now)
}

// send makes and queues the next Update of the registration under way, with a new
// sequence number and time stamp (RFC 6275 section 11.7.1).
func (c *Client) send(now time.Time) {
	p := c.pending
	if p.held = !c.rate.allow(now); p.held {
		p.deadline = c.rate.next()
		return
	}
	u, err := c.makeUpdate(now, p)
	if err != nil {
		c.fail(now, err)
		return
	}
	careOf := netip.Addr{}
	if p.from != c.cfg.Home {
		careOf = p.from
	}
	b, err := build(u, c.cfg.Home, c.cfg.HomeAgent, careOf, netip.Addr{}, c.cfg.Security.Signer(p.careOf(), c.cfg.Home))
	if err != nil {
		c.fail(now, err)
		return
	}
	if len(p.sent) == maxOutstanding {
		p.sent = p.sent[1:]
	}
	p.sent = append(p.sent, outstanding{sequence: u.Sequence, stamp: c.stamp, at: now})
	p.tries++
	p.deadline = now.Add(p.timeout)
	c.rate.sent(now)
	c.doubt = c.doubt || c.bindings != nil && !slices.Equal(p.list, c.bindings.list)
	c.stats.Updates++
	path := uint64(0)
	if p.markers {
		path = p.path
	}
	c.put(Send{Packet: b, Path: path})
}

// careOf is the address that authenticators are made of: that of the one binding, else
// the source of the Updates.
func (p *attempt) careOf() netip.Addr {
	if len(p.list) == 1 && p.list[0].ID == 0 {
		return p.list[0].Addr
	}
	return p.from
}

func (c *Client) makeUpdate(now time.Time, p *attempt) (*Update, error) {
	u := &Update{Flags: FlagA | FlagH, Lifetime: p.lifetime}
	if c.cfg.LinkLocal {
		u.Flags |= FlagL
	}
	if !c.hasNumber {
		var b [2]byte
		if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
			return nil, fmt.Errorf("mip6: sequence number: no randomness: %w", err)
		}
		c.sequence, c.hasNumber = binary.BigEndian.Uint16(b[:]), true
	}
	c.sequence++
	u.Sequence = c.sequence
	for _, a := range p.list {
		if a.ID == 0 {
			u.Options = append(u.Options, AlternateOption(a.Addr))
			continue
		}
		u.Flags |= FlagO
		u.Options = append(u.Options, BindingID{ID: a.ID, CareOf: a.Addr}.Option())
	}
	if c.cfg.Identifier != "" {
		u.Options = append(u.Options, IdentifierOption(c.cfg.Identifier))
	}
	if p.markers {
		for p.path == 0 { // which stands for "no path"
			var b [8]byte
			if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
				return nil, fmt.Errorf("mip6: path identification: no randomness: %w", err)
			}
			p.path = binary.BigEndian.Uint64(b[:])
		}
		u.Options = append(u.Options, PathMarkers{Path: p.path}.Option())
	}
	if !c.cfg.Security.Sequence {
		if err := c.nextStamp(now); err != nil {
			return nil, err
		}
		u.Options = append(u.Options, ReplayOption(c.stamp))
	}
	return u, nil
}

// nextStamp makes the next time stamp: the home agent's time as far as it is known, and
// above all before (RFC 4285 section 6).
func (c *Client) nextStamp(now time.Time) error {
	var low [1]byte
	if _, err := io.ReadFull(c.cfg.Rand, low[:]); err != nil {
		return fmt.Errorf("mip6: time stamp: no randomness: %w", err)
	}
	stamp := inet.NTP(c.wall(now).Add(c.offset))&^0xff | uint64(low[0])
	if c.stamp != 0 && !inet.Newer(stamp, c.stamp) {
		stamp = c.stamp + 1
	}
	c.stamp = stamp
	return nil
}

func (c *Client) wall(now time.Time) time.Time {
	if c.cfg.Now != nil {
		return c.cfg.Now()
	}
	return now
}

func (c *Client) giveUp(now time.Time) {
	p := c.pending
	c.stats.Timeouts++
	c.fail(now, &TimeoutError{Peer: c.cfg.HomeAgent, What: "home registration", Tries: p.tries, Waited: now.Sub(p.started), Discarded: p.discard})
}

// fail ends the registration under way. Bindings go on: their renewal is tried again when
// half of what is left has passed, and at once when Updates that nobody confirmed may have
// replaced them at the home agent. After a deregistration they only run out.
func (c *Client) fail(now time.Time, err error) {
	p := c.pending
	c.pending = nil
	c.put(Failed{Err: err, Renewal: p.renewal})
	switch b := c.bindings; {
	case b == nil:
	case p.lifetime == 0:
		b.renewAt = time.Time{}
	case c.doubt && !p.renewal:
		c.renew(now)
	case due(b.renewAt, now):
		b.renewAt = now.Add(max(minRenew, b.expires.Sub(now)/2))
	}
}
