package mip6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Types of mobility options.
const (
	OptPad1           = 0
	OptPadN           = 1
	OptRefreshAdvice  = 2  // RFC 6275 section 6.2.4
	OptAlternate      = 3  // alternate care-of address, section 6.2.5
	OptNonceIndices   = 4  // section 6.2.6
	OptAuthorization  = 5  // binding authorization data, section 6.2.7
	OptIdentifier     = 8  // of the mobile node, RFC 4283
	OptAuthentication = 9  // mobility message authentication, RFC 4285 section 5
	OptReplay         = 10 // mobility message replay protection, RFC 4285 section 6
	OptExperimental   = 18 // RFC 5096 section 4
	OptBinding        = 35 // binding identifier, RFC 5648 section 4.3
)

// maxOptions bounds the options of one message. Nothing legitimate comes near it.
const maxOptions = 64

// Option is one mobility option. Those that are not known are kept.
type Option struct {
	Type uint8
	Data []byte // at most 255 octets

	at int // offset in the Mobility Header, of what was parsed
}

// Options are the mobility options of a message, in their order, without padding.
type Options []Option

// parseOptions parses what follows the fixed portion of b.
func parseOptions(b []byte, fixed int) (Options, error) {
	var out Options
	for at := fixed; at < len(b); {
		typ := b[at]
		if typ == OptPad1 {
			at++
			continue
		}
		if at+2 > len(b) || at+2+int(b[at+1]) > len(b) {
			return nil, fmt.Errorf("mip6: %w: option %d at octet %d does not end within the %d octets of the message", ErrFormat, typ, at, len(b))
		}
		end := at + 2 + int(b[at+1])
		if typ != OptPadN {
			if len(out) == maxOptions {
				return nil, fmt.Errorf("mip6: %w: more than %d options", ErrFormat, maxOptions)
			}
			out = append(out, Option{Type: typ, Data: b[at+2 : end : end], at: at})
		}
		at = end
	}
	return out, nil
}

// align says where an option may begin: at x*n + y octets from the start.
func (o Option) align() (x, y int) {
	switch o.Type {
	case OptRefreshAdvice, OptNonceIndices:
		return 2, 0
	case OptAlternate:
		return 8, 6
	case OptReplay:
		return 8, 2
	case OptExperimental:
		return 8, 4 // ours has 64 bits behind two octets
	case OptBinding:
		if len(o.Data) > bindingLen {
			return 8, 2
		}
		return 2, 0
	}
	return 1, 0
}

// appendBinary appends the options, aligned, to the message that begins at start.
func (l Options) appendBinary(dst []byte, start int) ([]byte, error) {
	for _, o := range l {
		if len(o.Data) > 255 || o.Type <= OptPadN {
			return nil, fmt.Errorf("option %d with %d octets cannot be sent: at most 255, and padding is made here", o.Type, len(o.Data))
		}
		x, y := o.align()
		dst = pad(dst, start, x, y)
		dst = append(append(dst, o.Type, byte(len(o.Data))), o.Data...)
	}
	return dst, nil
}

// pad appends padding until the next octet is x*n + y octets from start.
func pad(dst []byte, start, x, y int) []byte {
	n := ((y-(len(dst)-start))%x + x) % x
	switch n {
	case 0:
		return dst
	case 1:
		return append(dst, OptPad1)
	}
	dst = append(dst, OptPadN, byte(n-2)) //nolint:gosec // below 8
	return append(dst, make([]byte, n-2)...)
}

// find returns the first option of a type.
func (l Options) find(typ uint8) (Option, bool) {
	for _, o := range l {
		if o.Type == typ {
			return o, true
		}
	}
	return Option{}, false
}

// only returns the data of the one option of a type, of size octets; false when there
// is none, an error when it is there twice or of another size.
func (l Options) only(typ uint8, size int, name string) ([]byte, bool, error) {
	var data []byte
	found := false
	for _, o := range l {
		switch {
		case o.Type != typ:
		case found:
			return nil, false, fmt.Errorf("mip6: %w: %s is there twice", ErrFormat, name)
		case len(o.Data) != size:
			return nil, false, fmt.Errorf("mip6: %w: %s has %d octets, expected %d", ErrFormat, name, len(o.Data), size)
		default:
			data, found = o.Data, true
		}
	}
	return data, found, nil
}

// Alternate returns the alternate care-of address (RFC 6275 section 6.2.5).
func (l Options) Alternate() (netip.Addr, bool, error) {
	b, ok, err := l.only(OptAlternate, 16, "the alternate care-of address")
	if !ok {
		return netip.Addr{}, false, err
	}
	return addr(b), true, nil
}

