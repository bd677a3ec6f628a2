package decision

import (
	"math"
	"time"
)

const (
	maxSignal  = 0       // dBm, above any
	edge       = 2.0     // dB above Lost where the link may be gone at any time
	loadIsDB   = 8.0     // a point that has all it can take is worth that many dB less than an empty one
	followsDB  = 4.0     // one to which all moves of before went is worth that many more
	spare      = 4.0     // dB that a signal is kept above Lost
	wider      = 3.0     // dB above where it prepares that Predictive looks
	sure       = 2.0     // standard deviations besides
	pressed    = 6.0     // dB above Lost where another point need not be better by the whole margin any more,
	leastOf    = 2.0 / 3 // but by so much of it
	earlier    = 1.0     // dB above its own leave that Predictive prepares
	ahead      = 2.5     // times what a preparation takes, that it is begun before
	lookAhead  = 2.0     // s
	pathLoss   = 35.0    // dB for each ten times of the distance: in and between buildings
	shadow     = 20.0    // m, over which the half of a shadow goes
	plunge     = 6.0     // dB below the average that are no noise
	still      = 0.05    // dB/s: less is no change
	densest    = 4.0     // dB by which Hybrid moves its levels
	denseIn    = 10      // s, over which Hybrid looks at its surroundings
	slowWalk   = 0.2     // m/s
	longest32  = 3600    // s that are expected at most
	nearest    = 100     // m², within which the signal does not become stronger
	deepest    = 12      // dB that a shadow makes at most
	assessTime = 5 * time.Second
)

// view is the present link as the style sees it.
type view struct {
	avg, here    float32 // dBm: averaged, and as it counts: less what is lost
	then         float32 // dBm, as it counts, at the horizon
	look, leave  float32
	accept       float32
	margin       float32
	dwell        time.Duration
	left         time.Duration // less than 0: not known
	horizon      float32       // s: candidates are compared there
	worth        float32       // dB, of the present point by cost and load
	panic        bool          // it may be gone at any time
	assess       bool          // Hybrid looks around in a new place
	vx, vy       float32       // m/s
	place        Place
	moving       bool          // place and speed are known
	short        time.Duration // a stay that is not worth a move
	slope, noise float32
	speed        float32
	prepare      float32 // dBm: below it what the ladder says is prepared
}

// view looks at the present point: levels, margin and dwell are the policy's, as its style adapts them.
func (e *Engine) view(h *track, s *Sample) view {
	p := &e.policy
	v := view{
		avg: h.avg, look: p.Look, leave: p.Leave, accept: p.Accept, margin: p.Margin, dwell: p.Dwell, left: -1,
		worth: h.worth, prepare: maxSignal,
	}
	v.here = h.avg - e.penalty()
	v.then = v.here
	switch p.Style {
	case Sticky:
		if e.rate > slowRate {
			v.leave = min(v.leave, p.Lost)
		}
	case Hybrid:
		e.adapt(&v, h)
	case Predictive:
		e.predict(&v, h, s)
	}
	if u := e.restless(); u > 0 {
		v.margin *= 1 + u/2
		v.dwell += time.Duration(u * float32(v.dwell))
	}
	v.panic = v.here < p.Lost+min(edge, (p.Leave-p.Lost)/2)
	if v.panic {
		v.accept = min(v.accept, p.Lost+max(v.margin, edge))
	}
	return v
}

// adapt is Hybrid: where there are many points it looks early, where there are none it holds on; where the signal goes down
// fast it waits less, and where it only goes up and down another point must be better by more.
func (e *Engine) adapt(v *view, h *track) {
	v.assess = e.now-e.denseAt < assessTime || e.denseAt == 0
	shift := min(max(2*(e.dense-1), -densest), densest)
	v.look += shift
	v.leave += shift / 2
	l := h.trend()
	v.slope, v.noise = l.slope, l.spread()
	fast := min(max(-l.slope, 0), 1) // at 1 dB/s a cell is left within the minute
	v.margin += (1-fast)*min(v.noise, 4)/2 - fast*v.margin/3
	v.dwell -= time.Duration(fast * float32(v.dwell) / 2)
	v.leave = min(v.leave+fast*2, v.look)
}

