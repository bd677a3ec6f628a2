package mn

import (
	"context"
	"time"
)

// A network that is prepared may vanish: its router, or the way there. Where the binding is there already, all packets go
// there, and PANA itself would notice in half a minute. So who keeps the mappings of translators notices as well:
//
//	no answer from there, and no packet by its tunnel; the router that serves answers --> back to the latter
//	none from either: it is the link here, or nobody knows                              --> it stays
//
// Nobody waits for anything of what is gone.

// answersLate is longer than a router takes to answer that is there, on a short path.
const answersLate = time.Second

// answersWithin is how long an answer may take.
func (s *session) answersWithin() time.Duration {
	return max(answersLate, s.n.cfg.Timers.Depart, 5*s.rtt())
}

// suspect finds out whether c, which has not answered and by whose tunnel so many packets had come before it was asked, has
// vanished.
func (c *candidate) suspect(ctx context.Context, had uint64) {
	n := c.n
	n.mu.Lock()
	old := n.serving
	n.mu.Unlock()
	if old == nil || old == c || n.away.Load() || c.packets() != had || !old.port.carrier.look().Up {
		return
	}
	s := old.session.Load()
	if s == nil || s.ended() != nil {
		return
	}
	silent := false
	s.ping(ctx, func() { silent = true })
	if silent || ctx.Err() != nil || n.away.Load() || c.packets() != had {
		return
	}
	n.cfg.Log.Warn("what is prepared has vanished: its router does not answer, and the one that serves does", "paa", c.net.PAA)
	c.vanished.Store(true)
	poke(n.ladder.wake)
}
