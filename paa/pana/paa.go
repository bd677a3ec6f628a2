package pana

import (
	"bytes"
	"container/heap"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"openmpa/paa/keys"
)

// PAAConfig configures a PAA. The zero value works.
type PAAConfig struct {
	Rand             io.Reader                          // default crypto/rand
	PRFs             []keys.PRF                         // offered, in this order
	Integrities      []keys.Integrity                   // offered, in this order
	Lifetime         time.Duration                      // of a session, if AAA does not say less; default 1 h
	PreauthLifetime  time.Duration                      // the same for a session that begins as pre-authentication; 0: Lifetime
	AuthTimeout      time.Duration                      // for an authentication; default 30 s
	MaxSessions      int                                // default 4096
	MaxPending       int                                // sessions in their first authentication; default MaxSessions/4, at least 16
	MaxPendingSource int                                // the same for one source address, or the /64 of an IPv6 address; default MaxPending/8, at least 16
	ParCAVPs         func(sid uint32) []AVP             // what a successful PAR[C] carries besides the AVPs of RFC 5191
	AllowPreauth     func(netip.Addr) bool              // who may pre-authenticate (RFC 5873 section 6); nil: everybody
	AllowStart       func(netip.Addr) bool              // whose PAN[S] begins a session without pre-authentication; nil: everybody's
	PingInterval     time.Duration                      // ping after that much silence; 0: never
	PingTimeout      time.Duration                      // close after that much more; 0: when Request says so
	AllowKeyless     bool                               // open sessions without PANA SA when EAP exports no keys; never for pre-authentication
	NoEncryption     bool                               // offer no encryption of AVPs (RFC 6786)
	Reconfigure      bool                               // set the I bit: the PaC needs another address afterwards
	Request          Retransmission                     // default RFC 5191 section 9.1
	PCIRate          float64                            // PCIs answered a second in all, and as many again of addresses with a session; default 20,000
	PCIRatePerSource float64                            // the same for one source address; default 10
	EAPInStart       bool                               // EAP in the PAR[S] (OPTIMIZED_INIT of RFC 5609): a round trip less, and every PCI costs a session
	ReauthBefore     time.Duration                      // re-authenticate that long before the lifetime ends (REAUTH_TIMEOUT of RFC 5609); 0: leave it to the PaC
	MandatoryOnly    func(netip.Addr) bool              // who is offered nothing but SHA-1: some PaCs read one AVP of a kind and die of any other value; nil: nobody
	AnswerPayload    func(sid uint32, avps []AVP) []AVP // what the answer to a notification carries; nil: nothing
}

// Defaults of the PAA.
const (
	defaultLifetime         = time.Hour
	defaultMaxSessions      = 4096
	defaultPCIRate          = 20_000
	defaultPCIRatePerSource = 10
)

// PAA is the PANA authentication agent for many sessions. It has no I/O and no
// clock, and one goroutine at a time may use it. Until a PAN[S] shows that a
// PaC receives at its address it keeps nothing (RFC 5191 section 4.1).
type PAA struct {
	cfg    PAAConfig
	outs   outputs
	counts discardCounts
	random random
	offers [2][]AVP // algorithm AVPs of a PAR[S], and those for MandatoryOnly

	cookies  cookies
	pciAll   bucket
	pciKnown bucket // for addresses that have a session
	pciHosts sourceLimits

	sessions map[uint32]*session
	byAddr   map[netip.AddrPort][]*session // in their first authentication, the oldest first
	pending  int                           // how many byAddr holds
	sources  map[netip.Addr]int            // and by source, see there
	hosts    map[netip.Addr]int            // sessions that have been open, by address
	live     int                           // sessions that are not closed
	timers   timerHeap
}

// EAPReply is what the owner's EAP has to say in a session.
type EAPReply struct {
	Packet       []byte        // the next EAP request, or EAP-Success or EAP-Failure with Done
	Restart      bool          // in a re-authentication: EAP begins anew, with Packet, since nobody could go on with it
	Done         bool          // the conversation is over
	Success      bool          // with Done: how
	Unauthorized bool          // with Done and Success: no access all the same (PANA_AUTHORIZATION_REJECTED)
	MSK          *keys.Secret  // with Done and Success; the PAA takes it over
	Lifetime     time.Duration // what AAA grants; 0: it does not say
	AVPs         []AVP         // with Done and a failure: what the PAR[C] carries besides the AVPs of RFC 5191, mostly without AUTH
	// Err is why there is no packet, or why Success is false. Without Done the
	// session is dropped silently, as RFC 5191 section 4.1 wants it for an
	// authenticator that fails without an EAP-Failure; with Done the PaC is told
	// by PANA_AUTHENTICATION_REJECTED.
	Err error
}

