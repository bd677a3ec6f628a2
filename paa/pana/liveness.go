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

	// While there is doubt. A PAR[S] that comes after a request of ours is its echo.
	verdictAt time.Time // zero: there is none
	before    int       // transmissions of what is outstanding before the doubt
	echoOf    int       // the transmission that has had its echo
	echoed    int       // how many have had one
	excess    int       // PAR[S] that were no echo
}

// A message that casts doubt on the session, and that nobody has signed, has the
// peer asked at once. A peer that does not know the session says so again for each
// request, and only then, so it has no more than doubtPatience: the session ends if
// two of three transmissions had their echo in time, and at most maxExcess PAR[S] were
// none. Whoever cannot see the requests cannot follow their rhythm, which doubles: what
// he sends costs a request, and takes nothing of the ordinary patience.
const (
	doubtPatience = 3 * time.Second
	doubtInterval = 5 * time.Second
	maxExcess     = 1
	echoWithin    = 200 * time.Millisecond // on a near path; of a busy machine
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
func (l *liveness) deaf() {
	l.pingAt, l.silentAt, l.verdictAt = time.Time{}, time.Time{}, time.Time{}
}

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
		if !ep.verdictAt.IsZero() {
			ep.out.timer.hurry(now, ep.rtt.urgent())
		}
	}
}

// doubt asks at once whether the peer still knows the session, and counts the answers
// of one that does not.
func (ep *endpoint) doubt(now time.Time) {
	if !ep.verdictAt.IsZero() {
		ep.echo(now)
		return
	}
	if ep.pingAt.IsZero() || now.Before(ep.doubtAt) {
		return
	}
	ep.doubtAt = now.Add(doubtInterval)
	ep.pingAt = now
	ep.verdictAt = now.Add(doubtPatience)
	ep.before, ep.echoOf, ep.echoed, ep.excess = 0, 0, 0, 0
	if ep.out != nil {
		ep.before = ep.out.timer.sent
	}
	ep.kick(now)
}

func (ep *endpoint) echo(now time.Time) {
	if ep.out == nil {
		return
	}
	t := &ep.out.timer
	late := now.Sub(t.next.Add(-t.rt)) > max(ep.rtt.urgent(), echoWithin)
	if late || t.sent == ep.echoOf {
		ep.excess++
		return
	}
	ep.echoOf = t.sent
	ep.echoed++
}

// disowned ends the doubt: does the peer not know the session?
func (ep *endpoint) disowned() bool {
	ep.verdictAt = time.Time{}
	return ep.out != nil && 3*ep.echoed >= 2*(ep.out.timer.sent-ep.before) && ep.excess <= maxExcess
}
