package flow

import (
	"math"
	"time"
)

// Gap estimates how long a node is between two points of attachment, from the moves
// before: mean and deviation as RFC 6298 section 2 has them of round-trip times.
type Gap struct {
	mean, dev time.Duration
	samples   int
}

// Add takes a measured gap, from the start of hold to the arrival. Negative ones are
// errors of measurement, and not taken.
func (g *Gap) Add(d time.Duration) {
	switch {
	case d < 0:
		return
	case g.samples == 0:
		g.mean, g.dev = d, d/2
	default:
		g.dev += ((d - g.mean).Abs() - g.dev) / 4
		g.mean += (d - g.mean) / 8
	}
	g.samples++
}

// Expect returns a gap that the next one hardly exceeds; without a sample, other.
func (g *Gap) Expect(other time.Duration) time.Duration {
	if g.samples == 0 {
		return other
	}
	return g.mean + 4*g.dev
}

const (
	rateSlot  = 100 * time.Millisecond
	rateSlots = 16 // the peak is that of the last 1.6 s
)

// Rate measures how fast packets come: the busiest 100 ms of the last ones.
type Rate struct {
	slots   [rateSlots]struct{ packets, bytes int }
	at      int       // the slot that is being filled
	started time.Time // of it
}

// Add counts a packet that came.
func (r *Rate) Add(now time.Time, size int) {
	r.pass(now)
	r.slots[r.at].packets++
	r.slots[r.at].bytes += size
}

// pass begins the slots that time has come to.
func (r *Rate) pass(now time.Time) {
	if r.started.IsZero() {
		r.started = now
	}
	steps := int64(now.Sub(r.started) / rateSlot)
	if steps <= 0 {
		return
	}
	r.started = r.started.Add(time.Duration(steps) * rateSlot)
	for range min(steps, rateSlots) {
		r.at = (r.at + 1) % rateSlots
		r.slots[r.at].packets, r.slots[r.at].bytes = 0, 0
	}
}

// Peak returns the most packets and octets a second.
func (r *Rate) Peak(now time.Time) (packets, bytes float64) {
	r.pass(now)
	for _, s := range r.slots {
		packets, bytes = max(packets, float64(s.packets)), max(bytes, float64(s.bytes))
	}
	const perSecond = float64(time.Second / rateSlot)
	return packets * perSecond, bytes * perSecond
}

// Sizing bounds what Size makes of measurements.
type Sizing struct {
	Least, Most Limits        // MaxAge is not looked at
	Gap         time.Duration // taken while none was measured
	MaxAge      time.Duration // of a packet of this class; 0: none. Longer gaps need no more room
	Spare       float64       // part on top: 0.25 is a quarter more
}

// Size returns limits for what comes at the peak rate during the expected gap.
func (s Sizing) Size(now time.Time, g *Gap, r *Rate) Limits {
	gap := g.Expect(s.Gap)
	if s.MaxAge > 0 {
		gap = min(gap, s.MaxAge)
	}
	packets, bytes := r.Peak(now)
	need := func(rate float64, least, most int) int {
		n := math.Ceil(rate * gap.Seconds() * (1 + s.Spare))
		return max(least, int(min(n, float64(most))))
	}
	return Limits{
		Packets: need(packets, s.Least.Packets, s.Most.Packets),
		Bytes:   need(bytes, s.Least.Bytes, s.Most.Bytes),
		MaxAge:  s.MaxAge,
	}
}
