package flow

import "time"

// Group delivers the packets of one direction of one visitor by class: each class is
// a Delivery, held, sent both ways or let go by its own policy. Order is kept within a
// class; between classes the earlier one goes first. It has no lock.
type Group struct {
	classes *Classes // fixed after NewGroup

	each  []*Delivery
	marks [maxMarks]groupMark
}

// groupMark is a mark that some classes have passed.
type groupMark struct {
	token  uint64
	passed int // 0: unused
}

// NewGroup makes a group in mode released. Of o, Limits, Copies and Pass are the classes'.
func NewGroup(c *Classes, o Options) *Group {
	g := &Group{classes: c}
	for _, class := range c.list {
		o.Limits, o.Copies, o.Pass = class.Limits, class.Copies, class.Handling == HandlePass
		g.each = append(g.each, New(o))
	}
	return g
}

// Class returns the delivery of a class.
func (g *Group) Class(i int) *Delivery { return g.each[i] }

// Len is how many classes there are.
func (g *Group) Len() int { return len(g.each) }

// Has says whether a class is in one of the modes.
func (g *Group) Has(modes ...Mode) bool {
	for _, d := range g.each {
		for _, m := range modes {
			if d.mode == m {
				return true
			}
		}
	}
	return false
}

// Mode is that of the classes; where they differ, the one that is farthest from direct.
func (g *Group) Mode() Mode {
	for _, m := range [...]Mode{Released, Hold, Await, Bicast, Copy, Tunnel, Drain} {
		if g.Has(m) {
			return m
		}
	}
	return Direct
}

// event is what an event means for a class; false: it does not concern the class.
func (g *Group) event(i int, e Event) (Event, bool) {
	handling, mode := g.classes.list[i].Handling, g.each[i].mode
	switch {
	case e == Both:
		return e, handling == HandleBicast
	case e == Disable || e == Gone:
		return e, mode != Bicast // one of the places is where it will be
	case e == Flip:
		return e, mode != Direct
	case e == Behind && handling == HandlePass:
		return Arrival, true // of this class the previous router holds nothing
	}
	return e, true
}

// Apply changes the modes of all classes that the event concerns, or of none: then it
// returns the *RefusedError of the first that refuses.
func (g *Group) Apply(now time.Time, e Event) error {
	concerned := false
	for i, d := range g.each {
		e, ok := g.event(i, e)
		if !ok {
			continue
		}
		concerned = true
		d.expire(now)
		if _, ok := Next(d.mode, e); !ok || e == Flip && d.waiting() {
			return d.Apply(now, e) // which says why not
		}
	}
	if !concerned && e == Flip {
		return g.each[0].Apply(now, e)
	}
	for i, d := range g.each {
		if e, ok := g.event(i, e); ok {
			if err := d.Apply(now, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// ForcedFlip is that of all classes that drain.
func (g *Group) ForcedFlip(now time.Time) error {
	var err error
	flipped := false
	for _, d := range g.each {
		if d.mode != Drain {
			continue
		}
		flipped = true
		err = d.ForcedFlip(now)
	}
	if !flipped {
		return g.each[0].ForcedFlip(now) // which says why not
	}
	return err
}

// Release ends delivery of all classes.
func (g *Group) Release(now time.Time, reason Reason) {
	for _, d := range g.each {
		d.Release(now, reason)
	}
	clear(g.marks[:])
}

// Take takes a packet, as that of its class's Delivery does.
func (g *Group) Take(now time.Time, pkt []byte) (class int, out Out) {
	class = g.classes.Of(pkt)
	return class, g.each[class].Take(now, pkt)
}

// Previous takes a packet that the previous router forwards.
func (g *Group) Previous(now time.Time, pkt []byte) (class int, out Out) {
	class = g.classes.Of(pkt)
	return class, g.each[class].Previous(now, pkt)
}

// Mark puts a mark behind what is queued in every class: Fetch gives it once, when all have passed it.
func (g *Group) Mark(now time.Time, token uint64) bool {
	for i := range g.marks {
		if g.marks[i].passed != 0 {
			continue
		}
		for _, d := range g.each {
			if d.mode == Released || d.marks.n == maxMarks {
				return false
			}
		}
		for _, d := range g.each {
			d.Mark(now, token)
		}
		g.marks[i] = groupMark{token: token, passed: 1}
		return true
	}
	return false
}

// Fetch gives the next packet of the first class that has one, or a mark that all
// classes have passed. The caller gives the buffer back with Class(class).Recycle.
func (g *Group) Fetch(now time.Time) (class int, out Out, ok bool) {
	for i, d := range g.each {
		for {
			out, ok := d.Fetch(now)
			if !ok {
				break
			}
			if out.Pkt != nil || g.passed(out.Mark) {
				return i, out, true
			}
		}
	}
	return 0, Out{}, false
}

// passed counts a class that has passed a mark, and says whether it was the last.
func (g *Group) passed(token uint64) bool {
	for i := range g.marks {
		m := &g.marks[i]
		if m.passed == 0 || m.token != token {
			continue
		}
		if m.passed++; m.passed > len(g.each) {
			*m = groupMark{}
			return true
		}
		return false
	}
	return false
}

// SilentFor returns for how long no packet of any class came or went.
func (g *Group) SilentFor(now time.Time) time.Duration {
	silent := g.each[0].SilentFor(now)
	for _, d := range g.each[1:] {
		silent = min(silent, d.SilentFor(now))
	}
	return silent
}

// Deadline returns when OnDeadline is to be called, if at all.
func (g *Group) Deadline() (at time.Time, ok bool) {
	for _, d := range g.each {
		if t, has := d.Deadline(); has && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// OnDeadline does what has become due in every class.
func (g *Group) OnDeadline(now time.Time) {
	for _, d := range g.each {
		d.OnDeadline(now)
	}
}

// In returns how many packets came.
func (g *Group) In() (n uint64) {
	for _, d := range g.each {
		n += d.in
	}
	return n
}

// Rest is that of every class.
func (g *Group) Rest() {
	for _, d := range g.each {
		d.Rest()
	}
}

// Forget is that of every class.
func (g *Group) Forget(before time.Time) {
	for _, d := range g.each {
		d.Forget(before)
	}
}

// Queued returns how many packets of all classes are queued, and their octets.
func (g *Group) Queued() (packets, bytes int) {
	for _, d := range g.each {
		packets += d.queue.n
		bytes += d.queue.bytes
	}
	return packets, bytes
}

// Stats returns the counters of each class by its name; it allocates.
func (g *Group) Stats() map[string]Stats {
	out := make(map[string]Stats, len(g.each))
	for i, d := range g.each {
		out[g.classes.list[i].Name] = d.Stats()
	}
	return out
}