// NewPAA checks the configuration and returns a PAA without sessions.
func NewPAA(cfg PAAConfig) (*PAA, error) {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	var err error
	if cfg.PRFs, cfg.Integrities, err = algorithms(cfg.PRFs, cfg.Integrities); err != nil {
		return nil, err
	}
	if cfg.Request, err = cfg.Request.orDefault(defaultREQ, "Request"); err != nil {
		return nil, err
	}
	if cfg.Lifetime < 0 || cfg.PreauthLifetime < 0 || cfg.AuthTimeout < 0 || cfg.PingInterval < 0 || cfg.PingTimeout < 0 || cfg.ReauthBefore < 0 ||
		cfg.MaxSessions < 0 || cfg.MaxPending < 0 || cfg.MaxPendingSource < 0 || cfg.PCIRate < 0 || cfg.PCIRatePerSource < 0 {
		return nil, fmt.Errorf("%w: PAA: durations, limits and rates must not be negative", ErrConfig)
	}
	if cfg.MandatoryOnly != nil && !(slices.Contains(cfg.PRFs, mandatoryPRF) && slices.Contains(cfg.Integrities, mandatoryIntegrity)) {
		return nil, fmt.Errorf("%w: PAA: MandatoryOnly offers %v and %v, and PRFs or Integrities leave them out", ErrConfig, mandatoryPRF, mandatoryIntegrity)
	}
	setDefault(&cfg.Lifetime, defaultLifetime)
	setDefault(&cfg.PreauthLifetime, cfg.Lifetime)
	setDefault(&cfg.AuthTimeout, DefaultAuthTimeout)
	setDefault(&cfg.MaxSessions, defaultMaxSessions)
	setDefault(&cfg.MaxPending, max(16, cfg.MaxSessions/4))
	setDefault(&cfg.MaxPendingSource, max(16, cfg.MaxPending/8))
	setDefault(&cfg.PCIRate, defaultPCIRate)
	setDefault(&cfg.PCIRatePerSource, defaultPCIRatePerSource)
	p := &PAA{
		cfg: cfg, random: random{cfg.Rand},
		sessions: make(map[uint32]*session), byAddr: make(map[netip.AddrPort][]*session),
		sources: make(map[netip.Addr]int), hosts: make(map[netip.Addr]int), pciHosts: newSourceLimits(cfg.PCIRatePerSource),
		pciAll: bucket{rate: cfg.PCIRate, burst: cfg.PCIRate}, pciKnown: bucket{rate: cfg.PCIRate, burst: cfg.PCIRate},
	}
	if err := p.cookies.renew(&p.random); err != nil {
		return nil, err
	}
	p.offers[0] = offer(cfg.PRFs, cfg.Integrities)
	if !cfg.NoEncryption {
		p.offers[0] = append(p.offers[0], avp32(CodeEncryption, encrAES128CTR))
	}
	p.offers[1] = offer([]keys.PRF{mandatoryPRF}, []keys.Integrity{mandatoryIntegrity})
	return p, nil
}

// offer lists the algorithm AVPs of a PAR[S].
func offer(prfs []keys.PRF, integs []keys.Integrity) (avps []AVP) {
	for _, a := range prfs {
		avps = append(avps, avp32(CodePRF, uint32(a)))
	}
	for _, a := range integs {
		avps = append(avps, avp32(CodeIntegrity, uint32(a)))
	}
	return avps
}

