package pana

import (
	"net/netip"
	"time"
)

// maxQueued bounds the notifications that wait for their turn in a session.
const maxQueued = 64

// Rate limit on notifications of ours (RFC 5191 section 4.2 demands one):
// per second, and how many at once. Urgent ones are exempt.
const (
	notifyRate  = 50
	notifyBurst = 20
	// Duplicates and pings of the peer that are heeded a second, and at once
	// (section 5.2: answering duplicates may be limited).
	heedRate = 100
	// Messages of a session whose AUTH is looked at a second, and at once: from the
	// peer's address, and as many from all others. Honest peers stay far below.
	weighRate = 500
)

// notification is a PNR[P] of the owner (or the liveness test: token 0).
type notification struct {
	token    uint64
	avps     []AVP
	activate bool
	urgent   bool
}

// activates reports whether n has E clear whatever the session has.
func (n *notification) activates() bool { return n != nil && n.activate }

// request is the outstanding request; RFC 5191 section 5.2 allows one a side.
type request struct {
	msg    Message      // without AUTH
	sa     *association // signs it
	raw    []byte
	timer  rtx
	paused bool          // no retransmission until re-authentication is over
	note   *notification // nil: the machine's own
	sentE  [2]bool       // with which E bits it was sent
}

// answer is the last answer of ours, kept for duplicates of its request.
type answer struct {
	ok  bool
	of  Message // header of the request
	msg Message // without AUTH
	sa  *association
	raw []byte
}

// endpoint is what PaC and PAA have in common in a session: sequence numbers,
// the outstanding request, the cached answer, notifications, AUTH.
type endpoint struct {
	q      *outputs
	counts *discardCounts
	rnd    *random
	params Retransmission

	to      netip.AddrPort // zero on the PaC
	sid     uint32
	preauth bool // E bit: the PAA is a candidate
	sa      *association

	txSeq   uint32 // number of the next request of ours
	rxSeq   uint32 // number expected in the peer's next request
	rxKnown bool   // rxSeq is known: the PAA learns it from the first request

	out      *request
	last     answer
	queue    []*notification
	tokens   uint64
	notifyAt time.Time // the rate limit holds the queue until then
	limit    bucket
	heed     bucket
	weighed  [2]bucket // by index(from the peer's address)
	rtt      rttEstimate
	wrapSeen bool
	liveness
}

func newEndpoint(q *outputs, counts *discardCounts, rnd *random, params Retransmission, l liveness) endpoint {
	return endpoint{
		q: q, counts: counts, rnd: rnd, params: params, liveness: l,
		limit: bucket{rate: notifyRate, burst: notifyBurst}, heed: bucket{rate: heedRate, burst: heedRate},
		weighed: [2]bucket{{rate: weighRate, burst: weighRate}, {rate: weighRate, burst: weighRate}},
	}
}

func (m *Message) e() bool       { return m.Flags.Has(FlagE) }
func (m *Message) request() bool { return m.Flags.Has(FlagR) }

func eBit(on bool) Flags {
	if on {
		return FlagE
	}
	return 0
}

func index(on bool) int {
	if on {
		return 1
	}
	return 0
}

func (ep *endpoint) drop(d Discard) { ep.counts.add(d) }

func (ep *endpoint) send(raw []byte) { ep.q.emit(Send{To: ep.to, Data: raw}) }

// verify checks AUTH under the session's SA: present if and only if there is
// one, and right.
func (ep *endpoint) verify(f *fields, raw []byte) bool {
	if ep.sa == nil {
		return f.auth == nil
	}
	return ep.sa.verify(raw, f.auth)
}

// ask sends a request and arms its timer. flags go without R and E.
func (ep *endpoint) ask(now time.Time, t MessageType, flags Flags, avps []AVP, sa *association, irt time.Duration, note *notification) {
	e := ep.preauth && !note.activates()
	r := &request{
		msg: Message{Type: t, Flags: FlagR | flags | eBit(e), SID: ep.sid, Seq: ep.txSeq, AVPs: avps},
		sa:  sa, note: note,
	}
	ep.txSeq++
	r.raw = encode(&r.msg, sa)
	r.sentE[index(e)] = true
	r.timer.start(now, ep.params, irt, ep.rnd)
	ep.out = r
	ep.send(r.raw)
}

