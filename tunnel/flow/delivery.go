package flow

import (
	"fmt"
	"time"
)

// Dest is what becomes of a packet.
type Dest uint8

// The destinations.
const (
	Held     Dest = iota // copied into the queue; Next gives it in its turn
	ToTunnel             // to be sent through the tunnel now
	ToLink               // to be sent on the access link now
	Dropped              // counted, gone
	ToBoth               // to be sent through the tunnel and to the other place now, with its number
)

var destNames = [...]string{Held: "held", ToTunnel: "to tunnel", ToLink: "to link", Dropped: "dropped", ToBoth: "to both"}

// String names the destination.
func (d Dest) String() string {
	if int(d) < len(destNames) {
		return destNames[d]
	}
	return fmt.Sprintf("Dest(%d)", uint8(d))
}

// Stats counts packets. In == Tunneled + Linked + Bicast + Queued + the sum of Dropped.
type Stats struct {
	In          uint64            `json:"in"`                   // came
	Tunneled    uint64            `json:"tunneled"`             // given out for the tunnel
	Linked      uint64            `json:"linked"`               // given out for the link
	Bicast      uint64            `json:"bicast,omitempty"`     // given out for both places; one each
	Queued      uint64            `json:"queued"`               // in the queue now
	QueuedBytes int               `json:"queued_bytes"`         // octets of those
	Dropped     map[Reason]uint64 `json:"dropped"`              // reasons that occurred
	Held        uint64            `json:"held"`                 // were ever in the queue
	HighWater   int               `json:"high_water"`           // most in the queue at a time
	HeldFor     time.Duration     `json:"held_ns"`              // time in hold or with a queue, in sum, up to the last call
	ForcedFlips uint64            `json:"forced_flips"`         // steps to direct without a silence
	Refused     uint64            `json:"refused"`              // events that did not fit the mode
	Copied      uint64            `json:"copied,omitempty"`     // copies kept until the receiver confirms
	Confirmed   uint64            `json:"confirmed,omitempty"`  // of those, confirmed
	Forgotten   uint64            `json:"forgotten,omitempty"`  // of those, given up before: may have arrived or not
	Recovered   uint64            `json:"recovered,omitempty"`  // of those, taken back to be delivered; no longer in Tunneled
	WaitedOut   uint64            `json:"waited_out,omitempty"` // waits for a previous router that ended without its marker
}

// Delivery delivers the packets of one direction of one visitor. It has no lock.
type Delivery struct {
	limits Limits
	opts   Options // fixed after New

	// owner
	mode    Mode
	queue   fifo
	pool    pool
	ring    ring      // copies of what was sent, in mode copy and until the node has told
	numbers numbering // common to all ways a packet can take
	marks   marks
	waits   time.Time // in await: until then
	active  time.Time // last packet in or out, or last change of mode
	last    time.Time // latest now seen
	holding bool      // in hold, or with a queue
	since   time.Time // when holding began

	in, tunneled, linked, both, held uint64
	forced, refused, waitedOut       uint64
	recovered                        uint64
	highWater                        int
	heldFor                          time.Duration
	drops                            drops
}

// NewDelivery makes a delivery in mode released.
func NewDelivery(l Limits) *Delivery { return New(Options{Limits: l}) }

// Options is what a delivery may do besides holding.
type Options struct {
	Limits                // of the queue
	Copies  Limits        // of the copies in mode copy; MaxAge: the time in which the loss of the link is noticed
	Wait    time.Duration // in await at most; 0: as long as the previous router takes
	Pass    bool          // in hold and await packets are dropped as "policy": their class is not worth it
	Epoch   uint16        // the numbering before the first one; random, so that it differs after a restart
	Account *Account      // the visitor's share of what the router may hold; nil: all of Limits
}

// New makes a delivery in mode released.
func New(o Options) *Delivery {
	return &Delivery{
		limits: o.Limits, opts: o, pool: pool{most: o.Packets + o.Copies.Packets},
		ring: ring{limits: o.Copies, account: o.Account}, numbers: numbering{epoch: o.Epoch},
	}
}

// SetLimits bounds the queue anew. What is queued already stays, even if it is more.
func (d *Delivery) SetLimits(l Limits) {
	d.limits = l
	d.pool.most = l.Packets + d.opts.Copies.Packets
}

// Mode returns the mode.
func (d *Delivery) Mode() Mode { return d.mode }

// Len returns how many packets are queued.
func (d *Delivery) Len() int { return d.queue.n }

