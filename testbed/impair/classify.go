package impair

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"openmpa/mn/mobility/mip4"
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
	KindARP           // never lost
	KindDown          // a datagram of the measured flow
	KindUp            // a datagram of the measured flow
	KindProbe         // a datagram of the probe, either way
	KindDepart        // marker in the tunnel, up
	KindDeparted      // marker in the tunnel, down
	KindPathUp        // path-end marker of Mobile IPv4
	KindPathDown      // path-end marker of Mobile IPv4
	KindTunnelUp      // anything else in ESP, such as a registration
	kinds
)

var kindNames = [kinds]string{"other", "arp", "down", "up", "probe", "depart", "departed", "path-end up", "path-end down", "tunnel up"}

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
	TunnelPort      uint16 // of ESP in UDP, at the router
	Marker          mip4.Algorithm
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
	udpLen      = 8
	protocolUDP = 17
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
		{c.toRouter, esp.SealedLen(len(departure)), KindDepart},
		{c.toRouter, inESP(pathEnd), KindPathUp},
		{c.toRouter, upInESP(t), KindUp},
		{c.toRouter, inESP(datagram(t.Probe)), KindProbe},
		{c.toNode, esp.SealedLen(len(departure)), KindDeparted},
		{c.toNode, inESP(pathEnd), KindPathDown},
		{c.toNode, inESP(datagram(t.Down)), KindDown},
		{c.toNode, inESP(datagram(t.Down) + flow.ShimLen), KindDown}, // numbered
		{c.toNode, inESP(datagram(t.Probe)), KindProbe},
		{c.toNode, inESP(datagram(t.Probe) + flow.ShimLen), KindProbe},
	} {
		if other, taken := x.lengths[x.length]; taken {
			return nil, fmt.Errorf("impair: in ESP, %s and %s are both of %d octets and cannot be told apart", x.kind, other, x.length)
		}
		x.lengths[x.length] = x.kind
	}
	return c, nil
}

// datagram is the length of an IP packet with a payload of UDP, and inESP that of one inside IP in ESP.
func datagram(payload int) int { return ipip.HeaderLen + udpLen + payload }

func inESP(packet int) int { return esp.SealedLen(ipip.HeaderLen + packet) }

func upInESP(t Traffic) int { return inESP(datagram(t.Up)) }

// pathEndLen is the length of a path-end marker, an IP packet.
func pathEndLen(t Traffic) (int, error) {
	a := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	// Of a key, only that there is one matters for the length.
	sa := mip4.Security{SPI: 256, Key: keys.NewSecret(make([]byte, 32)), Algorithm: t.Marker}
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
	if len(frame) < etherLen || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return 0, false
	}
	pkt := frame[etherLen:]
	_, _, proto, headerLen, total, err := ipip.ParseIPv4(pkt)
	if err != nil || proto != protocolUDP || total < headerLen+udpLen || binary.BigEndian.Uint16(pkt[headerLen+2:]) != c.t.TunnelPort {
		return 0, false
	}
	return total - headerLen - udpLen, true
}

// UpInESP is the length of a packet with a datagram of the flow from the node, in octets of ESP.
func (c *Classifier) UpInESP() int { return upInESP(c.t) }

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
	from, to := binary.BigEndian.Uint16(pkt[headerLen:]), binary.BigEndian.Uint16(pkt[headerLen+2:])
	switch {
	case !outer && mip4.IsMarkerPacket(pkt) && src == c.t.Home:
		return KindPathUp
	case !outer && mip4.IsMarkerPacket(pkt):
		return KindPathDown
	case outer && to == c.t.TunnelPort:
		return c.tunnelled(pkt[headerLen+udpLen:])
	case outer && from == c.t.TunnelPort:
		return c.toNode[total-headerLen-udpLen]
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
