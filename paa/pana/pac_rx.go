package pana

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// HandlePacket takes a datagram from the PAA. Whatever is wrong with it is
// counted and has no other effect (RFC 5191 section 5.5).
func (c *PaC) HandlePacket(now time.Time, b []byte) {
	m, raw, err := parse(b)
	if err != nil {
		c.drop(DiscardMalformed)
		return
	}
	f, err := m.fields()
	if err != nil {
		c.drop(DiscardInvalid)
		return
	}
	switch {
	case c.state == PaCInitial:
		c.drop(DiscardUnexpected)
		return
	case c.state == PaCClosed: // only the answer to an exact duplicate is left
		if c.last.ok && bytes.Equal(raw, c.lastRaw) {
			c.repeat(now, c.to)
		} else {
			c.drop(DiscardUnexpected)
		}
		return
	case m.Type == TypeAuth && m.request() && m.Flags.Has(FlagS):
		c.rxStart(now, m, f, raw)
		return
	case !c.sDone || m.SID != c.sid:
		c.drop(DiscardSID)
		return
	}
	if m.request() {
		c.rxRequest(now, m, f, raw)
	} else {
		c.rxAnswer(now, m, f, raw)
	}
	if c.state != PaCClosed {
		c.proceed(now)
	}
}

// rxElsewhere takes a datagram of the PAA's address from another port than its PAR[S] so far:
// another PAR[S], and nothing else.
func (c *PaC) rxElsewhere(now time.Time, b []byte) bool {
	m, _, err := parse(b)
	if err != nil || m.Type != TypeAuth || !m.request() || !m.Flags.Has(FlagS) {
		c.drop(DiscardAddress)
		return false
	}
	c.HandlePacket(now, b)
	return true
}

// rxStart: PAR[S]. Until the first PAR without S arrives each new one replaces
// the one before: the PAA may be stateless and have changed its mind (RFC 5191
// section 4.1). Other octets with the same number count as new. In an open
// session it comes from a PAA that wants another one, as after a restart, or
// from anybody: it is a reason to ask, and no more.
func (c *PaC) rxStart(now time.Time, m *Message, f *fields, raw []byte) {
	switch {
	case c.state == PaCOpen && m.SID != c.sid:
		c.doubt(now)
		c.drop(DiscardUnexpected)
		return
	case c.state != PaCWaitPAA || m.Flags.Has(FlagA|FlagP) || m.SID == 0:
		c.drop(DiscardUnexpected)
		return
	case m.e() != c.preauth: // RFC 5873 section 3: no silent fallback
		c.refused = "the PAA does not offer pre-authentication"
		c.drop(DiscardPreauth)
		return
	case f.auth != nil:
		c.drop(DiscardAUTH)
		return
	case f.nonce != nil:
		c.drop(DiscardNonce)
		return
	case f.encap != nil:
		c.drop(DiscardEncap)
		return
	case c.sDone && bytes.Equal(raw, c.hs.iPAR):
		c.repeat(now, c.to)
		return
	}
	prf, integ, ok := choose(c.cfg.PRFs, f.prfs), choose(c.cfg.Integrities, f.integs), true
	encr := !c.cfg.NoEncryption && slices.Contains(f.encrs, encrAES128CTR)
	var avps []AVP
	switch {
	case prf != 0 && integ != 0:
		avps = []AVP{avp32(CodePRF, uint32(prf)), avp32(CodeIntegrity, uint32(integ))}
		if encr {
			avps = append(avps, avp32(CodeEncryption, encrAES128CTR))
		}
	case len(f.prfs) == 0 && len(f.integs) == 0:
		ok = c.cfg.AllowKeyless
	default:
		ok = false
	}
	if !ok {
		c.refused = "the PAA offers no algorithm that is allowed here"
		c.drop(DiscardAlgorithms)
		return
	}
	if f.eap != nil && f.eap[0] != eapRequest { // whoever can say so much must not end what goes on
		c.drop(DiscardEAP)
		return
	}
	if err := c.newEAP(); err != nil {
		c.close(err)
		return
	}
	c.out = nil // a PAR with EAP for the PAR[S] before
	if f.eap != nil {
		resp, ok := c.converse(now, f.eap)
		if !ok {
			return
		}
		if resp != nil {
			avps = append(avps, AVP{Code: CodeEAP, Data: resp})
		}
	}
	if c.authAt.IsZero() { // awaited; nobody else has begun anything
		c.authFrom = now
		c.authAt = now.Add(c.cfg.AuthTimeout)
	}
	if !c.sDone && c.pci.sent == 1 {
		c.rtt.sample(now.Sub(c.pci.first))
	}
	c.sDone = true
	c.starts++
	c.sid = m.SID
	c.txSeq = apart(m.Seq, c.isn)
	c.reconf = m.Flags.Has(FlagI)
	c.hs = handshake{prf: prf, integ: integ, encr: encr && prf != 0, iPAR: bytes.Clone(raw)}
	c.accepted(m)
	c.answer(m, raw, avps, nil)
	c.hs.iPAN = c.last.raw
}

