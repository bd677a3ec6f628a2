package mip6

import "time"

// updateRate is how many messages of one type go to one node within a second (RFC 6275
// section 12, MAX_UPDATE_RATE).
const updateRate = 3

// rate keeps the messages of one type to one node below updateRate.
type rate struct{ at [updateRate]time.Time }

// next is the earliest time at which one more may be sent.
func (r *rate) next() time.Time {
	if r.at[0].IsZero() {
		return time.Time{}
	}
	return r.at[0].Add(time.Second)
}

// allow reports whether one may be sent now.
func (r *rate) allow(now time.Time) bool { return !now.Before(r.next()) }

// sent notes that one was.
func (r *rate) sent(now time.Time) {
	copy(r.at[:], r.at[1:])
	r.at[len(r.at)-1] = now
}

// earliest is the earlier one of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// errorRate is how many messages a second are sent to whom nobody has authenticated
// (RFC 6275 section 9.3.3).
const errorRate = 10

// limiter counts what is sent within a second.
type limiter struct {
	since time.Time
	n     int
}

// allow reports whether one more may be sent now, and counts it.
func (l *limiter) allow(now time.Time) bool {
	if now.Sub(l.since) >= time.Second {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= errorRate
}
