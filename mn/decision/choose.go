package decision

import "time"

const (
	patience = 3               // times what a preparation should take, before a node goes without
	atLeast  = 2 * time.Second // or that long
)

// The codes.
const (
	_          Code = iota
	Unheard         // the present signal is not known
	Nowhere         // attached nowhere, and no point in sight
	Well            // at or above look
	Above           // little above look, since it was below
	Nobody          // below look, no other point is in sight
	Unseen          // the best other point was not seen for longer than Fresh
	Weak            // the best other point is below accept
	NoBetter        // the best other point is not better by the margin
	Resting         // the best other point failed lately
	Short           // the best other point would soon be left again
	Dwelling        // a move would be right, but the dwell is not over
	Early           // the best other point could be moved to, and there is time before it has to be prepared
	Ready           // prepared; the present point will be left below leave
	Preparing       // the move waits for what is being prepared
	Better          // roam: another point of the network is better
	Faint           // handover: below leave for the dwell
	Leaving         // handover: the cell will be left before long
	Hurry           // handover: there is no time to prepare more
	Dying           // handover or roam: the link may be gone at any time
	Unprepared      // handover: its preparation does not come to an end, or there is none
	Stranded        // attached nowhere: to the best in sight
	codes
)

// stranded decides where the node is attached nowhere.
func (e *Engine) stranded() Decision {
	d := Decision{Look: true, Left: -1, Reason: Reason{Code: Nowhere, Left: -1}}
	e.looking = false
	var best candidate
	least := min(e.policy.Accept, e.policy.Lost+max(e.policy.Margin, edge))
	for _, id := range e.sight {
		t := &e.points[id]
		n := &e.networks[t.Network]
		c := candidate{point: id, net: t.Network, signal: t.avg, worth: t.worth}
		c.rank = c.signal + c.worth
		if e.stood(n) > None {
			c.rank += e.policy.Margin
		}
		if e.now-t.at > Fresh || c.signal < least || !t.rest.over(e.now) || !n.rest.over(e.now) {
			continue
		}
		if best.point == 0 || before(&c, &best) {
			best = c
		}
	}
	if best.point == 0 {
		return d
	}
	d.Action, d.To, d.Now = Handover, best.point, true
	d.Reason = Reason{Code: Stranded, Other: best.point, There: best.signal, Worth: best.worth, Level: least, Left: -1}
	return d
}

// choose decides, where the present signal is known.
func (e *Engine) choose(h *track, v *view) Decision {
	d := Decision{Look: e.looking || v.assess, Both: e.both(), Left: v.left}
	d.Reason = Reason{Here: v.here, Level: v.look, Left: v.left, Margin: v.margin, Accept: v.accept, Dwell: v.dwell}
	if !e.looking {
		if v.assess {
			var near, best candidate
			e.rank(h, v, &near, &best)
		}
		d.Reason.Code = Well
		return d
	}
	r := &d.Reason
	var near, best candidate
	e.rank(h, v, &near, &best)
	d.Ladder = e.prepare(v, &near)
	if e.faint.so {
		r.Level, r.Since = v.leave, e.now-e.faint.from
	} else if e.weak.so {
		r.Since = e.now - e.weak.from
	}
	of := func(c *candidate) {
		r.Other, r.There, r.Worth, r.Gain, r.Margin, r.Age = c.point, c.signal, c.worth, c.gain, c.must, c.age
	}
	if best.point == 0 {
		r.Code = Nobody
		return d
	}
	of(&best)
	if !e.weak.so {
		r.Code = Above
		return d
	}
	if near.point != 0 {
		of(&near)
		switch {
		case v.panic:
			d.Action, d.To, r.Code = Roam, near.point, Dying
		case e.weak.dwelt(e.now, v.dwell):
			d.Action, d.To, r.Code = Roam, near.point, Better
		default:
			r.Code = Dwelling
		}
		return d
	}
	if e.nfar == 0 || e.far[0].not != 0 {
		r.Code = best.not
		return d
	}
	c := &e.far[0]
	of(c)
	n := &e.networks[c.net]
	stood, goal := e.stood(n), min(e.ceiling(n), Tunnel)
	r.Wanted, r.Need = goal, n.to(stood, goal)
	ready := stood >= goal && goal > None
	leave := e.faint.dwelt(e.now, v.dwell)
	if c.net != e.waitFor {
		e.wait, e.waitFor = span{}, c.net
	}
	e.wait.set(leave && !ready, e.now)
	switch {
	case v.panic:
		d.Action, d.To, d.Now, r.Code = Handover, c.point, !ready, Dying
	case !leave && e.faint.so:
		r.Code = Dwelling
	case !leave && !ready:
		if r.Code = Early; n.wanted == e.counts.Steps {
			r.Code = Preparing
		}
	case !leave:
		r.Code = Ready
	case ready:
		d.Action, d.To, r.Code = Handover, c.point, Faint
		if v.left >= 0 {
			r.Code = Leaving
		}
	case goal > None && v.left >= 0 && v.left < r.Need:
		d.Action, d.To, d.Now, r.Code = Handover, c.point, true, Hurry
	case goal == None || e.wait.dwelt(e.now, max(patience*r.Need, atLeast)):
		d.Action, d.To, d.Now, r.Code = Handover, c.point, true, Unprepared
	default:
		r.Code = Preparing
	}
	return d
}
