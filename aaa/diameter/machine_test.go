package diameter

import (
	"fmt"
	"testing"
	"time"
)

// The state machine at the end of RFC 3539 appendix A, row by row.
func TestWatchdogTable(t *testing.T) {
	const tw = 30 * time.Second
	now := time.Unix(1000, 0)
	type row struct {
		state       health
		event       string
		pending     bool
		answers     int
		want        health
		out         watchdogOut
		set         bool // SetWatchdog()
		pendingThen bool
		answersThen int
	}
	rows := []row{
		{state: healthOkay, event: "dwa", pending: true, want: healthOkay, set: true},
		{state: healthOkay, event: "other", pending: true, want: healthOkay, set: true, pendingThen: true},
		{state: healthOkay, event: "other", want: healthOkay, set: true},
		{state: healthSuspect, event: "dwa", pending: true, want: healthOkay, out: failBack, set: true},
		{state: healthSuspect, event: "other", pending: true, want: healthOkay, out: failBack, set: true, pendingThen: true},
		{state: healthReopen, event: "dwa", pending: true, answers: 2, want: healthOkay, out: failBack, answersThen: 3},
		{state: healthReopen, event: "dwa", pending: true, answers: 1, want: healthReopen, answersThen: 2},
		{state: healthReopen, event: "dwa", pending: true, answers: -1, want: healthReopen},
		{state: healthReopen, event: "other", pending: true, answers: 1, want: healthReopen, pendingThen: true, answersThen: 1},
		{state: healthInitial, event: "dwa", want: healthInitial},
		{state: healthInitial, event: "other", want: healthInitial},
		{state: healthDown, event: "dwa", pending: true, want: healthDown},
		{state: healthDown, event: "other", want: healthDown},
		{state: healthOkay, event: "timer", want: healthOkay, out: sendDWR, set: true, pendingThen: true},
		{state: healthOkay, event: "timer", pending: true, want: healthSuspect, out: failOver, set: true, pendingThen: true},
		{state: healthSuspect, event: "timer", pending: true, want: healthDown, out: closeConnection, set: true, pendingThen: true},
		// AttemptOpen is the dialer's.
		{state: healthInitial, event: "timer", want: healthInitial, set: true},
		{state: healthDown, event: "timer", want: healthDown, set: true},
		{state: healthReopen, event: "timer", answers: 1, want: healthReopen, out: sendDWR, set: true, pendingThen: true, answersThen: 1},
		{state: healthReopen, event: "timer", pending: true, answers: -1, want: healthDown, out: closeConnection, set: true, pendingThen: true, answersThen: -1},
		{state: healthReopen, event: "timer", pending: true, answers: 0, want: healthReopen, set: true, pendingThen: true, answersThen: -1},
		{state: healthInitial, event: "up", want: healthOkay, set: true},
		{state: healthDown, event: "up", answers: 2, want: healthReopen, out: sendDWR, set: true, pendingThen: true},
		{state: healthOkay, event: "down", want: healthDown, out: failOver},
		{state: healthSuspect, event: "down", pending: true, want: healthDown},
		{state: healthReopen, event: "down", pending: true, answers: 1, want: healthDown, answersThen: 1},
	}
	for _, r := range rows {
		t.Run(fmt.Sprintf("%v %s pending=%v answers=%d", r.state, r.event, r.pending, r.answers), func(t *testing.T) {
			w := watchdog{every: tw, jitter: func() time.Duration { return time.Second }, status: r.state, pending: r.pending, answers: r.answers}
			var out watchdogOut
			switch r.event {
			case "dwa":
				out = w.received(now, true)
			case "other":
				out = w.received(now, false)
			case "timer":
				out = w.expired(now)
			case "up":
				out = w.up(now)
			case "down":
				out = w.down()
			}
			if w.status != r.want || out != r.out || w.pending != r.pendingThen || w.answers != r.answersThen {
				t.Errorf("%v, out %b, pending %v, answers %d; expected %v, %b, %v, %d", w.status, out, w.pending, w.answers, r.want, r.out, r.pendingThen, r.answersThen)
			}
			if set := w.deadline.Equal(now.Add(tw + time.Second)); set != r.set {
				t.Errorf("SetWatchdog %v, expected %v", set, r.set)
			}
		})
	}
}

// The rows of RFC 6733 section 5.6 that are of one connection; all other pairs close it, or are dropped.
func TestLinkTable(t *testing.T) {
	type to struct {
		state linkState
		do    linkAction
	}
	table := map[linkState]map[linkEvent]to{
		linkWaitCER: {gotCER: {linkOpen, takeCER}},
		linkWaitCEA: {gotCEA: {linkOpen, takeCEA}},
		linkOpen: {
			gotRequest: {linkOpen, process}, gotAnswer: {linkOpen, deliver}, gotDWR: {linkOpen, answerDWR}, gotDWA: {linkOpen, noteDWA},
			stopped: {linkClosing, bye}, gotDPR: {linkLeaving, answerDPR}, gotDPA: {linkOpen, ignore},
		},
		linkClosing: {
			gotRequest: {linkClosing, refuse}, gotAnswer: {linkClosing, deliver}, gotDWR: {linkClosing, answerDWR}, gotDWA: {linkClosing, noteDWA},
			gotDPR: {linkClosing, answerDPR}, gotCER: {linkClosing, ignore}, gotCEA: {linkClosing, ignore}, stopped: {linkClosing, ignore},
		},
		linkLeaving: {
			gotRequest: {linkLeaving, refuse}, gotAnswer: {linkLeaving, deliver}, gotDWR: {linkLeaving, answerDWR}, gotDWA: {linkLeaving, noteDWA},
			gotDPR: {linkLeaving, answerDPR}, gotCER: {linkLeaving, ignore}, gotCEA: {linkLeaving, ignore},
		},
	}
	for s := linkWaitCER; s <= linkClosed; s++ {
		for e := gotCER; e <= gone; e++ {
			want, ok := table[s][e]
			if !ok {
				want = to{linkClosed, hangUp}
				if s == linkClosed && e != timedOut && e != gone {
					want.do = ignore
				}
			}
			if state, do := s.next(e); (to{state, do}) != want {
				t.Errorf("%v, event %d: %v, action %d; expected %v, %d", s, e, state, do, want.state, want.do)
			}
		}
	}
}
