package ha6

import (
	"net/netip"
	"time"

	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

// Headroom is how many octets must be in front of a packet that is given to Handle: an
// outer header is made there.
const Headroom = ipip.HeaderLen6

const (
	protoICMPv6 = 58
	offHopLimit = 7
)

// Handle takes a packet that the kernel has routed into the TUN: buf from Headroom on. It
// is changed and not kept. A packet that is returned is signalling for the home agent, within
// buf: it goes to Signal, which may take its time.
func (c *Core) Handle(now time.Time, buf []byte) (signal []byte) {
	_, dst, _, total, err := ipip.ParseIPv6(buf[Headroom:])
	switch {
	case err != nil:
		c.counters.add(ctrDropFormat)
	case dst == c.address:
		return c.toAgent(now, buf[:Headroom+total], true)
	case dst.IsMulticast(): // what the kernel says to its neighbours on any link
		c.counters.add(ctrDropOther)
	default:
		c.down(buf[:Headroom+total])
	}
	return nil
}

// down tunnels a packet, behind Headroom octets, to where the mobile node is.
func (c *Core) down(buf []byte) {
	c.counters.add(ctrDownIn)
	inner := buf[Headroom:]
	n := c.nodes[netip.AddrFrom16([16]byte(inner[24:40]))]
	if n == nil {
		c.counters.add(ctrDownDropUnbound)
		return
	}
	c.paths.Lock()
	defer c.paths.Unlock()
	switch src := netip.AddrFrom16([16]byte(inner[8:24])); {
	case !n.path.careOf.IsValid():
		c.counters.add(ctrDownDropUnbound)
	case src.IsLinkLocalUnicast() || src.IsMulticast(): // section 10.4.2
		c.counters.add(ctrDownDropFormat)
	case ipip.Encapsulate6(buf, c.address, n.path.careOf) != nil:
		c.counters.add(ctrDownDropLoop)
	case c.world.Out(buf) != nil:
		c.counters.add(ctrDownDropError)
	default:
		c.counters.add(ctrDownSent)
	}
}

// toAgent takes a packet for the home agent's own address, behind Headroom octets or more.
func (c *Core) toAgent(now time.Time, buf []byte, outer bool) (signal []byte) {
	pkt := buf[Headroom:]
	p, err := mip6.ParsePacket(pkt)
	if err != nil {
		c.counters.add(ctrDropFormat)
		return nil
	}
	plain := !p.Home.IsValid() && !p.Final.IsValid()
	switch {
	case p.Proto == mip6.Protocol:
		c.counters.add(ctrSignalIn)
		return pkt
	case p.Proto == ipip.Protocol6 && plain && outer:
		return c.up(now, &p, ipip.TOS(pkt), buf[len(buf)-len(p.Payload)-Headroom:])
	case p.Proto == protoICMPv6 && plain:
		c.icmp(pkt, &p)
	default:
		c.counters.add(ctrDropOther)
	}
	return nil
}

// up takes an inner packet, behind Headroom octets, that came in the tunnel packet p. It
// passes only if it is from a home address that is bound where p comes from (section 10.4.5).
func (c *Core) up(now time.Time, p *mip6.Packet, outer uint8, buf []byte) (signal []byte) {
	c.counters.add(ctrUpIn)
	src, dst, _, total, err := ipip.ParseIPv6(buf[Headroom:])
	if err != nil || buf[Headroom+offHopLimit] == 0 || dst.IsMulticast() || dst.IsLinkLocalUnicast() {
		c.counters.add(ctrUpDropFormat)
		return nil
	}
	n := c.nodes[src]
	if n == nil {
		c.counters.add(ctrUpDropUnknownNode)
		return nil
	}
	if !c.from(now, n, p.Src) {
		c.counters.add(ctrUpDropNotBound)
		return nil
	}
	buf = buf[:Headroom+total]
	inner := buf[Headroom:]
	if _, err := ipip.DecapsulateECN(inner, outer); err != nil {
		c.counters.add(ctrUpDropFormat)
		return nil
	}
	switch {
	case dst == c.address:
		c.counters.add(ctrUpDelivered)
		return c.toAgent(now, buf, false)
	case c.away(dst): // to another mobile node: we are the router that forwards it
		c.counters.add(ctrUpDelivered)
		if inner[offHopLimit]--; inner[offHopLimit] == 0 {
			c.counters.add(ctrDropFormat)
			return nil
		}
		c.down(buf)
	case c.world.Out(inner) != nil:
		c.counters.add(ctrUpDropError)
	default:
		c.counters.add(ctrUpDelivered)
	}
	return nil
}

// from reports whether packets of n may come from careOf.
func (c *Core) from(now time.Time, n *node, careOf netip.Addr) bool {
	c.paths.Lock()
	defer c.paths.Unlock()
	p := n.path
	return p.careOf.IsValid() && (careOf == p.careOf || careOf == p.old && now.Before(p.oldEnd))
}

// away reports whether a home address is bound.
func (c *Core) away(home netip.Addr) bool {
	n := c.nodes[home]
	if n == nil {
		return false
	}
	c.paths.Lock()
	defer c.paths.Unlock()
	return n.path.careOf.IsValid()
}
