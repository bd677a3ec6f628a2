package par

import (
	"slices"
	"time"

	"openmpa/internal/osnet"
	"openmpa/internal/standstill"
	"openmpa/tunnel/flow"
)

// A flip keeps the order of packets: from a moment on they wait in the kernel, until all
// that went into the TUN before has come out and been sent.
//
//	sender:  route set once more, as it is    how long the kernel takes
//	         a pause that will last?          by what the visitor's pauses were so far
//	         fence --> TUN --> reader:        how long the way through user space takes
//	reader:  a pause that will last? --> sender: nothing came?
//	sender:  route to a next hop that nobody is: what comes waits for its link-layer address
//	         fence --> TUN --> reader: all before has been sent
//	sender:  what waited is sent, route deleted (package standstill)
//
// While the kernel sends what waited, a packet that comes on another processor may pass the
// last of it. So they wait where each comes long after the one before. Where they come in
// bursts, or too often, nothing waits: the route is deleted in a pause, and if a packet came
// out of the TUN meanwhile, others may have passed it, and the flip is a forced one. How long
// it takes is measured, since the kernel may have much else to do with its tables, and
// this program may have to wait for a processor. The longer it takes, the less it asks for.
// Where no such pause is found for a time, bursts wait, too, if it is unlikely that one
// is just coming in the moment it takes to send the last of what waits.
//
// When no pause was found in time, packets wait at once, for a fence as long as they may, and
// the flip is a forced one, whether that comes out or is lost in a TUN that is too full.

// verdict is what became of an attempt to flip.
type verdict uint8

const (
	notSilent verdict = iota // the visitor's packets came without a pause
	flipped                  // none of them was on its way through the TUN
	forced                   // some may have been, or have passed those that waited
)

const (
	// quiet is a pause after a packet that is longer than the distance of packets in a
	// burst, and shorter than that of packets in a stream.
	quiet = 30 * time.Microsecond
	// longEnough is a pause that is taken to last if nothing is known of the visitor's.
	longEnough = 3 * time.Millisecond
	// lookout is how long the reader looks for a pause at a time.
	lookout = 300 * time.Microsecond
	// passing is how long the kernel takes to send what has waited last. A packet that comes
	// meanwhile, on another processor, may pass some of it.
	passing = 50 * time.Microsecond
	// single is a pause longer than those in a burst, by which packets come one by one.
	single = 4 * passing
	// sweep is longer than a packet is on its way from the choice of its route to the TUN.
	sweep = 100 * time.Microsecond
	// lookAgain is how long the sender sleeps when there is no pause.
	lookAgain = 200 * time.Microsecond
	// tryAgain is how long it sleeps when the kernel refuses.
	tryAgain = 20 * time.Millisecond
)

// demands are what a pause must promise, by the time waited: to last the window so many
// times over, with this probability.
var demands = []struct {
	until  time.Duration
	window time.Duration
	chance float64
}{
	{600 * time.Millisecond, 2, 0.9},
	{4 * time.Second, 1, 0.5},
}

// lull says whether now is a pause in which to flip, if that takes as long as window. The
// drain was over at began.
func (v *visitor) lull(began time.Time, window time.Duration) bool {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if n, _ := v.group.Queued(); n > 0 {
		return false
	}
	silent := v.group.SilentFor(now)
	for i, d := range demands {
		if now.Sub(began) < d.until {
			if i > 0 && v.seldom() {
				break
			}
			return v.lulls.Lasts(silent, d.window*window, longEnough) >= d.chance
		}
	}
	return silent >= quiet
}

// waits says whether packets may wait in the flip c. The caller holds mu.
func (v *visitor) waits(c *crossing) bool {
	if !v.seldom() {
		return false
	}
	return v.lulls.Lasts(0, single, 0) >= demands[0].chance || time.Since(c.began) >= demands[0].until
}

// seldom says whether it is unlikely that a packet comes while the kernel sends what has waited
// last. That is so of bursts, too: most of the time nothing comes. The caller holds mu.
func (v *visitor) seldom() bool { return v.lulls.Apart(passing, fenceWait) >= demands[0].chance }

// window is how long a flip takes from the decision on.
func (c *crossing) window() time.Duration { return c.kernel + c.transit }

// flip hands the visitor to the kernel, in a pause if there is one. It reports whether it
// had to be forced, as it is at once if that is all there is left to do, and false if the
// visitor went away before.
func (v *visitor) flip(gen uint64, force bool) (wasForced, ok bool) {
	began := time.Now()
	deadline := began.Add(flipWithin)
	if force {
		deadline = began
	}
	route, way, ok := v.prepareFlip(gen)
	if !ok {
		return false, false
	}
	window := time.Duration(0) // of the attempt before
	c := &crossing{}
	defer func() { v.leave(c, way) }()
	for v.stillDraining(gen) {
		c = &crossing{visitor: v, gen: gen, route: route, way: way, began: began, late: !time.Now().Before(deadline)}
		if !c.late {
			var ok bool
			if v.lull(began, window) {
				if c.kernel, ok = v.rehearse(c); ok {
					window = c.kernel
					ok = v.lull(began, window)
				}
			}
			if !ok {
				window = window * 3 / 4 // it may be quicker by now
				sleep(v.ctx, lookAgain)
				continue
			}
		}
		switch v.r.fence.cross(c) {
		case flipped:
			return false, true
		case forced:
			return true, true
		case notSilent:
			window = c.window()
			if c.late { // the kernel refuses
				sleep(v.ctx, tryAgain)
			}
		}
	}
	return false, false
}

