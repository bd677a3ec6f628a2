package flow

import (
	"math"
	"time"
)

// Sizer says how much room the packets for a node will need while it is away: of each
// class what comes at its rate until the node is expected, or until it is worthless by
// age. Before it is away not all its packets may have been seen: the kernel delivers
// those of mode direct. Then the size grows with what comes.
type Sizer struct {
	sizing Sizing          // fixed after NewSizer
	ages   []time.Duration // fixed after NewSizer: of each class
	rates  []Rate

	away  bool
	gap   Gap
	until time.Time // the node is expected
	came  Limits    // while it was away
	size  Limits    // MaxAge is not used
	again time.Time // the rates are looked at
}

// regard is how often the rates are looked at while a node is away.
const regard = 5 * time.Millisecond

// NewSizer makes a Sizer for packets of these classes. Least and Most of s are of all
// classes together; its MaxAge is not looked at, the classes have their own.
func NewSizer(s Sizing, c *Classes) *Sizer {
	z := &Sizer{sizing: s, rates: make([]Rate, c.Len())}
	for _, class := range c.list {
		z.ages = append(z.ages, class.Limits.MaxAge)
	}
	return z
}

// Came counts a packet. It reports whether the size of the node that is away has grown.
func (z *Sizer) Came(now time.Time, class, size int) (grown bool) {
	z.rates[class].Add(now, size)
	if !z.away {
		return false
	}
	z.came.Packets++
	z.came.Bytes += size
	if now.After(z.until) { // overdue: it has what was thought right for it
		return false
	}
	if z.came.Packets <= z.size.Packets && z.came.Bytes <= z.size.Bytes && now.Before(z.again) {
		return false
	}
	before := z.size
	z.resize(now)
	return z.size != before
}

// Away begins the absence of a node whose moves like this took gap, and returns what is
// to be held for it.
func (z *Sizer) Away(now time.Time, gap Gap) Limits {
	z.away, z.gap, z.came, z.size = true, gap, Limits{}, Limits{}
	z.until = now.Add(gap.Expect(z.sizing.Gap))
	z.resize(now)
	return z.size
}

// Size is what is to be held for the node that is away.
func (z *Sizer) Size() Limits { return z.size }

// Until is when the node that is away is expected at the latest.
func (z *Sizer) Until() time.Time { return z.until }

// Arriving is what comes of all classes, in octets a second.
func (z *Sizer) Arriving(now time.Time) (sum float64) {
	for i := range z.rates {
		_, bytes := z.rates[i].Peak(now)
		sum += bytes
	}
	return sum
}

// Back ends the absence.
func (z *Sizer) Back() { z.away = false }

// resize looks at the rates: a size never shrinks while the node is away.
func (z *Sizer) resize(now time.Time) {
	z.again = now.Add(regard)
	s := z.sizing
	s.Least = Limits{}
	var sum Limits
	for i := range z.rates {
		s.MaxAge = z.ages[i]
		l := s.Size(now, &z.gap, &z.rates[i])
		sum.Packets += l.Packets
		sum.Bytes += l.Bytes
	}
	grow := func(size, rated, came, least, most int) int {
		spared := int(math.Ceil(float64(came) * (1 + s.Spare)))
		return min(max(size, rated, spared, least), most)
	}
	z.size.Packets = grow(z.size.Packets, sum.Packets, z.came.Packets, z.sizing.Least.Packets, s.Most.Packets)
	z.size.Bytes = grow(z.size.Bytes, sum.Bytes, z.came.Bytes, z.sizing.Least.Bytes, s.Most.Bytes)
}
