package impair

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"openmpa/mn/mobility/mip4"
	"openmpa/mn/mobility/mip6"
	"openmpa/paa/keys"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Kind is what a frame carries, as far as the lab cares.
type Kind uint8

// Kinds of frames. Up is from the mobile node, down to it.
const (
	KindOther    Kind = iota
	KindARP           // of neighbour discovery, too; never lost
	KindDown          // a datagram of the measured flow
	KindUp            // a datagram of the measured flow
	KindProbe         // a datagram of the probe, either way
	KindDepart        // marker in the tunnel, up
	KindDeparted      // marker in the tunnel, down
	KindPathUp        // path-end marker of Mobile IP
	KindPathDown      // path-end marker of Mobile IP
	KindRefresh       // empty dummy packet, up: where the node's end of the tunnel is
	KindTunnelUp      // anything else in ESP, such as a registration
	kinds
)

var kindNames = [kinds]string{"other", "arp", "down", "up", "probe", "depart", "departed", "path-end up", "path-end down", "refresh", "tunnel up"}

// String is the name in reports.
func (k Kind) String() string { return kindNames[k] }

// Markers are the kinds of markers.
var Markers = []Kind{KindDepart, KindDeparted, KindPathUp, KindPathDown}

// A Traffic describes the datagrams whose fate is of interest.
type Traffic struct {
	Home      netip.Addr // of the mobile node: one end of every flow
	FlowPort  uint16     // destination port of the measured flow
	ProbePort uint16     // destination port of the probe
	// Octets of UDP payload.
	Down, Up, Probe int
	TunnelPort      uint16         // of ESP in UDP, at the router
	Marker          mip4.Algorithm // where Home is IPv4
}

// headerLen is the length of an IP header of the flow's family, in octets.
func (t Traffic) headerLen() int {
	if t.Home.Is6() {
		return ipip.HeaderLen6
	}
	return ipip.HeaderLen
}

// A Classifier tells frames apart. It is pure and may be used by many.
type Classifier struct {
	t Traffic
	// Kinds by the length of an ESP packet, to the router and from it.
	toRouter, toNode map[int]Kind
}

const (
	etherLen    = 14
	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherIPv6   = 0x86dd
	udpLen      = 8
	protocolUDP = 17

	protocolICMPv6 = 58
	// Of neighbour discovery: from Router Solicitation to Redirect (RFC 4861, section 4).
	firstND, lastND = 133, 137
)

// NewClassifier computes the lengths that packets have in ESP. It fails when
// two kinds could not be told apart.
func NewClassifier(t Traffic) (*Classifier, error) {
	departure, err := tunnel.Marker{Kind: tunnel.Depart}.AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("impair: %w", err)
	}
	pathEnd, err := pathEndLen(t)
	if err != nil {
		return nil, err
	}
	c := &Classifier{t: t, toRouter: make(map[int]Kind), toNode: make(map[int]Kind)}
	for _, x := range []struct {
		lengths map[int]Kind
		length  int
		kind    Kind
	}{
		{c.toRouter, esp.SealedLen(0), KindRefresh},
		{c.toRouter, esp.SealedLen(len(departure)), KindDepart},
		{c.toRouter, t.inESP(pathEnd), KindPathUp},
		{c.toRouter, t.inESP(t.datagram(t.Up)), KindUp},
		{c.toRouter, t.inESP(t.datagram(t.Probe)), KindProbe},
		{c.toNode, esp.SealedLen(len(departure)), KindDeparted},
		{c.toNode, t.inESP(pathEnd), KindPathDown},
		{c.toNode, t.inESP(t.datagram(t.Down)), KindDown},
		{c.toNode, t.inESP(t.datagram(t.Down) + flow.ShimLen), KindDown}, // numbered
		{c.toNode, t.inESP(t.datagram(t.Probe)), KindProbe},
		{c.toNode, t.inESP(t.datagram(t.Probe) + flow.ShimLen), KindProbe},
	} {
		if other, taken := x.lengths[x.length]; taken {
			return nil, fmt.Errorf("impair: in ESP, %s and %s are both of %d octets and cannot be told apart", x.kind, other, x.length)
		}
		x.lengths[x.length] = x.kind
	}
	return c, nil
}

// datagram is the length of an IP packet with a payload of UDP, and inESP that of one inside IP in ESP.
func (t Traffic) datagram(payload int) int { return t.headerLen() + udpLen + payload }

func (t Traffic) inESP(packet int) int { return esp.SealedLen(t.headerLen() + packet) }

