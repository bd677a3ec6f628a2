package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"openmpa/internal/event"
	"openmpa/tunnel/flow"
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
	// Resume, mobile node to router: I am where this comes from; what is held for me,
	// and what comes, goes through the tunnel to there. It tells what I have.
	Resume MarkerKind = 3
	// Forwarded, router to mobile node: what I held when you said Resume is before this.
	Forwarded MarkerKind = 4
	// Native, router to mobile node on its link: my last downlink packet through the tunnel
	// to where you are now is before this; what follows comes natively.
	Native MarkerKind = 5
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
	case Native:
		return "native"
	}
	return fmt.Sprintf("marker(%d)", uint8(k))
}

func (k MarkerKind) known() bool { return k >= Depart && k <= Native }

// Marker ends a run of packets in the tunnel it is sent through.
type Marker struct {
	Kind     MarkerKind
	Handover event.HandoverID
	Seq      uint32 // tells repetitions apart
	// Receipts are what the node has of each class that is numbered; with Resume only.
	Receipts []flow.Receipt
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
// fails with ErrMarker for a kind that is not known, and for receipts of another than
// Resume; errors of the receipts match flow.ErrFormat.
func (m Marker) AppendBinary(b []byte) ([]byte, error) {
	if !m.Kind.known() || m.Kind != Resume && len(m.Receipts) > 0 {
		return b, fmt.Errorf("%w: kind %d with %d receipts", ErrMarker, m.Kind, len(m.Receipts))
	}
	whole := b
	b = binary.BigEndian.AppendUint32(b, markerMagic)
	b = append(b, markerVersion, byte(m.Kind), 0, 0)
	b = append(b, m.Handover[:]...)
	b = binary.BigEndian.AppendUint32(b, m.Seq)
	if m.Kind != Resume {
		return b, nil
	}
	b, err := flow.AppendReceipts(b, m.Receipts)
	if err != nil {
		return whole, fmt.Errorf("tunnel: marker: %w", err)
	}
	return b, nil
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
	if m.Kind == Resume {
		var err error
		if m.Receipts, _, err = flow.ParseReceipts(b[markerLen:]); err != nil {
			return Marker{}, fmt.Errorf("%w: %w", ErrMarker, err)
		}
	}
	return m, nil
}
