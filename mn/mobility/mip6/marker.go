package mip6

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Marker is a path-end marker: the sender's last packet on a path. See the package
// comment for what it is for and how it looks on the wire.
type Marker struct {
	Home      netip.Addr
	HomeAgent netip.Addr
	// ID is the path identification of the registration that changed the path.
	ID uint64
	// Down is the direction: from the home agent to the mobile node.
	Down bool
}

const (
	// typeExperimental is the type of experimental messages (RFC 5096 section 3).
	typeExperimental = 11
	// experiment is our sub-type of messages and options. There is no registry of these:
	// they are private to those who run the experiment together.
	experiment = 98
	// markerFixed is what a marker has up to its options, in octets.
	markerFixed = 16
)

// kind implements Message, so that a marker is built as the others are. It is none of
// those that [Parse] knows: it means something inside the tunnel only.
func (m *Marker) kind() (uint8, string) { return typeExperimental, "path-end marker" }

func (m *Marker) appendFixed(dst []byte) []byte {
	direction := byte(0)
	if m.Down {
		direction = 1
	}
	return binary.BigEndian.AppendUint64(append(dst, experiment, direction), m.ID)
}

func (m *Marker) list() Options { return nil }

// ends are the addresses of a marker's packet.
func (m *Marker) ends() (src, dst netip.Addr) {
	if m.Down {
		return m.HomeAgent, m.Home
	}
	return m.Home, m.HomeAgent
}

// AppendMarkerPacket appends the marker as a whole inner IPv6 packet.
func AppendMarkerPacket(dst []byte, m Marker, sa Security) ([]byte, error) {
	if !Unicast(m.Home) || !Unicast(m.HomeAgent) {
		return nil, fmt.Errorf("mip6: a marker of %v and home agent %v cannot be sent: both must be routable IPv6 addresses", m.Home, m.HomeAgent)
	}
	src, to := m.ends()
	b, err := build(&m, src, to, netip.Addr{}, netip.Addr{}, sa.Signer(m.HomeAgent, m.Home))
	if err != nil {
		return nil, err
	}
	return append(dst, b...), nil
}

// IsMarkerPacket reports whether an inner packet looks like a marker, by a few
// comparisons of octets at fixed places. It says nothing about its being genuine.
func IsMarkerPacket(pkt []byte) bool {
	return len(pkt) >= ip6Len+markerFixed &&
		pkt[6] == Protocol && pkt[0]>>4 == 6 && // no extension headers, so no fragment
		pkt[ip6Len+2] == typeExperimental && pkt[ip6Len+headerLen] == experiment
}

// ParseMarkerPacket returns the marker in an inner packet, and false for everything
// else: other packets, and markers that sa did not sign. Ordinary packets cost a few
// comparisons. A packet that [IsMarkerPacket] accepts and this does not is forged or
// damaged, and must not be delivered either.
func ParseMarkerPacket(pkt []byte, sa Security) (Marker, bool) {
	if !IsMarkerPacket(pkt) {
		return Marker{}, false
	}
	b := pkt[ip6Len:]
	direction := b[headerLen+1]
	if int(binary.BigEndian.Uint16(pkt[4:])) != len(b) || 8+8*int(b[1]) != len(b) || b[0] != noNext || direction > 1 {
		return Marker{}, false
	}
	m := Marker{Home: addr(pkt[8:]), HomeAgent: addr(pkt[24:]), ID: binary.BigEndian.Uint64(b[8:]), Down: direction == 1}
	if m.Down {
		m.Home, m.HomeAgent = m.HomeAgent, m.Home
	}
	o, err := parseOptions(b, markerFixed)
	if err != nil {
		return Marker{}, false
	}
	// The authenticator protects more than the checksum, which is not looked at.
	return m, verifyHome(b, o, sa, m.HomeAgent, m.Home) == nil
}

// PathMarkers is the option by which a mobile node offers path-end markers and a home
// agent says that it does them; see the package comment.
type PathMarkers struct {
	// Path identifies the change of path: any number but 0 that the mobile node has not
	// used before, the same in all Updates of the registration that asks for the path.
	Path uint64
	// OldPath, in an acknowledgement, says that an old path is being ended by markers. Of a
	// correspondent, which sends none, it says that what comes by an old path is taken for a while.
	OldPath bool
}

const pathMarkersLen = 10

// Option returns the option to put into a message.
func (p PathMarkers) Option() Option {
	data := make([]byte, 2, pathMarkersLen)
	data[0] = experiment
	if p.OldPath {
		data[1] = 0x80
	}
	return Option{Type: OptExperimental, Data: binary.BigEndian.AppendUint64(data, p.Path)}
}

// PathMarkers returns the first option of ours; experiments of others are passed over.
func (l Options) PathMarkers() (PathMarkers, bool) {
	for _, o := range l {
		if o.Type == OptExperimental && len(o.Data) == pathMarkersLen && o.Data[0] == experiment {
			return PathMarkers{Path: binary.BigEndian.Uint64(o.Data[2:]), OldPath: o.Data[1]&0x80 != 0}, true
		}
	}
	return PathMarkers{}, false
}
