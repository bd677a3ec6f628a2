package mip6

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// maxCareTokens is how many care-of addresses' tokens are kept, so that one that is
// visited again soon needs no test (RFC 6275 section 11.6.1).
const maxCareTokens = 8

// Route is the mobile node's machine for one correspondent: return routability and the
// binding that it leads to (RFC 6275 sections 5.2 and 11.6). It is not safe for
// concurrent use. After each call, Poll until it is empty and look at Deadline.
//
// A home registration comes first: Home Test messages pass the home agent.
type Route struct {
	queue
	cfg RouteConfig // fixed after NewRoute

	home      token
	careOf    []careToken
	sequence  uint16 // of the last Update sent
	hasNumber bool
	rates     map[uint8]*rate // by type of message

	until   time.Time // end of the home registration; zero: not known
	run     *run
	binding *route
	doubt   bool // an Update went out that may have ended binding at the correspondent

	stats RouteStats
}

// token is a keygen token, with what belongs to it.
type token struct {
	value Token
	index uint16
	until time.Time
}

type careToken struct {
	addr netip.Addr
	token
}

// route is a binding that the correspondent has confirmed.
type route struct {
	careOf  netip.Addr
	renewAt time.Time
	expires time.Time
}

// run is an attempt to make a binding, or to delete it.
type run struct {
	careOf   netip.Addr // where Updates come from
	deleting bool
	renewal  bool
	began    time.Time

	home, care test
	update     test // the Update is one more message to be answered
	sent       []outstanding
	lifetime   uint16
	key        *keys.Secret // of the last Update
	restarts   int          // answers that made tests necessary again
	resyncs    int
	discard    error
}

// test is a message under way that is repeated until it is answered.
type test struct {
	cookie   Cookie
	sent     time.Time // zero: nothing is under way
	deadline time.Time
	timeout  time.Duration
	tries    int
}

// RouteStats counts what a route did and saw.
type RouteStats struct {
	Tests     uint64 // sent, both kinds
	Updates   uint64 // sent
	Accepted  uint64 // acknowledgements
	Denied    uint64 // acknowledgements
	Discarded uint64 // packets that were not believed
	Failures  uint64 // bindings that did not come about
}

// NewRoute returns a machine without a binding.
func NewRoute(cfg RouteConfig) (*Route, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	return &Route{cfg: cfg, rates: map[uint8]*rate{TypeHomeTestInit: {}, TypeCareOfTestInit: {}, TypeUpdate: {}}}, nil
}

// Start makes or moves the binding: packets from and to careOf are to go directly. until
// is the end of the home registration, which no binding at a correspondent is to outlive;
// zero: not known. It replaces an attempt that is under way.
func (r *Route) Start(now time.Time, careOf netip.Addr, until time.Time) {
	r.until = until
	if !Unicast(careOf) || careOf == r.cfg.Home {
		r.put(RouteFailed{Err: fmt.Errorf("mip6: %v cannot be a care-of address of %v", careOf, r.cfg.Home)})
		return
	}
	r.begin(now, &run{careOf: careOf})
}

// Delete asks the correspondent to forget its binding; messages come from from, a care-of
// address, or the home address when at home.
func (r *Route) Delete(now time.Time, from netip.Addr) {
	r.begin(now, &run{careOf: from, deleting: true})
}

// HomeUntil tells that the home registration has been renewed, until until.
func (r *Route) HomeUntil(until time.Time) { r.until = until }

// Unsupported tells that the correspondent answered with an ICMP Parameter Problem, code
// 1, to a message of ours (RFC 6275 section 11.6.2).
func (r *Route) Unsupported(now time.Time) {
	if r.run != nil {
		r.fail(now, ErrUnsupported)
	}
}

// CareOf returns the care-of address the correspondent knows, and until when. Packets may
// go to it with a Home Address option from there only.
func (r *Route) CareOf() (netip.Addr, time.Time) {
	if r.binding == nil {
		return netip.Addr{}, time.Time{}
	}
	return r.binding.careOf, r.binding.expires
}

// Busy reports whether a binding is being made or deleted.
func (r *Route) Busy() bool { return r.run != nil }

