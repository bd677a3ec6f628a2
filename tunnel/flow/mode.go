package flow

import "fmt"

// Mode is how packets for a visitor are delivered.
type Mode uint8

// The modes; doc.go says what each does with a packet.
const (
	Released Mode = iota
	Tunnel
	Hold
	Drain
	Direct
	numModes
)

var modeNames = [numModes]string{Released: "released", Tunnel: "tunnel", Hold: "hold", Drain: "drain", Direct: "direct"}

// String names the mode as in doc.go.
func (m Mode) String() string {
	if m < numModes {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Event is what changes a mode: a message authenticated under the MPA-SA, or the
// router's own timers, limits and access points. Nothing else may.
type Event uint8

// The events.
const (
	Create     Event = iota // the node created the tunnel, or created it anew
	Disable                 // the node is about to leave (departure marker, or disable request)
	Arrival                 // the node is on our link, authenticated
	SwitchBack              // the node is back where the tunnel reaches it
	Gone                    // the node left without a word (access point's report, liveness)
	Flip                    // our own: queue empty and a silence found
	Release                 // expiry, termination, limit
	numEvents
)

var eventNames = [numEvents]string{
	Create: "create", Disable: "disable", Arrival: "arrival", SwitchBack: "switch-back",
	Gone: "gone", Flip: "flip", Release: "release",
}

// String names the event as in doc.go.
func (e Event) String() string {
	if e < numEvents {
		return eventNames[e]
	}
	return fmt.Sprintf("Event(%d)", uint8(e))
}

// Transition is one pair of the table.
type Transition struct {
	From Mode
	On   Event
	To   Mode // From when not OK
	OK   bool // the event is accepted
	Why  string
}

type step struct {
	to  Mode
	ok  bool
	why string
}

func to(m Mode, why string) step { return step{to: m, ok: true, why: why} }
func refuse(why string) step     { return step{why: why} }

// table has a step for each pair; a mode or event added needs its row or column,
// which the tests demand.
var table = [numModes][numEvents]step{
	Released: {
		Create:     to(Tunnel, "the tunnel stands"),
		Disable:    refuse("there is no tunnel to disable"),
		Arrival:    refuse("nothing was prepared: the kernel delivers"),
		SwitchBack: refuse("there is no tunnel to come back to"),
		Gone:       refuse("nobody was here"),
		Flip:       refuse("nothing to hand over"),
		Release:    to(Released, "repeated"),
	},
	Tunnel: {
		Create:     to(Tunnel, "created anew: keys or outer addresses changed"),
		Disable:    to(Hold, "the node leaves"),
		Arrival:    to(Drain, "it left without a word and is here"),
		SwitchBack: to(Tunnel, "repeated"),
		Gone:       to(Hold, "it left without a word"),
		Flip:       refuse("the node is not on our link"),
		Release:    to(Released, "over"),
	},
	Hold: {
		Create:     to(Tunnel, "it went elsewhere and made the tunnel anew"),
		Disable:    to(Hold, "repeated"),
		Arrival:    to(Drain, "the node is here"),
		SwitchBack: to(Tunnel, "the move failed, the node is back where it was"),
		Gone:       to(Hold, "known already"),
		Flip:       refuse("the node is not on our link"),
		Release:    to(Released, "over"),
	},
	Drain: {
		Create:     to(Tunnel, "it moved on and made the tunnel anew"),
		Disable:    to(Hold, "the node leaves again"),
		Arrival:    to(Drain, "repeated"),
		SwitchBack: to(Tunnel, "it did not stay, the tunnel reaches it again"),
		Gone:       to(Hold, "gone again"),
		Flip:       to(Direct, "the kernel delivers from here on"),
		Release:    to(Released, "over"),
	},
	Direct: {
		Create:     to(Tunnel, "it moved on: we are its previous router and forward"),
		Disable:    to(Hold, "it moves on: we are its previous router and hold"),
		Arrival:    to(Direct, "repeated"),
		SwitchBack: to(Tunnel, "it went back, the tunnel reaches it again"),
		Gone:       to(Hold, "gone"),
		Flip:       refuse("the kernel delivers already"),
		Release:    to(Released, "over"),
	},
}

// Next returns the mode that follows m on e, and whether e is accepted in m; if
// not, the mode stays.
func Next(m Mode, e Event) (Mode, bool) {
	if m >= numModes || e >= numEvents || !table[m][e].ok {
		return m, false
	}
	return table[m][e].to, true
}

// Table returns the transitions of all pairs, by mode and then by event.
func Table() []Transition {
	out := make([]Transition, 0, int(numModes)*int(numEvents))
	for m := range numModes {
		for e := range numEvents {
			next, ok := Next(m, e)
			out = append(out, Transition{From: m, On: e, To: next, OK: ok, Why: table[m][e].why})
		}
	}
	return out
}

// RefusedError says that an event does not fit the mode. Nothing changed.
type RefusedError struct {
	Mode   Mode
	Event  Event
	Reason string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("flow: %v refused in mode %v: %s", e.Event, e.Mode, e.Reason)
}
