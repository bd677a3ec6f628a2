package keys

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

const (
	labelPEMK = "IETF PEMK"
	pemkLen   = 64

	// familyMAC48 is the address family of a 48-bit MAC (IANA's registry of address family numbers; RFC 7042 section 4.2).
	familyMAC48 = 16389
)

// PMKLen is the length of an 802.11 PMK in octets.
const PMKLen = 32

// PMKIDLen is the length of a PMKID in octets.
const PMKIDLen = 16

// AKM is an 802.11 authentication and key management suite, by its number under OUI 00-0F-AC.
type AKM uint8

// The suites whose PMK may come from outside (IEEE 802.11-2020 table 9-151). Those of fast transition make a hierarchy of
// their own of the MSK, and SAE and OWE a PMK of their own.
const (
	AKM8021X       AKM = 1 // WPA-EAP
	AKM8021XSHA256 AKM = 5 // WPA-EAP-SHA256
)

func (a AKM) hash() func() hash.Hash {
	switch a {
	case AKM8021X:
		return sha1.New
	case AKM8021XSHA256:
		return sha256.New
	}
	return nil
}

// Supported says whether this package makes PMKs and PMKIDs for the suite.
func (a AKM) Supported() bool { return a.hash() != nil }

// String names the suite as hostapd and wpa_supplicant do.
func (a AKM) String() string {
	switch a {
	case AKM8021X:
		return "WPA-EAP"
	case AKM8021XSHA256:
		return "WPA-EAP-SHA256"
	}
	return fmt.Sprintf("AKM(00-0f-ac:%d)", uint8(a))
}

// DerivePMK derives the PMK between the mobile node and the access point bssid, the first 32 octets of their PEMK
// (RFC 5807 section 3), which has 64 and no other use:
//
//	PEMK = prf+(MSK, "IETF PEMK" | SID | KID | EPID), EPID = 16389 in 2 octets | BSSID
//
// p is the function of the session's PRF-Algorithm AVP; keyID is the content of its Key-Id AVP. It must not be used beyond
// the MSK's life. Errors wrap ErrAlgorithm, or say that the MSK is empty.
func DerivePMK(p PRF, msk []byte, sid, keyID uint32, bssid [6]byte) (*Secret, error) {
	if !p.Supported() {
		return nil, fmt.Errorf("keys: PMK: %w: %v", ErrAlgorithm, p)
	}
	if len(msk) == 0 {
		return nil, fmt.Errorf("keys: PMK: MSK is empty")
	}
	seed := make([]byte, 0, len(labelPEMK)+16)
	seed = append(seed, labelPEMK...)
	seed = binary.BigEndian.AppendUint32(seed, sid)
	seed = binary.BigEndian.AppendUint32(seed, keyID)
	seed = binary.BigEndian.AppendUint16(seed, familyMAC48)
	seed = append(seed, bssid[:]...)
	pemk := PRFPlus(p, msk, seed, pemkLen)
	defer clear(pemk)
	return NewSecret(pemk[:PMKLen]), nil
}

// PMKID names the PMK that the access point bssid and the station share (IEEE 802.11-2020 section 12.7.1.3):
//
//	Truncate-128(HMAC-H(PMK, "PMK Name" | BSSID | station)), H = SHA-1 or, for suite 5, SHA-256
//
// An error wraps ErrAlgorithm, or says what is wrong with the PMK's length.
func PMKID(a AKM, pmk *Secret, bssid, station [6]byte) (id [PMKIDLen]byte, err error) {
	h := a.hash()
	if h == nil {
		return id, fmt.Errorf("keys: PMKID: %w: %v", ErrAlgorithm, a)
	}
	if pmk.Len() != PMKLen {
		return id, fmt.Errorf("keys: PMKID: want a PMK of %d octets, got %d", PMKLen, pmk.Len())
	}
	m := hmac.New(h, pmk.Bytes())
	m.Write([]byte("PMK Name"))
	m.Write(bssid[:])
	m.Write(station[:])
	copy(id[:], m.Sum(nil))
	return id, nil
}
