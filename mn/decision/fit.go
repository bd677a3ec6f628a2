package decision

import "math"

// fit is a line through readings, the later ones with more weight: sums of weights, times and values, the times from the last
// reading on, the values from fitFrom on. One more reading costs the same however many there were.
type fit struct{ w, t, tt, x, tx, xx float64 }

const (
	fitFrom = -70 // dBm: keeps the sums small
	apart   = 2.0 // readings in a second that say something of their own: those of a fading signal that come closer are alike
)

// add takes a reading dt seconds after the last one, which is worth keep of what it was.
func (f *fit) add(dt, keep, value float64) {
	x := value - fitFrom
	f.tt = keep * (f.tt - 2*dt*f.t + dt*dt*f.w)
	f.tx = keep * (f.tx - dt*f.x)
	f.t = keep * (f.t - dt*f.w)
	f.x = keep*f.x + x
	f.xx = keep*f.xx + x*x
	f.w = keep*f.w + 1
}

// line is what a fit says.
type line struct {
	level    float32 // dBm, at the last reading
	slope    float32 // dB/s, nearer to 0 the less is certain
	variance float64 // dB², of the readings about the line
}

// spread is how far the readings are from the line, in dB: one standard deviation.
func (l *line) spread() float32 { return float32(math.Sqrt(l.variance)) }

// line returns the line by least squares. The slope is multiplied by what is certain of it: s²/(s²+4·se²), a half where it is
// twice its standard error.
func (f *fit) line() line {
	if f.w < 1.5 {
		return line{level: float32(f.x/max(f.w, 1) + fitFrom)}
	}
	per := 1 / f.w
	mean, when := f.x*per, f.t*per
	apartT := f.tt - f.t*when // of the times about their mean
	if apartT < 1e-3 {
		return line{level: float32(mean + fitFrom)}
	}
	inv := 1 / apartT
	slope := (f.tx - f.t*mean) * inv
	level := mean - slope*when
	v := max(f.xx-level*f.x-slope*f.tx, 0) * per
	n := max(min(2*f.w, apart*math.Sqrt(12*apartT*per)+1), 2.5)
	v *= n / (n - 2) // two readings were spent on the line
	if n < 3 {
		v = max(v, 4)
	}
	s2 := slope * slope
	return line{float32(level + fitFrom), float32(slope * s2 / (s2 + 4*v*f.w*inv/n + 1e-12)), v}
}
