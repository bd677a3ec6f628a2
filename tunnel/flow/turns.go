package flow

import (
	"slices"
	"time"
)

// Way is how a packet comes to a node: which of its sockets it is read from.
type Way uint8

// The ways.
const (
	Natively Way = iota // from the link, as it is
	Tunneled            // through the tunnel
)

func (w Way) String() string {
	if w == Natively {
		return "natively"
	}
	return "tunneled"
}

// End names what says, in line with the packets of one way, that those of a phase are over.
type End [16]byte

// phase is a run of packets that come one way, between two that come the other.
type phase struct {
	way   Way
	token uint64 // the gate's
	end   End    // of the phase before, which is read from the other socket
	asked bool   // for the end: it comes, or is lost
}

// Turns puts in order what one sender sends in turn by two ways, of which each is read
// on its own; doc.go draws it. It has no lock.
type Turns struct {
	gate   *Gate
	last   uint64  // token
	phases []phase // oldest first, ways alternating; the end of the first but one has come
}

// NewTurns makes turns in which nothing waits until Begin.
func NewTurns(l Limits) *Turns { return &Turns{gate: NewGate(l)} }

// Begin announces, before the sender may begin it, a phase of packets that come by way. They
// wait for the end of those that come by the other, no longer than wait after the last of
// those, if there are any of either. With wait 0 no end will come: they are behind what is
// held. The sender marks the end of what is tunneled, and the node that of what comes natively,
// when Take or Seal says so: Seal is called before the sender is asked for other packets.
func (t *Turns) Begin(now time.Time, way Way, end End, wait time.Duration) {
	switch n := len(t.phases); {
	case n == 0:
		t.phases = append(t.phases, phase{way: 1 - way})
	case t.phases[n-1].way != way:
	case way == Tunneled && t.unasked(): // nothing has come by it since it was announced before
		return
	default: // between the two may be others, which nobody told of
		t.add(now, 1-way, End{}, 0)
	}
	t.add(now, way, end, wait)
	t.prune()
}

func (t *Turns) add(now time.Time, way Way, end End, wait time.Duration) {
	t.last++
	t.phases = append(t.phases, phase{way: way, token: t.last, end: end})
	t.gate.Arm(now, t.last, wait)
	if wait == 0 {
		t.gate.Marker(now, t.last)
	}
}

// prune forgets phases that are over for both ways.
func (t *Turns) prune() {
	over := 0
	for over+2 < len(t.phases) && !t.gate.Waits(t.phases[over+1].token) {
		over++
	}
	t.phases = slices.Delete(t.phases, 0, over)
}

// Ended takes the end of a phase of packets that came by way, behind the last of them. It is
// the end of those by the same way before as well, whose own was lost, or never sent. The caller
// fetches with Next what it released.
func (t *Turns) Ended(now time.Time, way Way, end End) {
	for i := range t.phases {
		if p := &t.phases[i]; p.way != way && p.end == end && t.gate.Waits(p.token) {
			t.open(now, i)
			return
		}
	}
}

// open ends the wait of phase i, and of those by the same way before.
func (t *Turns) open(now time.Time, i int) {
	for ; i >= 0; i -= 2 {
		if token := t.phases[i].token; t.gate.Waits(token) {
			t.gate.Marker(now, token)
		}
	}
	t.prune()
}

// Give has the newest phase wait for no end any more; what it follows of what is held it
// still follows.
func (t *Turns) Give(now time.Time) {
	if n := len(t.phases); n > 0 {
		t.open(now, n-1)
	}
}

// Open has nothing wait any more.
func (t *Turns) Open(now time.Time) {
	t.Give(now)
	if n := len(t.phases); n > 1 {
		t.open(now, n-2)
	}
}

// Take takes a packet that came by way. True: the caller delivers pkt now. False: it was
// copied and waits, or was dropped. seal says that the node is to mark the end of what came
// natively before it, which is all in the socket now: see Seal.
func (t *Turns) Take(now time.Time, way Way, pkt []byte) (deliver, seal bool) {
	of := t.current(way)
	deliver = t.gate.By(now, of, pkt)
	return deliver, !deliver && of == t.last && t.unasked()
}

// unasked says whether the end of what comes natively before the newest phase is to be marked.
func (t *Turns) unasked() bool {
	n := len(t.phases)
	return n > 0 && t.phases[n-1].way == Tunneled && !t.phases[n-1].asked && t.gate.Waits(t.last)
}

// Seal says with which end the node is to mark, in its native socket, what is there by now,
// if it has to. Where it cannot, it calls Give.
func (t *Turns) Seal() (end End, mark bool) {
	if !t.unasked() {
		return End{}, false
	}
	p := &t.phases[len(t.phases)-1]
	p.asked = true
	return p.end, true
}

// current is the token of the phase whose packets come by way now. What is read from one
// socket ends where the next phase read from the other may begin: so it is the newest one
// behind a phase of the other way that has begun.
func (t *Turns) current(way Way) uint64 {
	for i := len(t.phases) - 1; i > 0; i-- {
		if t.phases[i].way == way && !t.gate.Waits(t.phases[i-1].token) {
			return t.phases[i].token
		}
	}
	return 0 // the oldest: what the gate does not know comes first
}

// Unread says whether packets that came natively before the newest phase may not be read
// yet. It is no longer than until the wait for their end is over, which begins now if it has
// not.
func (t *Turns) Unread(now time.Time) bool {
	n := len(t.phases)
	if n == 0 || t.phases[n-1].way != Tunneled || !t.gate.Waits(t.last) {
		return false
	}
	t.gate.ExpectTo(now, t.last)
	return true
}

// Closed says whether anything waits, or would.
func (t *Turns) Closed() bool { return t.gate.Armed() }

// Deadline returns when OnDeadline is to be called, if at all.
func (t *Turns) Deadline() (at time.Time, ok bool) { return t.gate.Deadline() }

// OnDeadline ends the waits whose end did not come in time. The caller fetches with Next
// what that released.
func (t *Turns) OnDeadline(now time.Time) {
	t.gate.OnDeadline(now)
	t.prune()
}

// Next gives the next packet that was held and may go on, as Gate.Next.
func (t *Turns) Next() (pkt []byte, ok bool) { return t.gate.Next() }

// Recycle takes back a packet that Next gave.
func (t *Turns) Recycle(pkt []byte) { t.gate.Recycle(pkt) }

// Stats returns the counters; it allocates.
func (t *Turns) Stats() GateStats { return t.gate.Stats() }
