package flow

import (
	"math"
	"time"
)

// Lulls knows the pauses between a visitor's packets, and from them how a pause that has
// lasted for some time goes on:
//
//	speech    | | | | | | |     any pause is a whole one
//	a burst   ||||||     ||||   a pause longer than those within a burst is a long one
//
// The zero Lulls knows nothing. It has no lock.
type Lulls struct {
	last   time.Time
	counts [lullOctaves * lullSteps]uint16 // by length; of pauses from 1 µs on
	total  int
}

const (
	lullOctaves = 24 // up to 16 s
	lullSteps   = 4  // an octave
	// lullMemory is how many pauses are remembered at most: half of each kind is forgotten then.
	lullMemory = 256
	// lullEnough is how many there must be to tell anything.
	lullEnough = 8
)

// Came notes a packet.
func (l *Lulls) Came(now time.Time) {
	was := l.last
	l.last = now
	if was.IsZero() {
		return
	}
	l.counts[lullIndex(now.Sub(was))]++
	if l.total++; l.total < lullMemory {
		return
	}
	l.total = 0
	for i := range l.counts {
		l.counts[i] /= 2
		l.total += int(l.counts[i])
	}
}

func lullIndex(d time.Duration) int {
	if d < time.Microsecond {
		return 0
	}
	return min(int(lullSteps*math.Log2(float64(d)/float64(time.Microsecond))), lullOctaves*lullSteps-1)
}

// Lasts is how likely a pause goes on for more, after silent. Where too little is known, as of a
// pause longer than any before, it is certain for one that has lasted for untold, and
// impossible before.
func (l *Lulls) Lasts(silent, more, untold time.Duration) float64 {
	// A pause counts as long as the shortest of its kind.
	longer := l.from(lullIndex(silent) + 1)
	if l.total < lullEnough || longer == 0 {
		if silent >= untold {
			return 1
		}
		return 0
	}
	return float64(l.from(lullIndex(silent+more)+1)) / float64(longer)
}

// Apart is the part of the time after which nothing comes for more, by the pauses known: how
// likely that is from any moment on, however the packets before it were bunched. Of a pause
// no more than most counts: how long nobody spoke tells nothing of who does. Where too
// little is known it is certain.
func (l *Lulls) Apart(more, most time.Duration) float64 {
	if l.total < lullEnough {
		return 1
	}
	var all, apart float64
	for i, n := range l.counts {
		d := min(time.Duration(math.Exp2(float64(i)/lullSteps)*float64(time.Microsecond)), most) // the shortest of its kind
		all += float64(n) * float64(d)
		apart += float64(n) * float64(max(0, d-more))
	}
	return apart / all
}

// from counts the pauses from an index on.
func (l *Lulls) from(i int) (n int) {
	for _, c := range l.counts[min(i, len(l.counts)):] {
		n += int(c)
	}
	return n
}