// prepareFlip makes what waits for what the host route brings have a place, if the arrival
// gen is still draining.
func (v *visitor) prepareFlip(gen uint64) (route osnet.Route, way *standstill.Way, ok bool) {
	v.lock()
	if !v.draining(gen) {
		v.mu.Unlock()
		return osnet.Route{}, nil, false
	}
	route = v.hostRoute()
	way = v.way(route)
	v.ways = append(v.ways, way)
	v.flipping = true
	v.mu.Unlock()
	v.say(way.Prepare()) // if it cannot, it will be flipped without
	v.flipOver()
	return route, way, true
}

// leave takes back the way by which packets have come to a standstill. If the kernel would
// not delete the route in the end, packets go by it, and it is asked again until it does, or
// the route is another.
func (v *visitor) leave(c *crossing, way *standstill.Way) {
	v.r.wg.Go(func() {
		for c.astray {
			sleep(v.ctx, tryAgain)
			v.lock()
			if c.astray = v.ctx.Err() == nil && v.gen == c.gen && v.group.Mode() == flow.Direct; c.astray {
				v.flipping = true
				v.mu.Unlock()
				c.astray = v.uncapture(c) != nil
				v.flipOver()
			} else {
				v.mu.Unlock()
			}
		}
		way.Settle()
		v.lock()
		v.flipping = true
		v.ways = slices.DeleteFunc(v.ways, func(w *standstill.Way) bool { return w == way })
		v.mu.Unlock()
		v.say(way.Forget())
		v.flipOver()
	})
}

// rehearse says how long the kernel takes to change the visitor's host route. It does
// nothing if what arrived by c is no longer draining.
func (v *visitor) rehearse(c *crossing) (took time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.flipping || !v.draining(c.gen) {
		return 0, false
	}
	v.flipping = true
	v.mu.Unlock()
	began := time.Now()
	err := v.r.host.SetRoute(c.route)
	took = time.Since(began)
	v.mu.Lock()
	v.flipping = false
	v.flipped.Broadcast()
	if err != nil {
		v.r.cfg.Log.Error("host route", "sid", v.sid, "err", err)
	}
	return took, err == nil
}

// flip has its part in handing a visitor to the kernel. It runs on the TUN's reader when the
// visitor's fence has come out, and does not wait in the kernel from then on, so
// that whatever still comes is written on at once. The routes are changed by whoever sent
// the fence, unless a packet has come before.
func (r *Router) flip(c *crossing, buf []byte) verdict {
	v := c.visitor
	c.transit = time.Since(c.sent)
	paused := r.poll(c, buf, lookout, func(time.Time) bool { return v.lull(c.began, c.window()) })
	if !paused || !v.beginFlip(c) {
		return notSilent
	}
	c.out = false
	c.begin()
	for c.state.Load() == going && r.ctx.Err() == nil {
		r.poll(c, buf, lookout, func(time.Time) bool { return c.state.Load() != going })
	}
	switch c.state.Load() {
	case waiting:
		asked := time.Now()
		r.poll(c, buf, standstill.Longest, func(now time.Time) bool {
			return c.out || v.hurried() && now.Sub(asked) > fenceWait // else it is on its way, mostly
		})
	case deleted:
		r.poll(c, buf, sweep, func(time.Time) bool { return false })
	}
	return v.endFlip(c, paused)
}

// beginFlip has what would end the drain wait, if nothing has ended it yet.
func (v *visitor) beginFlip(c *crossing) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.flipping || !v.draining(c.gen) {
		return false
	}
	v.flipping, c.before = true, v.group.In()
	return true
}

// endFlip changes the mode if what comes waits in the kernel, or goes by it.
func (v *visitor) endFlip(c *crossing, paused bool) verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	inOrder := false
	switch c.state.Load() {
	case waiting:
		inOrder = c.out
	case deleted:
		inOrder = v.group.In() == c.before
	default:
		return notSilent
	}
	if paused && inOrder && v.apply(flow.Flip) {
		return flipped
	}
	if err := v.group.ForcedFlip(time.Now()); err != nil {
		v.r.cfg.Log.Warn("delivery", "sid", v.sid, "err", err)
	}
	return forced
}

// flipOver has what waited for the end of a flip go on.
func (v *visitor) flipOver() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flipping = false
	v.flipped.Broadcast()
}

// poll delivers what comes out of the TUN during the flip c, without waiting in the kernel,
// until done says so, which it reports, or for as long as within.
func (r *Router) poll(c *crossing, buf []byte, within time.Duration, done func(now time.Time) bool) bool {
	end := time.Now().Add(within)
	for {
		n, err := r.dev.ReadNow(buf)
		if err != nil {
			return false
		}
		if n > 0 {
			switch other := r.take(buf[:n]); other {
			case nil:
			case c:
				c.out = true
			default: // another visitor's turn comes later, unless it wants to know no more
				other.done <- notSilent
			}
		}
		now := time.Now()
		switch {
		case n == 0 && done(now):
			return true
		case now.After(end):
			return false
		case n == 0:
			r.host.Yield()
		}
	}
}
