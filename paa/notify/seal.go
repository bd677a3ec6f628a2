package notify

import (
	"encoding/binary"
	"fmt"
	"slices"

	"openmpa/paa/keys"
)

// Codes of the vendor AVPs; the vendor is pana.VendorID.
const (
	AVPIdentities uint16 = 1
	AVPForCA      uint16 = 2
	AVPForAR      uint16 = 3
	AVPReason     uint16 = 4
	AVPAgain      uint16 = 5 // beside a Reason, without a value: whoever authenticates again now may succeed
)

// ReasonAVP returns the value of a Reason AVP: text as it may be shown, at most
// MaxReason octets of it.
func ReasonAVP(text string) []byte { return printable([]byte(text[:min(len(text), MaxReason)])) }

// ParseReasonAVP reads the value of a Reason AVP. The text is for people and
// proves nothing: nobody has signed it.
func ParseReasonAVP(b []byte) (string, error) {
	if len(b) == 0 || len(b) > MaxReason {
		return "", fmt.Errorf("notify: reason: %w: %d octets, expected 1 to %d", ErrMalformed, len(b), MaxReason)
	}
	return string(printable(b)), nil
}

// printable returns a copy that a terminal can take.
func printable(b []byte) []byte {
	out := slices.Clone(b)
	for i, c := range out {
		if c < 0x20 || c > 0x7e {
			out[i] = '?'
		}
	}
	return out
}

// Channel seals and opens the messages of one PANA session at one of its ends.
// It is not safe for concurrent use: messages must be opened in the order in
// which they were sealed, since an old counter is a replay.
type Channel struct {
	sid    uint32
	ca, ar *keys.Sealer
}

// NewChannel returns the end that sends in direction dir. The keys may be
// cleared afterwards.
func NewChannel(sid uint32, k *keys.SessionKeys, dir keys.Direction) (*Channel, error) {
	ca, err := keys.NewSealer(k.MNCA, dir)
	if err != nil {
		return nil, fmt.Errorf("notify: MN-CA: %w", err)
	}
	ar, err := keys.NewSealer(k.MNAR, dir)
	if err != nil {
		return nil, fmt.Errorf("notify: MN-AR: %w", err)
	}
	return &Channel{sid: sid, ca: ca, ar: ar}, nil
}

// Seal returns the code and value of the vendor AVP that carries m.
func (c *Channel) Seal(m Message) (code uint16, value []byte, err error) {
	plain, err := Append(nil, m)
	if err != nil {
		return 0, nil, err
	}
	code, sealer := c.of(m.Kind())
	value, err = sealer.Seal(plain, c.aad(code))
	if err != nil {
		return 0, nil, fmt.Errorf("notify: seal %s: %w", m.Kind(), err)
	}
	return code, value, nil
}

// Open returns the message in a vendor AVP. It refuses a message that came
// under the other key.
func (c *Channel) Open(code uint16, value []byte) (Message, error) {
	sealer := c.ar
	switch code {
	case AVPForCA:
		sealer = c.ca
	case AVPForAR:
	default:
		return nil, fmt.Errorf("notify: vendor AVP %d, expected %d or %d", code, AVPForCA, AVPForAR)
	}
	plain, err := sealer.Open(value, c.aad(code))
	if err != nil {
		return nil, fmt.Errorf("notify: open vendor AVP %d: %w", code, err)
	}
	m, err := Parse(plain)
	if err != nil {
		return nil, err
	}
	if want, _ := c.of(m.Kind()); want != code {
		return nil, fmt.Errorf("notify: %s under the key of vendor AVP %d, expected %d", m.Kind(), code, want)
	}
	return m, nil
}

func (c *Channel) of(k Kind) (uint16, *keys.Sealer) {
	switch k {
	case KindConfigRequest, KindConfigReply, KindLinkKeysRequest, KindLinkKeysReply, KindEntrust:
		return AVPForCA, c.ca
	}
	return AVPForAR, c.ar
}

func (c *Channel) aad(code uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, c.sid), code)
}