// Apply changes the mode as the table says. It returns a *RefusedError, and
// changes nothing, when the event does not fit the mode, and for Flip when packets
// or marks are queued. What is queued at Release is dropped as "released".
func (d *Delivery) Apply(now time.Time, e Event) error {
	if e == Release {
		d.Release(now, ReasonReleased)
		return nil
	}
	d.expire(now)
	next, ok := Next(d.mode, e)
	if !ok {
		d.settle(now)
		reason := "no such mode or event"
		if d.mode < numModes && e < numEvents {
			reason = table[d.mode][e].why
		}
		return d.refuse(e, reason)
	}
	if e == Flip && d.waiting() {
		d.settle(now)
		return d.refuse(e, fmt.Sprintf("%d packets are queued, and %d marks: drain them first", d.queue.n, d.marks.n))
	}
	d.enter(now, next, e)
	d.settle(now)
	return nil
}

func (d *Delivery) refuse(e Event, reason string) error {
	d.refused++
	return &RefusedError{Mode: d.mode, Event: e, Reason: reason}
}

// ForcedFlip is Flip without its conditions, for a visitor whose packets never
// pause: it may reorder, and is counted. What is queued still comes out of Next.
// It returns a *RefusedError in any mode but drain.
func (d *Delivery) ForcedFlip(now time.Time) error {
	next, ok := Next(d.mode, Flip)
	if !ok {
		return d.refuse(Flip, table[d.mode][Flip].why)
	}
	d.forced++
	d.enter(now, next, Flip)
	d.settle(now)
	return nil
}

// Release ends delivery in any mode; what is queued is dropped for reason:
// ReasonReleased, or ReasonLimit when the router saves itself.
func (d *Delivery) Release(now time.Time, reason Reason) {
	d.drops.add(reason, uint64(d.queue.n))
	d.opts.Account.give(d.queue.n, d.queue.bytes)
	d.queue, d.marks = fifo{}, marks{}
	d.enter(now, Released, Release)
	d.pool.free = nil
	d.settle(now)
}

// Packet takes a packet that came for the visitor and says what to do with it.
// For ToTunnel, ToLink and ToBoth the caller sends pkt itself, before anything
// else of this delivery. For Held it was copied.
func (d *Delivery) Packet(now time.Time, pkt []byte) Dest { return d.Take(now, pkt).Dest }

// Take is Packet for a caller that sends numbered packets.
func (d *Delivery) Take(now time.Time, pkt []byte) Out {
	d.expire(now)
	d.in++
	d.active = now
	dest := d.decide()
	if dest == Held {
		if reason, full := d.admit(len(pkt)); full {
			d.drops.add(reason, 1)
			d.settle(now)
			return Out{Dest: Dropped}
		}
		d.queue.push(entry{buf: d.pool.copyOf(pkt), at: now})
		d.marks.pushed++
		d.held++
		d.highWater = max(d.highWater, d.queue.n)
	}
	if dest == Dropped {
		d.drops.add(ReasonReleased, 1)
	}
	out := d.send(now, entry{buf: pkt, at: now}, dest)
	d.settle(now)
	return out
}

// decide says where a packet that comes now is to go, buffer space aside.
func (d *Delivery) decide() Dest {
	switch {
	case d.mode == Released:
		return Dropped
	case d.mode.keeps() || d.waiting():
		return Held
	}
	return d.out()
}

// waiting says whether something is in the queue that must go before a packet that comes.
func (d *Delivery) waiting() bool { return d.queue.n > 0 || d.marks.n > 0 }

// out is where the mode sends packets.
func (d *Delivery) out() Dest {
	switch d.mode {
	case Tunnel, Copy:
		return ToTunnel
	case Bicast:
		return ToBoth
	}
	return ToLink
}

// admit takes room for a packet of that size, or says why there is none.
func (d *Delivery) admit(size int) (Reason, bool) {
	if d.opts.Pass && d.mode.keeps() {
		return ReasonPolicy, true
	}
	if reason, full := d.full(size); full {
		return reason, true
	}
	if !d.opts.Account.take(size) {
		return ReasonShare, true
	}
	return "", false
}

func (d *Delivery) full(size int) (Reason, bool) {
	if d.queue.n >= d.limits.Packets {
		return ReasonPackets, true
	}
	if d.limits.Bytes > 0 && d.queue.bytes+size > d.limits.Bytes {
		return ReasonBytes, true
	}
	return "", false
}

// Next gives the oldest packet of the queue when the mode lets it out, and where
// it goes; the caller sends it before anything else of this delivery, and then
// gives the buffer back with Recycle. It passes over marks: who sets them uses Fetch.
func (d *Delivery) Next(now time.Time) (pkt []byte, to Dest, ok bool) {
	for {
		out, ok := d.Fetch(now)
		if !ok || out.Pkt != nil {
			return out.Pkt, out.Dest, ok
		}
	}
}

