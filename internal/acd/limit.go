package acd

import "time"

// Limiter is the rate limit of RFC 5227 section 2.1.1 for one interface: after
// MAX_CONFLICTS conflicts no more than one new address is tried per
// RATE_LIMIT_INTERVAL. It has no lock.
//
// The RFC does not say when the count ends. Here an address found free ends it:
// what the limit is for, a server that hands out used addresses without end, is
// over then, and a router that probes for many nodes over months would else be
// slow for good.
type Limiter struct {
	max       int
	interval  time.Duration
	conflicts int
	next      time.Time // no attempt before, once limited
}

// NewLimiter makes a limiter with MaxConflicts and RateLimitInterval of t.
func NewLimiter(t Timers) *Limiter {
	return &Limiter{max: t.MaxConflicts, interval: t.RateLimitInterval}
}

// Attempt books an attempt at a new address and returns how long to wait before
// it. Attempts booked one after another wait one after another.
func (l *Limiter) Attempt(now time.Time) time.Duration {
	wait := l.Wait(now)
	l.next = now.Add(wait + l.interval)
	return wait
}

// Wait returns how long an attempt would have to wait, and books none.
func (l *Limiter) Wait(now time.Time) time.Duration {
	if l.Limited() && l.next.After(now) {
		return l.next.Sub(now)
	}
	return 0
}

// Conflict counts a conflict, while probing or later (section 2.4).
func (l *Limiter) Conflict() { l.conflicts++ }

// Success ends the count: an address was found free.
func (l *Limiter) Success() { l.conflicts = 0 }

// Limited says whether the rate is limited now.
func (l *Limiter) Limited() bool { return l.conflicts >= l.max }
