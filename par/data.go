package par

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// readTUN takes what the host routes brought.
func (r *Router) readTUN() {
	buf := make([]byte, 65536)
	for {
		n, err := r.dev.Read(buf)
		if err != nil {
			if r.ctx.Err() == nil {
				r.cfg.Log.Error("TUN gone", "err", err)
			}
			return
		}
		r.endpoint.Cork()
		c := r.take(buf[:n])
		for c == nil && r.dev.Buffered() > 0 {
			if n, err = r.dev.Read(buf); err != nil {
				break // as the next Read will say
			}
			c = r.take(buf[:n])
		}
		r.endpoint.Uncork()
		if c != nil {
			c.done <- r.flip(c, buf)
		}
	}
}

// cork has what one read of a tunnel's socket brings leave together, at uncork.
func (r *Router) cork() {
	r.dev.Cork()
	r.endpoint.Cork() // visitors speak to one another, too
}

func (r *Router) uncork() {
	if err := r.dev.Uncork(); err != nil {
		r.cfg.Log.Debug("TUN write", "err", err)
	}
	r.endpoint.Uncork()
}

// take delivers one packet that came out of the TUN. When it is a fence, it
// returns whose.
func (r *Router) take(pkt []byte) *crossing {
	_, dst, _, _, _, err := ipip.ParseIPv4(pkt)
	if err != nil {
		r.stray.Add(1) // IPv6 of the kernel's own, mostly
		return nil
	}
	if dst == r.fence.far {
		return r.fence.crossed(pkt)
	}
	if v := (*r.byAddr.Load())[dst]; v != nil {
		v.down(time.Now(), pkt)
	} else {
		r.stray.Add(1)
	}
	return nil
}

// cameFrom says whether an IPv4 packet is UDP from an address and port; fragments but the
// first have no port.
func cameFrom(pkt []byte, from netip.AddrPort) bool {
	src, _, proto, headerLen, totalLen, err := ipip.ParseIPv4(pkt)
	if err != nil || proto != unix.IPPROTO_UDP || src != from.Addr() {
		return false
	}
	if binary.BigEndian.Uint16(pkt[6:])&0x1FFF != 0 {
		return true
	}
	return totalLen >= headerLen+8 && binary.BigEndian.Uint16(pkt[headerLen:]) == from.Port()
}

// up takes a packet out of a visitor's tunnel.
func (r *Router) up(inner []byte) {
	_, dst, _, _, _, err := ipip.ParseIPv4(inner)
	if err != nil {
		r.stray.Add(1)
		return
	}
	if v := (*r.byAddr.Load())[dst]; v != nil {
		v.down(time.Now(), inner) // from visitor to visitor: the access link knows neither
		return
	}
	if _, err := r.dev.Queue(inner); err != nil {
		r.cfg.Log.Debug("TUN write", "err", err)
	}
}

// verdict is what became of an attempt to flip.
type verdict uint8

const (
	notSilent verdict = iota // the visitor's packets came without a pause
	flipped                  // none of them was on its way through the TUN
	forced                   // some may have been
)

const (
	// quiet is the pause after a packet in which a flip begins: longer than the
	// distance of packets in a burst, shorter than that of packets in a stream.
	quiet = 30 * time.Microsecond
	// lookout is how long the reader looks for such a pause at a time.
	lookout = 300 * time.Microsecond
	// sweep is how long it looks for packets that went into the TUN while the route
	// was being deleted.
	sweep = 100 * time.Microsecond
)

// flip hands a visitor to the kernel. It runs on the TUN's reader when the
// visitor's fence has come out, and does not wait in the kernel from then on, so
// that whatever still comes is written on at once, ahead of what takes the
// direct way. The route is deleted by whoever sent the fence, unless a packet has come
// before.
func (r *Router) flip(c *crossing, buf []byte) verdict {
	v := c.visitor
	paused := r.poll(buf, lookout, func(now time.Time) bool { return v.pausedFor(now) >= quiet })
	if !paused && !c.late || !v.beginFlip(c) {
		return notSilent
	}
	c.begin()
	for c.state.Load() == going && r.ctx.Err() == nil {
		r.poll(buf, lookout, func(time.Time) bool { return c.state.Load() != going })
	}
	r.poll(buf, sweep, func(time.Time) bool { return false })
	return v.endFlip(c, paused)
}

// beginFlip has what would end the drain wait, if nothing has ended it yet.
func (v *visitor) beginFlip(c *crossing) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.draining(c.gen) {
		return false
	}
	v.flipping, c.before = true, v.group.In()
	return true
}

// endFlip changes the mode if the route is gone.
func (v *visitor) endFlip(c *crossing, paused bool) verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flipping = false
	v.flipped.Broadcast()
	if c.state.Load() != deleted {
		return notSilent
	}
	if paused && v.group.In() == c.before && v.apply(flow.Flip) {
		return flipped
	}
	if err := v.group.ForcedFlip(time.Now()); err != nil {
		v.r.cfg.Log.Warn("delivery", "sid", v.sid, "err", err)
	}
	return forced
}

// poll delivers what comes out of the TUN, without waiting in the kernel, until
// done says so, which it reports, or for as long as within.
func (r *Router) poll(buf []byte, within time.Duration, done func(now time.Time) bool) bool {
	end := time.Now().Add(within)
	for {
		n, err := r.dev.ReadNow(buf)
		if err != nil {
			return false
		}
		if n > 0 {
			r.take(buf[:n]) // another visitor's fence is sent again
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
