package diameter

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

// maxDepth bounds groups within groups, maxAVPs the AVPs of one message: no message of
// the applications here comes near.
const (
	maxDepth = 8
	maxAVPs  = 512
)

// Fault is what is wrong with a message, in the terms in which it is answered.
type Fault struct {
	Code   uint32    // Result-Code
	Failed *diam.AVP // for Failed-AVP (RFC 6733 section 7.5); nil: none
	Why    string
}

// Error implements error in one line.
func (f *Fault) Error() string { return fmt.Sprintf("diameter: result %d: %s", f.Code, f.Why) }

// parse makes a message of a frame. With a Fault the message has the AVPs before the
// bad one, so that it can be answered.
//
// The library's own decoder is not used for more than single values: it moves on by the
// length of what it has decoded, not by the length that came, and dies of groups that
// end within an AVP.
func parse(b []byte, d *dict.Parser) (*diam.Message, *Fault) {
	var h diam.Header
	if err := h.DecodeFromBytes(b); err != nil {
		return nil, &Fault{Code: diam.InvalidMessageLength, Why: err.Error()}
	}
	m := diam.NewMessage(h.CommandCode, h.CommandFlags, h.ApplicationID, 1, 1, d)
	m.Header = &h
	p := parser{dict: d, app: h.ApplicationID}
	var f *Fault
	m.AVP, f = p.avps(b[headerLen:], 0)
	return m, f
}

// parser is the work on one message.
type parser struct {
	dict  *dict.Parser
	app   uint32
	count int
}

func (p *parser) avps(b []byte, depth int) ([]*diam.AVP, *Fault) {
	var out []*diam.AVP
	for len(b) > 0 {
		if p.count++; p.count > maxAVPs {
			return out, &Fault{Code: diam.InvalidAVPValue, Why: fmt.Sprintf("more than %d AVPs", maxAVPs)}
		}
		a, n, f := p.avp(b, depth)
		if f != nil {
			return out, f
		}
		out = append(out, a)
		b = b[min((n+3)&^3, len(b)):] // the padding of the last one may be missing
	}
	return out, nil
}

// avp parses the first AVP of b and returns its length without padding.
func (p *parser) avp(b []byte, depth int) (*diam.AVP, int, *Fault) {
	if len(b) < 8 {
		return nil, 0, &Fault{Code: diam.InvalidAVPLenght, Why: fmt.Sprintf("%d octets where an AVP was expected, of at least 8", len(b))}
	}
	code, flags := binary.BigEndian.Uint32(b), b[4]
	n := int(binary.BigEndian.Uint32(b[4:]) & 0xffffff)
	head := 8
	var vendor uint32
	if flags&avp.Vbit != 0 {
		head = 12
	}
	if n >= 12 && len(b) >= 12 && head == 12 {
		vendor = binary.BigEndian.Uint32(b[8:])
	}
	def := p.find(code, vendor)
	if n < head || n > len(b) {
		return nil, 0, &Fault{
			Code: diam.InvalidAVPLenght, Failed: emptyAVP(code, flags, vendor, def),
			Why: fmt.Sprintf("AVP %d says it has %d octets, expected %d to %d", code, n, head, len(b)),
		}
	}
	a := &diam.AVP{Code: code, Flags: flags, Length: n, VendorID: vendor}
	body := b[head:n]
	if def == nil {
		if flags&avp.Mbit != 0 {
			a.Data = octets(body)
			return nil, 0, &Fault{Code: diam.AVPUnsupported, Failed: a, Why: fmt.Sprintf("AVP %d of vendor %d is mandatory, and unknown here", code, vendor)}
		}
		a.Data = octets(body)
		return a, n, nil
	}
	if def.Data.Type == datatype.GroupedType {
		if depth == maxDepth {
			return nil, 0, &Fault{Code: diam.InvalidAVPValue, Why: fmt.Sprintf("%s: groups within groups %d deep", def.Name, depth+1)}
		}
		inner, f := p.avps(body, depth+1)
		if f != nil && code == avp.FailedAVP {
			a.Data = octets(body) // what is in it was bad already
			return a, n, nil
		}
		if f != nil {
			if f.Failed != nil { // RFC 6733 section 7.5: within its groups
				f.Failed = diam.NewAVP(code, flags, vendor, &diam.GroupedAVP{AVP: []*diam.AVP{f.Failed}})
			}
			f.Why = def.Name + ": " + f.Why
			return nil, 0, f
		}
		a.Data = &diam.GroupedAVP{AVP: inner}
		return a, n, nil
	}
	if want := fixedLen(def.Data.Type); want != 0 && len(body) != want {
		return nil, 0, &Fault{
			Code: diam.InvalidAVPLenght, Failed: emptyAVP(code, flags, vendor, def),
			Why: fmt.Sprintf("%s (%d) has %d octets, expected %d", def.Name, code, len(body), want),
		}
	}
	data, err := decode(def.Data.Type, body)
	if err != nil {
		a.Data = octets(body)
		return nil, 0, &Fault{Code: diam.InvalidAVPValue, Failed: a, Why: fmt.Sprintf("%s (%d): %v", def.Name, code, err)}
	}
	a.Data = data
	return a, n, nil
}