// predict is Predictive: it looks, prepares and leaves as late as it may, for the switch to be over before the signal is lost. What
// the signal will be follows from the place, speed and heading where they are known, otherwise from its trend.
func (e *Engine) predict(v *view, h *track, s *Sample) {
	p := &e.policy
	if s.Place.Known && s.Speed > slowWalk && s.Speed < 1e4 && s.Heading > -1e3 && s.Heading < 1e3 {
		if at := s.Place.sane(); at.Known {
			v.place, v.moving, v.speed = at, true, s.Speed
			if e.mapped { // else nobody asks
				sin, cos := math.Sincos(float64(s.Heading))
				v.vx, v.vy = s.Speed*float32(cos), s.Speed*float32(sin)
			}
		}
	}
	need := float32(e.need.Seconds())
	v.horizon = min(need+float32(v.dwell.Seconds()), 5)
	then, stay := e.expect(v, h, v.horizon)
	loses := e.penalty()
	v.then, v.left = then-loses, stay
	falls := max((h.trend().level-then)/max(v.horizon, 0.1), 0) // dB/s
	if v.moving && falls > still {
		v.left = max(e.leftBy(h.trend().level, -falls), 0)
	}
	if gap := h.fast - h.avg; gap < -plunge { // it breaks away: average and trend come late, the average by the window
		v.here = min(v.here, h.fast+plunge-loses)
		if left := e.leftBy(h.fast, gap/max(e.window, 0.25)); v.left < 0 || left < v.left {
			v.left = left
		}
	}
	if h.fit.w > 3 {
		v.leave = min(p.Lost+spare+sure*h.trend().spread()+falls*v.horizon, p.Look)
		v.prepare = min(v.leave+earlier+falls*ahead*need, max(p.Look, v.leave))
		v.look = min(v.prepare+wider+falls*lookAhead, max(p.Look, v.leave))
	}
	v.margin *= min(max((v.here-p.Lost)/pressed, leastOf), 1)
	v.short = max(p.Within/2, 2*e.need)
	if v.left >= 0 {
		v.dwell = min(v.dwell, max((v.left-e.need)/2, 0))
	}
}

// expect is the signal of a point that many seconds from now, dBm, and how long it is above lost; less than 0: not known.
func (e *Engine) expect(v *view, t *track, in float32) (then float32, stay time.Duration) {
	l := t.trend()
	if !v.moving || !t.onMap() {
		return l.level + l.slope*in, e.leftBy(l.level, l.slope)
	}
	x, y := v.place.X-t.Place.X, v.place.Y-t.Place.Y
	reach := t.Reach * t.Reach
	now := e.policy.Lost + pathLoss/2*decades(reach/max(x*x+y*y, nearest))
	x, y = x+v.vx*in, y+v.vy*in
	then = e.policy.Lost + pathLoss/2*decades(reach/max(x*x+y*y, nearest))
	then += min(max(l.level-now, -deepest), deepest) * shadow / (shadow + v.speed*in)
	return then, v.stay(t)
}

// leftBy is how long a signal is above Lost, by its trend; less than 0: it does not go there.
func (e *Engine) leftBy(level, slope float32) time.Duration {
	if slope > -still {
		return -1
	}
	return seconds(max(level-e.policy.Lost, 0) / -slope)
}

func seconds(s float32) time.Duration { return time.Duration(min(s, longest32) * 1e9) }

// stay is how long the node will be within reach of a point, as it goes now; less than 0: not known, or it is not within reach.
func (v *view) stay(t *track) time.Duration {
	if !v.moving || !t.onMap() {
		return -1
	}
	x, y := v.place.X-t.Place.X, v.place.Y-t.Place.Y
	uu, ru, in := v.vx*v.vx+v.vy*v.vy, x*v.vx+y*v.vy, t.Reach*t.Reach-x*x-y*y
	if in < 0 || uu == 0 {
		return -1
	}
	return seconds((float32(math.Sqrt(float64(ru*ru+uu*in))) - ru) / uu)
}

// decades is the logarithm to the base of 10, to 0.003, of a number above 0.
func decades(x float32) float32 {
	b := math.Float32bits(x)
	m := math.Float32frombits(b&0x7fffff | 0x3f800000) // 1 to 2
	log2 := float32(int(b>>23)-127) + (-1.0/3*m+2)*m - 2.0/3*2.5
	return log2 * 0.30103
}