// Stats returns the counters.
func (r *Route) Stats() RouteStats { return r.stats }

// Deadline returns when OnDeadline must be called.
func (r *Route) Deadline() (time.Time, bool) {
	var d time.Time
	if b := r.binding; b != nil {
		d = earliest(d, b.expires)
		if r.run == nil {
			d = earliest(d, b.renewAt)
		}
	}
	if q := r.run; q != nil {
		d = earliest(earliest(earliest(d, q.home.deadline), q.care.deadline), q.update.deadline)
	}
	return d, !d.IsZero()
}

// OnDeadline does what is due at now; calling it early does nothing.
func (r *Route) OnDeadline(now time.Time) {
	if b := r.binding; b != nil && due(b.expires, now) {
		r.drop(ErrExpired)
	}
	if q := r.run; q != nil {
		for _, t := range []*test{&q.home, &q.care, &q.update} {
			if !due(t.deadline, now) {
				continue
			}
			if t.tries > r.cfg.Retries {
				r.stats.Failures++
				r.fail(now, &TimeoutError{
					Peer: r.cfg.Correspondent, What: "return routability", Tries: q.home.tries + q.care.tries + q.update.tries,
					Waited: now.Sub(q.began), Discarded: q.discard,
				})
				return
			}
			t.deadline = time.Time{}
		}
		r.advance(now)
	}
	if b := r.binding; b != nil && r.run == nil && due(b.renewAt, now) {
		r.begin(now, &run{careOf: b.careOf, renewal: true})
	}
}

func (r *Route) begin(now time.Time, q *run) {
	q.began = now
	r.forgetKey()
	r.run = q
	r.advance(now)
}

func (r *Route) forgetKey() {
	if r.run != nil {
		r.run.key.Clear()
	}
}

// advance sends what is to be sent now: tests for the tokens that are missing, else the
// Update.
func (r *Route) advance(now time.Time) {
	q := r.run
	missing := false
	if !r.home.fresh(now) {
		missing = true
		r.test(now, &q.home, TypeHomeTestInit)
	}
	if !q.deleting && !r.careToken(q.careOf).fresh(now) {
		missing = true
		r.test(now, &q.care, TypeCareOfTestInit)
	}
	if r.run != q || missing || !q.update.deadline.IsZero() {
		return
	}
	if at, ok := r.allowed(now, TypeUpdate); !ok {
		q.update.deadline = at
		return
	}
	if err := r.sendUpdate(now); err != nil {
		r.fail(now, err)
	}
}

func (t token) fresh(now time.Time) bool { return now.Before(t.until) }

func (r *Route) careToken(a netip.Addr) token {
	for _, t := range r.careOf {
		if t.addr == a {
			return t.token
		}
	}
	return token{}
}

// keep stores a care-of token in place of the address's older one, or of the oldest.
func (r *Route) keep(t careToken) {
	for i := range r.careOf {
		if r.careOf[i].addr == t.addr {
			r.careOf = append(r.careOf[:i], r.careOf[i+1:]...)
			break
		}
	}
	if len(r.careOf) == maxCareTokens {
		r.careOf = r.careOf[1:]
	}
	r.careOf = append(r.careOf, t)
}

func (r *Route) allowed(now time.Time, typ uint8) (time.Time, bool) {
	l := r.rates[typ]
	return l.next(), l.allow(now)
}

// wait sets the time-out of a message that was sent.
func (r *Route) wait(now time.Time, t *test, typ uint8) {
	if t.timeout == 0 {
		t.timeout = r.cfg.Initial
	} else {
		t.timeout = min(2*t.timeout, r.cfg.Maximum)
	}
	t.tries++
	t.sent, t.deadline = now, now.Add(t.timeout)
	r.rates[typ].sent(now)
}

