package keys

import (
	"bytes"
	"encoding/binary"
)

// Labels that keep the keys of one MSK, or of one MN-AR, apart.
const (
	labelMNCA = "openmpa MN-CA"
	labelMNAR = "openmpa MN-AR"
	labelESP  = "openmpa ESP"
	labelSeal = "openmpa seal"
)

// SessionKeyLen is the length of MN-CA and MN-AR in octets.
const SessionKeyLen = 32

// SessionKeys are the keys a mobile node shares with the configuration agent and
// the access router of one session (RFC 6252 section 6.2), and what those it shares
// with the access points are made of.
type SessionKeys struct {
	MNCA *Secret // seals configuration
	MNAR *Secret // seals tunnel management, and is the root of the ESP keys

	prf        PRF
	msk        *Secret // our own copy
	sid, keyID uint32
}

// PMK derives the key of the access point bssid, as DerivePMK does. The caller
// clears it. It fails once the keys are cleared.
func (k *SessionKeys) PMK(bssid [6]byte) (*Secret, error) {
	return DerivePMK(k.prf, k.msk.Bytes(), k.sid, k.keyID, bssid)
}

// Clear overwrites all of them.
func (k *SessionKeys) Clear() {
	if k == nil {
		return
	}
	k.MNCA.Clear()
	k.MNAR.Clear()
	k.msk.Clear()
}

// DeriveSession derives MN-CA and MN-AR for the PANA session sid under keyID, and
// keeps a copy of the MSK for the access points' keys, which p makes: the session's
// PRF. caID and arID are the identities of the configuration agent and the access
// router as they came authenticated; addresses are no identities (NAT).
func DeriveSession(p PRF, msk []byte, sid, keyID uint32, caID, arID string) *SessionKeys {
	derive := func(label, identity string) *Secret {
		seed := make([]byte, 0, len(label)+8+len(identity))
		seed = append(seed, label...)
		seed = binary.BigEndian.AppendUint32(seed, sid)
		seed = binary.BigEndian.AppendUint32(seed, keyID)
		seed = append(seed, identity...)
		return NewSecret(PRFPlus(PRFHMACSHA256, msk, seed, SessionKeyLen))
	}
	k := &SessionKeys{
		MNCA: derive(labelMNCA, caID), MNAR: derive(labelMNAR, arID),
		prf: p, msk: NewSecret(bytes.Clone(msk)), sid: sid, keyID: keyID,
	}
	k.export()
	return k
}

// ESPKeys are the keys of one tunnel, each AES key | 4-octet salt (RFC 4106 section 8.1).
type ESPKeys struct {
	ToRouter *Secret // mobile node to access router
	ToNode   *Secret // access router to mobile node
}

// Clear overwrites both keys.
func (k *ESPKeys) Clear() {
	if k == nil {
		return
	}
	k.ToRouter.Clear()
	k.ToNode.Clear()
}

// DeriveESP derives the keys of one tunnel, n octets for each direction, from
//
//	prf+(MN-AR, "openmpa ESP" | len | nonceMN | len | nonceAR | SPI to router | SPI to node)
//
// where len is the nonce's length in 2 octets and the SPIs take 4. The nonces
// must be fresh for each tunnel, at least 16 octets each. The keys are empty when
// n is negative or more than 4080.
func DeriveESP(mnAR []byte, nonceMN, nonceAR []byte, spiToRouter, spiToNode uint32, n int) *ESPKeys {
	seed := make([]byte, 0, len(labelESP)+len(nonceMN)+len(nonceAR)+12)
	seed = append(seed, labelESP...)
	for _, nonce := range [][]byte{nonceMN, nonceAR} {
		seed = binary.BigEndian.AppendUint16(seed, uint16(len(nonce)))
		seed = append(seed, nonce...)
	}
	seed = binary.BigEndian.AppendUint32(seed, spiToRouter)
	seed = binary.BigEndian.AppendUint32(seed, spiToNode)
	both := PRFPlus(PRFHMACSHA256, mnAR, seed, 2*n)
	if both == nil {
		return &ESPKeys{ToRouter: NewSecret(nil), ToNode: NewSecret(nil)}
	}
	return &ESPKeys{ToRouter: NewSecret(both[:n]), ToNode: NewSecret(both[n:])}
}
