package keys

import "encoding/binary"

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
// the access router of one session (RFC 6252 section 6.2).
type SessionKeys struct {
	MNCA *Secret // seals configuration
	MNAR *Secret // seals tunnel management, and is the root of the ESP keys
}

// Clear overwrites both keys.
func (k *SessionKeys) Clear() {
	if k == nil {
		return
	}
	k.MNCA.Clear()
	k.MNAR.Clear()
}

// DeriveSession derives MN-CA and MN-AR for the PANA session sid under keyID.
// caID and arID are the identities of the configuration agent and the access
// router as they came authenticated; addresses are no identities (NAT).
func DeriveSession(msk []byte, sid, keyID uint32, caID, arID string) *SessionKeys {
	derive := func(label, identity string) *Secret {
		seed := make([]byte, 0, len(label)+8+len(identity))
		seed = append(seed, label...)
		seed = binary.BigEndian.AppendUint32(seed, sid)
		seed = binary.BigEndian.AppendUint32(seed, keyID)
		seed = append(seed, identity...)
		return NewSecret(PRFPlus(PRFHMACSHA256, msk, seed, SessionKeyLen))
	}
	return &SessionKeys{MNCA: derive(labelMNCA, caID), MNAR: derive(labelMNAR, arID)}
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
