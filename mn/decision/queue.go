package decision

import "time"

const (
	// slowest is what any link is thought to carry, in octets a second: what is late although
	// it was behind less was not kept by a queue.
	slowest = 256e3 / 8
	// unproven bounds how much longer an answer is waited for by a link that was not seen to
	// be slow, and longest by one that was.
	unproven = 2 * time.Second
	longest  = 10 * time.Second
	// inQueue is how many times as long as a question is thought to stand in a queue an
	// answer is waited for: what it is behind came in bursts.
	inQueue = 2
	// remembered is how long a late answer has others be expected as late.
	remembered = 10 * time.Second
)

// queue is what is known of the queue in which questions stand behind what was sent, some way
// along the link, by the answers: what was sent before a question has been carried when its
// answer comes.
//
//	sent    ---+-----------------+--------------------+---->
//	         since: behind      ask: ahead of it     answer, which was due after ahead / rate,
//	                                                 or else that is the rate
//
// Of a sign of life that nobody has asked for nobody knows what it is behind: it is taken to be
// behind everything, unless the link is slow. One sign, be it like an answer, says nothing yet of how
// fast the link is: it may have been on its way before. Two in a row say the lesser of their rates.
type queue struct {
	rate   float64       // octets a second that were carried
	slow   bool          // it carries no more: the latest answer was late
	since  time.Time     // of a sign of life
	sent   uint64        // until then
	behind uint64        // octets of those that it did not wait for
	first  time.Time     // question since
	ahead  uint64        // octets that it waits for, as far as they are not carried yet at since
	queued float64       // seconds that it stands in the queue
	seems  float64       // rate by the latest sign that was not late alone
	took   time.Duration // the latest of late answers
	when   time.Time     // the last of those came
}

// anew forgets what is under way.
func (q *queue) anew(now time.Time, sent uint64) { q.since, q.sent, q.behind = now, sent, 0 }

// ask says that the first question is asked.
func (q *queue) ask(now time.Time, sent uint64) {
	q.first, q.ahead = now, q.behind+sent-q.sent
	q.queued = max(float64(q.ahead)/max(q.rate, slowest)-now.Sub(q.since).Seconds(), 0)
}

// longer is for how much longer an answer is waited for than where there is no queue.
func (q *queue) longer() time.Duration {
	most := unproven
	if q.slow {
		most = longest
	}
	longer := time.Duration(min(inQueue*q.queued, most.Seconds()) * float64(time.Second))
	if q.first.Sub(q.when) < remembered {
		longer = max(longer, q.took)
	}
	return longer
}

// answered takes the answer to the first question. Lived says that it was waited for, as that of a
// dead link is not: nobody knows to which of the later ones it is one.
func (q *queue) answered(now time.Time, sent uint64, within time.Duration, lived bool) {
	rate, slow := float64(q.ahead)/now.Sub(q.since).Seconds(), now.Sub(q.first) > within
	switch {
	case slow && q.slow: // a queue that is full loses some of what it is given
		q.rate = min(q.rate, rate)
	case slow || q.slow:
		q.rate = rate
	default:
		q.rate, q.seems = max(q.rate, min(rate, q.seems)), rate
	}
	if q.slow = slow; lived {
		q.late(now, within)
	}
	q.since, q.sent, q.behind = now, sent, q.behind+sent-q.sent-q.ahead
}

// late remembers how late an answer is, if it is.
func (q *queue) late(now time.Time, within time.Duration) {
	took := now.Sub(q.first)
	if took <= within {
		return
	}
	if now.Sub(q.when) > remembered {
		q.took = 0
	}
	q.took, q.when = min(max(q.took, took), longest), now
}

// unasked takes a sign of life that nobody has asked for.
func (q *queue) unasked(now time.Time, sent uint64) {
	if q.slow {
		carried := uint64(max(q.rate, slowest) * now.Sub(q.since).Seconds())
		q.since, q.sent, q.behind = now, sent, q.behind+sent-q.sent-min(q.behind+sent-q.sent, carried)
		return
	}
	rate := float64(q.behind+sent-q.sent) / now.Sub(q.since).Seconds()
	q.rate, q.seems = max(q.rate, min(rate, q.seems)), rate
	q.anew(now, sent)
}
