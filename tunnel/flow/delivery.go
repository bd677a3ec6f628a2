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
)

var destNames = [...]string{Held: "held", ToTunnel: "to tunnel", ToLink: "to link", Dropped: "dropped"}

// String names the destination.
func (d Dest) String() string {
	if int(d) < len(destNames) {
		return destNames[d]
	}
	return fmt.Sprintf("Dest(%d)", uint8(d))
}

// Stats counts packets. In == Tunneled + Linked + Queued + the sum of Dropped.
type Stats struct {
	In          uint64            `json:"in"`           // came
	Tunneled    uint64            `json:"tunneled"`     // given out for the tunnel
	Linked      uint64            `json:"linked"`       // given out for the link
	Queued      uint64            `json:"queued"`       // in the queue now
	Dropped     map[Reason]uint64 `json:"dropped"`      // reasons that occurred
	Held        uint64            `json:"held"`         // were ever in the queue
	HighWater   int               `json:"high_water"`   // most in the queue at a time
	HeldFor     time.Duration     `json:"held_ns"`      // time in hold or with a queue, in sum, up to the last call
	ForcedFlips uint64            `json:"forced_flips"` // steps to direct without a silence
	Refused     uint64            `json:"refused"`      // events that did not fit the mode
}

// Delivery delivers the packets of one direction of one visitor. It has no lock.
type Delivery struct {
	limits Limits // fixed after NewDelivery

	// owner
	mode    Mode
	queue   fifo
	pool    pool
	active  time.Time // last packet in or out, or last change of mode
	last    time.Time // latest now seen
	holding bool      // in hold, or with a queue
	since   time.Time // when holding began

	in, tunneled, linked, held uint64
	forced, refused            uint64
	highWater                  int
	heldFor                    time.Duration
	drops                      drops
}

// NewDelivery makes a delivery in mode released.
func NewDelivery(l Limits) *Delivery {
	return &Delivery{limits: l, pool: pool{most: l.Packets}}
}

// Mode returns the mode.
func (d *Delivery) Mode() Mode { return d.mode }

// Len returns how many packets are queued.
func (d *Delivery) Len() int { return d.queue.n }

// Apply changes the mode as the table says. It returns a *RefusedError, and
// changes nothing, when the event does not fit the mode, and for Flip when packets
// are queued. What is queued at Release is dropped as "released".
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
	if e == Flip && d.queue.n > 0 {
		d.settle(now)
		return d.refuse(e, fmt.Sprintf("%d packets are queued: drain them first", d.queue.n))
	}
	d.mode, d.active = next, now
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
	d.mode, d.active = next, now
	d.settle(now)
	return nil
}

// Release ends delivery in any mode; what is queued is dropped for reason:
// ReasonReleased, or ReasonLimit when the router saves itself.
func (d *Delivery) Release(now time.Time, reason Reason) {
	d.drops.add(reason, uint64(d.queue.n))
	d.mode, d.active = Released, now
	d.queue = fifo{}
	d.pool.free = nil
	d.settle(now)
}

// Packet takes a packet that came for the visitor and says what to do with it.
// For ToTunnel and ToLink the caller sends pkt itself, before anything else of
// this delivery. For Held it was copied.
func (d *Delivery) Packet(now time.Time, pkt []byte) Dest {
	d.expire(now)
	d.in++
	d.active = now
	dest := d.decide()
	switch dest {
	case ToTunnel:
		d.tunneled++
	case ToLink:
		d.linked++
	case Held:
		if reason, full := d.full(len(pkt)); full {
			d.drops.add(reason, 1)
			dest = Dropped
			break
		}
		d.queue.push(entry{buf: d.pool.copyOf(pkt), at: now})
		d.held++
		d.highWater = max(d.highWater, d.queue.n)
	case Dropped:
		d.drops.add(ReasonReleased, 1)
	}
	d.settle(now)
	return dest
}

// decide says where a packet that comes now is to go, buffer space aside.
func (d *Delivery) decide() Dest {
	switch d.mode {
	case Tunnel, Drain, Direct:
		if d.queue.n > 0 {
			return Held
		}
		return d.out()
	case Hold:
		return Held
	}
	return Dropped
}

// out is where the mode sends packets.
func (d *Delivery) out() Dest {
	if d.mode == Tunnel {
		return ToTunnel
	}
	return ToLink
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
// gives the buffer back with Recycle.
func (d *Delivery) Next(now time.Time) (pkt []byte, to Dest, ok bool) {
	d.expire(now)
	if d.queue.n == 0 || d.mode == Hold {
		d.settle(now)
		return nil, Held, false
	}
	pkt, to = d.queue.pop(), d.out()
	if to == ToTunnel {
		d.tunneled++
	} else {
		d.linked++
	}
	d.active = now
	d.settle(now)
	return pkt, to, true
}

// Recycle takes back a packet that Next gave, once, when it has been sent.
func (d *Delivery) Recycle(pkt []byte) { d.pool.put(pkt) }

// Failed says that the last packet given out for to (ToTunnel or ToLink), by
// Packet or Next, could not be sent: it counts as dropped, "send failed", and no
// longer as sent.
func (d *Delivery) Failed(to Dest) {
	switch {
	case to == ToTunnel && d.tunneled > 0:
		d.tunneled--
	case to == ToLink && d.linked > 0:
		d.linked--
	default:
		return // nothing was given out
	}
	d.drops.add(ReasonSend, 1)
}

// SilentFor returns for how long no packet came or went, and the mode did not change.
func (d *Delivery) SilentFor(now time.Time) time.Duration { return now.Sub(d.active) }

// Deadline returns when the oldest packet held becomes too old, if it can.
func (d *Delivery) Deadline() (time.Time, bool) {
	if d.limits.MaxAge <= 0 || d.queue.n == 0 {
		return time.Time{}, false
	}
	return d.queue.first().at.Add(d.limits.MaxAge), true
}

// OnDeadline drops what has become too old. Packet and Next do so as well.
func (d *Delivery) OnDeadline(now time.Time) {
	d.expire(now)
	d.settle(now)
}

func (d *Delivery) expire(now time.Time) {
	if d.limits.MaxAge <= 0 {
		return
	}
	for d.queue.n > 0 && now.Sub(d.queue.first().at) >= d.limits.MaxAge {
		d.pool.put(d.queue.pop())
		d.drops.add(ReasonAge, 1)
	}
}

// settle keeps the account of the time spent holding.
func (d *Delivery) settle(now time.Time) {
	d.last = now
	holding := d.mode == Hold || d.queue.n > 0
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
	return Stats{
		In: d.in, Tunneled: d.tunneled, Linked: d.linked, Queued: uint64(d.queue.n), Dropped: d.drops.report(),
		Held: d.held, HighWater: d.highWater, HeldFor: held, ForcedFlips: d.forced, Refused: d.refused,
	}
}