// find is the definition of an AVP of exactly that vendor; nil: unknown. The library
// takes one of any vendor with that code if need be.
func (p *parser) find(code, vendor uint32) *dict.AVP {
	for _, app := range []uint32{p.app, appBase} { // the base protocol's are everywhere
		if def, err := p.dict.FindAVPByCode(app, code, vendor); err == nil && def.VendorID == vendor {
			return def
		}
	}
	return nil
}

// fixedLen is the length of values of a type; 0: it varies.
func fixedLen(t datatype.TypeID) int {
	switch t {
	case datatype.Unsigned32Type, datatype.Integer32Type, datatype.Float32Type, datatype.EnumeratedType, datatype.TimeType, datatype.IPv4Type:
		return 4
	case datatype.Unsigned64Type, datatype.Integer64Type, datatype.Float64Type:
		return 8
	case datatype.IPv6Type:
		return 16
	}
	return 0
}

// decode makes a value whose encoding is again the octets it came in.
func decode(t datatype.TypeID, b []byte) (datatype.Type, error) {
	switch t {
	case datatype.AddressType:
		// The library writes any four or sixteen octets as an IP address.
		if len(b) < 2 {
			return nil, fmt.Errorf("an address of %d octets", len(b))
		}
		ip, ok := netip.AddrFromSlice(b[2:])
		if family := binary.BigEndian.Uint16(b); ok && !ip.Is4In6() && (family == 1 && ip.Is4() || family == 2 && ip.Is6()) {
			return datatype.Address(append([]byte(nil), b[2:]...)), nil
		} else if family == 1 || family == 2 || family == 0 || family == 0xffff {
			return nil, fmt.Errorf("family %d with %d octets is no address", family, len(b)-2)
		}
		return octets(b), nil
	case datatype.DiameterIdentityType:
		if !isIdentity(string(b)) {
			return nil, fmt.Errorf("%q is no DiameterIdentity, expected a host or realm name of at most %d octets", clip(string(b)), maxIdentity)
		}
	}
	return datatype.Decode(t, b)
}

// octets is a value nobody here looks into.
func octets(b []byte) datatype.Type { return datatype.OctetString(b) }

// emptyAVP is a bad AVP as Failed-AVP has it when its length was wrong: its header, and
// zeros as long as the type's shortest value (RFC 6733 section 7.5).
func emptyAVP(code uint32, flags uint8, vendor uint32, def *dict.AVP) *diam.AVP {
	n := 0
	if def != nil {
		n = fixedLen(def.Data.Type)
	}
	return diam.NewAVP(code, flags, vendor, octets(make([]byte, n)))
}

// maxIdentity is the longest name of a host (RFC 1035 section 2.3.4).
const maxIdentity = 255

// isIdentity says whether s may name a Diameter node or realm: letters, digits, and what
// is found in names, nothing that a log would have to escape.
func isIdentity(s string) bool {
	if s == "" || len(s) > maxIdentity {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// clip shortens what a stranger has written, for an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
