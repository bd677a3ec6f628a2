package diameter

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

// ntpEra is how many seconds before 1970 the time of Diameter begins (RFC 6733 section
// 4.3.1, Time).
const ntpEra = 2208988800

// mandatory says which AVPs go without the M bit.
func mandatory(code uint32) uint8 {
	switch code {
	case avp.ErrorMessage, avp.ErrorReportingHost, avp.ProductName, avp.FirmwareRevision,
		codeChargeableUserIdentity, codeEAPKeyName, codeOperatorName, codeEAPMasterSessionKey, codeAccountingEAPAuthMethod:
		return 0
	}
	return avp.Mbit
}

// builder adds AVPs to a message. What is empty is left out; what must be there although
// it is empty has methods of its own.
type builder struct{ m *diam.Message }

func (b builder) put(code uint32, v datatype.Type) {
	b.m.AddAVP(diam.NewAVP(code, mandatory(code), 0, v))
}

func (b builder) identity(code uint32, v string) {
	if v != "" {
		b.put(code, datatype.DiameterIdentity(v))
	}
}

func (b builder) text(code uint32, v string) {
	if v != "" {
		b.put(code, datatype.UTF8String(v))
	}
}

func (b builder) octets(code uint32, v []byte) {
	if len(v) > 0 {
		b.put(code, datatype.OctetString(v))
	}
}

func (b builder) each(code uint32, list [][]byte) {
	for _, v := range list {
		b.put(code, datatype.OctetString(v))
	}
}

func (b builder) number(code, v uint32)       { b.put(code, datatype.Unsigned32(v)) }
func (b builder) enum(code uint32, v int32)   { b.put(code, datatype.Enumerated(v)) }
func (b builder) big(code uint32, v uint64)   { b.put(code, datatype.Unsigned64(v)) }
func (b builder) at(code uint32, t time.Time) { b.put(code, datatype.Time(t)) }

// seconds adds a duration, rounded up so that a short one is not "unlimited".
func (b builder) seconds(code uint32, d time.Duration) {
	if d > 0 {
		b.number(code, uint32(min((d+time.Second-1)/time.Second, math.MaxUint32-1)))
	}
}

// fields reads the AVPs of a message that are of no vendor: the dictionary gives those
// of vendors the types of others by the same code. What does not parse reads as absent.
type fields []*diam.AVP

func (f fields) first(code uint32) ([]byte, bool) {
	for _, a := range f {
		if a.Code == code && a.VendorID == 0 && a.Data != nil {
			return a.Data.Serialize(), true
		}
	}
	return nil, false
}

func (f fields) octets(code uint32) []byte {
	v, _ := f.first(code)
	return v
}

func (f fields) text(code uint32) string { return string(f.octets(code)) }

func (f fields) all(code uint32) [][]byte {
	var list [][]byte
	for _, a := range f {
		if a.Code == code && a.VendorID == 0 && a.Data != nil {
			list = append(list, a.Data.Serialize())
		}
	}
	return list
}

func (f fields) number(code uint32) (uint32, bool) {
	v, _ := f.first(code)
	if len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

func (f fields) big(code uint32) uint64 {
	v, _ := f.first(code)
	return number64(v)
}

// number64 is 0 of what has not eight octets.
func number64(v []byte) uint64 {
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// seconds reads a duration; all ones is "no limit", as is absence.
func (f fields) seconds(code uint32) time.Duration {
	v, _ := f.number(code)
	if v == math.MaxUint32 {
		return 0
	}
	return time.Duration(v) * time.Second
}

func (f fields) at(code uint32) time.Time {
	v, ok := f.number(code)
	if !ok {
		return time.Time{}
	}
	s := int64(v) - ntpEra
	if v>>31 == 0 { // the era after 2036 (RFC 5905 section 6)
		s += 1 << 32
	}
	return time.Unix(s, 0)
}

// wipe clears the keys of a message that was sent or read.
func wipe(m *diam.Message) {
	if m == nil {
		return
	}
	for _, a := range m.AVP {
		if k, ok := a.Data.(key); ok {
			clear(k)
		}
	}
}
