package pana

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Message is one PANA message: the header and the AVPs in order.
type Message struct {
	Type  MessageType
	Flags Flags
	SID   uint32 // Session Identifier, chosen by the PAA; zero in a PCI
	Seq   uint32
	AVPs  []AVP
}

// Errors of the codec.
var (
	// ErrMalformed is wrapped when octets are no PANA message.
	ErrMalformed = errors.New("pana: malformed message")
	// ErrInvalid is wrapped when a message breaks a rule of RFC 5191 section
	// 5.5 that can be checked without a session: flags, occurrence of AVPs.
	ErrInvalid = errors.New("pana: invalid message")
)

// Name returns the abbreviation of RFC 5191 section 7 with the flags, as in
// "PAR[SE]".
func (m *Message) Name() string {
	n := m.Type.String()
	if m.Type >= TypeAuth && m.Type <= TypeNtfy {
		if m.Flags.Has(FlagR) {
			n += "R"
		} else {
			n += "A"
		}
		if n == "PAA" { // the answer to a PAR is called PAN
			n = "PAN"
		}
	}
	return n + "[" + (m.Flags &^ FlagR).String() + "]"
}

// String describes the message without the values of its AVPs.
func (m *Message) String() string {
	return fmt.Sprintf("%s sid=%08x seq=%08x %v", m.Name(), m.SID, m.Seq, m.AVPs)
}

// Get returns the first IETF AVP with the code.
func (m *Message) Get(code uint16) (AVP, bool) {
	for _, a := range m.AVPs {
		if a.Vendor == 0 && a.Code == code {
			return a, true
		}
	}
	return AVP{}, false
}

// AppendBinary appends the message in wire format (RFC 5191 sections 6.2 and
// 6.3). It fails only when the message is too long.
func (m *Message) AppendBinary(dst []byte) ([]byte, error) {
	n := HeaderLen
	for _, a := range m.AVPs {
		if len(a.Data) > maxAVPValueLen {
			return dst, fmt.Errorf("pana: %w: AVP %d has %d octets, at most %d", ErrAVP, a.Code, len(a.Data), maxAVPValueLen)
		}
		n += a.wireLen()
	}
	if n > MaxMessageLen {
		return dst, fmt.Errorf("%w: %d octets do not fit into a datagram of %d", ErrMalformed, n, MaxMessageLen)
	}
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Flags&knownFlags))
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Type))
	dst = binary.BigEndian.AppendUint32(dst, m.SID)
	dst = binary.BigEndian.AppendUint32(dst, m.Seq)
	for _, a := range m.AVPs {
		dst = appendAVP(dst, a)
	}
	return dst, nil
}

// ParseMessage reads one message. Octets beyond the Message Length are
// ignored, as are reserved fields and unknown flag bits. The values of the
// AVPs alias b. It checks the structure only; [Message.Check] does the rest.
func ParseMessage(b []byte) (*Message, error) {
	m, _, err := parse(b)
	return m, err
}

// parse is ParseMessage and returns the octets that belong to the message.
func parse(b []byte) (*Message, []byte, error) {
	if len(b) < HeaderLen {
		return nil, nil, fmt.Errorf("%w: expected a header of %d octets, got %d", ErrMalformed, HeaderLen, len(b))
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < HeaderLen || n > len(b) {
		return nil, nil, fmt.Errorf("%w: Message Length %d, datagram of %d octets", ErrMalformed, n, len(b))
	}
	b = b[:n:n]
	m := &Message{
		Flags: Flags(binary.BigEndian.Uint16(b[4:])) & knownFlags,
		Type:  MessageType(binary.BigEndian.Uint16(b[6:])),
		SID:   binary.BigEndian.Uint32(b[8:]),
		Seq:   binary.BigEndian.Uint32(b[12:]),
	}
	for rest := b[HeaderLen:]; len(rest) > 0; {
		if len(m.AVPs) == maxAVPs {
			return nil, nil, fmt.Errorf("%w: more than %d AVPs", ErrMalformed, maxAVPs)
		}
		var a AVP
		var err error
		if a, rest, err = parseAVP(rest); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		m.AVPs = append(m.AVPs, a)
	}
	return m, b, nil
}

// Check tells whether the message obeys the rules of RFC 5191 section 5.5
// that need no session: flags that the type allows, the occurrence table of
// section 8, fixed positions, lengths of values.
func (m *Message) Check() error {
	_, err := m.fields()
	return err
}
