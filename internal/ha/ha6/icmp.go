package ha6

import (
	"encoding/binary"
	"net/netip"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Types of ICMPv6 (RFC 4443 sections 4.1 and 4.2).
const (
	icmpEchoRequest = 128
	icmpEchoReply   = 129
)

// icmp takes an ICMPv6 message for the home agent, in the packet pkt.
func (c *Core) icmp(pkt []byte, p *mip6.Packet) {
	m := p.Payload
	if !inet.ICMPv6(p.Src, p.Dst, m) {
		c.counters.Add(ctrDropFormat)
		return
	}
	switch m[0] {
	case icmpEchoRequest:
		c.counters.Add(ctrEchoed)
		c.say(inet.AppendICMPv6(make([]byte, Headroom), c.address, p.Src, icmpEchoReply, m[4:8], m[inet.ICMPv6Len:]))
	case inet.ICMPv6TooBig:
		c.tooBig(m)
	default:
		c.counters.Add(ctrDropOther)
	}
}

// tooBig tells the source of an inner packet that the path of the tunnel packet around it
// carries less (RFC 2473 section 8.2). m is the message, which quotes the tunnel packet.
func (c *Core) tooBig(m []byte) {
	outer := m[inet.ICMPv6Len:]
	if len(outer) < 2*ipip.HeaderLen6 || outer[6] != ipip.Protocol6 || outer[ipip.HeaderLen6]>>4 != 6 {
		c.counters.Add(ctrDropOther)
		return
	}
	careOf, inner := netip.AddrFrom16([16]byte(outer[24:40])), outer[ipip.HeaderLen6:]
	added := uint32(ipip.HeaderLen6)
	if copied := ipip.HeaderLen6 + flow.ShimLen; inner[6] == ipip.ProtocolNumbered && len(inner) >= copied+ipip.HeaderLen6 && inner[copied]>>4 == 6 {
		inner, added = inner[copied:], added+uint32(copied)
	}
	src, n := netip.AddrFrom16([16]byte(inner[8:24])), c.nodes[netip.AddrFrom16([16]byte(inner[24:40]))]
	if n == nil || netip.AddrFrom16([16]byte(outer[8:24])) != c.address || !mip6.Unicast(src) {
		c.counters.Add(ctrDropOther)
		return
	}
	ours := n.path.Bound(careOf)
	mtu := binary.BigEndian.Uint32(m[4:])
	if !ours || mtu < inet.MinMTU6 || mtu > 1<<16 {
		c.counters.Add(ctrDropOther)
		return
	}
	c.counters.Add(ctrTooBig)
	c.say(inet.AppendTooBig(make([]byte, Headroom), c.address, src, mtu-added, inner))
}

// say sends a packet of the home agent's own, behind Headroom octets, to wherever its
// receiver is.
func (c *Core) say(buf []byte) {
	switch {
	case c.away(netip.AddrFrom16([16]byte(buf[Headroom+24 : Headroom+40]))):
		c.down(buf)
	case c.world.Out(buf[Headroom:]) != nil:
		c.counters.Add(ctrOwnDropError)
	}
}
