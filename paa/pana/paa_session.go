package pana

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// paaState is a state of a session of the PAA; doc.go draws them.
type paaState uint8

const (
	paaStart       paaState = iota // INITIAL, with a PAR[S] that is repeated
	paaWaitEAP                     // WAIT_EAP_MSG: the owner's EAP is at work
	paaWaitPAN                     // WAIT_PAN_OR_PAR
	paaWaitSucc                    // WAIT_SUCC_PAN
	paaWaitFail                    // WAIT_FAIL_PAN
	paaOpen                        // OPEN, WAIT_PNA_PING
	paaTerminating                 // SESS_TERM
	paaClosed                      // CLOSED; answers duplicates for a while
)

var paaStateNames = [...]string{"start", "wait-eap", "wait-pan", "wait-succ-pan", "wait-fail-pan", "open", "terminating", "closed"}

func (s paaState) String() string {
	if int(s) < len(paaStateNames) {
		return paaStateNames[s]
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// session is the PAA's side of one session.
type session struct {
	endpoint
	p     *PAA
	index int       // in the timer heap, -1: not there
	at    time.Time // key in the timer heap

	state    paaState
	opened   bool // it has been open: from then on states before open are re-authentication
	hs       handshake
	offered  []AVP     // algorithm AVPs of a PAR[S] that nobody has answered
	sentPAR  bool      // the PAR with our nonce is out
	sawNonce bool      // the nonce pair of this authentication is complete
	held     *EAPReply // waits until nothing is outstanding
	termDue  bool
	cause    TerminationCause // with termDue
	brief    bool             // nobody may be there to answer
	host     netip.Addr       // under which PAA.hosts counts it
	keyIDs   uint32
	lastRaw  []byte

	// Between PAR[C] and PAN[C].
	newSA    *association
	newMSK   *keys.Secret
	newLife  time.Duration
	failure  error
	lifetime time.Duration

	authFrom, authAt, lifeAt, reauthAt, goneAt time.Time
}

// deadline is the earliest timer of the session.
func (s *session) deadline() time.Time {
	var d deadline
	if s.state != paaClosed {
		s.next(&d)
	}
	for _, t := range []time.Time{s.authAt, s.lifeAt, s.reauthAt, s.pingAt, s.silentAt, s.goneAt} {
		d.add(t)
	}
	return d.t
}

// tick does what is due.
func (s *session) tick(now time.Time) {
	switch {
	case s.state == paaClosed:
		if due(now, s.goneAt) {
			s.forget()
		}
		return
	case due(now, s.authAt):
		e := &ErrAuthTimeout{Peer: s.to, After: now.Sub(s.authFrom).Round(time.Millisecond), State: "the PaC did not answer any more"}
		if s.state == paaWaitEAP || s.state == paaStart && s.out == nil {
			e.State = "EAP gave no answer"
		}
		s.close(now, e)
		return
	case due(now, s.lifeAt):
		s.close(now, &ErrLifetime{Lifetime: s.lifetime})
		return
	case due(now, s.silentAt):
		s.close(now, s.silent(now))
		return
	case !s.retransmit(now):
		s.close(now, s.exhausted(now))
		return
	}
	if due(now, s.reauthAt) {
		s.reauthAt = time.Time{}
		if s.state == paaOpen && !s.termDue {
			s.enterReauth(now)
		}
	}
	s.ping(now, s.state == paaOpen)
	s.proceed(now)
}

// proceed sends what has been waiting until nothing was outstanding.
func (s *session) proceed(now time.Time) {
	if s.out == nil && s.termDue && s.opened && s.state != paaTerminating && s.state != paaClosed {
		s.termDue = false
		s.abandon()
		s.state = paaTerminating
		s.lifeAt = latest(s.lifeAt, s.authAt)
		s.authAt, s.reauthAt = time.Time{}, time.Time{}
		s.deaf()
		s.ask(now, TypeTerm, 0, []AVP{avp32(CodeTermCause, uint32(s.cause))}, s.sa, 0, nil)
		if s.brief {
			s.hasten(now)
		}
	}
	if s.held != nil && (s.out == nil && s.state == paaWaitEAP || s.state == paaWaitPAN || s.state == paaStart) {
		r := s.held
		s.held = nil
		s.useEAP(now, r)
	}
	if s.state == paaOpen && s.wraps() {
		s.enterReauth(now)
	}
	if s.state == paaOpen {
		s.pump(now, false)
	}
}

// supersededWithin is the REQ_MRD (RFC 5191 section 9) of what a session still asks in whose place another has begun.
const supersededWithin = 3 * time.Second

// hasten has the outstanding request be over soon, from now.
func (s *session) hasten(now time.Time) {
	if r := s.out; r != nil {
		r.timer.hurry(now, min(s.rtt.urgent(), s.params.IRT))
		r.timer.p.MRD = now.Sub(r.timer.first) + supersededWithin
	}
}

// abandon forgets an authentication under way.
func (s *session) abandon() {
	if s.held != nil {
		s.held.MSK.Clear()
		s.held = nil
	}
	s.newMSK.Clear()
	s.newMSK = nil
	if s.newSA != nil {
		s.newSA.clear()
		s.newSA = nil
	}
}

// close ends the session. What is kept answers duplicates of the last request.
func (s *session) close(now time.Time, reason error) {
	if s.state == paaClosed {
		return
	}
	s.state = paaClosed
	s.failNotifications(reason, true)
	s.abandon()
	s.sa.clear()
	s.sa = nil
	s.authAt, s.lifeAt, s.reauthAt = time.Time{}, time.Time{}, time.Time{}
	s.deaf()
	s.goneAt = now.Add(closedLinger)
	s.p.settle(s)
	s.p.live--
	if len(s.p.sessions) > 2*s.p.cfg.MaxSessions { // a flood of short sessions
		s.forget()
	}
	s.q.emit(Closed{SID: s.sid, Reason: reason})
}

// forget removes a closed session.
func (s *session) forget() {
	s.goneAt = time.Time{}
	delete(s.p.sessions, s.sid)
	s.known(netip.Addr{})
}

// known counts the session under another address, none when it is not valid.
func (s *session) known(a netip.Addr) {
	hosts := s.p.hosts
	if hosts[s.host]--; hosts[s.host] <= 0 {
		delete(hosts, s.host)
	}
	if s.host = a; a.IsValid() {
		hosts[a]++
	}
}

// enterReauth begins EAP anew in an open session. A notification that is
// outstanding goes on; the first PAR waits for it.
func (s *session) enterReauth(now time.Time) {
	s.state = paaWaitEAP
	s.sentPAR, s.sawNonce = false, false
	s.authFrom = now
	s.authAt = now.Add(s.p.cfg.AuthTimeout)
	s.lifeAt, s.reauthAt = time.Time{}, time.Time{} // FAILED_SESS_TIMEOUT takes its place (RFC 5609)
	s.deaf()
	s.q.emit(EAPStart{SID: s.sid, From: s.to, Preauth: s.preauth, Reauth: true})
}

// par sends a PAR; the first of an authentication carries our nonce.
func (s *session) par(now time.Time, flags Flags, avps []AVP, sa *association) bool {
	if !s.sentPAR {
		nonce, err := s.rnd.bytes(nonceLen(s.hs.prf))
		if err != nil {
			s.close(now, err)
			return false
		}
		s.hs.paa = nonce
		s.sentPAR = true
		avps = append([]AVP{{Code: CodeNonce, Data: nonce}}, avps...)
	}
	if s.p.cfg.Reconfigure && !s.opened {
		flags |= FlagI
	}
	s.ask(now, TypeAuth, flags, avps, sa, 0, nil)
	return true
}

// useEAP acts on what the owner's EAP said; nothing is outstanding.
func (s *session) useEAP(now time.Time, r *EAPReply) {
	switch {
	case !r.Done && r.Err != nil:
		s.close(now, &ErrEAP{Err: r.Err})
	case s.state == paaStart:
		s.offer(now, r.Packet)
	case !r.Done:
		if r.Restart { // the next PAR is a first one again
			s.sentPAR, s.sawNonce = false, false
		}
		if s.par(now, 0, []AVP{{Code: CodeEAP, Data: r.Packet}}, s.sa) {
			s.state = paaWaitPAN
		}
	case r.Success && !r.Unauthorized:
		s.succeed(now, r)
	default:
		s.reject(now, r)
	}
}

// succeed sends PAR[C] with PANA_SUCCESS. Without an MSK where one is needed
// it is a rejection: RFC 5609 Authorize() says FALSE.
func (s *session) succeed(now time.Time, r *EAPReply) {
	if r.MSK.Len() == 0 && (!s.p.cfg.AllowKeyless || s.preauth || s.sa != nil) {
		r.Unauthorized = true
		r.Err = errors.New("the EAP method exported no keys, and a session without PANA SA is not allowed")
		s.reject(now, r)
		return
	}
	if r.Packet == nil || !s.sawNonce {
		r.MSK.Clear()
		s.close(now, &ErrEAP{Err: errors.New("success reported without an EAP-Success, or before the PaC said anything")})
		return
	}
	if r.MSK.Len() > 0 {
		s.keyIDs++
		sa, err := s.hs.derive(r.MSK, s.keyIDs)
		if err != nil {
			r.MSK.Clear()
			s.close(now, err)
			return
		}
		s.newSA, s.newMSK = sa, r.MSK
	}
	life := s.p.cfg.Lifetime
	if s.preauth && s.p.cfg.PreauthLifetime < life {
		life = s.p.cfg.PreauthLifetime
	}
	if r.Lifetime > 0 {
		life = min(life, r.Lifetime)
	}
	life = min(max(life.Truncate(time.Second), time.Second), (1<<32-1)*time.Second)
	s.newLife = life
	avps := []AVP{
		avp32(CodeResult, uint32(ResultSuccess)),
		{Code: CodeEAP, Data: r.Packet},
		avp32(CodeLifetime, uint32(life/time.Second)),
	}
	if s.newSA != nil {
		avps = append(avps, avp32(CodeKeyID, s.newSA.keyID))
	}
	if s.p.cfg.ParCAVPs != nil {
		extra := s.p.cfg.ParCAVPs(s.sid)
		if err := checkCarried(extra); err != nil {
			s.close(now, fmt.Errorf("%w (from ParCAVPs)", err))
			return
		}
		avps = append(avps, cloneAVPs(extra)...)
	}
	if s.par(now, FlagC, avps, s.newSA) {
		s.state = paaWaitSucc
	}
}

// reject sends PAR[C] with a failure.
func (s *session) reject(now time.Time, r *EAPReply) {
	code, sa := ResultAuthenticationRejected, s.sa
	if r.Success {
		code = ResultAuthorizationRejected
	}
	avps := []AVP{avp32(CodeResult, uint32(code))}
	if r.Packet != nil {
		avps = append(avps, AVP{Code: CodeEAP, Data: r.Packet})
	}
	if r.Success && r.MSK.Len() > 0 && s.sawNonce { // section 4.1: protected all the same
		s.keyIDs++
		fresh, err := s.hs.derive(r.MSK, s.keyIDs)
		if err != nil {
			r.MSK.Clear()
			s.close(now, err)
			return
		}
		s.newSA, sa = fresh, fresh
		avps = append(avps, avp32(CodeKeyID, fresh.keyID))
	}
	r.MSK.Clear()
	avps = append(avps, r.AVPs...)
	s.failure = &ErrAuthRejected{Code: code, Err: r.Err}
	if s.par(now, FlagC, avps, sa) {
		s.state = paaWaitFail
	}
}

// confirmed: the PaC has the new key. It opens the session, or opens it again.
func (s *session) confirmed(now time.Time) {
	o := Opened{
		SID: s.sid, Preauth: s.preauth, Rekeyed: s.opened, Lifetime: s.newLife, MSK: s.newMSK, From: s.to,
		Reconfigure: s.p.cfg.Reconfigure && !s.opened,
	}
	if s.newSA != nil {
		s.sa.clear()
		s.sa, s.newSA = s.newSA, nil
		o.KeyID, o.PRF = s.sa.keyID, s.hs.prf
		s.resignAnswer()
	}
	if !s.opened { // the PaC's numbers count from its first authenticated request
		s.rxKnown = false
		s.last = answer{}
	}
	s.p.settle(s)
	s.newMSK = nil
	s.opened = true
	s.state = paaOpen
	s.lifetime = s.newLife
	s.lifeAt = now.Add(s.newLife)
	if b := s.p.cfg.ReauthBefore; b > 0 {
		s.reauthAt = now.Add(max(s.newLife-b, s.newLife/2))
	}
	s.authAt = time.Time{}
	s.known(s.to.Addr())
	s.listen(now)
	s.q.emit(o)
}

// moved takes over a new address from a message that was authenticated and
// new (RFC 5191 section 5.6). The outstanding request follows it at once.
func (s *session) moved(now time.Time, from netip.AddrPort) {
	if s.sa == nil || from == s.to {
		return
	}
	s.to = from
	s.known(from.Addr())
	s.q.emit(AddressChanged{SID: s.sid, From: from})
	s.kick(now)
}

// answer replies and remembers the request for the time after closing.
func (s *session) answer(m *Message, raw []byte, avps []AVP) {
	s.reply(m, s.to, avps, s.sa)
	s.lastRaw = bytes.Clone(raw)
}
