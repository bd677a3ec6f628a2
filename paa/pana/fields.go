package pana

import (
	"encoding/binary"
	"fmt"

	"openmpa/paa/keys"
)

// fields is a message's content after the checks, values aliasing the input.
type fields struct {
	auth, eap, nonce    []byte
	prfs                []keys.PRF
	integs              []keys.Integrity
	keyID, result       uint32
	lifetime, cause     uint32
	hasKeyID, hasResult bool
	hasLifetime         bool
	extra               []AVP // everything that RFC 5191 does not define
}

// kind indexes the occurrence table.
type kind uint8

const (
	kindPCI kind = iota
	kindPAR
	kindPAN
	kindPTR
	kindPTA
	kindPNR
	kindPNA
)

const many = 255

// occurrence is figure 4 of RFC 5191: the most AVPs of a code in a message.
var occurrence = [lastIETFInUse + 1][7]uint8{
	//                PCI PAR   PAN PTR PTA PNR PNA
	CodeAUTH:      {0, 1, 1, 1, 1, 1, 1},
	CodeEAP:       {0, 1, 1, 0, 0, 0, 0},
	CodeIntegrity: {0, many, 1, 0, 0, 0, 0},
	CodeKeyID:     {0, 1, 1, 0, 0, 0, 0},
	CodeNonce:     {0, 1, 1, 0, 0, 0, 0},
	CodePRF:       {0, many, 1, 0, 0, 0, 0},
	CodeResult:    {0, 1, 0, 0, 0, 0, 0},
	CodeLifetime:  {0, 1, 0, 0, 0, 0, 0},
	CodeTermCause: {0, 0, 0, 1, 0, 0, 0},
}

// kindOf checks type against flags (RFC 5191 sections 6.2 and 7).
func (m *Message) kindOf() (kind, error) {
	bad := func(why string) (kind, error) {
		return 0, fmt.Errorf("%w: %s: %s", ErrInvalid, m.Name(), why)
	}
	r := m.Flags.Has(FlagR)
	var k kind
	allowed := FlagR | FlagE
	switch m.Type {
	case TypePCI:
		if r {
			return bad("a PCI is no request")
		}
		if m.SID != 0 || m.Seq != 0 {
			return bad("session identifier and sequence number of a PCI are zero")
		}
		k = kindPCI
	case TypeAuth:
		if m.Flags.Has(FlagS | FlagC) {
			return bad("S and C exclude one another")
		}
		allowed |= FlagS | FlagC
		if k = kindPAN; r {
			k = kindPAR
			allowed |= FlagI
		}
	case TypeTerm:
		if k = kindPTA; r {
			k = kindPTR
		}
	case TypeNtfy:
		if m.Flags.Has(FlagA) == m.Flags.Has(FlagP) {
			return bad("exactly one of A and P is set in a notification")
		}
		allowed |= FlagA | FlagP
		if k = kindPNA; r {
			k = kindPNR
		}
	default:
		return bad("unknown message type")
	}
	if extra := m.Flags & knownFlags &^ allowed; extra != 0 {
		return bad("flags " + extra.String() + " do not belong to this type")
	}
	return k, nil
}

// fields checks the message and sorts its AVPs.
func (m *Message) fields() (*fields, error) {
	k, err := m.kindOf()
	if err != nil {
		return nil, err
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrInvalid, m.Name(), fmt.Sprintf(format, args...))
	}
	f := &fields{}
	var seen [lastIETFInUse + 1]int
	for i, a := range m.AVPs {
		if a.Vendor != 0 || a.Code == 0 || a.Code > lastIETFInUse {
			f.extra = append(f.extra, a)
			continue
		}
		seen[a.Code]++
		if limit := occurrence[a.Code][k]; limit != many && seen[a.Code] > int(limit) {
			return nil, bad("%d AVPs with code %d, at most %d", seen[a.Code], a.Code, limit)
		}
		var v uint32
		switch a.Code {
		case CodeIntegrity, CodeKeyID, CodePRF, CodeResult, CodeLifetime, CodeTermCause:
			if len(a.Data) != 4 {
				return nil, bad("AVP %d has %d octets, expected 4", a.Code, len(a.Data))
			}
			v = binary.BigEndian.Uint32(a.Data)
		}
		switch a.Code {
		case CodeAUTH:
			if i != len(m.AVPs)-1 {
				return nil, bad("AUTH is AVP %d of %d, it must be the last", i+1, len(m.AVPs))
			}
			f.auth = a.Data
			if f.auth == nil {
				f.auth = []byte{}
			}
		case CodeEAP:
			if len(a.Data) < 4 {
				return nil, bad("EAP-Payload of %d octets, an EAP packet has at least 4", len(a.Data))
			}
			f.eap = a.Data
		case CodeNonce:
			if len(a.Data) < minNonce || len(a.Data) > maxNonce {
				return nil, bad("nonce of %d octets, expected %d to %d", len(a.Data), minNonce, maxNonce)
			}
			f.nonce = a.Data
		case CodeTermCause:
			if i != 0 {
				return nil, bad("Termination-Cause is AVP %d, it must be the first", i+1)
			}
			f.cause = v
		case CodeIntegrity:
			f.integs = append(f.integs, keys.Integrity(v))
		case CodePRF:
			f.prfs = append(f.prfs, keys.PRF(v))
		case CodeKeyID:
			f.keyID, f.hasKeyID = v, true
		case CodeResult:
			f.result, f.hasResult = v, true
		case CodeLifetime:
			f.lifetime, f.hasLifetime = v, true
		}
	}
	if k == kindPTR && seen[CodeTermCause] == 0 {
		return nil, bad("Termination-Cause is missing")
	}
	return f, nil
}
