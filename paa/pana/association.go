package pana

import (
	"crypto/hmac"
	"encoding/binary"

	"openmpa/paa/keys"
)

// association is a PANA SA (RFC 5191 section 5.3).
type association struct {
	keyID uint32
	integ keys.Integrity
	key   *keys.Secret // PANA_AUTH_KEY

	encrOut, encrIn *keys.Secret // RFC 6786: what this side encrypts with, and the peer; nil: nobody does
}

// handshake is what goes into PANA_AUTH_KEY besides MSK and Key-Id. iPAR and
// iPAN stay for the whole session, the nonces change with each
// re-authentication.
type handshake struct {
	prf        keys.PRF
	integ      keys.Integrity
	encr       bool   // AES128_CTR was negotiated (RFC 6786)
	server     bool   // this side is the PAA
	iPAR, iPAN []byte // as on the wire
	pac, paa   []byte // nonces
}

// keyed reports whether algorithms were negotiated.
func (h *handshake) keyed() bool { return h.prf != 0 && h.integ != 0 }

// derive makes the SA for one MSK.
func (h *handshake) derive(msk *keys.Secret, keyID uint32) (*association, error) {
	key, err := keys.PANAAuthKey(h.prf, h.integ, msk.Bytes(), h.iPAR, h.iPAN, h.pac, h.paa, keyID)
	if err != nil {
		return nil, err
	}
	sid := binary.BigEndian.Uint32(h.iPAR[8:])
	keys.Export(keys.LogAuth, sid, keyID, key)
	a := &association{keyID: keyID, integ: h.integ, key: key}
	if !h.encr {
		return a, nil
	}
	pac, paa, err := keys.PANAEncrKeys(h.prf, msk.Bytes(), h.iPAR, h.iPAN, h.pac, h.paa, keyID)
	if err != nil {
		a.clear()
		return nil, err
	}
	keys.Export(keys.LogEncrPaC, sid, keyID, pac)
	keys.Export(keys.LogEncrPAA, sid, keyID, paa)
	if a.encrOut, a.encrIn = pac, paa; h.server {
		a.encrOut, a.encrIn = paa, pac
	}
	return a, nil
}

func (a *association) clear() {
	if a != nil {
		a.key.Clear()
		a.encrOut.Clear()
		a.encrIn.Clear()
	}
}

// authLen is the length of an AUTH AVP on the wire. Every ICV is a multiple
// of four octets.
func (a *association) authLen() int { return avpHeaderLen + a.integ.ICVLen() }

// sign computes the AUTH AVP that ends raw, whose value is zero (section 5.4).
func (a *association) sign(raw []byte) {
	copy(raw[len(raw)-a.integ.ICVLen():], a.integ.MAC(a.key.Bytes(), raw))
}

// verify checks the AUTH AVP, the last one of raw, over the octets received.
func (a *association) verify(raw, auth []byte) bool {
	n := a.integ.ICVLen()
	if len(auth) != n || len(raw) < HeaderLen+a.authLen() {
		return false
	}
	zeroed := append([]byte(nil), raw...)
	clear(zeroed[len(raw)-n:])
	return hmac.Equal(auth, a.integ.MAC(a.key.Bytes(), zeroed))
}

// encode turns m into octets, with AUTH when there is an SA. It returns nil
// if the message is too long, which the limits on what callers may put into
// one exclude.
func encode(m *Message, sa *association) []byte {
	if sa == nil {
		raw, err := m.AppendBinary(nil)
		if err != nil {
			return nil
		}
		return raw
	}
	signed := *m
	if sa.encrypts() {
		signed.AVPs = sa.encap(m)
	}
	signed.AVPs = append(append(make([]AVP, 0, len(signed.AVPs)+1), signed.AVPs...), AVP{Code: CodeAUTH, Data: make([]byte, sa.integ.ICVLen())})
	raw, err := signed.AppendBinary(nil)
	if err != nil {
		return nil
	}
	sa.sign(raw)
	return raw
}

// nonceLen follows RFC 5191 section 8.5 for a trusted random source: half
// the length of the PRF's key, but not below 16, and 20 as long as that is
// enough, because every known peer takes 20.
func nonceLen(p keys.PRF) int { return max(20, p.Size()/2) }