// test sends a test init message with a new cookie, unless one is under way (RFC 6275
// section 11.6.1): the home one through the tunnel to the home agent.
func (r *Route) test(now time.Time, t *test, typ uint8) {
	q := r.run
	if q == nil || !t.deadline.IsZero() {
		return
	}
	if at, ok := r.allowed(now, typ); !ok {
		t.deadline = at
		return
	}
	if _, err := io.ReadFull(r.cfg.Rand, t.cookie[:]); err != nil {
		r.fail(now, fmt.Errorf("mip6: init cookie: no randomness: %w", err))
		return
	}
	var m Message = &HomeTestInit{Cookie: t.cookie}
	from := r.cfg.Home
	if typ == TypeCareOfTestInit {
		m, from = &CareOfTestInit{Cookie: t.cookie}, q.careOf
	}
	b, err := build(m, from, r.cfg.Correspondent, netip.Addr{}, netip.Addr{}, nil)
	if err != nil {
		r.fail(now, err)
		return
	}
	r.wait(now, t, typ)
	r.stats.Tests++
	r.put(Send{Packet: b, Tunnel: from == r.cfg.Home && q.careOf != r.cfg.Home})
}

// sendUpdate sends the next Update of the run (RFC 6275 section 11.7.2).
func (r *Route) sendUpdate(now time.Time) error {
	q := r.run
	if !r.hasNumber {
		var b [2]byte
		if _, err := io.ReadFull(r.cfg.Rand, b[:]); err != nil {
			return fmt.Errorf("mip6: sequence number: no randomness: %w", err)
		}
		r.sequence, r.hasNumber = binary.BigEndian.Uint16(b[:]), true
	}
	u := &Update{Sequence: r.sequence + 1, Flags: FlagA}
	q.key.Clear()
	first := r.cfg.Home
	if q.deleting {
		u.Options = Options{NonceIndices{Home: r.home.index}.Option()}
		q.key = bindingKey(r.home.value)
	} else {
		care := r.careToken(q.careOf)
		q.lifetime = LifetimeField(r.lifetime(now))
		if q.lifetime == 0 {
			return fmt.Errorf("mip6: no binding at %v: the home registration ends within %v", r.cfg.Correspondent, lifetimeUnit)
		}
		u.Lifetime = q.lifetime
		u.Options = Options{
			AlternateOption(q.careOf), NonceIndices{Home: r.home.index, CareOf: care.index}.Option(),
			PathMarkers{Path: uint64(u.Sequence) + 1}.Option(), // which others pass over
		}
		q.key = bindingKey(r.home.value, care.value)
		first = q.careOf
	}
	careOf := netip.Addr{}
	if q.careOf != r.cfg.Home {
		careOf = q.careOf
	}
	b, err := build(u, r.cfg.Home, r.cfg.Correspondent, careOf, netip.Addr{}, routeSigner(q.key, first, r.cfg.Correspondent))
	if err != nil {
		return err
	}
	r.sequence++
	if len(q.sent) == maxOutstanding {
		q.sent = q.sent[1:]
	}
	q.sent = append(q.sent, outstanding{sequence: u.Sequence, at: now})
	r.doubt = r.doubt || r.binding != nil && (q.deleting || q.careOf != r.binding.careOf)
	r.wait(now, &q.update, TypeUpdate)
	r.stats.Updates++
	r.put(Send{Packet: b})
	return nil
}

// lifetime is what to ask for: not beyond the home registration.
func (r *Route) lifetime(now time.Time) time.Duration {
	if r.until.IsZero() {
		return r.cfg.Lifetime
	}
	return min(r.cfg.Lifetime, r.until.Sub(now))
}

// fail ends the attempt under way. A binding goes on, unless an Update that nobody
// confirmed may have replaced it: the way by the home agent is always good. Renewal is
// tried again when half of what is left has passed.
func (r *Route) fail(now time.Time, err error) {
	r.forgetKey()
	r.run = nil
	r.put(RouteFailed{Err: err})
	if r.binding != nil && r.doubt {
		r.drop(err)
	}
	if b := r.binding; b != nil && !b.renewAt.After(now) {
		b.renewAt = now.Add(max(minRenew, b.expires.Sub(now)/2))
	}
}

// drop forgets the binding. Err is nil when that was asked for.
func (r *Route) drop(err error) {
	r.binding, r.doubt = nil, false
	r.put(RouteDown{Err: err})
}
