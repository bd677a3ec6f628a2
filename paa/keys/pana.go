package keys

import (
	"encoding/binary"
	"fmt"
)

// EncrKeyLen is the length in octets of a key of AES128_CTR (RFC 6786 section 4.1).
const EncrKeyLen = 16

// PANAAuthKey derives PANA_AUTH_KEY, RFC 5191 section 5.3. iPAR and iPAN are the
// initial PANA-Auth-Request and -Answer (those with the 'S' bit) as they were on
// the wire, header included; the nonces are the values of the Nonce AVPs.
// The key has i.KeyLen() octets. Errors wrap ErrAlgorithm, or say what is empty.
func PANAAuthKey(p PRF, i Integrity, msk, iPAR, iPAN, nPaC, nPAA []byte, keyID uint32) (*Secret, error) {
	if !i.Supported() {
		return nil, fmt.Errorf("keys: PANA_AUTH_KEY: %w: %v", ErrAlgorithm, i)
	}
	return panaKey(p, "PANA_AUTH_KEY", "IETF PANA", msk, iPAR, iPAN, nPaC, nPAA, keyID, i.KeyLen())
}

// PANAEncrKeys derives PANA_PAC_ENCR_KEY, with which the PaC encrypts AVPs, and
// PANA_PAA_ENCR_KEY, with which the PAA does (RFC 6786 section 3), from what
// PANAAuthKey takes. They have EncrKeyLen octets.
func PANAEncrKeys(p PRF, msk, iPAR, iPAN, nPaC, nPAA []byte, keyID uint32) (pac, paa *Secret, err error) {
	if pac, err = panaKey(p, "PANA_PAC_ENCR_KEY", "IETF PANA PaC Encr", msk, iPAR, iPAN, nPaC, nPAA, keyID, EncrKeyLen); err != nil {
		return nil, nil, err
	}
	if paa, err = panaKey(p, "PANA_PAA_ENCR_KEY", "IETF PANA PAA Encr", msk, iPAR, iPAN, nPaC, nPAA, keyID, EncrKeyLen); err != nil {
		pac.Clear()
		return nil, nil, err
	}
	return pac, paa, nil
}

// panaKey is prf+(MSK, label | I_PAR | I_PAN | PaC_nonce | PAA_nonce | Key_ID), n octets.
func panaKey(p PRF, name, label string, msk, iPAR, iPAN, nPaC, nPAA []byte, keyID uint32, n int) (*Secret, error) {
	if !p.Supported() {
		return nil, fmt.Errorf("keys: %s: %w: %v", name, ErrAlgorithm, p)
	}
	seed := make([]byte, 0, len(label)+len(iPAR)+len(iPAN)+len(nPaC)+len(nPAA)+4)
	seed = append(seed, label...)
	for _, in := range []struct {
		name string
		b    []byte
	}{{"I_PAR", iPAR}, {"I_PAN", iPAN}, {"PaC nonce", nPaC}, {"PAA nonce", nPAA}} {
		if len(in.b) == 0 {
			return nil, fmt.Errorf("keys: %s: %s is empty", name, in.name)
		}
		seed = append(seed, in.b...)
	}
	if len(msk) == 0 {
		return nil, fmt.Errorf("keys: %s: MSK is empty", name)
	}
	seed = binary.BigEndian.AppendUint32(seed, keyID)
	return NewSecret(PRFPlus(p, msk, seed, n)), nil
}