func setDefault[T int | float64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Poll returns the next output.
func (p *PAA) Poll() (Output, bool) { return p.outs.poll() }

// Counters returns how many messages were discarded, by reason.
func (p *PAA) Counters() map[Discard]uint64 { return p.counts.snapshot() }

// Sessions returns how many sessions there are.
func (p *PAA) Sessions() int { return p.live }

// RTT returns the smoothed round-trip time to the PaC of a session, 0 when it
// is not measured or there is no such session.
func (p *PAA) RTT(sid uint32) time.Duration {
	if s := p.sessions[sid]; s != nil {
		return s.rtt.srtt
	}
	return 0
}

// HandlePacket takes a datagram from a PaC. Whatever is wrong with it is
// counted and has no other effect (RFC 5191 section 5.5).
func (p *PAA) HandlePacket(now time.Time, from netip.AddrPort, b []byte) {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	m, raw, err := parse(b)
	if err != nil {
		p.counts.add(DiscardMalformed)
		return
	}
	f, err := m.fields()
	if err != nil {
		p.counts.add(DiscardInvalid)
		return
	}
	if m.Type == TypePCI {
		p.rxPCI(now, from, m)
		return
	}
	s := p.sessions[m.SID]
	switch {
	case m.Flags.Has(FlagS):
		switch {
		case s == nil && !m.request():
			p.rxStart(now, from, m, f, raw)
		case s != nil && s.state == paaStart && !m.request():
			s.rxStarted(now, from, m, f, raw)
			p.schedule(s)
		default:
			p.counts.add(DiscardUnexpected) // or the PAN[S] once more
		}
		return
	case s == nil:
		p.counts.add(DiscardSID)
		p.rxLost(now, from, m, f)
		return
	case s.state == paaClosed: // only the answer to an exact duplicate is left
		if s.last.ok && bytes.Equal(raw, s.lastRaw) {
			s.repeat(now, from)
		} else {
			p.counts.add(DiscardSID)
			p.rxLost(now, from, m, f)
		}
		return
	case !s.weighed[index(from == s.to)].take(now): // whoever knows the identifier does not spend our time on hashes
		s.drop(DiscardRate)
		return
	}
	if m.request() {
		s.rxRequest(now, from, m, f, raw)
	} else {
		s.rxAnswer(now, from, m, f, raw)
	}
	s.proceed(now)
	p.schedule(s)
}

// EAPReply continues the EAP conversation of a session. The error says that
// the session cannot use the reply (it has ended meanwhile, say); it changes
// nothing then, and the MSK is cleared in any case.
func (p *PAA) EAPReply(now time.Time, sid uint32, r EAPReply) error {
	s := p.sessions[sid]
	var err error
	switch {
	case s == nil || s.state == paaClosed:
		err = ErrUnknownSession
	case r.Restart && (!s.opened || s.state != paaWaitEAP || s.held != nil || r.Done || r.Err != nil):
		err = fmt.Errorf("pana: session %08x cannot begin EAP anew (state %v): that is for a re-authentication without a result", sid, s.state)
	case (s.state == paaWaitPAN || s.state == paaStart) && !r.Done && r.Err == nil && s.out != nil:
		return nil // EAP repeats its request, and PANA repeats the PAR that has it
	case s.state == paaStart && r.Done:
		err = fmt.Errorf("pana: session %08x has no PaC yet, EAP says its first request and no more", sid)
	case s.held != nil || s.state != paaWaitEAP && s.state != paaStart && (s.state != paaWaitPAN || r.Done || s.out != nil && r.Err == nil):
		err = fmt.Errorf("pana: session %08x does not wait for EAP (state %v)", sid, s.state)
	case len(r.Packet) > maxEAP || len(r.Packet) > 0 && len(r.Packet) < 4:
		err = fmt.Errorf("pana: EAP packet of %d octets, expected 4 to %d", len(r.Packet), maxEAP)
	case checkCarried(r.AVPs) != nil:
		err = checkCarried(r.AVPs)
	case !r.Done && r.Err == nil && r.Packet == nil:
		err = fmt.Errorf("pana: EAP reply with neither packet nor result nor error")
	}
	if err != nil {
		r.MSK.Clear()
		return err
	}
	r.Packet, r.AVPs = bytes.Clone(r.Packet), cloneAVPs(r.AVPs)
	s.held = &r
	s.proceed(now)
	p.schedule(s)
	return nil
}

// Notify sends AVPs to the PaC of an open session in a PNR[P], reliably and in
// order; NotifyDone with the token tells how it ended. The AVPs are copied.
// NotifyOptions.Activate has no meaning here.
func (p *PAA) Notify(now time.Time, sid uint32, avps []AVP, o NotifyOptions) (uint64, error) {
	s := p.sessions[sid]
	switch {
	case s == nil || s.state == paaClosed:
		return 0, ErrUnknownSession
	case !s.opened || s.state == paaTerminating || s.termDue:
		return 0, fmt.Errorf("%w: %08x is in state %v", ErrNotOpen, sid, s.state)
	}
	o.Activate = false
	token, err := s.enqueue(avps, o)
	if err == nil {
		s.proceed(now)
		p.schedule(s)
	}
	return token, err
}

// Terminate ends a session: by PTR if it is open, silently otherwise (RFC 5191
// sections 4.4 and 5.5). Closed follows. An unknown session is ignored.
func (p *PAA) Terminate(now time.Time, sid uint32) { p.terminate(now, sid, CauseAdministrative) }

// Supersede is Terminate of a session whose PaC has another now. It may have forgotten this one, as after a crash or where
// its link was cut, so that nobody answers: what is outstanding and the PTR are repeated for supersededWithin each at most.
func (p *PAA) Supersede(now time.Time, sid uint32) {
	if s := p.sessions[sid]; s != nil {
		s.brief = true
		s.hasten(now)
	}
	p.terminate(now, sid, CauseAdministrative)
}

// Expire is Terminate with the cause SESSION_TIMEOUT, for an authorization that
// has run out elsewhere. The session's own lifetime ends it without a word.
func (p *PAA) Expire(now time.Time, sid uint32) { p.terminate(now, sid, CauseSessionTimeout) }

func (p *PAA) terminate(now time.Time, sid uint32, cause TerminationCause) {
	s := p.sessions[sid]
	if s == nil {
		return
	}
	switch {
	case s.state == paaClosed || s.state == paaTerminating:
		return
	case !s.opened:
		s.close(now, ErrTerminated)
	default:
		s.termDue, s.cause = true, cause
		s.failNotifications(ErrTerminated, false)
		s.kick(now)
		s.proceed(now)
	}
	p.schedule(s)
}

// SetLifetime has an open session end after life from now, in the place of what it was
// given. The PaC is not told: Session-Lifetime is carried by the PAR[C] of an
// authentication only (RFC 5191 section 8.8).
func (p *PAA) SetLifetime(now time.Time, sid uint32, life time.Duration) error {
	s := p.sessions[sid]
	switch {
	case s == nil || s.state == paaClosed:
		return ErrUnknownSession
	case s.state != paaOpen || s.termDue:
		return fmt.Errorf("%w: %08x is in state %v", ErrNotOpen, sid, s.state)
	}
	s.lifetime, s.lifeAt = life, now.Add(life)
	p.schedule(s)
	return nil
}

// Reauthenticate starts a re-authentication of an open session (RFC 5191
// section 4.3): EAPStart follows.
func (p *PAA) Reauthenticate(now time.Time, sid uint32) error {
	s := p.sessions[sid]
	switch {
	case s == nil || s.state == paaClosed:
		return ErrUnknownSession
	case s.state != paaOpen || s.termDue:
		return fmt.Errorf("%w: %08x is in state %v", ErrNotOpen, sid, s.state)
	}
	s.enterReauth(now)
	p.schedule(s)
	return nil
}

// Deadline returns when OnDeadline wants to be called next.
func (p *PAA) Deadline() (time.Time, bool) {
	if len(p.timers) == 0 {
		return time.Time{}, false
	}
	return p.timers[0].at, true
}

// OnDeadline does what is due; calling it early is harmless.
func (p *PAA) OnDeadline(now time.Time) {
	for n := len(p.timers); n > 0 && len(p.timers) > 0 && due(now, p.timers[0].at); n-- {
		s := p.timers[0]
		s.tick(now)
		p.schedule(s)
	}
}

// schedule puts s into the heap by its next deadline, or takes it out.
func (p *PAA) schedule(s *session) {
	s.at = s.deadline()
	switch in := s.index >= 0; {
	case s.at.IsZero() && in:
		heap.Remove(&p.timers, s.index)
	case in:
		heap.Fix(&p.timers, s.index)
	case !s.at.IsZero():
		heap.Push(&p.timers, s)
	}
}

// timerHeap orders sessions by deadline.
type timerHeap []*session

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	s := x.(*session)
	s.index = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.index = -1
	return s
}
