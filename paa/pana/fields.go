package pana

import (
	"encoding/binary"
	"fmt"

	"openmpa/paa/keys"
)

// fields is a message's content after the checks, values aliasing the input.
type fields struct {
	kind kind
	seen [lastIETFInUse + 1]int // AVPs by code

	auth, eap, nonce    []byte
	encap               []byte // until it is decrypted, see decap
	encrs               []uint32
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
	// RFC 6786 gives no table; its sections 2 and 5 say where these may be.
	CodeEncap:      {0, 1, 1, 1, 1, 1, 1},
	CodeEncryption: {0, many, 1, 0, 0, 0, 0},
}

// implemented says which IETF AVPs have a meaning here.
func implemented(code uint16) bool {
	return code >= CodeAUTH && code <= CodeTermCause || code == CodeEncap || code == CodeEncryption
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
	f := &fields{kind: k}
	for i, a := range m.AVPs {
		switch {
		case a.Vendor != 0:
		case a.Code == CodeAUTH && i != len(m.AVPs)-1:
			return nil, m.invalid("AUTH is AVP %d of %d, it must be the last", i+1, len(m.AVPs))
		case a.Code == CodeTermCause && i != 0:
			return nil, m.invalid("Termination-Cause is AVP %d, it must be the first", i+1)
		}
		if err := f.take(m, a); err != nil {
			return nil, err
		}
	}
	if f.encap == nil { // otherwise there is more to come
		err = f.complete(m)
	}
	return f, err
}

func (m *Message) invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrInvalid, m.Name(), fmt.Sprintf(format, args...))
}

// complete checks that nothing is missing.
func (f *fields) complete(m *Message) error {
	if f.kind == kindPTR && f.seen[CodeTermCause] == 0 {
		return m.invalid("Termination-Cause is missing")
	}
	return nil
}

// take checks one AVP and sorts it.
func (f *fields) take(m *Message, a AVP) error {
	if a.Vendor != 0 || !implemented(a.Code) {
		f.extra = append(f.extra, a)
		return nil
	}
	f.seen[a.Code]++
	if limit := occurrence[a.Code][f.kind]; limit != many && f.seen[a.Code] > int(limit) {
		return m.invalid("%d AVPs with code %d, at most %d", f.seen[a.Code], a.Code, limit)
	}
	var v uint32
	switch a.Code {
	case CodeIntegrity, CodeKeyID, CodePRF, CodeResult, CodeLifetime, CodeTermCause, CodeEncryption:
		if len(a.Data) != 4 {
			return m.invalid("AVP %d has %d octets, expected 4", a.Code, len(a.Data))
		}
		v = binary.BigEndian.Uint32(a.Data)
	}
	switch a.Code {
	case CodeAUTH:
		f.auth = present(a.Data)
	case CodeEncap:
		f.encap = present(a.Data)
	case CodeEAP:
		if len(a.Data) < 4 {
			return m.invalid("EAP-Payload of %d octets, an EAP packet has at least 4", len(a.Data))
		}
		f.eap = a.Data
	case CodeNonce:
		if len(a.Data) < minNonce || len(a.Data) > maxNonce {
			return m.invalid("nonce of %d octets, expected %d to %d", len(a.Data), minNonce, maxNonce)
		}
		f.nonce = a.Data
	case CodeTermCause:
		f.cause = v
	case CodeIntegrity:
		f.integs = append(f.integs, keys.Integrity(v))
	case CodePRF:
		f.prfs = append(f.prfs, keys.PRF(v))
	case CodeEncryption:
		f.encrs = append(f.encrs, v)
	case CodeKeyID:
		f.keyID, f.hasKeyID = v, true
	case CodeResult:
		f.result, f.hasResult = v, true
	case CodeLifetime:
		f.lifetime, f.hasLifetime = v, true
	}
	return nil
}

// present is b, and not nil when it is empty.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
