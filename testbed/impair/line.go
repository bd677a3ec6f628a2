package impair

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Fate is what a [Line] is told about a frame beside its octets.
type Fate struct {
	Kind Kind
	Take bool // it is lost, whatever the dice say
}

// Counts are of the frames of one direction. At any time
//
//	In + Duplicated = Out + Lost + Taken + Refused + what is queued
type Counts struct {
	In         uint64 // offered
	Out        uint64 // handed on
	Lost       uint64 // by the dice
	Taken      uint64 // because the fate said so
	Refused    uint64 // the queue was full
	Duplicated uint64 // copies made
	Reordered  uint64 // sent ahead of the delay
	// Gone counts the frames of each kind that were lost, taken or refused and
	// of which no copy was made.
	Gone [kinds]uint64
}

// Line is one direction of a link without its ends: what is offered comes out
// when it is due. Times are of one monotonic clock; calls have times that do
// not decrease. It is not safe for concurrent use.
type Line struct {
	p      Params
	rng    *rand.Rand
	queue  frames
	free   []*frame
	busy   time.Duration // until then the transmitter is occupied
	last   time.Duration // when the last frame that keeps order is due
	number uint64
	counts Counts
}

// NewLine makes an empty line. The same seed gives the same draws.
func NewLine(p Params, seed uint64, d Direction) *Line {
	if p.Queue == 0 {
		p.Queue = DefaultQueue
	}
	return &Line{p: p, rng: rand.New(rand.NewPCG(seed, uint64(d)))} //nolint:gosec // dice, no secret
}

// Counts are those so far.
func (l *Line) Counts() Counts { return l.counts }

// Queued is how many frames wait.
func (l *Line) Queued() int { return len(l.queue) }

// Offer takes a frame, which is copied, at a point in time.
func (l *Line) Offer(now time.Duration, octets []byte, f Fate) {
	l.counts.In++
	lost, copied, ahead, delay := false, false, false, l.p.Delay
	if f.Kind != KindARP {
		lost, copied, ahead, delay = l.draw()
	}
	switch {
	case f.Take:
		l.counts.Taken++
		l.counts.Gone[f.Kind]++
		return
	case lost:
		l.counts.Lost++
		l.counts.Gone[f.Kind]++
		return
	}
	sent := l.transmit(now, len(octets))
	due := sent + delay
	switch {
	case ahead:
		due = sent
		l.counts.Reordered++
	case l.p.Reorder == 0:
		due = max(due, l.last)
		l.last = due
	}
	kept := l.put(due, octets)
	if copied {
		l.counts.Duplicated++
		kept = l.put(due, octets) || kept
	}
	if !kept {
		l.counts.Gone[f.Kind]++
	}
}

// draw throws the dice for one frame: always all of them.
func (l *Line) draw() (lost, copied, ahead bool, delay time.Duration) {
	lost = l.rng.Float64() < l.p.Loss
	copied = l.rng.Float64() < l.p.Duplicate
	ahead = l.rng.Float64() < l.p.Reorder
	delay = l.p.Delay + time.Duration((2*l.rng.Float64()-1)*float64(l.p.Jitter))
	return lost, copied, ahead, delay
}

// transmit is when the last bit of a frame has left at the line's rate.
func (l *Line) transmit(now time.Duration, octets int) time.Duration {
	if l.p.Rate == 0 {
		return now
	}
	took := time.Duration(float64(octets) * 8 / l.p.Rate * float64(time.Second))
	if len(l.queue) < l.p.Queue { // what is refused takes no time
		l.busy = max(l.busy, now) + took
	}
	return l.busy
}

func (l *Line) put(due time.Duration, octets []byte) bool {
	if len(l.queue) >= l.p.Queue {
		l.counts.Refused++
		return false
	}
	f := &frame{}
	if n := len(l.free); n > 0 {
		f, l.free = l.free[n-1], l.free[:n-1]
	}
	f.due, f.number, f.octets = due, l.number, append(f.octets[:0], octets...)
	l.number++
	heap.Push(&l.queue, f)
	return true
}

// Due is when the next frame is to go out; false when none waits.
func (l *Line) Due() (time.Duration, bool) {
	if len(l.queue) == 0 {
		return 0, false
	}
	return l.queue[0].due, true
}

// Next takes the next frame that is due out of the line; false when there is
// none. Its octets are valid until the next Offer.
func (l *Line) Next(now time.Duration) (octets []byte, due time.Duration, ok bool) {
	if len(l.queue) == 0 || l.queue[0].due > now {
		return nil, 0, false
	}
	f := heap.Pop(&l.queue).(*frame)
	l.free = append(l.free, f)
	l.counts.Out++
	return f.octets, f.due, true
}

type frame struct {
	due    time.Duration
	number uint64 // tells frames of the same time apart
	octets []byte
}

// frames is a heap by time, then by number.
type frames []*frame

func (q frames) Len() int { return len(q) }

func (q frames) Less(i, j int) bool {
	return q[i].due < q[j].due || q[i].due == q[j].due && q[i].number < q[j].number
}

func (q frames) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is for package heap.
func (q *frames) Push(x any) { *q = append(*q, x.(*frame)) }

// Pop is for package heap.
func (q *frames) Pop() any {
	old := *q
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return f
}
