package par

import (
	"time"

	"openmpa/tunnel/flow"
)

// A drain ends in the visitor's packets going by the kernel:
//
//	arrival --> queue to the link, --empty--> a silence  --found---------> flip
//	            at the link's pace            looked for --5 s, none-----> forced flip
//	                  |
//	                  +--5 s, never empty: packets come as fast as the link takes them
//	                     --> forced flip, the rest goes on at the link's pace
//
// A forced flip may reorder, and is counted. What is older than its class allows is
// dropped meanwhile, as ever; so a queue of such packets is never longer than they may
// be late.

// flush sends what is queued and may go, packet by packet, so that what comes
// meanwhile queues behind it.
func (v *visitor) flush() { v.flushUntil(time.Time{}) }

// flushFor is flush for so long at most; it reports whether nothing was left.
func (v *visitor) flushFor(d time.Duration) bool { return v.flushUntil(time.Now().Add(d)) }

func (v *visitor) flushUntil(deadline time.Time) bool {
	for {
		now := time.Now()
		wait := v.mustWait(now)
		if wait <= 0 && !v.next() {
			return true
		}
		if !deadline.IsZero() {
			rest := deadline.Sub(now)
			if rest <= 0 {
				return false
			}
			wait = min(wait, rest)
		}
		sleep(v.ctx, wait)
	}
}

// mustWait is how long the next packet of the queue has to wait: for the access link, if
// that is where it goes, or for the way to where the node is.
func (v *visitor) mustWait(now time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	packets, octets := v.group.Queued()
	switch m := v.group.Mode(); {
	case packets == 0:
		v.chase = chase{}
		return 0
	case m == flow.Drain || m == flow.Direct:
		return v.r.pace.wait(now)
	case m == flow.Tunnel || m == flow.Copy || m == flow.Bicast:
		return v.chase.wait(now, v.room.sizer.Arriving(now), octets)
	}
	return 0
}

// endless is what is to be told of a drain that came to no end; nothing of others. The
// caller holds mu.
func (v *visitor) endless(empty bool) []any {
	if empty {
		return nil
	}
	link, comes := v.r.cfg.Link.octets(), v.room.sizer.Arriving(time.Now())
	packets, octets := v.group.Queued()
	return []any{"queued", packets, "octets", octets, "arriving_bps", 8 * comes, "link_bps", 8 * link, "endless", link > 0 && comes >= link}
}
