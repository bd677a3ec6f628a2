package ha

import (
	"net/netip"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Headroom is how many octets must be in front of a packet that is given to Down.
const Headroom = ipip.HeaderLen + flow.ShimLen

// Down takes a packet that came to a home address, buf from Headroom on, and tunnels it to where the
// mobile node is. buf is changed and not kept.
func (c *Core) Down(buf []byte) {
	_, dst, _, _, total, err := ipip.ParseIPv4(buf[Headroom:])
	if err != nil {
		c.counters.Add(path.DownIn)
		c.counters.Add(path.DownFormat)
		return
	}
	n := c.nodes[dst]
	if n == nil {
		c.counters.Add(path.DownIn)
		c.counters.Add(path.DownUnbound)
		return
	}
	n.path.Down(buf[:Headroom+total])
}

// Up takes an inner packet that came in IP in IP from careOf. It passes only if it is
// from a home address bound there (RFC 3024 section 4.3.2). inner is not kept. The
// notice, if any, is for the timeline.
func (c *Core) Up(now time.Time, careOf netip.Addr, inner []byte) (notice Notice, ok bool) {
	c.counters.Add(path.UpIn)
	src, _, _, _, total, err := ipip.ParseIPv4(inner)
	if err != nil || inner[8] == 0 { // RFC 2003 section 3.1: no TTL of 0 behind the tunnel
		c.counters.Add(path.UpFormat)
		return notice, false
	}
	n := c.nodes[src]
	if n == nil {
		c.counters.Add(path.UpUnknownNode)
		return notice, false
	}
	o, ok := n.path.Up(now, careOf, inner[:total])
	if ok {
		notice = Marked(n.home, o)
	}
	return notice, ok
}

// ends is the World of a path: that of the core, behind the checks of IP in IP.
type ends struct {
	*Core
	home netip.Addr
}

// To implements path.World.
func (e ends) To(careOf netip.Addr, inner []byte) error {
	// This also covers RFC 5944 section 4.2.3: a packet already encapsulated by the
	// mobile node itself, from its care-of address to its home address.
	if err := ipip.CheckEncapsulation(inner, netip.AddrFrom4([4]byte(inner[12:16])), careOf); err != nil {
		return err
	}
	return e.world.To(careOf, inner)
}

// Wrap implements path.World.
func (e ends) Wrap(buf []byte, tos uint8) error { return ipip.Wrap(buf, e.cfg.Address, e.home, tos) }

// From implements path.World.
func (e ends) From(inner []byte) error { return e.world.From(inner) }

// Wake implements path.World.
func (e ends) Wake() { e.world.Wake() }

// pathMarkers are those of one mobile node.
type pathMarkers struct {
	node  Node
	agent netip.Addr
}

// AppendDown implements path.Markers.
func (m pathMarkers) AppendDown(dst []byte, id uint64) ([]byte, error) {
	return mip4.AppendMarkerPacket(dst, mip4.Marker{HomeAddress: m.node.HomeAddress, HomeAgent: m.agent, ID: id, Down: true}, m.node.Security)
}

// Is implements path.Markers.
func (m pathMarkers) Is(inner []byte) bool { return mip4.IsMarkerPacket(inner) }

// Up implements path.Markers.
func (m pathMarkers) Up(inner []byte) (uint64, bool) {
	mark, ok := mip4.ParseMarkerPacket(inner, m.node.Security)
	return mark.ID, ok && !mark.Down && mark.HomeAgent == m.agent
}
