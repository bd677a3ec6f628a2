package notify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
)

// Kind says what a message is.
type Kind uint8

// The kinds of message; the table is in the package comment.
const (
	KindConfigRequest Kind = iota + 1
	KindConfigReply
	KindTunnelRequest
	KindTunnelReply
	KindTunnelDelete
	KindSwitchBack
	KindArrival
	KindReport
	KindLinkKeysRequest
	KindLinkKeysReply
	KindFollow
	KindDeliver
	KindDeliverReply
	KindRekeyRequest
	KindRekeyReply
	KindRekeyDue
	KindEntrust
	KindNeighboursRequest
	KindNeighboursReply
	KindNeighboursChanged
)

// kinds names every kind and makes its empty message.
var kinds = map[Kind]struct {
	name  string
	empty func(Header) Message
}{
	KindConfigRequest: {"config request", func(h Header) Message { return &ConfigRequest{Header: h} }},
	KindConfigReply:   {"config reply", func(h Header) Message { return &ConfigReply{Header: h} }},
	KindTunnelRequest: {"tunnel request", func(h Header) Message { return &TunnelRequest{Header: h} }},
	KindTunnelReply:   {"tunnel reply", func(h Header) Message { return &TunnelReply{Header: h} }},
	KindTunnelDelete:  {"tunnel delete", func(h Header) Message { return &TunnelDelete{Header: h} }},
	KindSwitchBack:    {"switch back", func(h Header) Message { return &SwitchBack{Header: h} }},
	KindArrival:       {"arrival", func(h Header) Message { return &Arrival{Header: h} }},
	KindReport:        {"report", func(h Header) Message { return &Report{Header: h} }},

	KindLinkKeysRequest: {"link keys request", func(h Header) Message { return &LinkKeysRequest{Header: h} }},
	KindLinkKeysReply:   {"link keys reply", func(h Header) Message { return &LinkKeysReply{Header: h} }},
	KindFollow:          {"follow", func(h Header) Message { return &Follow{Header: h} }},
	KindDeliver:         {"deliver", func(h Header) Message { return &Deliver{Header: h} }},
	KindDeliverReply:    {"deliver reply", func(h Header) Message { return &DeliverReply{Header: h} }},
	KindRekeyRequest:    {"rekey request", func(h Header) Message { return &RekeyRequest{Header: h} }},
	KindRekeyReply:      {"rekey reply", func(h Header) Message { return &RekeyReply{Header: h} }},
	KindRekeyDue:        {"rekey due", func(h Header) Message { return &RekeyDue{Header: h} }},
	KindEntrust:         {"entrust", func(h Header) Message { return &Entrust{Header: h} }},

	KindNeighboursRequest: {"neighbours request", func(h Header) Message { return &NeighboursRequest{Header: h} }},
	KindNeighboursReply:   {"neighbours reply", func(h Header) Message { return &NeighboursReply{Header: h} }},
	KindNeighboursChanged: {"neighbours changed", func(h Header) Message { return &NeighboursChanged{Header: h} }},
}

