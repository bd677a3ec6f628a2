package pana

import (
	"bytes"
	"net/netip"
	"time"
)

// rxRequest: PAR, PNR, PTR of this session.
func (s *session) rxRequest(now time.Time, from netip.AddrPort, m *Message, f *fields, raw []byte) {
	if s.sa == nil && s.newSA == nil && from != s.to {
		s.drop(DiscardAddress)
		return
	}
	if s.state == paaWaitSucc && s.newSA != nil && m.Type != TypeAuth && f.auth != nil && s.newSA.verify(raw, f.auth) {
		// It proves what the PAN[C] would prove. That one may have been sent
		// from, and our PAR[C] may go to, an address that no longer is the PaC's.
		s.out = nil
		s.confirmed(now)
	}
	if s.duplicate(m) {
		if s.verify(f, raw) {
			s.heard(now)
			s.repeat(now, from)
		} else {
			s.drop(DiscardAUTH)
		}
		return
	}
	activates := s.preauth && m.Type == TypeNtfy && m.Flags.Has(FlagP) && !m.e()
	switch {
	case !s.expects(m):
		s.drop(DiscardUnexpected)
	case m.e() != s.preauth && !activates:
		s.drop(DiscardPreauth)
	case !s.inOrder(m):
		s.drop(DiscardSequence)
	case !s.verify(f, raw):
		s.drop(DiscardAUTH)
	case !s.unwrap(s.sa, m, f):
	case m.Type == TypeNtfy && !activates && !s.heed.take(now):
		s.drop(DiscardRate)
	case m.Type == TypeAuth && f.eap == nil:
		s.drop(DiscardEAP)
	case m.Type == TypeAuth && f.nonce != nil:
		s.drop(DiscardNonce)
	default:
		s.accepted(m)
		s.heard(now)
		if activates { // whatever we send from here on has E clear
			s.preauth = false
			s.resign()
		}
		s.moved(now, from)
		s.act(now, m, f, raw, activates)
	}
}

// expects is RFC 5191 section 5.5 with the states of RFC 5609.
func (s *session) expects(m *Message) bool {
	ping := m.Type == TypeNtfy && m.Flags.Has(FlagP)
	reauth := m.Type == TypeNtfy && m.Flags.Has(FlagA)
	term := m.Type == TypeTerm
	switch s.state {
	case paaWaitEAP, paaWaitPAN:
		// A PAR of a PaC that does not piggyback follows its PAN. A PNR[A]
		// crosses our first PAR, which the PaC ignores until the PNA[A].
		return s.state == paaWaitPAN && s.out == nil && m.Type == TypeAuth && !m.Flags.Has(FlagC) ||
			s.opened && (ping || term || reauth && !s.sawNonce)
	case paaWaitSucc:
		return s.opened && (ping || term)
	case paaOpen:
		return ping || term || reauth
	case paaTerminating:
		return ping && len(m.AVPs) <= 1 && m.e() == s.preauth || term
	case paaStart, paaWaitFail, paaClosed:
	}
	return false
}

// act does what a valid request asks for.
func (s *session) act(now time.Time, m *Message, f *fields, raw []byte, activates bool) {
	switch {
	case m.Type == TypeAuth:
		s.answer(m, raw, nil)
		s.state = paaWaitEAP
		s.q.emit(EAPResponse{SID: s.sid, Packet: bytes.Clone(f.eap)})
	case m.Type == TypeTerm:
		s.answer(m, raw, nil)
		if s.state == paaTerminating {
			s.close(now, ErrTerminated) // both sides end it
		} else {
			s.close(now, &ErrPeerTerminated{Cause: TerminationCause(f.cause)})
		}
	case m.Flags.Has(FlagA):
		s.answer(m, raw, nil)
		if s.state == paaOpen {
			s.enterReauth(now)
		} else {
			s.kick(now) // our first PAR, which the PaC has ignored so far
		}
	default:
		if activates {
			s.q.emit(Activated{SID: s.sid, From: s.to})
		}
		if len(f.extra) > 0 {
			s.q.emit(Notified{SID: s.sid, AVPs: cloneAVPs(f.extra), From: s.to, Activate: !m.e()})
		}
		var hook func([]AVP) []AVP
		if h := s.p.cfg.AnswerPayload; h != nil {
			hook = func(in []AVP) []AVP { return h(s.sid, in) }
		}
		s.answer(m, raw, answerAVPs(hook, f.extra))
	}
}

// rxAnswer: PAN without S, PNA, PTA.
func (s *session) rxAnswer(now time.Time, from netip.AddrPort, m *Message, f *fields, raw []byte) {
	if why, ok := s.answers(m); !ok {
		s.drop(why)
		return
	}
	if s.sa == nil && s.out.sa == nil && from != s.to {
		s.drop(DiscardAddress)
		return
	}
	if sa := s.out.sa; (sa != nil) != (f.auth != nil) || sa != nil && !sa.verify(raw, f.auth) {
		s.drop(DiscardAUTH)
		return
	}
	if !s.unwrap(s.out.sa, m, f) || m.Type == TypeAuth && !s.fits(m, f) {
		return
	}
	req := s.settled(now, f)
	s.heard(now)
	switch {
	case m.Type == TypeTerm:
		s.close(now, ErrTerminated)
		return
	case m.Type == TypeNtfy:
		s.moved(now, from)
	case m.Flags.Has(FlagC) && s.state == paaWaitFail:
		s.close(now, s.failure)
	case m.Flags.Has(FlagC):
		if req.sa != nil && from != s.to && s.sa == nil {
			// Before Opened there was no session whose address could change.
			s.p.settle(s)
			s.to = from
		}
		s.confirmed(now)
		s.moved(now, from)
	default:
		if f.nonce != nil {
			s.hs.pac, s.sawNonce = bytes.Clone(f.nonce), true
			s.p.supersede(now, s)
		}
		s.moved(now, from)
		if f.eap != nil { // piggybacked; otherwise a PAR of the PaC's follows
			s.state = paaWaitEAP
			s.q.emit(EAPResponse{SID: s.sid, Packet: bytes.Clone(f.eap)})
		}
	}
}

// fits checks what a PAN carries against the PAR that it answers.
func (s *session) fits(m *Message, f *fields) bool {
	complete := m.Flags.Has(FlagC)
	wantKey := complete && s.newSA != nil
	switch {
	case f.hasKeyID != wantKey || wantKey && f.keyID != s.newSA.keyID:
		s.drop(DiscardKeyID)
	case complete && f.eap != nil:
		s.drop(DiscardEAP)
	case !complete && (f.nonce == nil) != s.sawNonce, complete && f.nonce != nil && s.sawNonce:
		s.drop(DiscardNonce)
	default:
		return true
	}
	return false
}
