package pana

import (
	"bytes"
	"time"
)

// rxComplete: PAR[C], whose AUTH may need the key that comes with it.
func (c *PaC) rxComplete(now time.Time, m *Message, f *fields, raw []byte) {
	if !f.hasResult {
		c.drop(DiscardResult)
		return
	}
	if ResultCode(f.result) != ResultSuccess {
		c.rxRejected(m, f, raw)
		return
	}
	eap := f.eap
	if eap == nil && f.encap != nil {
		// An EAP-Success may be encrypted under the key that it brings, and there is
		// only one that fits (RFC 3748 section 4.2).
		eap = []byte{eapSuccess, c.eapID, 0, 4}
	}
	switch {
	case f.encap == nil && f.lifetime == 0:
		c.drop(DiscardResult)
		return
	case eap == nil || c.eap == nil,
		c.sa != nil && eap[0] != eapSuccess: // EAP ends by it, and AUTH is not seen yet: whoever can say so must not end an open session
		c.drop(DiscardEAP)
		return
	case !c.sawNonce || f.nonce != nil:
		c.drop(DiscardNonce)
		return
	case c.hs.keyed() && (f.auth == nil || !f.hasKeyID) && !c.cfg.AllowKeyless:
		c.drop(DiscardAUTH)
		return
	}
	c.conclude(eap)
	switch {
	case !c.eapOver:
		c.drop(DiscardResult)
		return
	case !c.eapOK:
		if c.eapErr == nil {
			c.eapErr = errEAPMismatch
		}
		c.close(&ErrEAP{Err: c.eapErr})
		return
	}
	if c.msk == nil {
		// A re-authentication without keys would leave the SA behind.
		if !c.cfg.AllowKeyless || c.sa != nil || f.hasKeyID || f.auth != nil || f.encap != nil {
			c.drop(DiscardAUTH)
			return
		}
		c.complete(now, m, f, raw, nil)
		return
	}
	sa := c.newSA(f, raw)
	switch {
	case sa == nil:
		return
	case !c.unwrap(sa, m, f):
	case f.lifetime == 0:
		c.drop(DiscardResult)
	case !bytes.Equal(f.eap, eap):
		c.drop(DiscardEAP)
	default:
		c.complete(now, m, f, raw, sa)
		return
	}
	sa.clear()
}

// newSA derives the SA that a PAR[C] announces and checks the message with it.
func (c *PaC) newSA(f *fields, raw []byte) *association {
	if !f.hasKeyID || f.auth == nil || !c.hs.keyed() {
		c.drop(DiscardAUTH)
		return nil
	}
	if c.sa != nil && c.sa.keyID == f.keyID {
		c.drop(DiscardKeyID) // it names the MSK uniquely in the session
		return nil
	}
	sa, err := c.hs.derive(c.msk, f.keyID)
	if err != nil {
		c.drop(DiscardAlgorithms)
		return nil
	}
	if !sa.verify(raw, f.auth) {
		sa.clear()
		c.drop(DiscardAUTH)
		return nil
	}
	return sa
}

// complete opens the session, or opens it again under the new key.
func (c *PaC) complete(now time.Time, m *Message, f *fields, raw []byte, sa *association) {
	rekeyed := c.state == PaCReauth
	o := Opened{
		SID: c.sid, Preauth: c.preauth, Rekeyed: rekeyed, Reconfigure: c.reconf || m.Flags.Has(FlagI),
		Lifetime: time.Duration(f.lifetime) * time.Second, MSK: c.msk, AVPs: cloneAVPs(f.extra),
	}
	c.msk = nil
	c.dropEAP()
	c.heardFrom()
	c.sa.clear()
	c.sa = sa
	c.accepted(m)
	var avps []AVP
	if sa != nil {
		o.KeyID, o.PRF = sa.keyID, c.hs.prf
		avps = []AVP{avp32(CodeKeyID, sa.keyID)}
	}
	c.answer(m, raw, avps, sa)
	if c.out != nil { // everything after PAN[C] uses the new key (section 4.3)
		c.out.sa, c.out.paused = sa, false
		c.resign()
		c.kick(now)
	}
	c.state = PaCOpen
	c.pciActive = false
	c.sawNonce = false
	c.authAt, c.failAt = time.Time{}, time.Time{}
	c.lifetime = o.Lifetime
	c.lifeAt = now.Add(o.Lifetime)
	c.reauthAt = time.Time{}
	if b := c.cfg.ReauthBefore; b > 0 {
		c.reauthAt = now.Add(max(o.Lifetime-b, o.Lifetime/2))
	}
	c.listen(now)
	c.q.emit(o)
}

// rxRejected: PAR[C] with a failure. Under an SA it must carry AUTH: with a
// Key-Id under the new key (EAP went well, authorization did not), without one
// under the old.
func (c *PaC) rxRejected(m *Message, f *fields, raw []byte) {
	if !f.hasKeyID && !c.verify(f, raw) {
		c.drop(DiscardAUTH)
		return
	}
	if f.hasKeyID && (f.auth == nil || f.eap == nil || f.eap[0] != eapSuccess) {
		c.drop(DiscardKeyID) // a key needs a success, and the EAP peer must not hear of less
		return
	}
	if f.hasKeyID && f.encap != nil { // that begins with a success (RFC 6786 section 5)
		c.drop(DiscardEncap)
		return
	}
	if !c.unwrap(c.sa, m, f) {
		return
	}
	own := c.eapErr
	c.conclude(f.eap)
	var sa *association
	var avps []AVP
	switch {
	case f.hasKeyID && c.msk != nil:
		if sa = c.newSA(f, raw); sa == nil {
			return
		}
		avps = append(avps, avp32(CodeKeyID, f.keyID))
	case f.hasKeyID:
		c.drop(DiscardKeyID)
		return
	case c.msk != nil && c.sa == nil:
		c.drop(DiscardAUTH) // keys exist, so the result must be protected
		return
	default:
		sa = c.sa
	}
	if f.nonce != nil { // a rejection may be the first PAR
		if nonce, err := c.random.bytes(nonceLen(c.hs.prf)); err == nil {
			avps = append(avps, AVP{Code: CodeNonce, Data: nonce})
		}
	}
	c.accepted(m)
	c.answer(m, raw, avps, sa)
	if sa != c.sa {
		sa.clear()
	}
	if own != nil { // what ended it happened here, and the PAA only agreed
		c.close(&ErrEAP{Err: own})
		return
	}
	c.close(&ErrAuthRejected{Code: ResultCode(f.result), Err: c.eapErr, AVPs: cloneAVPs(f.extra)})
}
