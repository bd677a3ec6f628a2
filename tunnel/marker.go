package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"openmpa/internal/event"
)

// MarkerKind says what a marker means for the packets around it.
type MarkerKind uint8

// Kinds of markers.
const (
	// Depart, mobile node to router: my last uplink packet is before this; hold
	// the downlink from here on.
	Depart MarkerKind = 1
	// Departed, router to mobile node: my last downlink packet is before this;
	// what follows is held.
	Departed MarkerKind = 2
	// Resume, mobile node to router: I did not leave, or I came back; what is held
	// may follow.
	Resume MarkerKind = 3
	// Forwarded, previous router to mobile node: what I held for your address here is
	// before this.
	Forwarded MarkerKind = 4
	// Follow, mobile node to its next router: the previous one's Forwarded came, or I
	// wait for it no longer; what you held may follow.
	Follow MarkerKind = 5
)

// String returns the name of the kind.
func (k MarkerKind) String() string {
	switch k {
	case Depart:
		return "depart"
	case Departed:
		return "departed"
	case Resume:
		return "resume"
	case Forwarded:
		return "forwarded"
	case Follow:
		return "follow"
	}
	return fmt.Sprintf("marker(%d)", uint8(k))
}

func (k MarkerKind) known() bool { return k >= Depart && k <= Follow }

// Marker ends a run of packets in the tunnel it is sent through.
type Marker struct {
	Kind     MarkerKind
	Handover event.HandoverID
	Seq      uint32 // tells repetitions apart
}

const (
	markerMagic   = 0x4D50416D // "MPAm"
	markerVersion = 1
	markerLen     = 28
)

var (
	// errNotMarker: a dummy packet that is not ours; to be discarded in silence.
	errNotMarker = errors.New("tunnel: not a marker")
	// ErrMarker: it begins as a marker, but is cut short, or of a version or kind
	// that is not known here.
	ErrMarker = errors.New("tunnel: malformed or unknown marker")
)

// AppendBinary appends the marker as it is drawn in the package comment. It
// fails with ErrMarker for a kind that is not known.
func (m Marker) AppendBinary(b []byte) ([]byte, error) {
	if !m.Kind.known() {
		return b, fmt.Errorf("%w: kind %d", ErrMarker, m.Kind)
	}
	b = binary.BigEndian.AppendUint32(b, markerMagic)
	b = append(b, markerVersion, byte(m.Kind), 0, 0)
	b = append(b, m.Handover[:]...)
	return binary.BigEndian.AppendUint32(b, m.Seq), nil
}

// ParseMarker reads the payload of a dummy packet. The error matches ErrMarker
// when the payload begins as a marker, but is none that can be used.
func ParseMarker(b []byte) (Marker, error) {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != markerMagic {
		return Marker{}, errNotMarker
	}
	if len(b) < markerLen || b[4] != markerVersion || !MarkerKind(b[5]).known() {
		return Marker{}, ErrMarker
	}
	m := Marker{Kind: MarkerKind(b[5]), Seq: binary.BigEndian.Uint32(b[24:28])}
	copy(m.Handover[:], b[8:24])
	return m, nil
}
