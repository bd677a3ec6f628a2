package decision

import (
	"math"
	"time"
)

const (
	edge       = 2.0  // dB above Lost where the link may be gone at any time
	loadIsDB   = 8.0  // a point that has all it can take is worth that many dB less than an empty one
	followsDB  = 4.0  // one to which all moves of before went is worth that many more
	sure       = 1.5  // standard deviations that a signal is kept above Lost
	still      = 0.05 // dB/s: less is no change
	densest    = 4.0  // dB by which Hybrid moves its levels
	denseIn    = 10   // s, over which Hybrid looks at its surroundings
	slowWalk   = 0.2  // m/s
	longest32  = 3600 // s that are expected at most
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
}

// view looks at the present point: levels, margin and dwell are the policy's, as its style adapts them.
func (e *Engine) view(h *track, s *Sample) view {
	p := &e.policy
	v := view{
		avg: h.avg, look: p.Look, leave: p.Leave, accept: p.Accept, margin: p.Margin, dwell: p.Dwell, left: -1,
		worth: h.worth,
	}
	v.here = h.avg - e.penalty()
	v.then = v.here
	switch p.Style {
	case Sticky:
		if e.rate > slowest {
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
	l := &h.line
	v.slope, v.noise = l.slope, l.spread
	fast := min(max(-l.slope, 0), 1) // at 1 dB/s a cell is left within the minute
	v.margin += (1-fast)*min(l.spread, 4)/2 - fast*v.margin/3
	v.dwell -= time.Duration(fast * float32(v.dwell) / 2)
	v.leave = min(v.leave+fast*2, v.look)
}

// predict is Predictive: it looks, and leaves, as late as it may, for the switch to be over before the signal is lost.
func (e *Engine) predict(v *view, h *track, s *Sample) {
	p := &e.policy
	l := &h.line
	v.slope, v.noise = l.slope, l.spread
	v.left = e.leftBy(l.level-e.penalty(), l.slope)
	if s.Place.Known && s.Speed > slowWalk && s.Speed < 1e4 {
		if p := s.Place.sane(); p.Known && s.Heading > -1e3 && s.Heading < 1e3 {
			sin, cos := math.Sincos(float64(s.Heading))
			v.place, v.moving = p, true
			v.vx, v.vy = s.Speed*float32(cos), s.Speed*float32(sin)
			if stay := v.stay(h); stay >= 0 && (v.left < 0 || stay < v.left) {
				v.left = stay
			}
		}
	}
	falls := max(-l.slope, 0)
	need := float32(e.need.Seconds())
	v.horizon = min(need+float32(v.dwell.Seconds()), 5)
	v.then = v.here + l.slope*v.horizon
	if e.points[e.here].fit.w > 3 {
		base := p.Lost + max(sure*l.spread, edge)
		v.leave = min(base+falls*v.horizon, p.Look)
		v.look = min(max(base+v.margin+falls*(2*need+2), v.leave+v.margin/2), max(p.Look, v.leave))
	}
	v.short = max(p.Within/2, 2*e.need)
	if v.left >= 0 {
		v.dwell = min(v.dwell, max((v.left-e.need)/2, 0))
	}
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
	if !v.moving || !t.Place.Known || t.Reach == 0 {
		return -1
	}
	x, y := v.place.X-t.Place.X, v.place.Y-t.Place.Y
	uu, ru, in := v.vx*v.vx+v.vy*v.vy, x*v.vx+y*v.vy, t.Reach*t.Reach-x*x-y*y
	if in < 0 || uu == 0 {
		return -1
	}
	return seconds((float32(math.Sqrt(float64(ru*ru+uu*in))) - ru) / uu)
}
