package par

import (
	"time"

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
		if c := r.take(buf[:n]); c != nil {
			c.done <- r.flip(c, buf)
		}
	}
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
	if _, err := r.dev.Write(inner); err != nil {
		r.cfg.Log.Debug("TUN write", "err", err)
	}
}

// verdict is what became of an attempt to flip.
type verdict uint8

const (
	notSilent verdict = iota // a packet of the visitor came after the fence was sent
	flipped                  // nothing was on its way through the TUN
	forced                   // something may have been
)

// sweep bounds how long the reader looks for packets that went into the TUN
// while the route was being deleted.
const sweep = 200 * time.Microsecond

// flip hands a visitor to the kernel. It runs on the TUN's reader at the moment
// the visitor's fence came out, so that whatever still comes is written on at
// once, ahead of what takes the direct way.
func (r *Router) flip(c *crossing, buf []byte) verdict {
	v := c.visitor
	v.mu.Lock()
	now := time.Now()
	silent := v.delivery.SilentFor(now) > now.Sub(c.sent) && v.delivery.Len() == 0
	if v.closed || !silent && !c.late {
		v.mu.Unlock()
		return notSilent
	}
	err := r.net.DelRoute(v.hostRoute())
	v.mu.Unlock()
	if err != nil {
		r.cfg.Log.Error("host route", "sid", v.sid, "err", err)
	}
	before := v.packets()
	for end := time.Now().Add(sweep); time.Now().Before(end); {
		n, err := r.dev.ReadNow(buf)
		if err != nil {
			break
		}
		if n > 0 {
			r.take(buf[:n]) // another visitor's fence is sent again
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if silent && v.delivery.Stats().In == before {
		v.apply(flow.Flip)
		return flipped
	}
	if err := v.delivery.ForcedFlip(time.Now()); err != nil {
		r.cfg.Log.Warn("delivery", "sid", v.sid, "err", err)
	}
	return forced
}
