package ha6

import (
	"encoding/binary"
	"net/netip"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

// Types of ICMPv6 (RFC 4443 sections 3.2, 4.1 and 4.2).
const (
	icmpTooBig      = 2
	icmpEchoRequest = 128
	icmpEchoReply   = 129
)

const (
	icmpHeader = 8
	minMTU     = 1280 // RFC 8200 section 5
)

// icmp takes an ICMPv6 message for the home agent, in the packet pkt.
func (c *Core) icmp(pkt []byte, p *mip6.Packet) {
	m := p.Payload
	if len(m) < icmpHeader || inet.Fold(inet.Sum(pseudo(p.Src, p.Dst, len(m)), m)) != 0xffff {
		c.counters.Add(ctrDropFormat)
		return
	}
	switch m[0] {
	case icmpEchoRequest:
		c.counters.Add(ctrEchoed)
		c.say(appendICMP(make([]byte, Headroom), c.address, p.Src, icmpEchoReply, m[4:8], m[icmpHeader:]))
	case icmpTooBig:
		c.tooBig(m)
	default:
		c.counters.Add(ctrDropOther)
	}
}

// tooBig tells the source of an inner packet that the path of the tunnel packet around it
// carries less (RFC 2473 section 8.2). m is the message, which quotes the tunnel packet.
func (c *Core) tooBig(m []byte) {
	outer := m[icmpHeader:]
	if len(outer) < 2*ipip.HeaderLen6 || outer[6] != ipip.Protocol6 || outer[ipip.HeaderLen6]>>4 != 6 {
		c.counters.Add(ctrDropOther)
		return
	}
	careOf, inner := netip.AddrFrom16([16]byte(outer[24:40])), outer[ipip.HeaderLen6:]
	src, n := netip.AddrFrom16([16]byte(inner[8:24])), c.nodes[netip.AddrFrom16([16]byte(inner[24:40]))]
	if n == nil || netip.AddrFrom16([16]byte(outer[8:24])) != c.address || !mip6.Unicast(src) {
		c.counters.Add(ctrDropOther)
		return
	}
	ours := n.path.CareOf() == careOf && careOf.IsValid()
	mtu := binary.BigEndian.Uint32(m[4:])
	if !ours || mtu < minMTU || mtu > 1<<16 {
		c.counters.Add(ctrDropOther)
		return
	}
	c.counters.Add(ctrTooBig)
	mtu = max(minMTU, mtu-ipip.HeaderLen6)
	quote := inner[:min(len(inner), minMTU-ipip.HeaderLen6-icmpHeader)]
	c.say(appendICMP(make([]byte, Headroom), c.address, src, icmpTooBig, binary.BigEndian.AppendUint32(nil, mtu), quote))
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

// appendICMP appends a whole packet of an ICMPv6 message of code 0.
func appendICMP(dst []byte, from, to netip.Addr, typ byte, word, rest []byte) []byte {
	start, size := len(dst), icmpHeader+len(rest)
	s, d := from.As16(), to.As16()
	dst = append(dst, 0x60, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(size)) //nolint:gosec // no longer than what came
	dst = append(dst, protoICMPv6, ipip.DefaultTTL)
	dst = append(append(dst, s[:]...), d[:]...)
	dst = append(append(append(dst, typ, 0, 0, 0), word...), rest...)
	m := dst[start+ipip.HeaderLen6:]
	binary.BigEndian.PutUint16(m[2:], ^inet.Fold(inet.Sum(pseudo(from, to, size), m)))
	return dst
}

// pseudo is the sum of the pseudo header (RFC 8200 section 8.1).
func pseudo(src, dst netip.Addr, size int) uint32 {
	s, d := src.As16(), dst.As16()
	return inet.Sum(inet.Sum(protoICMPv6+uint32(size), s[:]), d[:]) //nolint:gosec // a packet's
}
