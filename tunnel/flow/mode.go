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
	Await
	Copy
	Bicast
	numModes
)

var modeNames = [numModes]string{
	Released: "released", Tunnel: "tunnel", Hold: "hold", Drain: "drain", Direct: "direct",
	Await: "await", Copy: "copy", Bicast: "bicast",
}

// String names the mode as in doc.go.
func (m Mode) String() string {
	if m < numModes {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// keeps says whether what comes waits in the queue, and nothing leaves it.
func (m Mode) keeps() bool { return m == Hold || m == Await }

// numbers says whether packets are numbered.
func (m Mode) numbers() bool { return m == Copy || m == Bicast }

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
	Serve                   // the node is on our link and was never prepared for: the kernel delivers, and we may be asked to hold
	Behind                  // Arrival, but what its previous router forwards comes before what we hold
	Ended                   // the previous router's marker came, or the wait for it is over
	Guard                   // the node wants copies kept of what is sent to it, in case its link is cut
	Unguard                 // no more
	Both                    // the node wants its packets at both places
	numEvents
)

var eventNames = [numEvents]string{
	Create: "create", Disable: "disable", Arrival: "arrival", SwitchBack: "switch-back",
	Gone: "gone", Flip: "flip", Release: "release", Serve: "serve", Behind: "behind", Ended: "ended",
	Guard: "guard", Unguard: "unguard", Both: "both",
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
		Serve:      to(Direct, "it came by itself, the kernel delivers"),
		Behind:     refuse("nothing was prepared: the kernel delivers"),
		Ended:      refuse("nothing waits for a previous router"),
		Guard:      refuse("nothing was prepared: serve first"),
		Unguard:    refuse("no copies are kept"),
		Both:       refuse("nothing was prepared: serve first"),
	},
	Tunnel: {
		Create:     to(Tunnel, "created anew: keys or outer addresses changed"),
		Disable:    to(Hold, "the node leaves"),
		Arrival:    to(Drain, "it left without a word and is here"),
		SwitchBack: to(Tunnel, "repeated"),
		Gone:       to(Hold, "it left without a word"),
		Flip:       refuse("the node is not on our link"),
		Release:    to(Released, "over"),
		Serve:      refuse("it has a tunnel: it arrives"),
		Behind:     to(Await, "it left without a word and is here, its previous router forwards first"),
		Ended:      refuse("nothing waits for a previous router"),
		Guard:      to(Copy, "its link may be cut without warning"),
		Unguard:    to(Tunnel, "repeated"),
		Both:       to(Bicast, "it moves soon"),
	},
	Hold: {
		Create:     to(Tunnel, "it went elsewhere and made the tunnel anew"),
		Disable:    to(Hold, "repeated"),
		Arrival:    to(Drain, "the node is here"),
		SwitchBack: to(Tunnel, "the move failed, the node is back where it was"),
		Gone:       to(Hold, "known already"),
		Flip:       refuse("the node is not on our link"),
		Release:    to(Released, "over"),
		Serve:      refuse("it is away: it arrives"),
		Behind:     to(Await, "the node is here, its previous router forwards first"),
		Ended:      refuse("nothing waits for a previous router: the node is away"),
		Guard:      refuse("the node is away: nothing is sent of which copies could be kept"),
		Unguard:    to(Hold, "nothing is sent; what was kept stays until the node has confirmed it"),
		Both:       to(Bicast, "it may be at either place"),
	},
	Drain: {
		Create:     to(Tunnel, "it moved on and made the tunnel anew"),
		Disable:    to(Hold, "the node leaves again"),
		Arrival:    to(Drain, "repeated"),
		SwitchBack: to(Tunnel, "it did not stay, the tunnel reaches it again"),
		Gone:       to(Hold, "gone again"),
		Flip:       to(Direct, "the kernel delivers from here on"),
		Release:    to(Released, "over"),
		Serve:      refuse("it has arrived already"),
		Behind:     refuse("the queue goes out already"),
		Ended:      to(Drain, "repeated"),
		Guard:      to(Copy, "its link may be cut without warning"),
		Unguard:    to(Drain, "repeated"),
		Both:       to(Bicast, "it moves soon"),
	},
	Direct: {
		Create:     to(Tunnel, "it moved on: we are its previous router and forward"),
		Disable:    to(Hold, "it moves on: we are its previous router and hold"),
		Arrival:    to(Direct, "repeated"),
		SwitchBack: to(Tunnel, "it went back, the tunnel reaches it again"),
		Gone:       to(Hold, "gone"),
		Flip:       refuse("the kernel delivers already"),
		Release:    to(Released, "over"),
		Serve:      to(Direct, "repeated"),
		Behind:     to(Direct, "late: nothing is held here any more"),
		Ended:      to(Direct, "late"),
		Guard:      to(Copy, "its link may be cut without warning: through the tunnel, so that numbers tell"),
		Unguard:    to(Direct, "repeated"),
		Both:       to(Bicast, "it moves soon: we are its previous router and send both ways"),
	},
	Await: {
		Create:     to(Tunnel, "it moved on and made the tunnel anew"),
		Disable:    to(Hold, "the node leaves again"),
		Arrival:    to(Drain, "it waits for its previous router no longer"),
		SwitchBack: to(Tunnel, "it did not stay, the tunnel reaches it again"),
		Gone:       to(Hold, "gone again"),
		Flip:       refuse("what the previous router forwards comes first"),
		Release:    to(Released, "over"),
		Serve:      refuse("it has arrived already"),
		Behind:     to(Await, "repeated"),
		Ended:      to(Drain, "now what we held"),
		Guard:      refuse("what the previous router forwards comes first"),
		Unguard:    to(Await, "repeated"),
		Both:       refuse("what the previous router forwards comes first"),
	},
	Copy: {
		Create:     to(Tunnel, "its link was cut: what it has not confirmed goes to the new place"),
		Disable:    to(Hold, "the node leaves"),
		Arrival:    to(Drain, "it is here, and what it has not confirmed goes first"),
		SwitchBack: to(Copy, "it was not away"),
		Gone:       to(Hold, "its link was cut"),
		Flip:       refuse("the tunnel is used: unguard and arrive first"),
		Release:    to(Released, "over"),
		Serve:      refuse("it has a tunnel: it arrives"),
		Behind:     to(Await, "it is here, its previous router forwards first"),
		Ended:      refuse("nothing waits for a previous router"),
		Guard:      to(Copy, "repeated"),
		Unguard:    to(Tunnel, "no copies any more"),
		Both:       to(Bicast, "it moves soon"),
	},
	Bicast: {
		Create:     to(Tunnel, "it is at the new place"),
		Disable:    to(Hold, "it is at neither place now"),
		Arrival:    to(Drain, "it is here"),
		SwitchBack: to(Tunnel, "the move failed, the node is back where it was"),
		Gone:       to(Hold, "it is at neither place"),
		Flip:       refuse("both ways are used: arrive first"),
		Release:    to(Released, "over"),
		Serve:      refuse("it has a tunnel: it arrives"),
		Behind:     to(Await, "it is here, its previous router forwards first"),
		Ended:      refuse("nothing waits for a previous router"),
		Guard:      to(Copy, "it does not move yet: one way, with copies"),
		Unguard:    to(Tunnel, "it does not move after all"),
		Both:       to(Bicast, "repeated"),
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
