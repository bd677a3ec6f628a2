package decision

import "time"

const (
	calm      = 3 // times Policy.Within without a return until one of before counts no more
	mostShaky = 3 // returns that count
	learnStep = 4 // of what a step takes, one part in so many is what it took last
)

// Moved says that the point of attachment has changed. A Step with another Here says it too; what comes second adds who chose.
func (e *Engine) Moved(at time.Duration, m Move) {
	e.tick(at)
	if m.To != e.here {
		e.arrive(m.To, m.Chosen)
	} else if m.Chosen && m.To != 0 && e.moved && !e.chose {
		e.chose = true
		e.counts.Chosen++
	}
}

// arrive takes a new present point.
func (e *Engine) arrive(to PointID, chosen bool) {
	t := e.point(to)
	if t == nil {
		to = 0
	}
	if to == e.here {
		return
	}
	from := e.here
	e.here = to
	e.weak, e.faint, e.wait, e.lossy = span{}, span{}, span{}, false
	e.looking = false
	if to == 0 {
		e.gone = from
		return
	}
	if from == 0 {
		from, e.gone = e.gone, 0
	}
	e.tried = true
	if from == to {
		return // it is back where it was, and was nowhere else
	}
	f := e.point(from)
	if f == nil { // it was nowhere before
		e.before, e.since, e.moved = 0, e.now, true
		return
	}
	e.counts.Moves++
	if e.chose = chosen; chosen {
		e.counts.Chosen++
	}
	if f.Network == t.Network {
		e.counts.Roams++
	}
	if b := e.point(e.before); b != nil && e.moved && e.now-e.since <= e.policy.Within &&
		(e.before == to || b.Network == t.Network && f.Network != t.Network) {
		e.counts.PingPongs++
		e.unrest = min(e.restless()+1, mostShaky)
		e.unrestAt, e.shaky = e.now, e.now+e.policy.Within
	} else if e.now < e.shaky {
		e.shaky = e.now + e.policy.Within
	}
	e.before, e.since, e.moved = from, e.now, true
}

// restless is how many returns of late count: one less for each time of calm.
func (e *Engine) restless() float32 {
	if e.unrest == 0 {
		return 0
	}
	return max(e.unrest-float32(e.now-e.unrestAt)/float32(calm*max(e.policy.Within, time.Second)), 0)
}

// Failed says that what was decided did not succeed: a roam to a point, which rests, or a handover to a network, which does.
func (e *Engine) Failed(at time.Duration, d Decision) {
	e.tick(at)
	t := e.point(d.To)
	if t == nil || d.Action == Stay {
		return
	}
	e.counts.Failed++
	t.rest.fail(e.now, &e.policy)
	if d.Action == Handover {
		e.networks[t.Network].rest.fail(e.now, &e.policy)
	}
}

// Took says how long a step of a preparation took: the one to depth d, and of None the time that the link was gone for in a move
// there. A step that failed is not asked for again, nor what needs it, until the network has rested.
func (e *Engine) Took(at time.Duration, id NetworkID, d Depth, took time.Duration, ok bool) {
	e.tick(at)
	if int(id) >= len(e.networks) || !e.networks[id].known || d > Bind || took < 0 {
		return
	}
	n := &e.networks[id]
	if !ok {
		if d != None {
			if !n.part.over(e.now) {
				n.cap = min(n.cap, d-1)
			} else {
				n.cap = d - 1
			}
			n.part.fail(e.now, &e.policy)
		}
		return
	}
	if d != None && d > n.cap {
		n.part = rest{}
	}
	took = min(took, slowStep)
	learn := func(t *time.Duration) {
		if *t == 0 {
			*t = took
		}
		*t += (took - *t) / learnStep
	}
	switch d {
	case None:
		learn(&n.Times.Switch)
	case Authenticate:
		rounds := time.Duration(float64(n.Times.Rounds) * float64(n.Times.RTT))
		took = max(took-rounds, 0)
		learn(&n.Times.Auth)
	case Configure:
		learn(&n.Times.Configure)
	case Tunnel:
		learn(&n.Times.Tunnel)
	case Bind:
		learn(&n.Times.Bind)
	}
	n.sum()
}

// RTT says how long a packet to a network's router and back took just now.
func (e *Engine) RTT(id NetworkID, rtt time.Duration) {
	if int(id) >= len(e.networks) || !e.networks[id].known || rtt < 0 {
		return
	}
	t := &e.networks[id].Times
	defer e.networks[id].sum()
	rtt = min(rtt, slowStep)
	if t.RTT == 0 {
		t.RTT = rtt
	}
	t.RTT += (rtt - t.RTT) / learnStep
}

// Times returns what a network's steps are expected to take by now.
func (e *Engine) Times(id NetworkID) Times {
	if int(id) >= len(e.networks) {
		return Times{}
	}
	return e.networks[id].Times
}

// latest bounds the caller's clock, for a rest never to end beyond what a time can be.
const latest = 100 * 365 * 24 * time.Hour

// tick has it be that late, if it is not later already.
func (e *Engine) tick(at time.Duration) { e.now = max(e.now, min(at, latest)) }
