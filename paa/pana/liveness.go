package pana

import "time"

// The liveness test (RFC 5191 section 4.2), the same on both sides:
//
//	heard ---- every ----> ping, again and again ---- patience ----> ErrSilent
//	  ^                            |
//	  +------- any message that can be verified
//
// Without patience the ping's own retransmissions end the session.
type liveness struct {
	every    time.Duration // silence before a ping; 0: none
	patience time.Duration // from the ping to the end; 0: no limit of its own

	heardAt  time.Time
	pingAt   time.Time // zero: not listening
	silentAt time.Time
	doubtAt  time.Time // no new doubt before this
}

// A message that casts doubt on the session, and that nobody has signed, has the
// peer asked at once; it then has so long to answer. That may happen this often.
const (
	doubtPatience = 3 * time.Second
	doubtInterval = 5 * time.Second
)

// listen begins the test.
func (l *liveness) listen(now time.Time) {
	l.deaf()
	l.heardAt = now
	if l.every > 0 {
		l.pingAt = now.Add(l.every)
		if l.patience > 0 {
			l.silentAt = l.pingAt.Add(l.patience)
		}
	}
}

// heard begins it anew.
func (l *liveness) heard(now time.Time) {
	if !l.pingAt.IsZero() {
		l.listen(now)
	}
}

// deaf ends it, as while EAP runs, whose silence may be the AAA server's.
func (l *liveness) deaf() { l.pingAt, l.silentAt = time.Time{}, time.Time{} }

func (l *liveness) silent(now time.Time) error {
	return &ErrSilent{For: now.Sub(l.heardAt).Round(time.Millisecond)}
}

// ping asks when it is time and nothing else asks already.
func (ep *endpoint) ping(now time.Time, open bool) {
	if !due(now, ep.pingAt) {
		return
	}
	ep.pingAt = now.Add(ep.every)
	if open && ep.out == nil && len(ep.queue) == 0 {
		ep.ask(now, TypeNtfy, FlagP, nil, ep.sa, min(ep.patience/8, ep.params.IRT), &notification{})
		if !ep.silentAt.IsZero() && ep.silentAt.Sub(now) <= doubtPatience {
			ep.out.timer.hurry(now, ep.rtt.urgent())
		}
	}
}

// doubt asks at once whether the peer still knows the session.
func (ep *endpoint) doubt(now time.Time) {
	if ep.pingAt.IsZero() || now.Before(ep.doubtAt) {
		return
	}
	ep.doubtAt = now.Add(doubtInterval)
	ep.pingAt = now
	ep.kick(now)
	if at := now.Add(doubtPatience); ep.silentAt.IsZero() || at.Before(ep.silentAt) {
		ep.silentAt = at
	}
}
