package pana

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// The PAA keeps no state for a PCI (RFC 5191 section 4.1; RFC 5873 section 6
// wants that for pre-authentication). Session identifier and sequence number of
// the PAR[S] are a keyed hash over the PaC's address and port, the E bit and a
// coarse time. The PAN[S] repeats both, so it proves that the PaC receives at
// its address, and the PAR[S], which is input to the keys, is rebuilt from it
// octet for octet.

const (
	cookieSlot = 16 * time.Second // coarse time; a PAR[S] is good for one to two of them
	cookieTry  = 4                // session identifiers to choose from, should one be taken: two bits
	maxRivals  = 3                // sessions begun by one address and port, of which one will see nonces
	cookieLife = 64               // slots until the secret is another one, about 17 minutes
	// closedLinger is how long a closed session answers duplicates of its last
	// request and keeps its identifier: longer than its PAR[S] is good for.
	closedLinger = 2 * cookieSlot
)

// cookies are the secrets: of the slots of this period, and of those before.
type cookies struct {
	secret, old []byte
	period      int64
}

// renew makes another secret.
func (c *cookies) renew(rnd *random) error {
	fresh, err := rnd.bytes(32)
	if err == nil {
		c.old, c.secret = c.secret, fresh
	}
	return err
}

// rotate renews the secret when its period is over. A PAR[S] made just before is
// still good.
func (c *cookies) rotate(now time.Time, rnd *random) {
	period := slotOf(now) / cookieLife
	if period == c.period {
		return
	}
	if c.renew(rnd) == nil { // otherwise the secret serves on, and the next message tries again
		c.period = period
	}
}

// make computes what a PAR[S] to from carries. The last bits of the identifier say which of the
// tries and slots it is of, so that looking at one, of whomever, costs one hash.
func (c *cookies) make(from netip.AddrPort, e, mandatory bool, slot int64, try byte) (sid, seq uint32) {
	secret := c.secret
	if slot/cookieLife < c.period {
		secret = c.old
	}
	h := hmac.New(sha256.New, secret)
	a := from.Addr().As16()
	h.Write(a[:])
	var b [13]byte
	binary.BigEndian.PutUint16(b[:], from.Port())
	b[2], b[3], b[4] = byte(index(e)), try, byte(index(mandatory))
	binary.BigEndian.PutUint64(b[5:], uint64(slot))
	h.Write(b[:])
	h.Write([]byte(from.Addr().Zone()))
	sum := h.Sum(nil)
	return binary.BigEndian.Uint32(sum)&^7 | uint32(try)<<1 | uint32(slot)&1, binary.BigEndian.Uint32(sum[4:])
}

// tryOf and ofSlot read the last bits of an identifier.
func tryOf(sid uint32) byte              { return byte(sid >> 1 & (cookieTry - 1)) }
func ofSlot(sid uint32, slot int64) bool { return sid&1 == uint32(slot)&1 }

func slotOf(now time.Time) int64 { return now.Unix() / int64(cookieSlot/time.Second) }

// start is the PAR[S] with these numbers.
func (p *PAA) start(sid, seq uint32, e, mandatory bool) []byte {
	m := Message{Type: TypeAuth, Flags: FlagR | FlagS | eBit(e), SID: sid, Seq: seq, AVPs: p.offers[index(mandatory)]}
	if p.cfg.Reconfigure {
		m.Flags |= FlagI
	}
	return encode(&m, nil)
}

func (p *PAA) allowed(from netip.AddrPort, e bool) bool {
	return !e || p.cfg.AllowPreauth == nil || p.cfg.AllowPreauth(from.Addr())
}

// mandatory reports who is offered nothing but the mandatory algorithms.
func (p *PAA) mandatory(from netip.AddrPort) bool {
	return p.cfg.MandatoryOnly != nil && p.cfg.MandatoryOnly(from.Addr())
}

// rxPCI answers a PCI with a PAR[S] and forgets both.
func (p *PAA) rxPCI(now time.Time, from netip.AddrPort, m *Message) {
	switch {
	case !p.allowed(from, m.e()):
		p.counts.add(DiscardPreauthRefused)
		return
	case len(p.byAddr[from]) > 0: // sections 4.1 and 5.5: it already runs
		p.counts.add(DiscardUnexpected)
		return
	case !p.affordable(now, from):
		p.counts.add(DiscardRate)
		return
	case p.full(from.Addr(), !p.cfg.EAPInStart):
		p.counts.add(DiscardLimit)
		return
	}
	if p.cfg.EAPInStart {
		if p.ask(now, from, m.e()) == nil {
			p.counts.add(DiscardLimit)
		}
	} else if !p.open(now, from, m.e()) {
		p.counts.add(DiscardLimit)
	}
}

// rxLost: a request under AUTH for a session that is gone. The PaC does not know it:
// it is told by a PAR[S], as if it had sent a PCI, and so is nobody else. A PNR[A] must
// be discarded silently (section 4.3).
func (p *PAA) rxLost(now time.Time, from netip.AddrPort, m *Message, f *fields) {
	if m.request() && f.auth != nil && !m.Flags.Has(FlagA) && p.allowed(from, m.e()) && !p.full(from.Addr(), true) && p.affordable(now, from) {
		p.open(now, from, m.e())
	}
}

// Invite sends a PAR[S] to a PaC that has not asked for one (RFC 5191 section 4.1):
// to one that had a session before a restart. One that has none, or does not want
// another, is silent. Nothing is kept. Whoever is being authenticated is not interrupted.
func (p *PAA) Invite(now time.Time, to netip.AddrPort) {
	if len(p.byAddr[to]) == 0 {
		p.open(now, to, false)
	}
}

