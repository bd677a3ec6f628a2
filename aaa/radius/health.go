package radius

import (
	"fmt"
	"time"
)

// State is what a client thinks of a server (RFC 3539 section 3.4).
type State uint8

// The states.
const (
	Unknown State = iota // not heard of yet
	Alive
	Suspect // it owes an answer, and is being probed
	Dead
)

// String implements fmt.Stringer.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

const (
	idleProbe   = 30 * time.Second       // Tw of RFC 3539 section 3.4.1
	probeMin    = 250 * time.Millisecond // for an answer, at least
	probeMax    = 2 * time.Second        // at most, and before anything was measured: half
	refusedGap  = 30 * time.Millisecond  // after a probe that the host has refused
	probeTries  = 3                      // in a row without answer, and a server is dead
	reopenTries = 3                      // in a row with one, and it is alive again
	reopenGap   = 200 * time.Millisecond
	backoffMin  = time.Second // between probes of a dead server
	backoffMax  = time.Minute
)

// health is the watchdog of one server:
//
//	            request or probe answered
//	Unknown ------------------------------> Alive <-----------------------+
//	   |                                    ^   |  no answer in time, or  |
//	   |                     probe answered |   v  the host has refused   |
//	   |                                    Suspect -- probes at once     |
//	   |                                        |                         |
//	   |  refused, and probes unanswered        |  3 probes unanswered    |
//	   +--------------------> Dead <------------+                         |
//	                           | probes, slower and slower                |
//	                           +---- 3 in a row answered, or a request ---+
//
// A server that has never answered a probe may not know them (RFC 5997 section 4.2):
// it is dead for DeadTime when a request had all its time, and then Unknown.
type health struct {
	dead time.Duration // DeadTime

	state     State
	since     time.Time     // of that state
	answers   bool          // it knows probes
	until     time.Time     // while dead and not answers
	failed    int           // probes in a row
	refused   int           // of them by the host
	passed    int           // probes in a row, of a dead one
	probeRTT  time.Duration // smoothed; 0: none yet
	replyRTT  time.Duration // of requests
	nextProbe time.Time
}

func (h *health) become(s State, now time.Time) {
	if h.state != s {
		h.state, h.since = s, now
	}
}

// at is the state at a time.
func (h *health) at(now time.Time) State {
	if h.state == Dead && !h.answers && !now.Before(h.until) {
		h.become(Unknown, h.until)
		h.failed, h.refused = 0, 0
	}
	return h.state
}

func smooth(old, sample time.Duration) time.Duration {
	if old > 0 {
		sample = old + (sample-old)/8
	}
	return max(sample, 1) // 0 is not measured
}

// heard notes the authentic answer to a request.
func (h *health) heard(now time.Time, rtt time.Duration) {
	h.become(Alive, now)
	h.failed, h.refused, h.passed = 0, 0, 0
	h.replyRTT = smooth(h.replyRTT, rtt)
	if h.answers { // else whether it knows probes is still to be found out
		h.nextProbe = now.Add(idleProbe)
	}
}

// doubt notes that a request waits longer than it should, or was refused by the host: it
// is probed now, if it is not already.
func (h *health) doubt(now time.Time) {
	if s := h.at(now); s != Alive && s != Unknown || h.failed > 0 {
		return
	}
	if h.answers {
		h.become(Suspect, now)
	}
	h.nextProbe = now
}

// silent notes that a request had all its time. watched says that probes go on.
func (h *health) silent(now time.Time, watched bool) {
	if watched && h.answers {
		h.doubt(now) // it lives, if it answers them: then whoever is behind it does not
		return
	}
	h.kill(now)
}

// kill has it dead.
func (h *health) kill(now time.Time) {
	h.become(Dead, now)
	h.passed, h.until = 0, now.Add(h.dead)
}

// wait is how long a probe waits for its answer.
func (h *health) wait() time.Duration {
	d := probeMax / 2
	if h.probeRTT > 0 {
		d = max(4*h.probeRTT, probeMin)
	}
	return min(d+time.Duration(h.failed%probeTries)*probeMin, probeMax)
}

// patience is how long a request waits before its server is doubted.
func (h *health) patience(irt time.Duration) time.Duration {
	if h.replyRTT == 0 {
		return irt
	}
	return min(irt, max(4*h.replyRTT, 2*probeMin))
}

// probed notes what came of a probe, and when the next is due. rnd is from -0.1 to
// +0.1.
func (h *health) probed(now time.Time, ok, refused bool, rtt time.Duration, rnd float64) {
	was := h.at(now)
	jittered := func(d time.Duration) time.Time { return now.Add(d + time.Duration(rnd*float64(d))) }
	if ok {
		h.answers, h.failed, h.refused = true, 0, 0
		h.probeRTT = smooth(h.probeRTT, rtt)
		if h.passed++; was == Dead && h.passed < reopenTries {
			h.nextProbe = now.Add(reopenGap)
			return
		}
		h.become(Alive, now)
		h.nextProbe = jittered(idleProbe)
		return
	}
	h.passed = 0
	h.failed++
	if refused {
		h.refused++
	}
	switch {
	case was == Dead:
		h.nextProbe = jittered(h.backoff())
	case h.failed < probeTries:
		h.nextProbe = now
		if refused {
			h.nextProbe = now.Add(refusedGap)
		}
		if h.answers {
			h.become(Suspect, now)
		}
	case h.answers || h.refused >= probeTries:
		h.kill(now)
		h.nextProbe = jittered(h.backoff())
	default: // it may not know probes
		h.failed, h.refused = 0, 0
		h.nextProbe = jittered(backoffMax)
	}
}

// backoff is the time to the next probe of a dead server.
func (h *health) backoff() time.Duration {
	d := backoffMin
	for i := probeTries; i < h.failed && d < backoffMax; i++ {
		d *= 2
	}
	return min(d, backoffMax)
}