// pathEndLen is the length of a path-end marker, an IP packet.
func pathEndLen(t Traffic) (int, error) {
	// Of a key, only that there is one matters for the length.
	key := keys.NewSecret(make([]byte, 32))
	if t.Home.Is6() {
		pkt, err := mip6.AppendMarkerPacket(nil, mip6.Marker{Home: t.Home, HomeAgent: t.Home.Next()}, mip6.Security{SPI: 256, Key: key})
		if err != nil {
			return 0, fmt.Errorf("impair: %w", err)
		}
		return len(pkt), nil
	}
	a := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	sa := mip4.Security{SPI: 256, Key: key, Algorithm: t.Marker}
	pkt, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: a, HomeAgent: a.Next()}, sa)
	if err != nil {
		return 0, fmt.Errorf("impair: %w", err)
	}
	return len(pkt), nil
}

// Classify says what an Ethernet frame carries.
func (c *Classifier) Classify(frame []byte) Kind {
	if len(frame) < etherLen {
		return KindOther
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return KindARP
	case etherIPv4:
		return c.packet(frame[etherLen:], true)
	case etherIPv6:
		return c.packet6(frame[etherLen:], true)
	}
	return KindOther
}

// tunnelled classifies what is sent to the router's tunnel port.
func (c *Classifier) tunnelled(datagram []byte) Kind {
	if kind, known := c.toRouter[len(datagram)]; known {
		return kind
	}
	if kind, _ := esp.Classify(datagram); kind == esp.KindESP {
		return KindTunnelUp
	}
	return KindOther
}

// InTunnel reports whether an Ethernet frame carries a packet to the router's tunnel port, and its length in octets.
func (c *Classifier) InTunnel(frame []byte) (n int, ok bool) {
	if len(frame) < etherLen {
		return 0, false
	}
	pkt, headerLen := frame[etherLen:], ipip.HeaderLen6
	_, _, proto, total, err := ipip.ParseIPv6(pkt)
	if binary.BigEndian.Uint16(frame[12:]) == etherIPv4 {
		_, _, proto, headerLen, total, err = ipip.ParseIPv4(pkt)
	}
	if err != nil || proto != protocolUDP || total < headerLen+udpLen || binary.BigEndian.Uint16(pkt[headerLen+2:]) != c.t.TunnelPort {
		return 0, false
	}
	return total - headerLen - udpLen, true
}

// UpInESP is the length of a packet with a datagram of the flow from the node, in octets of ESP.
func (c *Classifier) UpInESP() int { return c.t.inESP(c.t.datagram(c.t.Up)) }

// packet classifies an IPv4 packet; one inside another is looked at, but no
// deeper.
func (c *Classifier) packet(pkt []byte, outer bool) Kind {
	src, dst, proto, headerLen, total, err := ipip.ParseIPv4(pkt)
	if err != nil || binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 { // a fragment
		return KindOther
	}
	pkt = pkt[:total]
	if outer && proto == ipip.Protocol {
		return c.packet(pkt[headerLen:], false)
	}
	if proto != protocolUDP || total < headerLen+udpLen {
		return KindOther
	}
	if !outer && mip4.IsMarkerPacket(pkt) {
		return c.pathEnd(src)
	}
	return c.datagram(src, dst, pkt[headerLen:], outer)
}

// packet6 is packet of IPv6; what Mobile IPv6 has put in front of a datagram without a tunnel is looked behind.
func (c *Classifier) packet6(pkt []byte, outer bool) Kind {
	p, err := mip6.ParsePacket(pkt)
	switch {
	case err != nil:
		return KindOther
	case outer && p.Proto == ipip.Protocol6:
		return c.packet6(p.Payload, false)
	case outer && p.Proto == protocolICMPv6 && len(p.Payload) > 0 && p.Payload[0] >= firstND && p.Payload[0] <= lastND:
		return KindARP
	case !outer && mip6.IsMarkerPacket(pkt):
		return c.pathEnd(p.Src)
	case p.Proto != protocolUDP || len(p.Payload) < udpLen:
		return KindOther
	}
	return c.datagram(p.Source(), p.Destination(), p.Payload, outer)
}

// pathEnd is a path-end marker by its source.
func (c *Classifier) pathEnd(src netip.Addr) Kind {
	if src == c.t.Home {
		return KindPathUp
	}
	return KindPathDown
}

// datagram classifies one of UDP, with its header.
func (c *Classifier) datagram(src, dst netip.Addr, b []byte, outer bool) Kind {
	from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	switch {
	case outer && to == c.t.TunnelPort:
		return c.tunnelled(b[udpLen:])
	case outer && from == c.t.TunnelPort:
		return c.toNode[len(b)-udpLen]
	case dst != c.t.Home && src != c.t.Home:
		return KindOther
	case to == c.t.ProbePort:
		return KindProbe
	case to == c.t.FlowPort && dst == c.t.Home:
		return KindDown
	case to == c.t.FlowPort:
		return KindUp
	}
	return KindOther
}
