package ha6

import (
	"net/netip"
	"time"

	"openmpa/internal/ha"
	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Headroom is how many octets must be in front of a packet that is given to Handle: an
// outer header is made there, and for copies an inner one and a number.
const Headroom = 2*ipip.HeaderLen6 + flow.ShimLen

const (
	protoICMPv6 = 58
	offHopLimit = 7
)

// Handle takes a packet that the kernel has routed into the TUN: buf from Headroom on. It
// is changed and not kept. The notice, if any, is for the timeline.
func (c *Core) Handle(now time.Time, buf []byte) (notice ha.Notice, ok bool) {
	_, dst, _, total, err := ipip.ParseIPv6(buf[Headroom:])
	switch {
	case err != nil:
		c.counters.Add(ctrDropFormat)
	case dst == c.address:
		return c.toAgent(now, buf[:Headroom+total])
	case dst.IsMulticast(): // what the kernel says to its neighbours on any link
		c.counters.Add(ctrDropOther)
	default:
		c.down(buf[:Headroom+total])
	}
	return notice, false
}

// down tunnels a packet, behind Headroom octets, to where the mobile node is.
func (c *Core) down(buf []byte) {
	inner := buf[Headroom:]
	n := c.nodes[netip.AddrFrom16([16]byte(inner[24:40]))]
	if n == nil {
		c.counters.Add(path.DownIn)
		c.counters.Add(path.DownUnbound)
		return
	}
	if src := netip.AddrFrom16([16]byte(inner[8:24])); src.IsLinkLocalUnicast() || src.IsMulticast() { // section 10.4.2
		c.counters.Add(path.DownIn)
		c.counters.Add(path.DownFormat)
		return
	}
	n.path.Down(buf)
}

// toAgent takes a packet for the home agent's own address, behind Headroom octets.
func (c *Core) toAgent(now time.Time, buf []byte) (notice ha.Notice, ok bool) {
	pkt := buf[Headroom:]
	p, err := mip6.ParsePacket(pkt)
	switch {
	case err == nil && p.Proto == ipip.Protocol6 && plain(&p):
		return c.up(now, &p, ipip.TOS(pkt))
	case err == nil:
		c.own(pkt, &p)
	default:
		c.counters.Add(ctrDropFormat)
	}
	return notice, false
}

// plain says that a packet has no header of Mobile IPv6.
func plain(p *mip6.Packet) bool { return !p.Home.IsValid() && !p.Final.IsValid() }

// own takes a packet pkt for the home agent itself, in no tunnel or out of one.
func (c *Core) own(pkt []byte, p *mip6.Packet) {
	switch {
	case p.Proto == mip6.Protocol:
		c.counters.Add(ctrSignalIn)
		if c.world.Signal(pkt) != nil {
			c.counters.Add(ctrSignalDropQueue)
		}
	case p.Proto == protoICMPv6 && plain(p):
		c.icmp(pkt, p)
	default:
		c.counters.Add(ctrDropOther)
	}
}

// up takes what is in the tunnel packet p. It passes only if it is from a home address that
// is bound where p comes from (section 10.4.5).
func (c *Core) up(now time.Time, p *mip6.Packet, outer uint8) (notice ha.Notice, ok bool) {
	c.counters.Add(path.UpIn)
	src, dst, _, total, err := ipip.ParseIPv6(p.Payload)
	if err != nil || p.Payload[offHopLimit] == 0 || dst.IsMulticast() || dst.IsLinkLocalUnicast() {
		c.counters.Add(path.UpFormat)
		return notice, false
	}
	n := c.nodes[src]
	if n == nil {
		c.counters.Add(path.UpUnknownNode)
		return notice, false
	}
	inner := p.Payload[:total]
	if _, err := ipip.DecapsulateECN(inner, outer); err != nil {
		c.counters.Add(path.UpFormat)
		return notice, false
	}
	o, ok := n.path.Up(now, p.Src, inner)
	if ok {
		notice = ha.Marked(n.home, o)
	}
	return notice, ok
}

// away reports whether a home address is bound.
func (c *Core) away(home netip.Addr) bool {
	n := c.nodes[home]
	return n != nil && n.path.CareOf().IsValid()
}

// ends is the World of a path: IPv6 in IPv6 down, and up wherever a packet goes.
type ends struct {
	*Core
	home netip.Addr
}

// To implements path.World.
func (e ends) To(careOf netip.Addr, buf []byte) error {
	if err := ipip.Encapsulate6(buf, e.address, careOf); err != nil {
		return err
	}
	return e.world.Out(buf)
}

// Wrap implements path.World.
func (e ends) Wrap(buf []byte, tos uint8) error {
	return ipip.Wrap(buf[ipip.HeaderLen6:], e.address, e.home, tos)
}

// From implements path.World.
func (e ends) From(inner []byte) error {
	switch dst := netip.AddrFrom16([16]byte(inner[24:40])); {
	case dst == e.address:
		p, err := mip6.ParsePacket(inner)
		if err != nil {
			return err
		}
		e.own(inner, &p)
		return nil
	case e.away(dst): // to another mobile node: we are the router that forwards it
		buf := append(make([]byte, Headroom), inner...)
		if buf[Headroom+offHopLimit]--; buf[Headroom+offHopLimit] == 0 {
			return ipip.ErrHopLimit
		}
		e.down(buf)
		return nil
	}
	return e.world.Out(inner)
}

// Wake implements path.World.
func (e ends) Wake() { e.world.Wake() }

// markers are those of one mobile node.
type markers struct {
	node  mip6.Node
	agent netip.Addr
}

// AppendDown implements path.Markers.
func (m markers) AppendDown(dst []byte, id uint64) ([]byte, error) {
	return mip6.AppendMarkerPacket(dst, mip6.Marker{Home: m.node.Home, HomeAgent: m.agent, ID: id, Down: true}, m.node.Security)
}

// Is implements path.Markers.
func (m markers) Is(inner []byte) bool { return mip6.IsMarkerPacket(inner) }

// Up implements path.Markers.
func (m markers) Up(inner []byte) (uint64, bool) {
	mark, ok := mip6.ParseMarkerPacket(inner, m.node.Security)
	return mark.ID, ok && !mark.Down && mark.HomeAgent == m.agent
}
