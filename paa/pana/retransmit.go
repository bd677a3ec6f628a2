package pana

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Retransmission holds the parameters of RFC 5191 section 9.
type Retransmission struct {
	IRT time.Duration // first timeout
	MRT time.Duration // largest timeout, 0: none
	MRC int           // transmissions in all, 0: no limit
	MRD time.Duration // duration in all, 0: no limit
}

// Defaults of RFC 5191 section 9.1.
var (
	defaultPCI = Retransmission{IRT: time.Second, MRT: 120 * time.Second}
	defaultREQ = Retransmission{IRT: time.Second, MRT: 30 * time.Second, MRC: 10}
)

// Urgent notifications use a first timeout of max(urgentMin, 3 RTT), and
// urgentUnknown while the RTT is not known.
const (
	urgentMin     = 20 * time.Millisecond
	urgentUnknown = 100 * time.Millisecond
)

// orDefault fills a zero value and refuses one that never ends or never waits.
func (r Retransmission) orDefault(d Retransmission, name string) (Retransmission, error) {
	if r == (Retransmission{}) {
		return d, nil
	}
	if r.IRT <= 0 || r.MRT < 0 || r.MRC < 0 || r.MRD < 0 {
		return r, fmt.Errorf("%w: %s: expected IRT > 0 and the others >= 0, got %+v", ErrConfig, name, r)
	}
	return r, nil
}

// rtx is the timer of one message.
type rtx struct {
	p     Retransmission
	rt    time.Duration
	first time.Time
	next  time.Time
	sent  int
}

// start begins after the first transmission. irt replaces p.IRT when it is
// shorter, and p.MRC grows by the doublings that p.IRT is away, so that an
// impatient start does not give up earlier.
func (r *rtx) start(now time.Time, p Retransmission, irt time.Duration, rnd *random) {
	if irt <= 0 {
		irt = p.IRT
	}
	if p.MRC > 0 {
		for d := irt; d < p.IRT; d *= 2 {
			p.MRC++
		}
	}
	*r = rtx{p: p, rt: spread(irt, rnd), first: now, sent: 1}
	r.next = now.Add(r.rt)
}

// due reports whether the timeout has passed.
func (r *rtx) due(now time.Time) bool { return !now.Before(r.next) }

// again tells whether the message may be sent once more and sets the next
// timeout: RT = 2 RTprev + RAND RTprev, bounded by MRT (1 + RAND).
func (r *rtx) again(now time.Time, rnd *random) bool {
	if r.p.MRC > 0 && r.sent >= r.p.MRC || r.p.MRD > 0 && now.Sub(r.first) >= r.p.MRD {
		return false
	}
	r.sent++
	r.rt += spread(r.rt, rnd)
	if r.p.MRT > 0 && r.rt > r.p.MRT {
		r.rt = spread(r.p.MRT, rnd)
	}
	r.next = now.Add(r.rt)
	return true
}

// hurry sends the next retransmission after irt at the latest.
func (r *rtx) hurry(now time.Time, irt time.Duration) {
	if at := now.Add(irt); at.Before(r.next) {
		r.next = at
		if irt > 0 && irt < r.rt {
			for d := irt; r.p.MRC > 0 && d < r.rt; d *= 2 {
				r.p.MRC++
			}
			r.rt = irt
		}
	}
}

// spread is d (1 + RAND), RAND uniform in [-0.1, +0.1].
func spread(d time.Duration, rnd *random) time.Duration {
	return d + time.Duration(float64(d)*rnd.jitter())
}

// random reads from the injected source.
type random struct{ r io.Reader }

// bytes returns n random octets.
func (r *random) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, fmt.Errorf("pana: random source: %w", err)
	}
	return b, nil
}

// jitter is uniform in [-0.1, +0.1]. It need not be cryptographically sound
// (section 9), so a failing source counts as the middle.
func (r *random) jitter() float64 {
	b, err := r.bytes(4)
	if err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint32(b))/float64(1<<32-1)*0.2 - 0.1
}

// rttEstimate smooths round-trip times as RFC 6298 does.
type rttEstimate struct{ srtt time.Duration }

func (e *rttEstimate) sample(d time.Duration) {
	if d < 0 {
		return
	}
	if d == 0 {
		d = time.Nanosecond // measured, and shorter than the clock can tell
	}
	if e.srtt == 0 {
		e.srtt = d
		return
	}
	e.srtt += (d - e.srtt) / 8
}

// urgent is the first timeout of an urgent notification.
func (e *rttEstimate) urgent() time.Duration {
	if e.srtt == 0 {
		return urgentUnknown
	}
	return max(urgentMin, 3*e.srtt)
}

// bucket is a token bucket.
type bucket struct {
	rate, burst, tokens float64
	last                time.Time
}

func (b *bucket) refill(now time.Time) {
	if b.last.IsZero() {
		b.tokens = b.burst
	} else if d := now.Sub(b.last); d > 0 {
		b.tokens = min(b.burst, b.tokens+b.rate*d.Seconds())
	} else {
		return
	}
	b.last = now
}

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	b.refill(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// wait is how long until the next token.
func (b *bucket) wait(now time.Time) time.Duration {
	b.refill(now)
	if b.tokens >= 1 {
		return 0
	}
	return time.Duration((1-b.tokens)/b.rate*float64(time.Second)) + time.Microsecond
}
