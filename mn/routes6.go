package mn

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"openmpa/mn/mobility/mip6"
)

// Limits of the bindings at correspondents.
const (
	maxRoutes = 32
	// routesWithin is how long a move waits for the correspondents to know the new care-of
	// address: one that does not is asked on, and goes on sending to the old one until it does.
	routesWithin = 2 * time.Second
	// routeIdle is how long nothing is sent to a correspondent before its binding is deleted.
	routeIdle = 5 * time.Minute
	// The pause before one that failed is asked again, which doubles.
	routeFirst = 10 * time.Second
	routeMost  = 10 * time.Minute
)

// routes are the bindings at correspondents (RFC 6275 section 11.6): with those whom the
// configuration names, as soon as something is sent there.
//
//	wire6: packet to cn --> seen --------> wanted --> run: mip6.Route, return routability
//	wire6: packet to cn <-- known: from nCoA, with the Home Address option <-- RouteUp
type routes struct {
	prefixes []netip.Prefix
	home     netip.Addr
	random   io.Reader
	log      *slog.Logger

	known  atomic.Pointer[map[netip.Addr]*correspondent] // by address; the map is never changed
	wanted chan netip.Addr                               // to whom something was sent first

	// of the goroutine that runs the registration machine
	at     netip.Addr // care-of address that the home agent has; not valid: none
	until  time.Time  // how long
	moving bool       // somebody waits for all to have it
	by     time.Time  // no longer than that
}

// correspondent is one with whom there is, or was, a binding or an attempt.
type correspondent struct {
	addr   netip.Addr
	direct atomic.Pointer[netip.Addr] // care-of address that it knows; nil: none
	late   atomic.Bool                // it takes what comes from the one before, for a while
	used   atomic.Int64               // when something was sent to it last, nanoseconds of Unix

	// of the goroutine that runs the registration machine
	route   *mip6.Route
	leaving bool          // its binding is being deleted
	pause   time.Duration // before the next attempt after a failure
	again   time.Time     // of which; zero: none
}

func newRoutes(c mip6.ClientConfig, prefixes []netip.Prefix, log *slog.Logger) *routes {
	r := &routes{prefixes: prefixes, home: c.Home, random: c.Rand, log: log, wanted: make(chan netip.Addr, 1)}
	r.known.Store(&map[netip.Addr]*correspondent{})
	return r
}

// any says whether there may be any.
func (r *routes) any() bool { return len(r.prefixes) > 0 }

// careOf returns the care-of address that the correspondent to knows; invalid: none. One
// with whom there is nothing, and should be, is asked.
func (r *routes) careOf(to netip.Addr) netip.Addr {
	if !r.any() {
		return netip.Addr{}
	}
	c := (*r.known.Load())[to]
	if c == nil {
		if slices.ContainsFunc(r.prefixes, func(p netip.Prefix) bool { return p.Contains(to) }) {
			select {
			case r.wanted <- to:
			default: // the next packet asks
			}
		}
		return netip.Addr{}
	}
	c.used.Store(time.Now().UnixNano())
	if a := c.direct.Load(); a != nil {
		return *a
	}
	return netip.Addr{}
}

// late says that a correspondent takes what comes from the care-of address which it
// knows also while it hears of another.
func (r *routes) late(to netip.Addr) bool {
	c := (*r.known.Load())[to]
	return c != nil && c.late.Load()
}

// knows says whether an address is of a correspondent with whom there is something.
func (r *routes) knows(a netip.Addr) bool { return (*r.known.Load())[a] != nil }

// change makes the map of those known anew.
func (r *routes) change(fn func(map[netip.Addr]*correspondent)) {
	m := maps.Clone(*r.known.Load())
	fn(m)
	r.known.Store(&m)
}

// add begins a binding at a correspondent.
func (r *routes) add(now time.Time, a netip.Addr) {
	if r.knows(a) || len(*r.known.Load()) >= maxRoutes {
		return
	}
	route, err := mip6.NewRoute(mip6.RouteConfig{Home: r.home, Correspondent: a, Rand: r.random})
	if err != nil {
		r.log.Debug("no binding at a correspondent", "correspondent", a, "err", err)
		return
	}
	c := &correspondent{addr: a, route: route, pause: routeFirst}
	c.used.Store(now.UnixNano())
	r.change(func(m map[netip.Addr]*correspondent) { m[a] = c })
	r.start(now, c)
}

// start asks a correspondent for a binding to where the node is.
func (r *routes) start(now time.Time, c *correspondent) {
	c.again = time.Time{}
	if r.at.IsValid() {
		c.route.Start(now, r.at, r.until)
	}
}

