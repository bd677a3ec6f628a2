package mn

import (
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel"
)

// Numbers of the first marker of a departure, and of one that ends a tunnel for good.
const (
	firstDeparture = 1
	firstEnd       = 1 << 16
)

// markAgain is how long the first marker is waited for on a short path, before it is said again.
const markAgain = 20 * time.Millisecond

// ebb says how long to wait for the marker that is behind the last packet in a tunnel: as
// long as packets come out of it, which are before that one, and within after the last
// of them. Time in which the node itself had no processor is not counted: nobody looked.
type ebb struct {
	within time.Duration // without a packet
	again  time.Duration // from one look to the next
	came   uint64        // packets until the last look

	silent, waited time.Duration // of looks
}

// over takes a look, when so many packets had come, and says whether the wait is over.
func (e *ebb) over(came uint64) bool {
	e.silent, e.waited = e.silent+e.again, e.waited+e.again
	if came != e.came {
		e.came, e.silent = came, 0
	}
	if e.waited >= e.within { // the way is slow, and more markers make it slower
		e.again = max(e.again, e.within/4)
	}
	return e.silent >= e.within || e.waited >= aliveTries*e.within
}

// markEnd sends markers, numbered from first, behind what is in c's tunnel until the
// router's comes, or is waited for no longer. It returns how many it sent, and whether
// the tunnel is empty.
func (c *candidate) markEnd(id event.HandoverID, first uint32, send func(tunnel.Marker) error) (sent uint32, ok bool) {
	rtt := c.rtt()
	for e := (ebb{within: max(c.n.cfg.Timers.Depart, 5*rtt), again: max(markAgain, 3*rtt), came: c.packets()}); ; {
		if err := send(tunnel.Marker{Kind: tunnel.Depart, Handover: id, Seq: first + sent}); err != nil {
			c.n.cfg.Log.Warn("marker not sent", "paa", c.net.PAA, "err", err)
		}
		sent++
		look := time.NewTimer(e.again)
	wait:
		for {
			select {
			case m := <-c.markers:
				if m.Kind != tunnel.Departed || m.Handover != id || m.Seq < first {
					continue
				}
				look.Stop()
				return sent, true
			case <-look.C:
				break wait
			}
		}
		if e.over(c.packets()) {
			return sent, false
		}
	}
}

// aliveTries bounds a wait in which packets come all the time, and the router's marker does not.
const aliveTries = 10

// packets counts what has come by c's tunnel.
func (c *candidate) packets() uint64 {
	if t := c.tunnel.Load(); t != nil {
		return t.Stats().Delivered
	}
	return 0
}