func (k Kind) String() string {
	if kind, ok := kinds[k]; ok {
		return kind.name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Message is one of the messages of this package.
type Message interface {
	Kind() Kind
	// ID is the handover the message belongs to.
	ID() event.HandoverID

	appendFields(b []byte) ([]byte, error)
	parseFields(f fields) error
}

// Header is what every message begins with.
type Header struct {
	Handover event.HandoverID
}

// ID implements Message.
func (h Header) ID() event.HandoverID { return h.Handover }

// MaxReason bounds the text of a refusal, in octets.
const MaxReason = 400

// MaxReport bounds the JSON of a Report, in octets, so that one stays inside
// one datagram (RFC 5191 §6.1: PANA does not fragment).
const MaxReport = 1100

// MaxPoints is how many access points fit a LinkKeysReply.
const MaxPoints = 64

const nonceLen = 32

// ErrMalformed is wrapped by every error of Parse.
var ErrMalformed = errors.New("malformed message")

type (
	// TunnelDelete ends a tunnel that will not be used.
	TunnelDelete struct{ Header }
	// SwitchBack turns delivery through the tunnel on again.
	SwitchBack struct{ Header }
	// Report carries the router's events of one handover.
	Report struct {
		Header
		Events []byte // JSON array of event.Event, at most MaxReport octets
	}
	// LinkKeysRequest asks the configuration agent to give its access points the
	// PMKs that this session makes (RFC 5807).
	LinkKeysRequest struct {
		Header
		Station [6]byte // link-layer address with which the MN will associate
	}
	// LinkKeysReply answers a LinkKeysRequest. A router without access points
	// answers with none and no reason.
	LinkKeysReply struct {
		Header
		Reason   string        // why no access point has a key; empty on success
		Lifetime time.Duration // of the keys from now, seconds; at least one when there are points
		Points   []LinkPoint   // that have the key of this session, at most MaxPoints
	}
	// LinkPoint is an access point that has the station's key.
	LinkPoint struct {
		BSSID [6]byte
		AKM   uint8 // number of its suite under OUI 00-0F-AC
	}
)

// Kind implements Message.
func (TunnelDelete) Kind() Kind { return KindTunnelDelete }

// Kind implements Message.
func (SwitchBack) Kind() Kind { return KindSwitchBack }

// Kind implements Message.
func (Report) Kind() Kind { return KindReport }

// Kind implements Message.
func (LinkKeysRequest) Kind() Kind { return KindLinkKeysRequest }

// Kind implements Message.
func (LinkKeysReply) Kind() Kind { return KindLinkKeysReply }

// Append appends m in the form of the package comment, unsealed.
func Append(b []byte, m Message) ([]byte, error) {
	id := m.ID()
	b = append(b, byte(m.Kind()))
	b = append(b, id[:]...)
	b, err := m.appendFields(b)
	if err != nil {
		return nil, fmt.Errorf("notify: %s: %w", m.Kind(), err)
	}
	return b, nil
}

// Parse reads one unsealed message. The result shares no memory with b.
func Parse(b []byte) (Message, error) {
	if len(b) < 17 {
		return nil, fmt.Errorf("notify: %w: %d octets, expected at least 17", ErrMalformed, len(b))
	}
	kind, ok := kinds[Kind(b[0])]
	if !ok {
		return nil, fmt.Errorf("notify: %w: unknown kind %d", ErrMalformed, b[0])
	}
	m := kind.empty(Header{Handover: event.HandoverID(b[1:17])})
	f, err := parseFields(b[17:])
	if err == nil {
		err = m.parseFields(f)
	}
	if err != nil {
		return nil, fmt.Errorf("notify: %s: %w: %w", kind.name, ErrMalformed, err)
	}
	return m, nil
}

// Identities are the names of the configuration agent and the access router
// behind one PAA; the keys MN-CA and MN-AR are bound to them.
type Identities struct {
	CA, AR string // 1 to 255 octets each
}

// AppendBinary appends the value of the Identities AVP: each name behind its length.
func (i Identities) AppendBinary(b []byte) ([]byte, error) {
	for _, s := range []string{i.CA, i.AR} {
		if len(s) == 0 || len(s) > 255 {
			return nil, fmt.Errorf("notify: identity of %d octets, expected 1 to 255", len(s))
		}
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b, nil
}

// ParseIdentities reads the value of the Identities AVP.
func ParseIdentities(b []byte) (Identities, error) {
	var s [2]string
	for n := range s {
		if len(b) < 2 || b[0] == 0 || len(b) < 1+int(b[0]) {
			return Identities{}, fmt.Errorf("notify: identities: %w: name %d cut short", ErrMalformed, n+1)
		}
		s[n], b = string(b[1:1+b[0]]), b[1+int(b[0]):]
	}
	if len(b) != 0 {
		return Identities{}, fmt.Errorf("notify: identities: %w: %d octets too many", ErrMalformed, len(b))
	}
	return Identities{CA: s[0], AR: s[1]}, nil
}

func millis(d time.Duration) uint32  { return clamp32(d.Milliseconds()) }
func seconds(d time.Duration) uint32 { return clamp32(int64(d / time.Second)) }

func clamp32(v int64) uint32 {
	switch {
	case v < 0:
		return 0
	case v > 1<<32-1:
		return 1<<32 - 1
	}
	return uint32(v)
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
