package pana

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A PAR[S] that is repeated by timer needs a session (RFC 5191 section 4.1): one
// with EAP in it, and one that the PAA sends on its own initiative.
//
//	start --PAN[S]-----------> wait-eap   without EAP in the PAR[S]: EAPStart
//	start --PAN[S] with EAP--> wait-eap   EAPResponse
//	start --PAN[S]-----------> wait-pan   with EAP in the PAR[S]: a PAR of the PaC follows

// Initiate begins a session with a PaC that has not asked for one: a PAR[S] goes to
// its address, port 716 as a rule, until a PAN[S] comes or Request and AuthTimeout
// end the session. There is no pre-authentication from this side (RFC 5873 section
// 3). The error says that the PaC is being authenticated already, or that there are
// as many sessions as configured.
func (p *PAA) Initiate(now time.Time, to netip.AddrPort) (sid uint32, err error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	switch {
	case !to.IsValid() || to.Port() == 0:
		return 0, fmt.Errorf("%w: the PaC's address %v needs a port, %d as a rule", ErrConfig, to, Port)
	case len(p.byAddr[to]) > 0:
		return 0, fmt.Errorf("pana: %v is being authenticated already", to)
	case p.full(to.Addr(), false):
		return 0, fmt.Errorf("pana: no room for a session with %v: %d sessions of at most %d, %d of at most %d being authenticated", to, p.live, p.cfg.MaxSessions, p.pending, p.cfg.MaxPending)
	}
	s := p.ask(now, to, false)
	if s == nil {
		return 0, errors.New("pana: no session identifier: the random source fails")
	}
	return s.sid, nil
}

// ask makes a session and sends its PAR[S], with EAP in it as soon as the owner's
// EAP has said its first request. Nil without randomness.
func (p *PAA) ask(now time.Time, to netip.AddrPort, e bool) *session {
	var sid, seq uint32
	for sid == 0 || p.sessions[sid] != nil {
		b, err := p.random.bytes(8)
		if err != nil {
			return nil
		}
		sid, seq = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	}
	s := p.newSession(now, to, sid, seq, e)
	if p.cfg.EAPInStart {
		p.outs.emit(EAPStart{SID: sid, From: to, Preauth: e})
	} else {
		s.offer(now, nil)
	}
	p.schedule(s)
	return s
}

// offer sends the PAR[S], with an EAP request if there is one.
func (s *session) offer(now time.Time, eap []byte) {
	s.offered = s.p.offers[index(s.p.mandatory(s.to))]
	avps := s.offered
	if eap != nil {
		avps = append([]AVP{{Code: CodeEAP, Data: eap}}, avps...)
	}
	flags := FlagS
	if s.p.cfg.Reconfigure {
		flags |= FlagI
	}
	s.ask(now, TypeAuth, flags, avps, nil, 0, nil)
}

// rxStarted: PAN[S] for the PAR[S] of such a session.
func (s *session) rxStarted(now time.Time, from netip.AddrPort, m *Message, f *fields, raw []byte) {
	if why, ok := s.answers(m); !ok {
		s.drop(why)
		return
	}
	_, optimized := s.out.msg.Get(CodeEAP)
	h, agreed := s.p.agreed(s.offered, m, f)
	switch {
	case from != s.to:
		s.drop(DiscardAddress)
		return
	case f.auth != nil || f.nonce != nil || f.hasKeyID || f.encap != nil || f.eap != nil && !optimized:
		s.drop(DiscardInvalid)
		return
	case !agreed:
		s.drop(DiscardAlgorithms)
		return
	}
	h.iPAR, h.iPAN = s.settled(now, f).raw, bytes.Clone(raw)
	s.hs, s.offered = h, nil
	switch {
	case f.eap != nil:
		s.state = paaWaitEAP
		s.q.emit(EAPResponse{SID: s.sid, Packet: bytes.Clone(f.eap)})
	case optimized:
		s.state = paaWaitPAN
	default:
		s.state = paaWaitEAP
		s.q.emit(EAPStart{SID: s.sid, From: s.to, Preauth: s.preauth})
	}
}
