package diameter

import (
	"fmt"
	"time"
)

// health is the state of a peer's watchdog (RFC 3539 appendix A).
type health uint8

const (
	healthInitial health = iota // never up yet
	healthOkay                  // up
	healthSuspect               // silent: nothing new goes there, and what waits goes elsewhere
	healthDown                  // connection closed
	healthReopen                // up again, and on probation
)

func (h health) String() string {
	switch h {
	case healthInitial:
		return "initial"
	case healthOkay:
		return "okay"
	case healthSuspect:
		return "suspect"
	case healthDown:
		return "down"
	case healthReopen:
		return "reopen"
	}
	return fmt.Sprintf("health(%d)", uint8(h))
}

// probation is how many answers bring a peer back (RFC 3539 section 3.4.1 [5]).
const probation = 3

// watchdogOut is what the owner of a watchdog is to do.
type watchdogOut uint8

const (
	sendDWR         watchdogOut = 1 << iota
	failOver                    // give what waits for the peer to others
	failBack                    // it may be used again
	closeConnection             // it does not answer
)

// watchdog is the algorithm of RFC 3539 appendix A for one peer, over all of its
// connections. Opening them is not its business: the dialer has a back-off of its own.
type watchdog struct {
	every  time.Duration
	jitter func() time.Duration // between -2 s and 2 s

	status   health
	pending  bool // a DWR waits for its answer
	answers  int  // of REOPEN; -1: the last one is overdue
	deadline time.Time
}

func (w *watchdog) set(now time.Time) { w.deadline = now.Add(w.every + w.jitter()) }

// received is OnReceive: any message came.
func (w *watchdog) received(now time.Time, answer bool) watchdogOut {
	if answer {
		w.pending = false
	}
	switch w.status {
	case healthOkay:
		w.set(now)
	case healthSuspect:
		w.status = healthOkay
		w.set(now)
		return failBack
	case healthReopen:
		// What else comes is not thrown away: the peer has been through CER and CEA, and
		// requests of a server that came back are as good as ever.
		if answer {
			if w.answers++; w.answers == probation {
				w.status = healthOkay
				return failBack
			}
		}
	}
	return 0
}

// expired is OnTimerElapsed.
func (w *watchdog) expired(now time.Time) watchdogOut {
	defer w.set(now)
	switch w.status {
	case healthOkay:
		if !w.pending {
			w.pending = true
			return sendDWR
		}
		w.status = healthSuspect
		return failOver
	case healthSuspect:
		w.status = healthDown
		return closeConnection
	case healthReopen:
		switch {
		case !w.pending:
			w.pending = true
			return sendDWR
		case w.answers < 0:
			w.status = healthDown
			return closeConnection
		}
		w.answers = -1
	}
	return 0
}

// up is OnConnectionUp: capabilities have been exchanged.
func (w *watchdog) up(now time.Time) watchdogOut {
	defer w.set(now)
	if w.status == healthInitial {
		w.status, w.pending = healthOkay, false
		return 0
	}
	w.status, w.answers, w.pending = healthReopen, 0, true
	return sendDWR
}

// down is OnConnectionDown.
func (w *watchdog) down() watchdogOut {
	was := w.status
	w.pending = false
	if was == healthInitial {
		return 0
	}
	w.status = healthDown
	if was == healthOkay {
		return failOver
	}
	return 0
}
