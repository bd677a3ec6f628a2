package par

import (
	"sync"
	"time"

	"openmpa/tunnel/flow"
)

// Link is what the access link takes.
type Link struct {
	Rate  float64 // bits a second; 0: not known, a drain goes as fast as it can
	Burst int     // octets at once; 0: as many as the link takes in 10 ms, 16 KiB at least
}

const (
	leastBurst  = 16 << 10
	burstLength = 10 * time.Millisecond
)

// burst is how many octets may go at once.
func (l Link) burst() int {
	if l.Burst > 0 {
		return l.Burst
	}
	return max(leastBurst, int(l.octets()*burstLength.Seconds()))
}

func (l Link) octets() float64 { return l.Rate / 8 }

// What is held for a node that is elsewhere by now goes there through its tunnel, by a way
// of which nobody knows what it takes: it has taken what comes for the node. So the queue
// goes twice as fast as that, and is gone as long after as it took to come; faster only
// where that would be longer than catchUp, or nothing comes any more.
const (
	outrun  = 2 // times what comes
	catchUp = time.Second
)

// chase spreads a queue over the time until it has caught up with what comes. The zero
// chase is that of an empty queue.
type chase struct {
	pacer flow.Pacer
	rate  float64 // octets a second
}

// wait is how long the next packet of a queue of so many octets has to wait, where so many
// more come a second.
func (c *chase) wait(now time.Time, comes float64, octets int) time.Duration {
	if rate := max(c.rate, outrun*comes, float64(octets)/catchUp.Seconds()); rate > c.rate {
		c.rate = rate
		c.pacer.SetRate(rate, Link{Rate: 8 * rate}.burst())
	}
	return c.pacer.At(now).Sub(now)
}

// pace spreads what all visitors' queues give to the access link over what it takes.
type pace struct {
	mu    sync.Mutex // a leaf
	pacer flow.Pacer // guarded by mu
}

func newPace(l Link) *pace { return &pace{pacer: flow.NewPacer(l.octets(), l.burst())} }

// wait is how long the next packet has to wait.
func (p *pace) wait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pacer.At(now).Sub(now)
}

// sent counts a packet that went to the link, out of a queue or not.
func (p *pace) sent(now time.Time, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pacer.Sent(now, size)
}