// apart makes the PaC's first number from a random one and the PAA's: a quarter of
// all numbers away at least, so that a number does not serve a request of ours and
// an answer of ours under one key.
func apart(paa, random uint32) uint32 { return paa + 1<<30 + random>>1 }

// choose returns the first of ours that the PAA offers, 0 for none.
func choose[T comparable](ours, offered []T) (none T) {
	for _, a := range ours {
		if slices.Contains(offered, a) {
			return a
		}
	}
	return none
}

// answer replies and remembers the request for the time after closing.
func (c *PaC) answer(m *Message, raw []byte, avps []AVP, sa *association) {
	c.reply(m, netip.AddrPort{}, avps, sa)
	c.lastRaw = bytes.Clone(raw)
}

// rxRequest: PAR without S, PNR, PTR of this session.
func (c *PaC) rxRequest(now time.Time, m *Message, f *fields, raw []byte) {
	// While our activation is on its way the PAA may already be the serving
	// one, or not yet.
	activating := c.out != nil && c.out.note.activates()
	if c.duplicate(m) {
		if c.verify(f, raw) {
			c.heard(now)
			c.repeat(now, c.to)
		} else {
			c.drop(DiscardAUTH)
		}
		return
	}
	switch {
	case !c.expects(m):
		c.drop(DiscardUnexpected)
		return
	case m.e() != c.preauth && !activating:
		c.drop(DiscardPreauth)
		return
	case !c.inOrder(m):
		c.drop(DiscardSequence)
		return
	case m.Type == TypeAuth && m.Flags.Has(FlagC):
		c.rxComplete(now, m, f, raw)
		return
	case !c.verify(f, raw):
		c.drop(DiscardAUTH)
		return
	case !c.unwrap(c.sa, m, f):
		return
	case m.Type == TypeNtfy && !c.heed.take(now):
		c.drop(DiscardRate)
		return
	}
	switch m.Type {
	case TypeAuth:
		c.rxAuth(now, m, f, raw)
	case TypeNtfy:
		c.heard(now)
		c.accepted(m)
		if len(f.extra) > 0 {
			c.q.emit(Notified{SID: c.sid, AVPs: cloneAVPs(f.extra), Activate: !m.e()})
		}
		c.answer(m, raw, answerAVPs(c.cfg.AnswerPayload, f.extra), c.sa)
	case TypeTerm:
		c.accepted(m)
		c.answer(m, raw, nil, c.sa)
		if c.state == PaCTerminating {
			c.close(ErrTerminated) // both sides end it
		} else {
			c.close(&ErrPeerTerminated{Cause: TerminationCause(f.cause)})
		}
	}
}

// answerAVPs asks the owner what the answer to a notification carries; AVPs
// that may not be carried are left out.
func answerAVPs(hook func([]AVP) []AVP, in []AVP) []AVP {
	if hook == nil || len(in) == 0 {
		return nil
	}
	out := cloneAVPs(hook(cloneAVPs(in)))
	if checkCarried(out) != nil {
		return nil
	}
	return out
}

