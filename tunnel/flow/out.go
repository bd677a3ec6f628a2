package flow

import "time"

// Out is a packet or a mark that goes out of a delivery.
type Out struct {
	Dest Dest
	Pkt  []byte // of Fetch; nil: a mark
	Mark uint64 // what Mark was given
	// Number is the packet's place in the numbering Epoch, by which its receiver
	// knows copies and puts them in order. It applies if Numbered: packets for the
	// link go as they are.
	Number   uint32
	Epoch    uint16
	Numbered bool
}

// maxMarks bounds how many marks may wait in a queue.
const maxMarks = 8

// marks are places in the queue. Places are counted from the queue's beginning of
// time, so that they hold whatever comes, goes or is put in front.
type marks struct {
	at             [maxMarks]int64
	token          [maxMarks]uint64
	n              int
	pushed, popped int64
}

// due takes the next mark that nothing of the queue is before.
func (m *marks) due() (token uint64, ok bool) {
	if m.n == 0 || m.popped < m.at[0] {
		return 0, false
	}
	token = m.token[0]
	copy(m.at[:], m.at[1:m.n])
	copy(m.token[:], m.token[1:m.n])
	m.n--
	return token, true
}

// numbering numbers what goes out, from 1, in an epoch.
type numbering struct {
	epoch uint16
	last  uint32
	on    bool
}

// Mark puts a mark behind what is queued: Fetch gives it when everything that came
// before has gone out, and what comes later waits behind it. With it a previous
// router says where its forwarding ends. False: nobody is there, or too many wait.
func (d *Delivery) Mark(now time.Time, token uint64) bool {
	d.expire(now)
	d.settle(now)
	m := &d.marks
	if d.mode == Released || m.n == maxMarks {
		return false
	}
	m.at[m.n], m.token[m.n] = m.pushed, token
	m.n++
	return true
}

// Fetch gives the oldest packet of the queue, or a mark in its place, when the mode
// lets it out, and where it goes. The caller sends it before anything else of this
// delivery, and then gives the buffer back with Recycle.
func (d *Delivery) Fetch(now time.Time) (out Out, ok bool) {
	d.expire(now)
	defer d.settle(now)
	if d.mode.keeps() || d.mode == Released {
		return Out{}, false
	}
	if token, ok := d.marks.due(); ok {
		d.active = now
		return Out{Dest: d.out(), Mark: token}, true
	}
	if d.queue.n == 0 {
		return Out{}, false
	}
	d.active = now
	e := d.pop()
	out = d.send(now, e, d.out())
	out.Pkt = e.buf
	return out, true
}

// Previous takes a packet for the visitor that its previous router forwards. In
// await it is for the link at once; in any other mode it is a packet like others.
func (d *Delivery) Previous(now time.Time, pkt []byte) Out {
	d.expire(now)
	if d.mode != Await {
		return d.Take(now, pkt)
	}
	d.in++
	d.active = now
	out := d.send(now, entry{buf: pkt, at: now}, ToLink)
	d.settle(now)
	return out
}

// send counts a packet that goes to dest now, gives it its number, and keeps a copy
// if the mode says so.
func (d *Delivery) send(now time.Time, e entry, dest Dest) Out {
	out := Out{Dest: dest}
	switch dest {
	case ToLink:
		d.linked++
		return out
	case ToTunnel:
		d.tunneled++
	case ToBoth:
		d.both++
	default:
		return out
	}
	if !d.numbers.on {
		return out
	}
	if !e.tagged {
		d.numbers.last++
		e.number, e.tagged = d.numbers.last, true
	}
	out.Number, out.Epoch, out.Numbered = e.number, d.numbers.epoch, true
	if d.mode == Copy {
		d.ring.keep(now, e, &d.pool)
	}
	return out
}

// Confirm takes what the receiver says it has of our numbering. It belongs before the
// event that the same message brings: what is not confirmed then is delivered again.
func (d *Delivery) Confirm(r Report) {
	if d.numbers.on && r.Epoch == d.numbers.epoch {
		d.ring.confirm(r, &d.pool)
	}
}

// enter changes the mode on e, and what goes with it.
func (d *Delivery) enter(now time.Time, m Mode, e Event) {
	from := d.mode
	d.mode, d.active, d.waits = m, now, time.Time{}
	switch {
	case m == Await && d.opts.Wait > 0:
		d.waits = now.Add(d.opts.Wait)
	case m.numbers() && !d.numbers.on:
		d.numbers = numbering{epoch: d.numbers.epoch + 1, on: true}
	}
	switch {
	case m == Copy || m == Hold:
	case m == Released, from == Copy && (e == Unguard || e == Both):
		d.ring.forgetAll(&d.pool) // the link holds: whoever keeps copies asks again
	default:
		d.recover()
	}
	if m == Drain || m == Direct || m == Released {
		// What goes natively has no number: the next numbering begins anew.
		d.numbers.on = false
		for i := range d.queue.n {
			d.queue.get(i).tagged = false
		}
	}
	d.rest()
}

// recover puts what the receiver has not confirmed before everything else.
func (d *Delivery) recover() {
	for d.ring.queue.n > 0 {
		d.queue.pushFront(d.ring.queue.takeLast())
		d.marks.popped--
		d.tunneled--
		d.recovered++
	}
	d.highWater = max(d.highWater, d.queue.n)
}
