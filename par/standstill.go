package par

import (
	"net/netip"
	"time"

	"openmpa/internal/osnet"
)

// During a flip the packets for a care-of address wait in the kernel, in the order in which
// they come: for the link-layer address of a next hop that nobody is. When it is given the
// node's, the kernel sends them. A packet that comes on another processor meanwhile does not
// wait any more, and may pass some of them; so before that, what comes is sent to another
// such next hop, and this one is emptied behind it, until few can be left:
//
//	route via A           packets wait for A
//	fence                 all before them has been sent
//	route via B           packets wait for B
//	A is the node's       all that waited for A is sent, and nothing else goes that way
//	... by turns, while that takes long ...
//	B is the node's       what waited for B in this short time is sent
//	route deleted

const (
	// turns is how often next hops are changed at most, and brief the time for one after
	// which hardly anything can wait.
	turns = 8
	brief = 500 * time.Microsecond
)

// lull lets others run for a time too short to sleep.
func (r *Router) lull(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		r.host.Yield()
	}
}

// standstill has packets wait for a next hop that nobody is. Where the kernel does not take
// that, it delivers at once. It does not keep the lock meanwhile: packets go on.
func (v *visitor) standstill(nobody netip.Addr) {
	v.mu.Lock()
	route := v.hostRoute()
	v.mu.Unlock()
	if err := v.r.host.SetRoute(v.via(route, nobody)); err != nil {
		v.r.cfg.Log.Error("host route", "sid", v.sid, "err", err)
		v.say(v.r.host.DelRoute(route))
	}
}

func (v *visitor) via(r osnet.Route, nobody netip.Addr) osnet.Route {
	return osnet.Route{Dst: r.Dst, Dev: v.r.cfg.Access, Via: nobody, OnLink: true}
}

// release sends the node what waits for the first of two next hops, leaves what comes to
// the kernel's connected route, and returns the next hop that has the node's link-layer
// address in the end.
func (v *visitor) release(nobody [2]netip.Addr) (last netip.Addr) {
	v.mu.Lock()
	route, mac := v.hostRoute(), v.mac
	v.mu.Unlock()
	from, to := nobody[0], nobody[1]
	for range turns {
		began := time.Now()
		if err := v.r.host.SetRoute(v.via(route, to)); err != nil {
			v.say(err)
			break
		}
		v.r.lull(sweep)
		v.say(v.r.host.SetNeighbour(v.r.cfg.Access, from, mac, true))
		v.forget(from)
		from, to = to, from
		if time.Since(began) < brief {
			break
		}
	}
	v.say(v.r.host.SetNeighbour(v.r.cfg.Access, from, mac, true))
	v.say(v.r.host.DelRoute(route))
	return from
}

// forget takes a next hop back.
func (v *visitor) forget(nobody netip.Addr) {
	v.say(v.r.host.DelNeighbour(v.r.cfg.Access, nobody))
}

func (v *visitor) say(err error) {
	if err != nil {
		v.r.cfg.Log.Error("flip", "sid", v.sid, "err", err)
	}
}
