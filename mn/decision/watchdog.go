package decision

import "time"

// Watchdog tells by the data alone that a link is dead, where the carrier does not:
// packets go out, nothing comes back, and the router does not answer when it is asked.
//
//	        sent, nothing received for Quiet          unanswered
//	alive ------------------------------------> asking ----------> dead
//	  ^                                          | ask again, up to Asks times
//	  +------------- anything received ----------+------------------+
//
// It raises no alarm under load: whatever is received, by whomever it is asked for, is a
// sign of life; and when it steps late, since the machine had no time for it, the meantime does
// not count. Where only the node sends, a question may stand in a queue behind what it sent: an
// answer is waited for longer then, see queue. A link that is dead in one direction only, in which
// packets still come, is not noticed. RFC 6252 section 7.6.2 leaves open how.
type Watchdog struct {
	limits WatchLimits // fixed

	begun          bool
	last           time.Time // of the last step
	received, sent uint64
	quiet          time.Time // since when nothing was received that could have been
	asks           int
	asked          time.Time
	until          time.Time // an answer is waited for, from the last of Asks on
	more           uint64    // answers that may still come to questions
	dead           bool
	link           queue
}

// WatchLimits bounds what a Watchdog waits for. The zero value is no watchdog.
type WatchLimits struct {
	Quiet time.Duration // nothing received for that long, while something was sent: the router is asked
	Wait  time.Duration // for an answer to the last question, at least two round trips
	Asks  int           // a quarter of Wait apart, unanswered; then the link is dead
}

// DefaultWatch are the limits for any link. An access point may keep an answer for a
// beacon's time, 102.4 ms, when the station sleeps.
func DefaultWatch() WatchLimits {
	return WatchLimits{Quiet: 100 * time.Millisecond, Wait: 120 * time.Millisecond, Asks: 3}
}

// Interval is how often Step is to be called.
func (l WatchLimits) Interval() time.Duration { return min(l.Quiet, l.Wait) / 4 }

// Within is how long after its last sign of life a dead link is known to be dead,
// while something is sent.
func (l WatchLimits) Within() time.Duration {
	return l.Quiet + time.Duration(l.Asks-1)*l.Wait/4 + l.Wait + time.Duration(l.Asks+1)*l.Interval()
}

// Verdict is what a step finds.
type Verdict uint8

// The verdicts.
const (
	Nothing Verdict = iota // as before
	Ask                    // the router is to be asked for a sign of life
	Dead                   // the link is, from here on
	Alive                  // again
)

// NewWatchdog makes a watchdog.
func NewWatchdog(l WatchLimits) *Watchdog { return &Watchdog{limits: l} }

// Step looks at counters of the interface: packets received, whatever they are, and
// octets sent for which a sign of life may be expected.
func (w *Watchdog) Step(now time.Time, received, sent uint64) Verdict {
	came, missed := received-w.received, now.Sub(w.last)
	w.last, w.received = now, received
	switch {
	case came > 0 || !w.begun:
		w.learn(now, came, sent)
		was := w.dead
		w.begun, w.dead, w.asks, w.quiet, w.sent = true, false, 0, now, sent
		if was {
			return Alive
		}
	case missed > w.limits.Wait/2 && !w.dead:
		w.skip(now, missed)
	case w.dead:
		if now.Sub(w.asked) >= w.limits.Quiet+w.limits.Wait {
			w.asked = now
			return Ask // it may come back
		}
	case w.asks >= w.limits.Asks && !now.Before(w.until):
		w.dead = true
		return Dead
	case w.asks >= w.limits.Asks: // where there is a queue a question may be lost in it
		if now.Sub(w.asked) >= w.limits.Wait && now.Before(w.until.Add(-w.limits.Wait)) {
			return w.ask(now)
		}
	case w.asks > 0:
		if now.Sub(w.asked) >= w.limits.Wait/4 {
			return w.ask(now)
		}
	case sent == w.sent: // nothing is expected
		w.quiet = now
	case now.Sub(w.quiet) >= w.limits.Quiet:
		if now.Sub(w.asked) > longest {
			w.more = 0
		}
		w.link.ask(now, sent)
		return w.ask(now)
	}
	return Nothing
}

// skip leaves out a time in which nobody looked. What came then may yet be counted.
func (w *Watchdog) skip(now time.Time, missed time.Duration) {
	w.quiet, w.asked, w.until = w.quiet.Add(missed), w.asked.Add(missed), w.until.Add(missed)
	if soon := now.Add(w.limits.Wait / 2); w.until.Before(soon) {
		w.until = soon
	}
}

func (w *Watchdog) ask(now time.Time) Verdict {
	if w.asks, w.asked = w.asks+1, now; w.asks == w.limits.Asks {
		w.until = now.Add(w.limits.Wait + w.link.longer())
	}
	return Ask
}

// learn has the link's queue known better by what came.
func (w *Watchdog) learn(now time.Time, came, sent uint64) {
	switch {
	case came == 0: // begun, or begun anew
		w.link.anew(now, sent)
	case w.dead:
		w.link.answered(now, sent, w.limits.Wait, false)
		w.more = 0
	case w.more > 0: // an answer to a question of before, perhaps: nobody knows what it was behind
		if w.asks > 0 {
			w.link.late(now, w.limits.Wait)
		}
		w.more -= min(w.more, came)
		w.more += uint64(w.asks)
	case w.asks > 0:
		w.link.answered(now, sent, w.limits.Wait, true)
		w.more = uint64(w.asks) - min(uint64(w.asks), came)
	case now.Sub(w.link.since) >= w.limits.Quiet:
		w.link.unasked(now, sent)
	}
}