// AlternateOption makes an alternate care-of address option.
func AlternateOption(a netip.Addr) Option {
	b := a.As16()
	return Option{Type: OptAlternate, Data: b[:]}
}

// NonceIndices say which nonces the tokens of a Binding Update were made with (RFC 6275
// section 6.2.6).
type NonceIndices struct {
	Home   uint16
	CareOf uint16 // not looked at when a binding is deleted
}

// NonceIndices returns the nonce indices option.
func (l Options) NonceIndices() (NonceIndices, bool, error) {
	b, ok, err := l.only(OptNonceIndices, 4, "the nonce indices option")
	if !ok {
		return NonceIndices{}, false, err
	}
	return NonceIndices{Home: binary.BigEndian.Uint16(b), CareOf: binary.BigEndian.Uint16(b[2:])}, true, nil
}

// Option makes a nonce indices option.
func (n NonceIndices) Option() Option {
	b := binary.BigEndian.AppendUint16(nil, n.Home)
	return Option{Type: OptNonceIndices, Data: binary.BigEndian.AppendUint16(b, n.CareOf)}
}

// RefreshAdvice returns the interval of a binding refresh advice, in units of 4 s (RFC
// 6275 section 6.2.4).
func (l Options) RefreshAdvice() (uint16, bool, error) {
	b, ok, err := l.only(OptRefreshAdvice, 2, "the binding refresh advice")
	if !ok {
		return 0, false, err
	}
	return binary.BigEndian.Uint16(b), true, nil
}

// RefreshAdviceOption makes a binding refresh advice of an interval in units of 4 s.
func RefreshAdviceOption(units uint16) Option {
	return Option{Type: OptRefreshAdvice, Data: binary.BigEndian.AppendUint16(nil, units)}
}

// Replay returns the time stamp of the replay protection option, in NTP's 64-bit format
// (RFC 4285 section 6).
func (l Options) Replay() (uint64, bool, error) {
	b, ok, err := l.only(OptReplay, 8, "the replay protection option")
	if !ok {
		return 0, false, err
	}
	return binary.BigEndian.Uint64(b), true, nil
}

// ReplayOption makes a replay protection option.
func ReplayOption(stamp uint64) Option {
	return Option{Type: OptReplay, Data: binary.BigEndian.AppendUint64(nil, stamp)}
}

// identifierNAI is the subtype of a network access identifier (RFC 4283 section 3.1).
const identifierNAI = 1

// Identifier returns the network access identifier of the mobile node.
func (l Options) Identifier() (string, bool) {
	o, ok := l.find(OptIdentifier)
	if !ok || len(o.Data) < 2 || o.Data[0] != identifierNAI {
		return "", false
	}
	return string(o.Data[1:]), true
}

// IdentifierOption makes a mobile node identifier option of a network access identifier
// of at most 254 octets.
func IdentifierOption(nai string) Option {
	return Option{Type: OptIdentifier, Data: append([]byte{identifierNAI}, nai...)}
}

// bindingLen is the length of a binding identifier option without an address.
const bindingLen = 4

// ErrBindingOption says that a binding identifier option has none of the lengths that
// RFC 5648 section 4.3 allows: the Binding Update is denied with status 164.
var ErrBindingOption = errors.New("binding identifier option of a wrong length")

// BindingID is a binding identifier option (RFC 5648 section 4.3).
type BindingID struct {
	ID     uint16 // 0 is reserved
	Status Status // in a Binding Acknowledgement; 0: that of the message counts
	AtHome bool   // H: the home link is used at the same time
	CareOf netip.Addr
}

// BindingIDs returns the binding identifier options.
func (l Options) BindingIDs() ([]BindingID, error) {
	var out []BindingID
	for _, o := range l {
		if o.Type != OptBinding {
			continue
		}
		if n := len(o.Data); n != bindingLen && n != bindingLen+4 && n != bindingLen+16 {
			return nil, fmt.Errorf("mip6: %w: %d octets, expected 4, 8 or 20", ErrBindingOption, n)
		}
		id := BindingID{ID: binary.BigEndian.Uint16(o.Data), Status: Status(o.Data[2]), AtHome: o.Data[3]&0x80 != 0}
		if rest := o.Data[bindingLen:]; len(rest) > 0 {
			id.CareOf, _ = netip.AddrFromSlice(rest)
		}
		out = append(out, id)
	}
	return out, nil
}

// Option makes a binding identifier option, with the address when there is one.
func (i BindingID) Option() Option {
	b := binary.BigEndian.AppendUint16(nil, i.ID)
	h := byte(0)
	if i.AtHome {
		h = 0x80
	}
	b = append(b, byte(i.Status), h)
	return Option{Type: OptBinding, Data: append(b, i.CareOf.AsSlice()...)}
}

func addr(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }
