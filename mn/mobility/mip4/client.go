package mip4

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/inet"
)

// ErrUnexpectedReply says that a reply belongs to no request that is under way.
var ErrUnexpectedReply = errors.New("reply to no request of ours")

// ErrDeregisteredByPeer says that a registration was accepted with lifetime 0, which
// means that there is no binding now (RFC 5944 section 3.4).
var ErrDeregisteredByPeer = errors.New("mip4: the home agent granted a lifetime of zero: there is no binding")

// minRenew keeps renewals apart when lifetimes are short or renewals fail.
const minRenew = time.Second

// Client is the mobile node's registration machine for one home agent. It is not safe
// for concurrent use. After each call, Poll until it is empty and look at Deadline.
type Client struct {
	cfg ClientConfig // fixed after NewClient

	offset    time.Duration // home agent's clock minus ours, whole seconds, from code 133
	last      uint64        // highest identification sent
	hasLast   bool
	accepted  uint64 // highest identification the home agent accepted
	hasAccept bool

	markers bool // offered by registrations from now on
	pending *attempt
	beside  []netip.Addr // to be asked for when that is done
	binding *binding
	out     []Output

	stats ClientStats
}

// attempt is a registration under way: one or more requests for the same thing.
type attempt struct {
	from, careOf netip.Addr
	several      bool // the home agent is to retain other bindings
	beside       bool // it is one of them
	lifetime     uint16
	markers      bool
	path         uint64 // 0: to be made from the first identification
	renewal      bool

	id       uint64 // of the most recent request
	started  time.Time
	sent     time.Time // the most recent request
	deadline time.Time // of the most recent request
	giveUp   time.Time
	timeout  time.Duration
	tries    int
	resyncs  int
	discard  error
}

// binding is what the home agent has confirmed.
type binding struct {
	careOf  netip.Addr
	several bool   // others stand beside it
	path    uint64 // what a renewal carries
	renewAt time.Time
	expires time.Time // zero: never
}

// ClientStats counts what a client did and saw.
type ClientStats struct {
	Requests  uint64 // sent, all kinds
	Accepted  uint64 // replies
	Denied    uint64 // replies, code 133 apart
	Resyncs   uint64 // replies with code 133
	Discarded uint64 // replies that were not believed
	Timeouts  uint64 // registrations given up
}

// NewClient returns a client without a binding.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, markers: !cfg.NoPathMarkers}, nil
}

// Register asks for a binding to careOf, which is also where the requests come from.
// It replaces a registration that is under way. Calling it with the care-of address
// that is bound asks the home agent again.
//
// With others it asks for bindings to these, too, beside that (RFC 5944 section 3.6.1.2):
// the one that is bound is retained if it is among them, the rest is asked for when the
// binding to careOf is confirmed, each from its own address. They are not renewed.
func (c *Client) Register(now time.Time, careOf netip.Addr, others ...netip.Addr) {
	p := &attempt{from: careOf, careOf: careOf, several: len(others) > 0, lifetime: LifetimeField(c.cfg.Lifetime)}
	c.beside = slices.DeleteFunc(slices.Clone(others), func(a netip.Addr) bool { return c.binding != nil && a == c.binding.careOf || a == careOf })
	c.start(now, p)
}

// Deregister asks the home agent to delete all bindings; the requests come from from,
// a care-of address, or the home address when at home.
func (c *Client) Deregister(now time.Time, from netip.Addr) {
	c.beside = nil
	c.start(now, &attempt{from: from, careOf: c.cfg.HomeAddress})
}

// OfferPathMarkers says whether registrations from now on offer path-end markers: on
// when the old path still works while the binding moves, off when it does not, so that
// the home agent does not wait for a marker that cannot come.
func (c *Client) OfferPathMarkers(on bool) { c.markers = on }

// Cancel forgets a registration that is under way. What the home agent makes of the
// requests sent so far is not known.
func (c *Client) Cancel() { c.pending, c.beside = nil, nil }

// CareOf returns the care-of address of the binding the home agent has confirmed.
func (c *Client) CareOf() (netip.Addr, bool) {
	if c.binding == nil {
		return netip.Addr{}, false
	}
	return c.binding.careOf, true
}

// Busy reports whether a registration is under way.
func (c *Client) Busy() bool { return c.pending != nil }

// Stats returns the counters.
func (c *Client) Stats() ClientStats { return c.stats }

// Poll returns the next output, and false when there is none.
func (c *Client) Poll() (Output, bool) {
	if len(c.out) == 0 {
		c.out = nil
		return nil, false
	}
	o := c.out[0]
	c.out = c.out[1:]
	return o, true
}

// Deadline returns when OnDeadline must be called.
func (c *Client) Deadline() (time.Time, bool) {
	var d time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	if c.binding != nil {
		earlier(c.binding.expires)
		if c.pending == nil {
			earlier(c.binding.renewAt)
		}
	}
	if c.pending != nil {
		earlier(c.pending.deadline)
		earlier(c.pending.giveUp)
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now; calling it early does nothing.
func (c *Client) OnDeadline(now time.Time) {
	if b := c.binding; b != nil && due(b.expires, now) {
		c.binding = nil
		c.out = append(c.out, Expired{CareOf: b.careOf})
		if c.pending != nil && c.pending.renewal {
			c.giveUp(now)
		}
	}
	if p := c.pending; p != nil {
		switch {
		case due(p.giveUp, now):
			c.giveUp(now)
		case due(p.deadline, now):
			p.timeout = min(2*p.timeout, c.maximum(p))
			c.send(now)
		}
	}
	if b := c.binding; b != nil && c.pending == nil && due(b.renewAt, now) {
		c.start(now, &attempt{
			from: b.careOf, careOf: b.careOf, several: b.several, lifetime: LifetimeField(c.cfg.Lifetime),
			path: b.path, renewal: true, giveUp: b.expires,
		})
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

func (c *Client) start(now time.Time, p *attempt) {
	p.started = now
	p.markers = c.markers && p.lifetime != 0 && !p.beside
	p.timeout = c.cfg.Initial
	if p.giveUp.IsZero() && !p.renewal {
		p.giveUp = now.Add(c.cfg.GiveUp)
	}
	c.pending = p
	c.send(now)
}

// send makes and queues the next request of the registration under way, with a new
// identification (RFC 5944 section 3.6.3).
func (c *Client) send(now time.Time) {
	p := c.pending
	id, err := c.identification(now)
	if err != nil {
		c.fail(now, 0, err)
		return
	}
	p.id = id
	if p.path == 0 && p.markers {
		p.path = id
	}
	req := Request{
		Flags: FlagD | FlagT, Lifetime: p.lifetime,
		HomeAddress: c.cfg.HomeAddress, HomeAgent: c.cfg.HomeAgent, CareOf: p.careOf, ID: id,
	}
	if p.several {
		req.Flags |= FlagS
	}
	path := uint64(0)
	if p.markers {
		path = p.path
		req.Extensions = []Extension{PathMarkers{Path: p.path}.Extension()}
	}
	data, err := req.AppendSigned(nil, c.cfg.Security())
	if err != nil {
		c.fail(now, 0, err)
		return
	}
	p.tries++
	p.sent = now
	p.deadline = now.Add(p.timeout)
	c.stats.Requests++
	c.out = append(c.out, Send{
		From: p.from, To: netip.AddrPortFrom(c.cfg.HomeAgent, Port), Data: data, Path: path, Try: p.tries,
	})
}

// maximum is the longest time-out: not above the lifetime asked for (section 3.6.3).
func (c *Client) maximum(p *attempt) time.Duration {
	if p.lifetime == 0 {
		return c.cfg.Maximum
	}
	return max(c.cfg.Initial, min(c.cfg.Maximum, LifetimeOf(p.lifetime)))
}

// identification makes the next one: the home agent's time as far as it is known, and
// above all before (section 5.7.1).
func (c *Client) identification(now time.Time) (uint64, error) {
	wall := now
	if c.cfg.Now != nil {
		wall = c.cfg.Now()
	}
	var low [1]byte
	if _, err := io.ReadFull(c.cfg.Rand, low[:]); err != nil {
		return 0, fmt.Errorf("mip4: identification: no randomness: %w", err)
	}
	id := inet.NTP(wall.Add(c.offset))&^0xff | uint64(low[0])
	if c.hasLast && !inet.Newer(id, c.last) {
		id = c.last + 1
	}
	if uint32(id) == uint32(c.last) { //nolint:gosec // the low 32 bits are meant
		id++ // by these alone replies are told apart
	}
	if id == 0 {
		id = 1 // 0 stands for "no path"
	}
	c.last, c.hasLast = id, true
	return id, nil
}

// HandleReply takes a UDP payload from the home agent. An error means that it was
// discarded, and why; what it said otherwise comes out of Poll.
func (c *Client) HandleReply(now time.Time, b []byte) error {
	r, err := c.believe(b)
	if err != nil {
		c.stats.Discarded++
		// Only what answers the request under way explains why that gets nowhere.
		if c.pending != nil && !errors.Is(err, ErrUnexpectedReply) && !errors.Is(err, ErrFormat) {
			c.pending.discard = err
		}
		return err
	}
	switch {
	case r.Code.Accepted():
		c.accept(now, r)
	case r.Code == CodeIdentification:
		c.resynchronise(now, r.ID)
	default:
		c.stats.Denied++
		c.fail(now, r.Code, &CodeError{Code: r.Code, HomeAgent: r.HomeAgent.String()})
	}
	return nil
}

// believe makes the validity checks of section 3.6.2.1.
func (c *Client) believe(b []byte) (Reply, error) {
	r, err := ParseReply(b)
	if err != nil {
		return r, err
	}
	p := c.pending
	switch {
	case p == nil:
		return r, fmt.Errorf("mip4: %w: no registration is under way", ErrUnexpectedReply)
	case uint32(r.ID) != uint32(p.id): //nolint:gosec // the low 32 bits are meant
		return r, fmt.Errorf("mip4: %w: identification %#x, the most recent request has %#x", ErrUnexpectedReply, r.ID, p.id)
	case r.HomeAddress != c.cfg.HomeAddress:
		return r, fmt.Errorf("mip4: %w: home address %v, ours is %v", ErrUnexpectedReply, r.HomeAddress, c.cfg.HomeAddress)
	}
	if err := r.Verify(c.cfg.Security()); err != nil {
		return r, fmt.Errorf("reply with code %d (%v): %w", uint8(r.Code), r.Code, err)
	}
	switch {
	case r.Code.Accepted() && r.ID != p.id:
		return r, fmt.Errorf("mip4: %w: accepted with identification %#x, sent was %#x: with time stamps the two are equal (RFC 5944 section 5.7.1)",
			ErrFormat, r.ID, p.id)
	case r.Code.Accepted() && r.HomeAgent != c.cfg.HomeAgent:
		return r, fmt.Errorf("mip4: %w: accepted by home agent %v, asked was %v", ErrFormat, r.HomeAgent, c.cfg.HomeAgent)
	}
	return r, nil
}

func (c *Client) accept(now time.Time, r Reply) {
	p := c.pending
	c.stats.Accepted++
	c.accepted, c.hasAccept = p.id, true
	if p.lifetime == 0 {
		c.pending, c.binding = nil, nil
		c.out = append(c.out, Deregistered{})
		return
	}
	granted := min(p.lifetime, r.Lifetime) // never longer than asked (section 3.4)
	if granted == 0 {
		if !p.beside {
			c.binding = nil
		}
		c.fail(now, r.Code, ErrDeregisteredByPeer)
		return
	}
	if p.beside {
		c.pending = nil
		if r.Code == CodeAcceptedOneBinding && c.binding != nil { // it stands instead of that which counts
			c.Register(now, c.binding.careOf)
			return
		}
		c.out = append(c.out, Added{CareOf: p.careOf, Lifetime: LifetimeOf(granted)})
		c.next(now)
		return
	}
	done := Registered{
		CareOf: p.careOf, Lifetime: LifetimeOf(granted), Renewal: p.renewal, Code: r.Code, Tries: p.tries, RTT: now.Sub(p.sent),
	}
	// A home agent that says so has removed the others (section 3.8.2.2).
	b := &binding{careOf: p.careOf, several: p.several && r.Code == CodeAccepted, path: p.path}
	if done.Lifetime != Infinite {
		// Counted from the request, so that we are never later than the home agent.
		b.expires = p.sent.Add(done.Lifetime)
		b.renewAt = latest(p.sent.Add(done.Lifetime*3/4), now.Add(minRenew))
		done.Expires = b.expires
	}
	if pm, ok := r.PathMarkers(); ok {
		done.ID, done.PathMarkers = pm.Path, pm.OldPath
		b.path = pm.Path
	}
	c.pending, c.binding = nil, b
	if done.Several = b.several; !b.several {
		c.beside = nil
	}
	c.out = append(c.out, done)
	c.next(now)
}

// next asks for the next of the bindings beside the one that stands.
func (c *Client) next(now time.Time) {
	if len(c.beside) == 0 {
		return
	}
	careOf := c.beside[0]
	c.beside = c.beside[1:]
	c.start(now, &attempt{from: careOf, careOf: careOf, several: true, beside: true, lifetime: LifetimeField(c.cfg.Lifetime)})
}

// resynchronise adopts the home agent's clock (section 5.7.1), of which the reply
// carries the seconds, and asks once more: at once the first time, at the time-out
// after that.
func (c *Client) resynchronise(now time.Time, id uint64) {
	p := c.pending
	c.stats.Resyncs++
	p.resyncs++
	p.discard = &CodeError{Code: CodeIdentification, HomeAgent: c.cfg.HomeAgent.String()}
	wall := now
	if c.cfg.Now != nil {
		wall = c.cfg.Now()
	}
	c.offset = time.Duration(int32(uint32(id>>32)-uint32(inet.NTP(wall)>>32))) * time.Second //nolint:gosec // serial numbers
	// The rejected identifications do not count, the accepted ones do, unless that
	// did not help: then the home agent has another idea of them, and its clock wins.
	c.last, c.hasLast = c.accepted, c.hasAccept && p.resyncs == 1
	if p.resyncs == 1 {
		c.send(now)
	}
}

func (c *Client) giveUp(now time.Time) {
	p := c.pending
	c.stats.Timeouts++
	c.fail(now, 0, &TimeoutError{HomeAgent: c.cfg.HomeAgent, Tries: p.tries, Waited: now.Sub(p.started), Discarded: p.discard})
}

// fail ends the registration under way. A binding goes on; its renewal is tried again
// when half of what is left has passed.
func (c *Client) fail(now time.Time, code Code, err error) {
	p := c.pending
	c.pending = nil
	c.out = append(c.out, Failed{CareOf: p.careOf, Code: code, Err: err, Renewal: p.renewal, Beside: p.beside})
	if !p.beside {
		c.beside = nil
	}
	if b := c.binding; b != nil && !b.expires.IsZero() && !b.renewAt.After(now) {
		b.renewAt = now.Add(max(minRenew, b.expires.Sub(now)/2))
	}
	c.next(now)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
