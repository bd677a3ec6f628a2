package ha

import (
	"net/netip"
	"time"

	"openmpa/mn/mobility/mip4"
)

// markerAgain is when a marker is sent again, each after the one before: one that is lost
// costs the mobile node a wait.
var markerAgain = [...]time.Duration{20 * time.Millisecond, 40 * time.Millisecond}

// pathEnd is the marker that ends an old path, until it has been sent often enough.
type pathEnd struct {
	careOf netip.Addr
	marker []byte
	due    time.Time // zero: no more
	sent   int
}

// sendMarker sends the marker of n that is due. n.mu is held.
func (c *Core) sendMarker(now time.Time, n *node) {
	e := &n.end
	if err := c.world.To(e.careOf, e.marker); err != nil {
		c.counters.add(ctrDownDropError) // it is sent again, and the mobile node has a deadline
	} else {
		c.counters.add(ctrDownMarkers)
	}
	if e.sent < len(markerAgain) {
		e.due = now.Add(markerAgain[e.sent])
		e.sent++
	} else {
		*e = pathEnd{}
	}
}

// move changes the path: marker, then the new care-of address, both under n.mu, which
// is held; and the uplink's side of it.
func (c *Core) move(now time.Time, n *node, was, next *binding) {
	n.end = pathEnd{} // of a change before this one
	if next.markers.OldPath {
		m := mip4.Marker{HomeAddress: n.home, HomeAgent: c.cfg.Address, ID: next.markers.Path, Down: true}
		pkt, err := mip4.AppendMarkerPacket(nil, m, n.sa)
		if err != nil {
			c.counters.add(ctrDownDropError) // cannot be; the mobile node's own deadline covers it
		} else {
			n.end = pathEnd{careOf: was.careOf, marker: pkt, due: now}
			c.sendMarker(now, n)
		}
	}
	n.binding = next
	c.setPath(now, n, was.careOf)
}

// setPath makes the uplink follow n.binding; old is the care-of address before, if there
// was one. n.mu is held.
func (c *Core) setPath(now time.Time, n *node, old netip.Addr) {
	n.up.Lock()
	defer n.up.Unlock()
	b := n.binding
	n.current, n.reverse = b.careOf, b.reverse
	n.old, n.ended, n.path = old, netip.Addr{}, 0
	if !old.IsValid() {
		return
	}
	n.oldEnd = now.Add(c.cfg.OldPath)
	if b.markers.OldPath {
		n.path = b.markers.Path
		n.gate.Arm(now, n.path, c.cfg.MarkerWait)
	} else {
		c.flush(n) // of a change before this one
	}
}
