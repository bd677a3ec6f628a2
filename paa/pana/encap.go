package pana

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// Encryption of AVPs (RFC 6786). The S exchange negotiates it, and from the PAR[C]
// with PANA_SUCCESS on EAP packets and lifetimes travel as
//
//	Encryption-Encap = AES-128-CTR of the AVPs, headers and padding included
//
// under the key of the sender's side, with the first counter block
//
//	| 0x02 | Key-Id | Session Identifier | Sequence Number | 00 00 01 |
//
// The EAP packet of a PAR[C] stays outside: many EAP peers know the MSK, and with it
// the key, only when they have seen it; it says no more than the Result-Code.

// encrAES128CTR is the only Encryption-Algorithm there is (RFC 6786 section 4).
const encrAES128CTR = 1

// wrapAt is the number from which re-authentication begins when AVPs are
// encrypted, before the sequence number wraps (section 4.1).
const wrapAt = 1<<32 - 1<<10

// encrypts reports whether this side encrypts.
func (a *association) encrypts() bool { return a != nil && a.encrOut != nil }

// hidden says which AVPs of a message we encrypt.
func hidden(m *Message, a AVP) bool {
	return a.Vendor == 0 && (a.Code == CodeEAP && !m.Flags.Has(FlagC) || a.Code == CodeLifetime)
}

// encap returns the AVPs of m with those to be hidden in an Encryption-Encap.
func (a *association) encap(m *Message) []AVP {
	var open []AVP
	var plain []byte
	for _, v := range m.AVPs {
		if hidden(m, v) {
			plain = appendAVP(plain, v)
		} else {
			open = append(open, v)
		}
	}
	if plain == nil {
		return open
	}
	a.crypt(a.encrOut.Bytes(), m, plain)
	return append(open, AVP{Code: CodeEncap, Data: plain})
}

// crypt encrypts or decrypts b in place.
func (a *association) crypt(key []byte, m *Message, b []byte) {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is that of keys.EncrKeyLen
	}
	iv := make([]byte, 0, aes.BlockSize)
	iv = append(iv, 2)
	iv = binary.BigEndian.AppendUint32(iv, a.keyID)
	iv = binary.BigEndian.AppendUint32(iv, m.SID)
	iv = binary.BigEndian.AppendUint32(iv, m.Seq)
	iv = append(iv, 0, 0, 1)
	cipher.NewCTR(block, iv).XORKeyStream(b, b)
}

// decap decrypts the Encryption-Encap of m, whose AUTH was verified, into f. What
// comes out counts with the AVPs outside (section 6.1).
func (a *association) decap(m *Message, f *fields) error {
	if a == nil || a.encrIn == nil {
		return fmt.Errorf("%w: %s: Encryption-Encap, and no encryption was negotiated", ErrInvalid, m.Name())
	}
	rest := append([]byte(nil), f.encap...)
	a.crypt(a.encrIn.Bytes(), m, rest)
	for i := 0; len(rest) > 0; i++ {
		var v AVP
		var err error
		if v, rest, err = parseAVP(rest); err != nil {
			return fmt.Errorf("%w: %s: Encryption-Encap: %w", ErrInvalid, m.Name(), err)
		}
		switch {
		case i == maxAVPs:
			return fmt.Errorf("%w: %s: Encryption-Encap with more than %d AVPs", ErrInvalid, m.Name(), maxAVPs)
		case v.Vendor == 0 && !encryptable(v.Code):
			return fmt.Errorf("%w: %s: AVP %d must not be encrypted (RFC 6786 section 6.1)", ErrInvalid, m.Name(), v.Code)
		}
		if err := f.take(m, v); err != nil {
			return err
		}
	}
	return f.complete(m)
}

// encryptable is the table of RFC 6786 section 6.1, which says nothing against AVPs
// that it does not list.
func encryptable(code uint16) bool {
	switch code {
	case CodeEAP, CodeLifetime, CodeTermCause:
		return true
	}
	return code > CodeEncryption
}

// unwrap decrypts what a message carries under sa; false: it has been counted.
func (ep *endpoint) unwrap(sa *association, m *Message, f *fields) bool {
	if f.encap != nil && sa.decap(m, f) != nil {
		ep.drop(DiscardEncap)
		return false
	}
	return true
}

// wraps reports, once, that the sequence number of the next request is about to wrap.
func (ep *endpoint) wraps() bool {
	if ep.txSeq < wrapAt {
		ep.wrapSeen = false
		return false
	}
	first := !ep.wrapSeen
	ep.wrapSeen = true
	return first && ep.sa.encrypts()
}
