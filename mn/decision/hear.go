package decision

import "time"

// Fresh is how old a sighting may be for a move to its point.
const Fresh = 5 * time.Second

// Remember is how old a sighting may be for its network to stay prepared: looks may be farther apart than Fresh.
const Remember = 20 * time.Second

const (
	deaf      = -150.0                 // dBm: what says less is no reading
	maxSight  = 2 * MaxSeen            // points that are remembered as in sight
	lossIsDB  = 20                     // a link that loses all is worth that many dB less
	slowRate  = 6                      // Mbit/s: a rate at or below it cannot be lowered much
	fitWindow = 2                      // of Policy.Window, over which the slope is taken
	thin      = 250 * time.Millisecond // closer readings do not make a trend clearer
	maxStep   = 1 * time.Minute        // between two readings: what was before says nothing any more
)

// track is a point, and what was heard of it.
type track struct {
	Point
	worth float32 // dB, by cost and load
	known bool

	heard bool
	at    time.Duration // of the last reading
	age   time.Duration // as it was said then
	raw   float32
	avg   float32
	fit   fit // of means over thin, or single readings where they are farther apart
	line  line
	bent  bool // line is not yet that of fit
	fitAt time.Duration
	fast  float32 // of the last reading of fit
	sum   float32 // of readings that are not in fit yet
	n     float32

	// in the present sample
	step    uint64
	pend    float32
	pendAge time.Duration
	listed  bool

	rest rest
}

// rest is how long something that failed is left alone.
type rest struct{ until, next time.Duration }

func (r *rest) over(now time.Duration) bool { return now >= r.until }

func (r *rest) fail(now time.Duration, p *Policy) {
	if r.next == 0 {
		r.next = p.RestFirst
	}
	r.until = now + r.next
	r.next = min(2*r.next, p.RestMost)
}

// reading says whether a signal is one that a receiver can have.
func reading(dBm float32) bool { return dBm >= deaf && dBm < 0 }

// point returns what is known of a point, or nil.
func (e *Engine) point(id PointID) *track {
	if int(id) < len(e.points) && e.points[id].known {
		return &e.points[id]
	}
	return nil
}

// hear takes what a sample says of signals. In which order is nothing to it.
func (e *Engine) hear(s *Sample) {
	seen := s.Seen
	if len(seen) > MaxSeen {
		e.counts.Refused += uint64(len(seen) - MaxSeen)
		seen = seen[:MaxSeen]
	}
	for i := range seen {
		g := &seen[i]
		t := e.point(g.Point)
		if t == nil || !reading(g.Signal) || g.Age < 0 {
			e.counts.Refused++
			continue
		}
		if g.Age > Remember || g.Point == e.here && reading(s.Signal) {
			continue
		}
		switch {
		case t.step != e.counts.Steps:
			t.step, t.pend, t.pendAge = e.counts.Steps, g.Signal, g.Age
		case g.Age < t.pendAge || g.Age == t.pendAge && g.Signal > t.pend:
			t.pend, t.pendAge = g.Signal, g.Age
		}
		if !t.listed {
			if len(e.sight) == maxSight {
				e.counts.Refused++
				continue
			}
			t.listed = true
			e.sight = append(e.sight, g.Point)
		}
	}
	kept := e.sight[:0]
	for _, id := range e.sight {
		t := &e.points[id]
		if t.step == e.counts.Steps {
			e.read(t, t.pend, t.pendAge)
		}
		if !t.known || !t.heard || e.now-t.at > Remember {
			t.listed = false
			continue
		}
		kept = append(kept, id)
	}
	e.sight = kept
	if t := e.point(e.here); t != nil {
		switch {
		case reading(s.Signal):
			e.read(t, s.Signal, 0)
		case s.Signal != 0:
			e.counts.Refused++
		}
	}
	e.carry(s)
}

// read takes one reading of a point. One that was said before counts once.
func (e *Engine) read(t *track, dBm float32, age time.Duration) {
	at := e.now - age
	if t.heard && (at <= t.at || age > 0 && dBm == t.raw && age >= t.age) {
		return
	}
	if !t.heard || at-t.at > maxStep {
		t.heard, t.at, t.age, t.raw, t.avg, t.fit = true, at, age, dBm, dBm, fit{}
		t.fit.add(0, 0, float64(dBm))
		t.line, t.fitAt, t.fast, t.sum, t.n = line{level: dBm}, at, dBm, 0, 0
		t.bent = false
		return
	}
	dt := float32(at-t.at) * 1e-9
	// A low pass of the first order with the window as its time constant, whatever the distance of the readings.
	t.avg += (dBm - t.avg) * dt / (e.window + dt)
	t.at, t.age, t.raw = at, age, dBm
	if !e.fits {
		return
	}
	t.sum, t.n = t.sum+dBm, t.n+1
	if at-t.fitAt < thin {
		return
	}
	dt = float32(at-t.fitAt) * 1e-9
	long := fitWindow * e.window
	t.fast = t.sum / t.n
	t.fit.add(float64(dt), float64(long/(long+dt)), float64(t.fast))
	t.bent, t.fitAt, t.sum, t.n = true, at, 0, 0
}

// trend is the line through what was heard of a point. Few are looked at: it is drawn when it is asked for.
func (t *track) trend() *line {
	if t.bent {
		t.line, t.bent = t.fit.line(), false
	}
	return &t.line
}

// carry takes what a sample says of how well the link carries.
func (e *Engine) carry(s *Sample) {
	e.rate = 0
	if s.Rate > 0 && s.Rate < 1e7 {
		e.rate = s.Rate
	}
	if !(s.Loss >= 0 && s.Loss <= 1) {
		if !(s.Loss < 0) {
			e.counts.Refused++
		}
		e.lossy = false
		return
	}
	if !e.lossy {
		e.loss, e.lossAt, e.lossy = s.Loss, e.now, true
		return
	}
	dt := float32(e.now-e.lossAt) * 1e-9
	if dt > 0 {
		e.loss += (s.Loss - e.loss) * dt / (e.window + dt)
	}
	e.lossAt = e.now
}

// penalty is how many dB less the present link is worth by what it loses.
func (e *Engine) penalty() float32 {
	if !e.lossy || e.policy.Style == Sticky && e.rate > slowRate { // it can lower its rate yet
		return 0
	}
	return lossIsDB * e.loss
}