// open sends a PAR[S] and forgets it.
func (p *PAA) open(now time.Time, to netip.AddrPort, e bool) bool {
	p.cookies.rotate(now, &p.random)
	mandatory := p.mandatory(to)
	for try := range byte(cookieTry) {
		if sid, seq := p.cookies.make(to, e, mandatory, slotOf(now), try); sid != 0 && p.sessions[sid] == nil {
			p.outs.emit(Send{To: to, Data: p.start(sid, seq, e, mandatory)})
			return true
		}
	}
	return false
}

// rxStart: PAN[S] without a session. If it answers a PAR[S] of ours the
// session begins here.
func (p *PAA) rxStart(now time.Time, from netip.AddrPort, m *Message, f *fields, raw []byte) {
	if !p.ours(now, from, m) {
		p.counts.add(DiscardCookie)
		return
	}
	mandatory := p.mandatory(from)
	h, ok := p.agreed(p.offers[index(mandatory)], m, f)
	if !ok {
		p.counts.add(DiscardAlgorithms)
		return
	}
	h.iPAR, h.iPAN = p.start(m.SID, m.Seq, m.e(), mandatory), bytes.Clone(raw)
	rivals := p.byAddr[from]
	switch {
	case f.eap != nil || f.auth != nil || f.nonce != nil || f.hasKeyID || f.encap != nil:
		p.counts.add(DiscardInvalid) // nothing that a PAR[S] without EAP asks for
		return
	case !p.allowed(from, m.e()):
		p.counts.add(DiscardPreauthRefused)
		return
	case !m.e() && p.cfg.AllowStart != nil && !p.cfg.AllowStart(from.Addr()): // the PCI was answered, so that whoever looks finds a PAA
		p.counts.add(DiscardStartRefused)
		return
	case len(rivals) > 0 && rivals[0].sawNonce:
		p.counts.add(DiscardUnexpected)
		return
	case len(rivals) < maxRivals && p.full(from.Addr(), true):
		p.counts.add(DiscardLimit)
		return
	}
	if len(rivals) >= maxRivals {
		rivals[0].supersede(now)
	} else if p.crowded() {
		p.makeRoom(now)
	}
	s := p.newSession(now, from, m.SID, m.Seq+1, m.e())
	s.state, s.hs = paaWaitEAP, h
	p.outs.emit(EAPStart{SID: s.sid, From: from, Preauth: s.preauth})
	p.schedule(s)
}

// newSession makes a session; its next request has the number seq.
func (p *PAA) newSession(now time.Time, to netip.AddrPort, sid, seq uint32, e bool) *session {
	s := &session{p: p, index: -1, authFrom: now, authAt: now.Add(p.cfg.AuthTimeout)}
	s.endpoint = newEndpoint(&p.outs, &p.counts, &p.random, p.cfg.Request, liveness{every: p.cfg.PingInterval, patience: p.cfg.PingTimeout})
	s.to, s.sid, s.preauth, s.txSeq = to, sid, e, seq
	p.sessions[sid] = s
	p.live++
	p.byAddr[to] = append(p.byAddr[to], s)
	p.pending++
	p.sources[source(to.Addr())]++
	return s
}

// supersede ends the rivals of s: the PaC has sent its nonce here. Which PAR[S] it
// has answered last the PAA cannot tell before, since PAN[S] may arrive in any order.
func (p *PAA) supersede(now time.Time, s *session) {
	for _, rival := range slices.Clone(p.byAddr[s.to]) {
		if rival != s {
			rival.supersede(now)
		}
	}
}

func (s *session) supersede(now time.Time) {
	s.close(now, ErrSuperseded)
	s.p.schedule(s)
}

// settle takes s out of those in their first authentication.
func (p *PAA) settle(s *session) {
	i := slices.Index(p.byAddr[s.to], s)
	if i < 0 {
		return
	}
	p.pending--
	if from := source(s.to.Addr()); p.sources[from] > 1 {
		p.sources[from]--
	} else {
		delete(p.sources, from)
	}
	if p.byAddr[s.to] = slices.Delete(p.byAddr[s.to], i, i+1); len(p.byAddr[s.to]) == 0 {
		delete(p.byAddr, s.to)
	}
}

// agreed takes the algorithms that a PAN[S] picks from those offered.
func (p *PAA) agreed(offered []AVP, m *Message, f *fields) (h handshake, ok bool) {
	has := func(a AVP) bool {
		return slices.ContainsFunc(offered, func(o AVP) bool { return o.Code == a.Code && bytes.Equal(o.Data, a.Data) })
	}
	h.server = true
	switch {
	case len(f.prfs) == 1 && len(f.integs) == 1:
		h.prf, h.integ, h.encr = f.prfs[0], f.integs[0], len(f.encrs) == 1
		return h, has(avp32(CodePRF, uint32(h.prf))) && has(avp32(CodeIntegrity, uint32(h.integ))) &&
			(!h.encr || has(avp32(CodeEncryption, f.encrs[0])))
	case len(f.prfs)+len(f.integs)+len(f.encrs) == 0:
		return h, p.cfg.AllowKeyless && !m.e()
	}
	return h, false
}

// ours reports whether a PAN[S] answers a recent PAR[S].
func (p *PAA) ours(now time.Time, from netip.AddrPort, m *Message) bool {
	p.cookies.rotate(now, &p.random)
	slot := slotOf(now)
	if !ofSlot(m.SID, slot) {
		slot-- // the one before
	}
	sid, seq := p.cookies.make(from, m.e(), p.mandatory(from), slot, tryOf(m.SID))
	return sid == m.SID && seq == m.Seq && sid != 0
}
