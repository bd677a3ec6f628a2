package decision

import "time"

// candidate is a point that could be moved to.
type candidate struct {
	point  PointID
	net    NetworkID
	signal float32 // dBm, averaged
	worth  float32 // dB more than the present point by cost, load and history
	gain   float32 // dB better in all
	must   float32 // dB that it must be
	rank   float32
	not    Code // why not: 0 where it could be moved to
	stay   time.Duration
	age    time.Duration // of the sighting
}

const (
	likely  = 0.5 // of the moves away: its network is prepared to the tunnel
	perhaps = 0.3 // it is as far as an address
	backDB  = 6
	evenAt  = 3 // dB less make it a third as likely
)

// before says whether a is ranked before b.
func before(a, b *candidate) bool { return a.rank > b.rank || a.rank == b.rank && a.point < b.point }

// rank looks at what is in sight. It finds the best point of the same network, and the best of all; e.far has the best of each
// other network.
func (e *Engine) rank(h *track, v *view, near, best *candidate) {
	e.nfar = 0
	crowd := 0
	now, step, heed := e.now, e.counts.Steps, v.accept-e.policy.Margin
	if v.horizon > 0 { // all lines at once: one does not wait for another
		for _, id := range e.sight {
			if t := &e.points[id]; t.bent && t.avg >= heed {
				t.trend()
			}
		}
	}
	for _, id := range e.sight {
		if id == e.here {
			continue
		}
		t := &e.points[id]
		n := &e.networks[t.Network]
		c := candidate{point: id, net: t.Network, signal: t.avg, stay: -1}
		then := t.avg
		if v.horizon > 0 && t.avg >= heed {
			then, c.stay = e.expect(v, t, v.horizon)
		}
		c.worth = t.worth + followsDB*max(t.Follows, 0) - v.worth
		c.gain = then - v.then + c.worth
		c.rank = c.gain
		same := t.Network == h.Network
		stood := Depth(0)
		if !same {
			if stood = e.stood(n); stood > None || n.wanted+1 == step {
				c.rank += e.policy.Margin / 2
			}
		}
		c.age, c.must = now-t.at, v.margin
		if id == e.before {
			c.must += e.back()
		}
		if c.age <= Fresh && c.signal >= heed {
			crowd++
		}
		switch {
		case !t.rest.over(now) || !same && (!n.rest.over(now) || n.cap == None && !n.part.over(now)):
			c.not = Resting
		case c.age > Fresh:
			c.not = Unseen
		case min(c.signal, then) < v.accept:
			c.not = Weak
		case c.gain < c.must:
			c.not = NoBetter
		case c.stay >= 0 && c.stay < v.short && !v.panic:
			c.not = Short
		}
		if best.point == 0 || before(&c, best) {
			*best = c
		}
		switch {
		case same:
			if c.not == 0 && (near.point == 0 || before(&c, near)) {
				*near = c
			}
		case c.not == Unseen && stood == None && n.wanted+1 != step: // nothing is begun for it
		case c.not == 0 || c.not != Resting && (c.signal >= heed || stood > None && c.signal >= v.accept-2*e.policy.Margin):
			e.insert(&c)
		}
	}
	e.crowd(crowd)
}

// crowd has Hybrid know how dense its surroundings are.
func (e *Engine) crowd(n int) {
	if e.denseAt == 0 {
		e.dense, e.denseAt = float32(n), max(e.now, 1)
		return
	}
	dt := min(float32(e.now-e.crowdAt)*1e-9, denseIn)
	e.crowdAt = e.now
	e.dense += (float32(n) - e.dense) * dt / (denseIn + dt)
}

// better says which of two candidates is moved to: one that can be before one that cannot.
func better(a, b *candidate) bool {
	if (a.not == 0) != (b.not == 0) {
		return a.not == 0
	}
	return before(a, b)
}

// insert puts a candidate among the best, one of each network.
func (e *Engine) insert(c *candidate) {
	far := &e.far
	at := e.nfar
	for i := range e.nfar {
		if far[i].net == c.net {
			if !better(c, &far[i]) {
				return
			}
			at = i
			break
		}
	}
	if at == e.nfar {
		if e.nfar == len(far) {
			if at--; !better(c, &far[at]) {
				return
			}
		} else {
			e.nfar++
		}
	}
	for ; at > 0 && better(c, &far[at-1]); at-- {
		far[at] = far[at-1]
	}
	far[at] = *c
}

// ceiling is as far as a network can be prepared now.
func (e *Engine) ceiling(n *network) Depth {
	if n.part.over(e.now) {
		return n.Most
	}
	return min(n.Most, n.cap)
}

// prepare writes the ladder: which networks, and how far.
func (e *Engine) prepare(v *view, near *candidate) []Rung {
	out := e.ladder[:0]
	most := min(e.nfar, e.policy.Rungs)
	var sum float64
	var top float32
	var share [MaxRungs]float64
	if e.policy.Style == Predictive && most > 0 {
		top = e.far[0].rank
		if near.point != 0 {
			top = max(top, near.rank)
			sum = odds(near.rank - top)
		}
		for i := range most {
			c := &e.far[i]
			share[i] = odds(c.rank - top)
			sum += share[i]
		}
	}
	for i := range most {
		c := &e.far[i]
		n := &e.networks[c.net]
		stood := e.stood(n)
		want := None
		if v.here < v.prepare {
			want = e.depth(v, i, c, share[i], sum)
		}
		if n.wanted+1 == e.counts.Steps { // what is begun is not given up for another that is little likelier
			want = max(want, min(n.want, Tunnel))
		}
		want = min(max(want, min(stood, Tunnel)), e.ceiling(n))
		if v.left >= 0 && !v.panic {
			for want > stood && n.to(stood, want) > v.left {
				want--
			}
		}
		if want > None {
			n.wanted, n.want = e.counts.Steps, want
			out = append(out, Rung{Network: c.net, Point: c.point, Depth: want})
		}
	}
	if e.nfar > 0 {
		n := &e.networks[e.far[0].net]
		e.need = n.to(e.stood(n), min(e.ceiling(n), Tunnel))
	}
	return out
}

// depth is how far a candidate is worth to be prepared.
func (e *Engine) depth(v *view, i int, c *candidate, share, sum float64) Depth {
	if i == 0 && c.not == 0 && e.faint.so {
		return Bind
	}
	if e.policy.Style != Predictive {
		switch {
		case i == 0 && c.not == 0:
			return Tunnel
		case i <= 1 && c.not == 0:
			return Configure
		case i == 0 || c.not == 0:
			return Authenticate
		}
		return None
	}
	switch p := share / sum; {
	case c.not != 0 && (i > 0 || c.gain < v.margin):
	case p >= likely:
		return Tunnel
	case p >= perhaps:
		return Configure
	}
	return None
}

// odds is how likely a candidate is beside the best one, by how many dB it is worth more.
func odds(dB float32) float64 {
	x := float64(min(dB, 0)) / evenAt
	return 1 / (1 - x + x*x)
}

// back is how many dB more the point where it was last must be better by for Predictive to go back there within Within.
func (e *Engine) back() float32 {
	if !e.moved || e.policy.Style != Predictive || e.now-e.since > e.policy.Within {
		return 0
	}
	return backDB
}
