package eap

import (
	"crypto/hmac"
	"crypto/sha1"
	"fmt"

	"openmpa/paa/keys"
)

// Crypto-Binding of PEAP version 0: both sides show that who ended TLS also has the
// keys of the inner method, and MSK and EMSK depend on both.
const (
	bindingLen      = 56 // value of the TLV: reserved, two versions, subtype, nonce, MAC
	bindingRequest  = 0
	bindingResponse = 1
	nonceLen        = 32

	tunnelKeyLen = 60 // TK: the first octets of TLS's key material
	iskLen       = 32 // key of the inner method
)

// cryptoBinding is the value of a Crypto-Binding TLV.
type cryptoBinding struct {
	mandatory bool // M bit and reserved octet: nobody sets them, but the MAC is over them
	reserved  byte
	version   byte // of PEAP, of who sends it
	received  byte // of PEAP, as the sender got it
	subtype   byte
	nonce     [nonceLen]byte
	mac       [sha1.Size]byte
}

func parseCryptoBinding(b []byte) (cryptoBinding, error) {
	if len(b) != bindingLen {
		return cryptoBinding{}, &ProtocolError{Detail: fmt.Sprintf("Crypto-Binding TLV of %d octets, expected %d", len(b), bindingLen)}
	}
	c := cryptoBinding{reserved: b[0], version: b[1], received: b[2], subtype: b[3]}
	copy(c.nonce[:], b[4:])
	copy(c.mac[:], b[4+nonceLen:])
	return c, nil
}

func (c cryptoBinding) tlv() tlv {
	v := append(make([]byte, 0, bindingLen), c.reserved, c.version, c.received, c.subtype)
	v = append(v, c.nonce[:]...)
	return tlv{kind: tlvCryptoBinding, mandatory: c.mandatory, value: append(v, c.mac[:]...)}
}

// compoundMAC is over the TLV with its MAC zeroed, and the type of PEAP.
func (c cryptoBinding) compoundMAC(k *peapKeys) (mac [sha1.Size]byte) {
	c.mac = mac
	h := hmac.New(sha1.New, k.cmk[:])
	h.Write(c.tlv().appendBinary(nil))
	h.Write([]byte{byte(TypePEAP)})
	h.Sum(mac[:0])
	return mac
}

// sealed is the TLV with its MAC.
func (c cryptoBinding) sealed(k *peapKeys) tlv {
	c.mac = c.compoundMAC(k)
	return c.tlv()
}

// check says whether the MAC is that of these keys, and the subtype the expected one.
func (c cryptoBinding) check(k *peapKeys, subtype byte) error {
	want := c.compoundMAC(k)
	switch {
	case c.subtype != subtype:
		return &ProtocolError{Detail: fmt.Sprintf("Crypto-Binding of subtype %d, expected %d", c.subtype, subtype)}
	case !hmac.Equal(want[:], c.mac[:]):
		return &ProtocolError{Detail: "Crypto-Binding with a wrong MAC: who ended TLS is not who knows the inner method's keys"}
	}
	return nil
}

// peapKeys are the compound keys.
type peapKeys struct {
	ipmk [40]byte
	cmk  [20]byte
}

// newPEAPKeys mixes TLS's key material with the inner method's key, of 32 octets; nil
// for a session resumed, which has no inner method.
func newPEAPKeys(material, isk []byte) *peapKeys {
	mixed := material[:tunnelKeyLen]
	if isk != nil {
		mixed = prfPlus(material[:40], "Inner Methods Compound Keys", isk, tunnelKeyLen)
		defer clear(mixed)
	}
	k := &peapKeys{}
	copy(k.ipmk[:], mixed)
	copy(k.cmk[:], mixed[len(k.ipmk):])
	return k
}

// session gives MSK and EMSK.
func (k *peapKeys) session() (msk, emsk *keys.Secret) {
	csk := prfPlus(k.ipmk[:], "Session Key Generating Function", []byte{0}, keyMaterial)
	defer clear(csk)
	return keys.NewSecret(csk[:mskLen]), keys.NewSecret(csk[mskLen:])
}

func (k *peapKeys) clear() { clear(k.ipmk[:]); clear(k.cmk[:]) }

// prfPlus is PRF+ as PEAP version 0 has it: two zero octets follow the counter where
// others have the length.
func prfPlus(key []byte, label string, seed []byte, n int) []byte {
	var out, last []byte
	for i := byte(1); len(out) < n; i++ {
		h := hmac.New(sha1.New, key)
		h.Write(last)
		h.Write([]byte(label))
		h.Write(seed)
		h.Write([]byte{i, 0, 0})
		last = h.Sum(nil)
		out = append(out, last...)
	}
	return out[:n]
}
