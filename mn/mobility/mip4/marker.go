package mip4

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"openmpa/internal/inet"
)

// Marker is a path-end marker: the sender's last packet on a path. See the package
// comment for what it is for and how it looks on the wire.
type Marker struct {
	HomeAddress netip.Addr
	HomeAgent   netip.Addr
	// ID is the path identification of the registration that changed the path.
	ID uint64
	// Down is the direction: from the home agent to the mobile node.
	Down bool
}

const (
	ipHeaderLen    = 20
	udpHeaderLen   = 8
	markerOffset   = ipHeaderLen + udpHeaderLen // of the message in the packet
	markerFixedLen = 20
	protoUDP       = 17
)

// AppendMarkerPacket appends the marker as a whole inner IPv4 packet.
func AppendMarkerPacket(dst []byte, m Marker, sa Security) ([]byte, error) {
	src, to := m.HomeAddress, m.HomeAgent
	direction := byte(0)
	if m.Down {
		src, to = to, src
		direction = 1
	}
	start := len(dst)
	dst = append(dst, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protoUDP, 0, 0) // don't fragment, TTL 64
	dst, err := appendAddrs(dst, src, to)
	if err != nil {
		return nil, fmt.Errorf("mip4: marker: %w", err)
	}
	dst = binary.BigEndian.AppendUint16(dst, Port)
	dst = binary.BigEndian.AppendUint16(dst, Port)
	dst = append(dst, 0, 0, 0, 0) // length and checksum follow
	message := len(dst)
	dst = append(dst, TypeExperimental, experiment, direction, 0)
	if dst, err = appendAddrs(dst, m.HomeAddress, m.HomeAgent); err != nil {
		return nil, fmt.Errorf("mip4: marker: %w", err)
	}
	dst = binary.BigEndian.AppendUint64(dst, m.ID)
	if dst, err = sa.sign(dst, message); err != nil {
		return nil, err
	}
	pkt := dst[start:]
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))              //nolint:gosec // below 100
	binary.BigEndian.PutUint16(pkt[24:], uint16(len(pkt)-ipHeaderLen)) //nolint:gosec // below 100
	binary.BigEndian.PutUint16(pkt[10:], ^inet.Fold(inet.Sum(0, pkt[:ipHeaderLen])))
	pseudo := inet.Sum(0, pkt[12:20]) + protoUDP + uint32(len(pkt)-ipHeaderLen) //nolint:gosec // below 100
	check := ^inet.Fold(pseudo + inet.Sum(0, pkt[ipHeaderLen:]))
	if check == 0 {
		check = 0xffff // zero means "no checksum" (RFC 768)
	}
	binary.BigEndian.PutUint16(pkt[26:], check)
	return dst, nil
}

// IsMarkerPacket reports whether an inner packet looks like a marker, by a few
// comparisons of octets at fixed places. It says nothing about its being genuine.
func IsMarkerPacket(pkt []byte) bool {
	return len(pkt) >= markerOffset+markerFixedLen &&
		pkt[9] == protoUDP && pkt[0] == 0x45 && // no options
		pkt[22] == Port>>8 && pkt[23] == Port&0xff &&
		pkt[28] == TypeExperimental && pkt[29] == experiment &&
		pkt[6]&0x3f == 0 && pkt[7] == 0 // no fragment
}

// ParseMarkerPacket returns the marker in an inner packet, and false for everything
// else: other packets, and markers that sa did not sign. Ordinary packets cost a few
// comparisons. A packet that [IsMarkerPacket] accepts and this does not is forged or
// damaged, and must not be delivered either.
func ParseMarkerPacket(pkt []byte, sa Security) (Marker, bool) {
	if !IsMarkerPacket(pkt) {
		return Marker{}, false
	}
	total := int(binary.BigEndian.Uint16(pkt[2:]))
	if total != len(pkt) || int(binary.BigEndian.Uint16(pkt[24:])) != total-ipHeaderLen || pkt[30] > 1 {
		return Marker{}, false
	}
	b := pkt[markerOffset:]
	m := Marker{
		HomeAddress: addr4(b[4:]),
		HomeAgent:   addr4(b[8:]),
		ID:          binary.BigEndian.Uint64(b[12:]),
		Down:        b[2] == 1,
	}
	src, dst := addr4(pkt[12:]), addr4(pkt[16:])
	if m.Down {
		src, dst = dst, src
	}
	if src != m.HomeAddress || dst != m.HomeAgent {
		return Marker{}, false
	}
	// The authenticator protects more than the UDP checksum, which is not looked at.
	e, err := parseEnvelope(b, markerFixedLen)
	if err != nil || e.Verify(sa) != nil {
		return Marker{}, false
	}
	return m, true
}
