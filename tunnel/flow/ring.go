package flow

import "time"

// ring has copies of the last packets sent, until the receiver has confirmed them.
// Copied == Confirmed + Forgotten + Recovered + what is in it.
type ring struct {
	limits  Limits
	account *Account // nil: none
	queue   fifo     // in the order of numbers

	copied, confirmed, forgotten uint64
	unsent                       uint64 // given up, though they never left
}

// keep puts a copy of a packet in, and forgets what is too much or too old by now.
// While nothing is sent nothing is forgotten here: see forget.
func (r *ring) keep(now time.Time, e entry, p *pool) {
	r.copied++
	size := len(e.buf)
	for r.queue.n > 0 && (r.queue.n >= r.limits.Packets ||
		r.limits.Bytes > 0 && r.queue.bytes+size > r.limits.Bytes ||
		r.limits.MaxAge > 0 && now.Sub(r.queue.first().at) >= r.limits.MaxAge) {
		r.drop(p)
		r.forgotten++
	}
	if r.limits.Packets <= 0 || r.limits.Bytes > 0 && size > r.limits.Bytes {
		r.forgotten++
		return
	}
	for !r.account.take(size) { // the newest are the ones that a cut takes
		r.forgotten++
		if r.queue.n == 0 {
			return
		}
		r.drop(p)
	}
	e.buf, e.at, e.unsent = p.copyOf(e.buf), now, false
	r.queue.push(e)
}

// drop removes the oldest copy.
func (r *ring) drop(p *pool) {
	r.giveUp(r.queue.take(), p)
}

func (r *ring) giveUp(e entry, p *pool) {
	if e.unsent {
		r.unsent++
	}
	r.account.give(1, len(e.buf))
	p.put(e.buf)
}

// failed has the copy of a packet that did not leave known as such, if there is one.
func (r *ring) failed(number uint32) bool {
	for i := r.queue.n - 1; i >= 0; i-- {
		if e := r.queue.get(i); e.number == number {
			e.unsent = true
			return true
		}
	}
	return false
}

// confirm removes what the receiver has, or has given up.
func (r *ring) confirm(rep Report, p *pool) {
	for range r.queue.n { // each goes round once
		e := r.queue.take()
		if rep.Has(e.number) {
			r.confirmed++
			r.giveUp(e, p)
			continue
		}
		r.queue.push(e)
	}
}

// forget gives up what is older.
func (r *ring) forget(before time.Time, p *pool) {
	for r.queue.n > 0 && r.queue.first().at.Before(before) {
		r.drop(p)
		r.forgotten++
	}
}

// forgetAll gives every copy up.
func (r *ring) forgetAll(p *pool) {
	for r.queue.n > 0 {
		r.drop(p)
		r.forgotten++
	}
}