// resign builds the outstanding request anew after the key or the E bit
// changed. The sequence number stays.
func (ep *endpoint) resign() {
	if r := ep.out; r != nil {
		if e := ep.preauth && !r.note.activates(); e != r.msg.e() {
			r.msg.Flags ^= FlagE
			r.sentE[index(e)] = true
		}
		r.raw = encode(&r.msg, r.sa)
	}
}

// kick retransmits the outstanding request at once.
func (ep *endpoint) kick(now time.Time) {
	r := ep.out
	if r == nil || r.paused {
		return
	}
	if r.timer.p.MRC > 0 {
		r.timer.p.MRC++ // this one does not count
	}
	r.timer.hurry(now, 0)
	if ep.retransmit(now) {
		// The next timeout starts over: the old one belonged to another path.
		r.timer.hurry(now, min(ep.rtt.urgent(), ep.params.IRT))
	}
}

// retransmit sends the outstanding request again when its timeout has passed.
// It reports false when that was the last time.
func (ep *endpoint) retransmit(now time.Time) bool {
	r := ep.out
	if r == nil || r.paused || !r.timer.due(now) {
		return true
	}
	if !r.timer.again(now, ep.rnd) {
		return false
	}
	ep.send(r.raw)
	return true
}

// exhausted is the reason to close after retransmit said no.
func (ep *endpoint) exhausted(now time.Time) error {
	r := ep.out
	return &ErrRetransmissions{Request: r.msg.Name(), Sent: r.timer.sent, After: now.Sub(r.timer.first)}
}

// answers reports whether m answers the outstanding request, and why not.
func (ep *endpoint) answers(m *Message) (Discard, bool) {
	r := ep.out
	const kindFlags = FlagS | FlagC | FlagA | FlagP
	switch {
	case r == nil:
		return DiscardNoRequest, false
	case m.Type != r.msg.Type || m.Flags&kindFlags != r.msg.Flags&kindFlags:
		return DiscardNoRequest, false
	case m.Seq != r.msg.Seq:
		return DiscardSequence, false
	case !r.sentE[index(m.e())]:
		return DiscardPreauth, false
	}
	return 0, true
}

// settled takes the outstanding request off after its answer came.
func (ep *endpoint) settled(now time.Time, f *fields) *request {
	r := ep.out
	ep.out = nil
	rtt := now.Sub(r.timer.first)
	if r.timer.sent == 1 && (r.msg.Type != TypeAuth || r.msg.Flags.Has(FlagC)) { // Karn's rule; EAP takes its time
		ep.rtt.sample(rtt)
	}
	if r.note != nil && r.note.token != 0 {
		ep.q.emit(NotifyDone{SID: ep.sid, Token: r.note.token, RTT: rtt, AVPs: cloneAVPs(f.extra)})
	}
	return r
}

// reply answers m and keeps the answer. to is where the request came from.
func (ep *endpoint) reply(m *Message, to netip.AddrPort, avps []AVP, sa *association) {
	const copied = FlagS | FlagC | FlagA | FlagP | FlagE
	a := answer{
		ok: true, of: Message{Type: m.Type, Flags: m.Flags, SID: m.SID, Seq: m.Seq}, sa: sa,
		msg: Message{Type: m.Type, Flags: m.Flags & copied, SID: m.SID, Seq: m.Seq, AVPs: avps},
	}
	a.raw = encode(&a.msg, sa)
	ep.last = a
	ep.q.emit(Send{To: to, Data: a.raw})
}

// resignAnswer makes the cached answer anew under the session's new key.
func (ep *endpoint) resignAnswer() {
	if ep.last.ok && ep.last.sa != nil {
		ep.last.sa = ep.sa
		ep.last.raw = encode(&ep.last.msg, ep.sa)
	}
}