// Recycle takes back a packet that Next gave, once, when it has been sent.
func (d *Delivery) Recycle(pkt []byte) {
	d.pool.put(pkt)
	d.rest()
}

// rest gives memory back when the kernel delivers: the next hold may be hours away.
func (d *Delivery) rest() {
	if d.mode == Direct && d.queue.n == 0 {
		d.pool.free, d.queue = nil, fifo{}
	}
}

// Rest gives memory back of which an Account knows nothing, since nothing is in it: for who
// looks now and then. What is needed again soon costs no more than it did at first.
func (d *Delivery) Rest() {
	if d.mode.keeps() || d.queue.n > 0 || d.ring.queue.n > 0 {
		return
	}
	d.pool.free, d.queue, d.ring.queue = nil, fifo{}, fifo{}
}

// Forget gives up copies kept before then, for who looks now and then: nothing was sent since
// that would have taken their place, and had its link been cut then the node would have said so.
func (d *Delivery) Forget(before time.Time) {
	if d.mode == Copy {
		d.ring.forget(before, &d.pool)
	}
}

// Failed says that the last packet given out for to (ToTunnel, ToLink, or ToBoth
// when neither went), by Packet or Next, could not be sent: it counts as dropped, "send failed", and no
// longer as sent.
func (d *Delivery) Failed(to Dest) {
	switch {
	case to == ToTunnel && d.tunneled > 0:
		d.tunneled--
	case to == ToLink && d.linked > 0:
		d.linked--
	case to == ToBoth && d.both > 0:
		d.both--
	default:
		return // nothing was given out
	}
	d.drops.add(ReasonSend, 1)
}

// FailedOut is Failed for one of the packets given out, not only the last one, in the mode
// in which it was. One of which a copy is kept is not dropped as long as it is.
func (d *Delivery) FailedOut(o Out) {
	if o.Dest == ToTunnel && o.Numbered && o.Epoch == d.numbers.epoch && d.ring.failed(o.Number) {
		return
	}
	d.Failed(o.Dest)
}

// SilentFor returns for how long no packet came or went, and the mode did not change.
func (d *Delivery) SilentFor(now time.Time) time.Duration { return now.Sub(d.active) }

// Deadline returns when OnDeadline is to be called, if at all: the oldest packet
// held becomes too old, or the wait for a previous router ends.
func (d *Delivery) Deadline() (at time.Time, ok bool) {
	if d.limits.MaxAge > 0 && d.queue.n > 0 {
		at, ok = d.queue.first().at.Add(d.limits.MaxAge), true
	}
	if !d.waits.IsZero() && (!ok || d.waits.Before(at)) {
		at, ok = d.waits, true
	}
	return at, ok
}

// OnDeadline drops what has become too old, and ends a wait that was too long.
// Everything else that is told the time does so as well.
func (d *Delivery) OnDeadline(now time.Time) {
	d.expire(now)
	d.settle(now)
}

func (d *Delivery) expire(now time.Time) {
	if !d.waits.IsZero() && !now.Before(d.waits) {
		d.waitedOut++
		d.enter(now, table[Await][Ended].to, Ended)
	}
	if d.limits.MaxAge <= 0 {
		return
	}
	for d.queue.n > 0 && now.Sub(d.queue.first().at) >= d.limits.MaxAge {
		d.pool.put(d.pop().buf)
		d.drops.add(ReasonAge, 1)
	}
}

// pop takes the oldest packet out of the queue.
func (d *Delivery) pop() entry {
	e := d.queue.take()
	d.marks.popped++
	d.opts.Account.give(1, len(e.buf))
	return e
}

// settle keeps the account of the time spent holding.
func (d *Delivery) settle(now time.Time) {
	d.last = now
	holding := d.mode.keeps() || d.queue.n > 0
	switch {
	case holding && !d.holding:
		d.since = now
	case !holding && d.holding:
		d.heldFor += now.Sub(d.since)
	}
	d.holding = holding
}

// Stats returns the counters; it allocates.
func (d *Delivery) Stats() Stats {
	held := d.heldFor
	if d.holding {
		held += d.last.Sub(d.since)
	}
	drops := d.drops
	drops.add(ReasonSend, d.ring.unsent)
	return Stats{
		In: d.in, Tunneled: d.tunneled - d.ring.unsent, Linked: d.linked, Bicast: d.both, Queued: uint64(d.queue.n), QueuedBytes: d.queue.bytes, Dropped: drops.report(),
		Held: d.held, HighWater: d.highWater, HeldFor: held, ForcedFlips: d.forced, Refused: d.refused,
		Copied: d.ring.copied, Confirmed: d.ring.confirmed, Forgotten: d.ring.forgotten, Recovered: d.recovered,
		WaitedOut: d.waitedOut,
	}
}
