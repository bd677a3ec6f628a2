package flow

import "time"

// Pacer says when the next packet of a queue may be sent, so that a drain does not
// overrun the access link: the virtual scheduling algorithm of ITU-T I.371. The zero
// Pacer sends at once.
type Pacer struct {
	rate  float64       // octets a second; 0: as fast as can be
	burst time.Duration // how much earlier than the rate allows
	next  time.Time     // when the link is through with what was sent
}

// NewPacer makes a pacer for a link of so many octets a second, which takes burst octets at once.
func NewPacer(rate float64, burst int) Pacer {
	var p Pacer
	p.SetRate(rate, burst)
	return p
}

// SetRate changes the rate from here on.
func (p *Pacer) SetRate(rate float64, burst int) {
	p.rate, p.burst = rate, 0
	if rate > 0 {
		p.burst = time.Duration(float64(burst) / rate * float64(time.Second))
	}
}

// At returns when the next packet may be sent: now, or later.
func (p *Pacer) At(now time.Time) time.Time {
	if at := p.next.Add(-p.burst); p.rate > 0 && at.After(now) {
		return at
	}
	return now
}

// Sent counts a packet that was sent; all count, those of At and those that passed beside the queue.
func (p *Pacer) Sent(now time.Time, size int) {
	if p.rate <= 0 {
		return
	}
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(size) / p.rate * float64(time.Second)))
}
