package event

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// HandoverID names one handover on every node that takes part: 128 random bits.
// The zero value means "no handover".
type HandoverID [16]byte

// NewHandoverID draws an identifier from rnd (crypto/rand.Reader outside tests).
// It never returns the zero identifier without an error.
func NewHandoverID(rnd io.Reader) (HandoverID, error) {
	for range 2 {
		var h HandoverID
		if _, err := io.ReadFull(rnd, h[:]); err != nil {
			return HandoverID{}, fmt.Errorf("event: handover id: read random: %w", err)
		}
		if !h.IsZero() {
			return h, nil
		}
	}
	return HandoverID{}, fmt.Errorf("event: handover id: the random source gives only zeros")
}

// ParseHandoverID reads the 32 hexadecimal digits that String writes.
func ParseHandoverID(s string) (HandoverID, error) {
	var h HandoverID
	if len(s) != 2*len(h) {
		return HandoverID{}, fmt.Errorf("event: handover id: want %d hexadecimal digits, got %d characters", 2*len(h), len(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return HandoverID{}, fmt.Errorf("event: handover id %q: %w", s, err)
	}
	return h, nil
}

// String returns 32 lower-case hexadecimal digits.
func (h HandoverID) String() string { return hex.EncodeToString(h[:]) }

// IsZero says whether h is the zero value, "no handover".
func (h HandoverID) IsZero() bool { return h == HandoverID{} }

// MarshalText implements encoding.TextMarshaler.
func (h HandoverID) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it reads what MarshalText writes.
func (h *HandoverID) UnmarshalText(text []byte) error {
	parsed, err := ParseHandoverID(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// Phase names a part of a handover (RFC 6252 section 6.3).
type Phase string

// The phases, in the order in which a handover passes them.
const (
	PhaseHandover   Phase = "handover"    // the whole, from decision to clean-up
	PhaseAttach     Phase = "attach"      // first attachment, nothing prepared
	PhasePrepare    Phase = "prepare"     // everything before the move; the candidate may then be kept
	PhaseDiscovery  Phase = "discovery"   // which routers are there
	PhaseAuth       Phase = "tauth"       // (pre-)authentication: PANA, EAP, AAA
	PhaseConf       Phase = "tconf"       // pre-configuration, DHCP and DAD included
	PhaseDHCP       Phase = "dhcp"        // lease for the new care-of address
	PhaseDAD        Phase = "dad"         // address conflict detection
	PhaseKeys       Phase = "keys"        // access points and the link given the keys they share
	PhaseTunnel     Phase = "tunnel"      // proactive handover tunnel
	PhaseBind       Phase = "bind"        // binding update through the tunnel
	PhaseDepart     Phase = "depart"      // markers exchanged before the link goes
	PhaseForward    Phase = "forward"     // another router sends what it has through its tunnel, to where the node is
	PhaseHold       Phase = "hold"        // packets held while the node is away
	PhaseReach      Phase = "reach"       // test of the new point, while both ends hold
	PhaseL2         Phase = "l2"          // time without a link
	PhaseL3         Phase = "l3"          // link up to first datagram
	PhaseArrival    Phase = "arrival"     // activation at the new router
	PhaseDrain      Phase = "drain"       // held packets delivered
	PhaseFlip       Phase = "flip"        // delivery handed to the kernel
	PhaseRenew      Phase = "renew"       // lease renewed from the new link
	PhaseCleanup    Phase = "cleanup"     // old state removed
	PhaseSwitchBack Phase = "switch-back" // return to the old point of attachment
)

// Kind says what a record marks.
type Kind string

// The kinds of record.
const (
	KindBegin Kind = "begin" // a phase begins
	KindEnd   Kind = "end"   // a phase ends: Duration, Outcome and Reason are set
	KindPoint Kind = "point" // a moment: Name is set
)

// Outcome says how a phase, or the whole handover, ended.
type Outcome string

// The outcomes. Completed and SwitchedBack are for PhaseHandover.
const (
	OK           Outcome = "ok"
	Failed       Outcome = "failed"
	Cancelled    Outcome = "cancelled"
	Completed    Outcome = "completed"
	SwitchedBack Outcome = "switched-back"
)

// good says whether o needs nobody's attention.
func (o Outcome) good() bool { return o == OK || o == Completed || o == "" }

// Event is one record of the timeline.
type Event struct {
	Seq      uint64         // position in this recorder, from 1
	Time     time.Time      // when it happened, by the clock of Node
	Node     string         // who recorded it
	Handover HandoverID     // zero: belongs to no handover
	Phase    Phase          //
	Kind     Kind           //
	Name     string         // of a point
	Duration time.Duration  // of an end
	Outcome  Outcome        // of an end
	Reason   string         // of an end that is not good: one line for an operator
	Attrs    map[string]any // strings, numbers, booleans, lists and maps of them; never modified once recorded
}

// wireEvent is the JSON form of an Event.
type wireEvent struct {
	Seq        uint64         `json:"seq,omitzero"`
	Time       time.Time      `json:"time,omitzero"`
	Node       string         `json:"node,omitzero"`
	Handover   HandoverID     `json:"handover,omitzero"`
	Phase      Phase          `json:"phase,omitzero"`
	Kind       Kind           `json:"kind,omitzero"`
	Name       string         `json:"name,omitzero"`
	DurationMS *float64       `json:"duration_ms,omitempty"`
	Outcome    Outcome        `json:"outcome,omitzero"`
	Reason     string         `json:"reason,omitzero"`
	Attrs      map[string]any `json:"attrs,omitempty"`
}

// MarshalJSON implements json.Marshaler: lower_snake names, the duration in
// milliseconds, fields that do not apply left out.
func (e Event) MarshalJSON() ([]byte, error) {
	w := wireEvent{
		Seq: e.Seq, Time: e.Time, Node: e.Node, Handover: e.Handover, Phase: e.Phase, Kind: e.Kind,
		Name: e.Name, Outcome: e.Outcome, Reason: e.Reason, Attrs: e.Attrs,
	}
	if e.Kind == KindEnd || e.Duration != 0 {
		ms := milliseconds(e.Duration)
		w.DurationMS = &ms
	}
	return json.Marshal(w)
}

// maxMilliseconds bounds a duration read from JSON to what time.Duration holds.
const maxMilliseconds = float64(1<<63-1) / float64(time.Millisecond)

// UnmarshalJSON implements json.Unmarshaler; it reads what MarshalJSON writes.
func (e *Event) UnmarshalJSON(data []byte) error {
	var w wireEvent
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	*e = Event{
		Seq: w.Seq, Time: w.Time, Node: w.Node, Handover: w.Handover, Phase: w.Phase, Kind: w.Kind,
		Name: w.Name, Outcome: w.Outcome, Reason: w.Reason, Attrs: w.Attrs,
	}
	if w.DurationMS != nil {
		ms := *w.DurationMS
		if ms < 0 || ms >= maxMilliseconds {
			return fmt.Errorf("event: duration_ms %g is out of range: want 0 or more, below %g", ms, maxMilliseconds)
		}
		e.Duration = time.Duration(ms*float64(time.Millisecond) + 0.5)
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