// duplicate reports whether m repeats the last answered request.
func (ep *endpoint) duplicate(m *Message) bool {
	const kindFlags = FlagR | FlagS | FlagC | FlagA | FlagP
	of := &ep.last.of
	return ep.last.ok && m.Seq == of.Seq && m.Type == of.Type && m.Flags&kindFlags == of.Flags&kindFlags
}

// repeat sends the cached answer octet for octet to where the duplicate came
// from: its sender may have moved without having heard us.
func (ep *endpoint) repeat(now time.Time, to netip.AddrPort) {
	if !ep.heed.take(now) {
		ep.drop(DiscardRate)
		return
	}
	ep.q.emit(Send{To: to, Data: ep.last.raw})
}

// inOrder checks the sequence number of a request that is no duplicate.
func (ep *endpoint) inOrder(m *Message) bool { return !ep.rxKnown || m.Seq == ep.rxSeq }

// accepted advances the expected number, after AUTH was verified.
func (ep *endpoint) accepted(m *Message) { ep.rxSeq, ep.rxKnown = m.Seq+1, true }

// enqueue takes a notification of the owner.
func (ep *endpoint) enqueue(avps []AVP, o NotifyOptions) (uint64, error) {
	if err := checkCarried(avps); err != nil {
		return 0, err
	}
	if len(ep.queue) >= maxQueued {
		return 0, ErrQueueFull
	}
	ep.tokens++
	ep.queue = append(ep.queue, &notification{
		token: ep.tokens, avps: cloneAVPs(avps), activate: o.Activate, urgent: o.Urgent,
	})
	if o.Urgent && ep.out != nil && !ep.out.paused {
		ep.out.timer.hurry(ep.out.timer.first, ep.rtt.urgent()) // it waits for this one
	}
	return ep.tokens, nil
}

// pump sends the next notification if nothing is outstanding. Notifications
// keep their order, so an urgent one carries along those before it. held: only
// an activation, and what waits before it, may go.
func (ep *endpoint) pump(now time.Time, held bool) {
	ep.notifyAt = time.Time{}
	if ep.out != nil || len(ep.queue) == 0 {
		return
	}
	var urgent, activate bool
	for _, n := range ep.queue {
		urgent = urgent || n.urgent
		activate = activate || n.activate
	}
	if held && !activate {
		return
	}
	if !urgent && !activate && !ep.limit.take(now) {
		ep.notifyAt = now.Add(ep.limit.wait(now))
		return
	}
	n := ep.queue[0]
	ep.queue[0] = nil
	if ep.queue = ep.queue[1:]; len(ep.queue) == 0 {
		ep.queue = nil
	}
	var irt time.Duration
	if urgent {
		irt = min(ep.rtt.urgent(), ep.params.IRT)
	}
	ep.ask(now, TypeNtfy, FlagP, n.avps, ep.sa, irt, n)
}

// failNotifications ends everything that was to be sent.
func (ep *endpoint) failNotifications(reason error, outstanding bool) {
	fail := func(n *notification) {
		if n != nil && n.token != 0 {
			ep.q.emit(NotifyDone{SID: ep.sid, Token: n.token, Err: reason})
		}
	}
	if outstanding && ep.out != nil {
		fail(ep.out.note)
		ep.out = nil
	}
	for _, n := range ep.queue {
		fail(n)
	}
	ep.queue = nil
}

// next adds the endpoint's timers to a deadline.
func (ep *endpoint) next(d *deadline) {
	if ep.out != nil && !ep.out.paused {
		d.add(ep.out.timer.next)
	}
	d.add(ep.notifyAt)
}

// deadline is the earliest of several times; zero times do not count.
type deadline struct{ t time.Time }

func (d *deadline) add(t time.Time) {
	if !t.IsZero() && (d.t.IsZero() || t.Before(d.t)) {
		d.t = t
	}
}

// latest is the later of two times. A session that terminates ends when it would have ended
// otherwise, if nobody answers (RFC 5609 section 6.2: any state, SESS_TIMEOUT).
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func due(now, t time.Time) bool { return !t.IsZero() && !now.Before(t) }
