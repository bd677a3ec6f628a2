package decision

import (
	"math/rand/v2"
	"testing"
	"time"
)

var watched = WatchLimits{Quiet: 100 * time.Millisecond, Wait: 50 * time.Millisecond, Asks: 3}

// A wire is what a watchdog watches: what it does at a time, in ms.
type wire struct {
	sends    func(ms int) bool // a packet in this millisecond
	receives func(ms int) bool
	answers  func(ms int) bool // one that is asked gives a sign of life 2 ms later, or
	after    int               // ms later, if not 0
	stalls   func(ms int) bool // the watchdog is not called
	frozen   bool              // nor does anything else happen then: what would come, comes behind its next step
}

func never(int) bool  { return false }
func always(int) bool { return true }

// play runs a watchdog beside a wire, and returns what it said when.
func play(w wire, ms int) (said map[Verdict][]int) {
	said = map[Verdict][]int{}
	dog, base := NewWatchdog(watched), time.Unix(1000, 0)
	var received, sent uint64
	answerAt := -1
	next := 0
	for t := range ms {
		if w.frozen && w.stalls(t) {
			continue
		}
		if w.sends(t) {
			sent += 200
		}
		if w.receives(t) || answerAt >= 0 && t >= answerAt && !(w.frozen && w.stalls(t-1)) {
			received++
			answerAt = -1
		}
		if t < next || w.stalls(t) {
			continue
		}
		next = t + int(watched.Interval().Milliseconds())
		v := dog.Step(base.Add(time.Duration(t)*time.Millisecond), received, sent)
		said[v] = append(said[v], t)
		if v == Ask && w.answers(t) {
			answerAt = t + max(2, w.after)
		}
	}
	return said
}

func every(n int) func(int) bool              { return func(ms int) bool { return ms%n == 0 } }
func until(end int) func(int) bool            { return func(ms int) bool { return ms < end } }
func both(a, b func(int) bool) func(int) bool { return func(ms int) bool { return a(ms) && b(ms) } }

func TestWatchdog(t *testing.T) {
	within := int(watched.Within().Milliseconds())
	t.Run("cut under traffic", func(t *testing.T) {
		said := play(wire{sends: every(20), receives: both(every(20), until(1000)), answers: until(1000), stalls: never}, 3000)
		if len(said[Dead]) != 1 || said[Dead][0] < 1000 || said[Dead][0] > 1000+within {
			t.Errorf("dead at %v, expected once, from 1000 to %d", said[Dead], 1000+within)
		}
		if len(said[Alive]) != 0 {
			t.Errorf("alive at %v", said[Alive])
		}
	})
	t.Run("back again", func(t *testing.T) {
		said := play(wire{sends: every(20), receives: never, answers: func(ms int) bool { return ms < 1000 || ms > 2000 }, stalls: never}, 3000)
		if len(said[Dead]) != 1 || len(said[Alive]) != 1 || said[Alive][0] < 2000 || said[Alive][0] > 2000+within {
			t.Errorf("dead at %v, alive at %v, expected alive after 2000", said[Dead], said[Alive])
		}
	})
	t.Run("uplink only, the router answers", func(t *testing.T) {
		said := play(wire{sends: always, receives: never, answers: always, stalls: never}, 10000)
		if len(said[Dead]) != 0 || len(said[Ask]) < 50 || len(said[Ask]) > 100 {
			t.Errorf("dead at %v, asked %d times; expected no death and ten questions a second at most", said[Dead], len(said[Ask]))
		}
	})
	t.Run("idle", func(t *testing.T) {
		said := play(wire{sends: until(1), receives: never, answers: never, stalls: never}, 10000)
		if len(said[Dead])+len(said[Ask]) != 0 {
			t.Errorf("asked at %v, dead at %v: nothing was sent", said[Ask], said[Dead])
		}
	})
	t.Run("downlink only", func(t *testing.T) {
		said := play(wire{sends: never, receives: until(500), answers: never, stalls: never}, 3000)
		if len(said[Dead])+len(said[Ask]) != 0 {
			t.Errorf("asked at %v, dead at %v: nothing was sent, hence nothing can be missed", said[Ask], said[Dead])
		}
	})
}

// TestWatchdogUnderLoad: whatever pauses a machine makes, and whatever part of the
// questions is answered late, a link on which something comes at least now and then is
// not dead; and one that is dead is found out as soon as the machine runs.
func TestWatchdogUnderLoad(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		stall := make([]bool, 20000)
		for at := 0; at < len(stall); {
			at += r.IntN(400)
			for end := min(at+r.IntN(1200), len(stall)); at < end; at++ {
				stall[at] = true
			}
		}
		gap := 1 + r.IntN(90) // between signs of life
		w := wire{sends: always, receives: every(gap), answers: never, stalls: func(ms int) bool { return stall[ms] }}
		if said := play(w, len(stall)); len(said[Dead]) > 0 {
			t.Fatalf("seed %d: dead at %v, with a packet every %d ms", seed, said[Dead], gap)
		}
		w.receives, w.stalls = both(every(gap), until(15000)), both(w.stalls, until(15000))
		if said := play(w, len(stall)); len(said[Dead]) != 1 || said[Dead][0] < 15000 {
			t.Fatalf("seed %d: dead at %v, expected once after 15000", seed, said[Dead])
		}
	}
}

// TestWatchdogFrozen: a machine that did not run at all, as one that was suspended, has heard
// nothing of a link that is as good as before.
func TestWatchdogFrozen(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		frozen := make([]bool, 20000)
		for at := 1; at < len(frozen); {
			at += r.IntN(400)
			for end := min(at+100+r.IntN(1200), len(frozen)); at < end; at++ {
				frozen[at] = true
			}
		}
		w := wire{sends: always, receives: never, answers: always, after: 60, frozen: true, stalls: func(ms int) bool { return ms > 0 && frozen[ms] }}
		if said := play(w, len(frozen)); len(said[Dead]) > 0 {
			t.Fatalf("seed %d: dead at %v, where each question is answered within 60 ms", seed, said[Dead])
		}
	}
}
