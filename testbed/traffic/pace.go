package traffic

import "time"

// maxLag is the stall after which a sender does not catch up any more.
const maxLag = 100 * time.Millisecond

// A pacer says when the next datagram is due. It is pure; times are on the
// monotonic clock.
type pacer struct {
	interval time.Duration
	start    time.Duration // when number 0 of this stretch was due
	n        int64         // numbers used in this stretch
	last     time.Duration // when the last one was sent
	stalls   int
	perSec   float64
}

func newPacer(r Rate, now time.Duration) *pacer {
	return &pacer{interval: r.Interval(), perSec: r.PerSecond, start: now, last: now - r.Interval()}
}

// due is when the next datagram has its place.
func (p *pacer) due() time.Duration {
	return p.start + time.Duration(float64(p.n)*float64(time.Second)/p.perSec)
}

// next is when the next datagram is to be sent: on schedule, but not closer
// to the last one than half an interval.
func (p *pacer) next() time.Duration { return max(p.due(), p.last+p.interval/2) }

// sent tells that the datagram which was due went out at now.
func (p *pacer) sent(now time.Duration) {
	due := p.due()
	p.last = now
	p.n++
	if now-due > max(maxLag, 4*p.interval) {
		p.stalls++
		p.start, p.n = now, 1
	}
}
