package ha

import (
	"net/netip"
	"time"

	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/ipip"
)

// Down takes a packet that came to a home address, and tunnels it to where the mobile
// node is. pkt is not kept.
func (c *Core) Down(pkt []byte) {
	c.counters.add(ctrDownIn)
	src, dst, _, _, total, err := ipip.ParseIPv4(pkt)
	if err != nil {
		c.counters.add(ctrDownDropFormat)
		return
	}
	n := c.nodes[dst]
	if n == nil {
		c.counters.add(ctrDownDropUnbound)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.binding == nil {
		c.counters.add(ctrDownDropUnbound)
		return
	}
	// This also covers RFC 5944 section 4.2.3: a packet already encapsulated by the
	// mobile node itself, from its care-of address to its home address.
	if err := ipip.CheckEncapsulation(pkt, src, n.binding.careOf); err != nil {
		c.counters.add(ctrDownDropLoop)
		return
	}
	if err := c.world.To(n.binding.careOf, pkt[:total]); err != nil {
		c.counters.add(ctrDownDropError)
		return
	}
	c.counters.add(ctrDownSent)
}

// Up takes an inner packet that came in IP in IP from careOf. It passes only if it is
// from a home address bound there (RFC 3024 section 4.3.2). inner is not kept. The
// notice, if any, is for the timeline.
func (c *Core) Up(now time.Time, careOf netip.Addr, inner []byte) (notice Notice, ok bool) {
	c.counters.add(ctrUpIn)
	src, _, _, _, total, err := ipip.ParseIPv4(inner)
	if err != nil || inner[8] == 0 { // RFC 2003 section 3.1: no TTL of 0 behind the tunnel
		c.counters.add(ctrUpDropFormat)
		return notice, false
	}
	n := c.nodes[src]
	if n == nil {
		c.counters.add(ctrUpDropUnknownNode)
		return notice, false
	}
	inner = inner[:total]

	n.up.Lock()
	defer n.up.Unlock()
	isNew, isMarker := careOf == n.current, mip4.IsMarkerPacket(inner)
	switch {
	case isMarker && careOf == n.ended && n.reverse: // markers are sent more than once
		return c.marker(now, n, careOf, inner)
	case !n.current.IsValid(), !isNew && (careOf != n.old || !now.Before(n.oldEnd)):
		c.counters.add(ctrUpDropNotBound)
		return notice, false
	case !n.reverse:
		c.counters.add(ctrUpDropNoReverse)
		return notice, false
	case isMarker:
		return c.marker(now, n, careOf, inner)
	}
	_, waited := n.gate.Deadline()
	deliver := false
	if isNew {
		deliver = n.gate.New(now, inner)
	} else {
		deliver = n.gate.Old(now, inner)
	}
	if deliver {
		c.deliver(inner)
	}
	c.drain(n) // a full gate opens
	if _, waits := n.gate.Deadline(); waits && !waited {
		c.world.Wake()
	}
	return notice, false
}

// marker takes what looks like a marker. n.up is held.
func (c *Core) marker(now time.Time, n *node, careOf netip.Addr, inner []byte) (Notice, bool) {
	m, ok := mip4.ParseMarkerPacket(inner, n.sa)
	if !ok || m.Down || m.HomeAgent != c.cfg.Address {
		c.counters.add(ctrUpDropMarker)
		return Notice{}, false
	}
	c.counters.add(ctrUpMarkers)
	if m.ID == n.path && careOf == n.old {
		n.old, n.ended = netip.Addr{}, n.old // nothing but markers follows by this path
	}
	if !n.gate.Armed() || !n.gate.Marker(now, m.ID) {
		return Notice{}, false // after the deadline, or twice
	}
	return Notice{What: NoticeMarker, Home: n.home, CareOf: careOf, Path: m.ID, Released: c.drain(n)}, true
}

// drain delivers what the gate of n has released. n.up is held.
func (c *Core) drain(n *node) int {
	for count := 0; ; count++ {
		pkt, ok := n.gate.Next()
		if !ok {
			return count
		}
		c.deliver(pkt)
		n.gate.Recycle(pkt)
	}
}

// flush delivers what waits in the gate of n and opens it for good. n.up is held.
func (c *Core) flush(n *node) {
	for {
		c.drain(n)
		at, ok := n.gate.Deadline()
		if !ok {
			break
		}
		n.gate.OnDeadline(at)
	}
	n.gate.Release() // nothing is held now: this forgets changes that nobody waited for
}

func (c *Core) deliver(inner []byte) {
	if err := c.world.From(inner); err != nil {
		c.counters.add(ctrUpDropError)
		return
	}
	c.counters.add(ctrUpDelivered)
}