// registered takes what the home agent has confirmed: Home Test messages come through it.
// It says whether correspondents are to be told, which ends with settled.
func (r *routes) registered(now time.Time, careOf netip.Addr, until time.Time) (moving bool) {
	moved := r.at != careOf
	r.at, r.until = careOf, until
	for _, c := range *r.known.Load() {
		switch {
		case !moved:
			c.route.HomeUntil(until)
		case !c.leaving && c.again.IsZero():
			moving = true
			r.start(now, c)
		}
	}
	if moving {
		r.moving, r.by = true, now.Add(routesWithin)
	}
	return moving
}

// gone takes that the home agent has no binding any more: those at correspondents end with
// it at the latest.
func (r *routes) gone() { r.at, r.moving = netip.Addr{}, false }

// settled says, once, that no correspondent is being told of a move any more.
func (r *routes) settled(now time.Time) bool {
	if !r.moving {
		return false
	}
	for _, c := range *r.known.Load() {
		if c.route.Busy() && now.Before(r.by) {
			return false
		}
	}
	r.moving = false
	return true
}

// end deletes all bindings, as far as no answer is needed for it.
func (r *routes) end(now time.Time, from netip.Addr) {
	for _, c := range *r.known.Load() {
		if a, _ := c.route.CareOf(); a.IsValid() {
			c.leaving = true
			c.route.Delete(now, from)
		}
	}
	r.gone()
}

// handle takes a message that came from a correspondent.
func (r *routes) handle(now time.Time, from netip.Addr, m received) error {
	c := (*r.known.Load())[from]
	if c == nil {
		return errors.New("a mobility message from " + from.String() + ", who is no correspondent with whom there is a binding")
	}
	return c.route.HandlePacket(now, m.data, m.tunnel)
}

// next returns what a route wants sent.
func (r *routes) next(now time.Time) (s signalling, ok bool) {
	for _, c := range *r.known.Load() {
		for o, more := c.route.Poll(); more; o, more = c.route.Poll() {
			switch o := o.(type) {
			case mip6.Send:
				return signalling{from: sender(o.Packet), data: o.Packet, tunnel: o.Tunnel}, true
			case mip6.RouteUp:
				if !o.Renewal {
					r.log.Info("packets go without the home agent", "correspondent", c.addr, "care_of", o.CareOf)
				}
				c.late.Store(o.OldPath)
				c.direct.Store(&o.CareOf)
				c.pause = routeFirst
			case mip6.RouteDown:
				c.direct.Store(nil)
				if o.Err != nil {
					r.log.Info("packets go by the home agent", "correspondent", c.addr, "err", o.Err)
				}
				r.leave(c)
			case mip6.RouteFailed:
				r.log.Info("no binding at a correspondent", "correspondent", c.addr, "err", o.Err)
				c.again = now.Add(c.pause)
				c.pause = min(2*c.pause, routeMost)
				r.leave(c)
			}
		}
	}
	return s, false
}

// leave forgets a correspondent whose binding was to be deleted.
func (r *routes) leave(c *correspondent) {
	if c.leaving {
		r.change(func(m map[netip.Addr]*correspondent) { delete(m, c.addr) })
	}
}

// deadline returns when onDeadline is to be called.
func (r *routes) deadline() (at time.Time, ok bool) {
	sooner := func(t time.Time, is bool) {
		if is && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	for _, c := range *r.known.Load() {
		sooner(c.route.Deadline())
		sooner(c.again, !c.again.IsZero())
	}
	sooner(r.by, r.moving)
	return at, ok
}

// onDeadline does what is due.
func (r *routes) onDeadline(now time.Time) {
	for _, c := range *r.known.Load() {
		idle := now.Sub(time.Unix(0, c.used.Load())) > routeIdle
		if a, _ := c.route.CareOf(); idle && !c.leaving && !c.route.Busy() && r.at.IsValid() {
			c.leaving = true
			if a.IsValid() {
				c.route.Delete(now, r.at)
			} else {
				r.leave(c)
			}
			continue
		}
		c.route.OnDeadline(now)
		if !c.again.IsZero() && !now.Before(c.again) && !c.leaving {
			r.start(now, c)
		}
	}
}

// status names the correspondents that know a care-of address, and that.
func (r *routes) status() map[string]string {
	m := map[string]string{}
	for a, c := range *r.known.Load() {
		if careOf := c.direct.Load(); careOf != nil {
			m[a.String()] = careOf.String()
		}
	}
	return m
}