// expects is RFC 5191 section 5.5 with the states of RFC 5609.
func (c *PaC) expects(m *Message) bool {
	switch c.state {
	case PaCWaitPAA, PaCAuth:
		return m.Type == TypeAuth
	case PaCOpen: // a PAR begins a re-authentication, see doc.go
		return m.Type == TypeAuth && !m.Flags.Has(FlagC) || m.Type == TypeNtfy && m.Flags.Has(FlagP) || m.Type == TypeTerm
	case PaCWaitReauth: // PARs are discarded until the PNA[A] (section 4.3)
		return m.Type == TypeNtfy && m.Flags.Has(FlagP) || m.Type == TypeTerm
	case PaCReauth:
		return m.Type == TypeAuth || m.Type == TypeNtfy && m.Flags.Has(FlagP) || m.Type == TypeTerm
	case PaCTerminating:
		return m.Type == TypeNtfy && m.Flags.Has(FlagP) && len(m.AVPs) <= 1 || m.Type == TypeTerm
	}
	return false
}

// rxAuth: PAR without S and C. AUTH and sequence number are right.
func (c *PaC) rxAuth(now time.Time, m *Message, f *fields, raw []byte) {
	// An open session's authentication may begin anew, see doc.go; AUTH says who wants that.
	first := !c.sawNonce || c.state == PaCReauth && c.sa != nil && f.nonce != nil
	switch {
	case first != (f.nonce != nil):
		c.drop(DiscardNonce)
		return
	case f.hasKeyID:
		c.drop(DiscardKeyID)
		return
	case f.eap == nil:
		c.drop(DiscardEAP)
		return
	}
	var avps []AVP
	if first {
		if c.state == PaCOpen || c.state == PaCReauth {
			if err := c.newEAP(); err != nil {
				c.close(err)
				return
			}
		}
		nonce, err := c.random.bytes(nonceLen(c.hs.prf))
		if err != nil {
			c.close(err)
			return
		}
		avps = append(avps, AVP{Code: CodeNonce, Data: nonce})
	}
	resp, ok := c.converse(now, f.eap)
	if !ok {
		return
	}
	c.heardFrom()
	if first {
		c.hs.pac, c.hs.paa = avps[0].Data, bytes.Clone(f.nonce)
		c.sawNonce = true
		c.begin(now)
	}
	if resp != nil {
		avps = append(avps, AVP{Code: CodeEAP, Data: resp})
	}
	c.accepted(m)
	c.answer(m, raw, avps, c.sa)
}

// begin enters the authentication phase proper, or re-authentication.
func (c *PaC) begin(now time.Time) {
	switch c.state {
	case PaCWaitPAA:
		c.state = PaCAuth
		c.pciActive = false // section 4.1: PCIs until here
	case PaCOpen:
		c.enterReauth(now)
	case PaCInitial, PaCAuth, PaCWaitReauth, PaCReauth, PaCTerminating, PaCClosed:
	}
}

// enterReauth: FAILED_SESS_TIMEOUT takes the place of the lifetime (RFC 5609),
// and a ping must not be sent (RFC 5191 section 4.2), so a notification that is
// outstanding pauses, unless it is what tells the PAA where we are.
func (c *PaC) enterReauth(now time.Time) {
	c.state = PaCReauth
	c.reauthDue = false
	c.authFrom = now
	c.authAt = now.Add(c.cfg.AuthTimeout)
	c.lifeAt, c.reauthAt = time.Time{}, time.Time{}
	c.deaf()
	if c.out != nil && !c.out.note.activates() {
		c.out.paused = true
	}
}

// rxAnswer: PAN, PNA, PTA.
func (c *PaC) rxAnswer(now time.Time, m *Message, f *fields, raw []byte) {
	if why, ok := c.answers(m); !ok {
		c.drop(why)
		return
	}
	if !c.verify(f, raw) {
		c.drop(DiscardAUTH)
		return
	}
	if !c.unwrap(c.sa, m, f) {
		return
	}
	if f.eap != nil || f.nonce != nil || f.hasKeyID { // only the PaC's PANs carry them
		c.drop(DiscardEAP)
		return
	}
	c.heard(now)
	activate := c.out.note.activates()
	if activate && c.preauth {
		c.preauth = false
		c.q.emit(Activated{SID: c.sid})
	}
	c.settled(now, f)
	switch {
	case m.Type == TypeTerm:
		c.close(ErrTerminated)
	case m.Flags.Has(FlagA):
		c.state = PaCOpen // where enterReauth starts from
		if !c.termDue {
			c.sawNonce = false
			c.enterReauth(now)
		}
	}
}
