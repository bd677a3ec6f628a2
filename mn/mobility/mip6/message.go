package mip6

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// RefreshRequest asks a mobile node to renew its binding (RFC 6275 section 6.1.2).
type RefreshRequest struct{ Options Options }

// HomeTestInit begins the test of a home address (RFC 6275 section 6.1.3).
type HomeTestInit struct {
	Cookie  Cookie
	Options Options
}

// CareOfTestInit begins the test of a care-of address (RFC 6275 section 6.1.4).
type CareOfTestInit struct {
	Cookie  Cookie
	Options Options
}

// HomeTest answers a HomeTestInit (RFC 6275 section 6.1.5).
type HomeTest struct {
	Index   uint16 // of the nonce the token was made with
	Cookie  Cookie
	Token   Token
	Options Options
}

// CareOfTest answers a CareOfTestInit (RFC 6275 section 6.1.6).
type CareOfTest struct {
	Index   uint16 // of the nonce the token was made with
	Cookie  Cookie
	Token   Token
	Options Options
}

// Flags are the bits of a Binding Update.
type Flags uint16

// The bits of a Binding Update (RFC 6275 section 6.1.7, RFC 5648 section 4.2).
const (
	FlagA Flags = 0x8000 // acknowledgement wanted
	FlagH Flags = 0x4000 // home registration
	FlagL Flags = 0x2000 // the link-local address has the home address's interface identifier
	FlagK Flags = 0x1000 // key management survives movement
	FlagO Flags = 0x0040 // overwrite: all bindings are replaced by those of this message
)

// String prints the letters of the bits that are known and set.
func (f Flags) String() string {
	const letters = "AHLKMRPFTO"
	out := make([]byte, 0, len(letters))
	for i := range len(letters) {
		if f&(0x8000>>i) != 0 {
			out = append(out, letters[i])
		}
	}
	return string(out)
}

// lifetimeUnit is the unit of lifetimes (RFC 6275 section 6.1.7).
const lifetimeUnit = 4 * time.Second

// LifetimeField converts a lifetime to the field of a message, rounding down.
func LifetimeField(d time.Duration) uint16 {
	return uint16(min(max(0, d/lifetimeUnit), 0xffff)) //nolint:gosec // within bounds
}

// LifetimeOf converts the field of a message to a lifetime.
func LifetimeOf(field uint16) time.Duration { return time.Duration(field) * lifetimeUnit }

// Update is a Binding Update (RFC 6275 section 6.1.7).
type Update struct {
	Sequence uint16
	Flags    Flags
	Lifetime uint16 // in units of 4 s; 0 deletes the binding
	Options  Options

	raw []byte // the whole message, where it was parsed
}

// Ack is a Binding Acknowledgement (RFC 6275 section 6.1.8).
type Ack struct {
	Status   Status
	KeyMoves bool   // K: key management survives movement
	Sequence uint16 // of the Update; with status 135 the last that was accepted
	Lifetime uint16 // granted, in units of 4 s
	Options  Options

	raw []byte // the whole message, where it was parsed
}

// Error is a Binding Error (RFC 6275 section 6.1.9).
type Error struct {
	Status  ErrorStatus
	Home    netip.Addr // of the Home Address option of the packet in question, or ::
	Options Options
}

func (*RefreshRequest) kind() (uint8, string) { return TypeRefreshRequest, "binding refresh request" }
func (*HomeTestInit) kind() (uint8, string)   { return TypeHomeTestInit, "home test init" }
func (*CareOfTestInit) kind() (uint8, string) { return TypeCareOfTestInit, "care-of test init" }
func (*HomeTest) kind() (uint8, string)       { return TypeHomeTest, "home test" }
func (*CareOfTest) kind() (uint8, string)     { return TypeCareOfTest, "care-of test" }
func (*Update) kind() (uint8, string)         { return TypeUpdate, "binding update" }
func (*Ack) kind() (uint8, string)            { return TypeAck, "binding acknowledgement" }
func (*Error) kind() (uint8, string)          { return TypeError, "binding error" }

func (m *RefreshRequest) list() Options { return m.Options }
func (m *HomeTestInit) list() Options   { return m.Options }
func (m *CareOfTestInit) list() Options { return m.Options }
func (m *HomeTest) list() Options       { return m.Options }
func (m *CareOfTest) list() Options     { return m.Options }
func (m *Update) list() Options         { return m.Options }
func (m *Ack) list() Options            { return m.Options }
func (m *Error) list() Options          { return m.Options }

func parseRefreshRequest(_ []byte, o Options) Message { return &RefreshRequest{Options: o} }

func (m *RefreshRequest) appendFixed(dst []byte) []byte { return append(dst, 0, 0) }

func parseHomeTestInit(b []byte, o Options) Message {
	return &HomeTestInit{Cookie: Cookie(b[8:16]), Options: o}
}

func (m *HomeTestInit) appendFixed(dst []byte) []byte {
	return append(append(dst, 0, 0), m.Cookie[:]...)
}

func parseCareOfTestInit(b []byte, o Options) Message {
	return &CareOfTestInit{Cookie: Cookie(b[8:16]), Options: o}
}

func (m *CareOfTestInit) appendFixed(dst []byte) []byte {
	return append(append(dst, 0, 0), m.Cookie[:]...)
}

func parseHomeTest(b []byte, o Options) Message {
	return &HomeTest{Index: binary.BigEndian.Uint16(b[6:]), Cookie: Cookie(b[8:16]), Token: Token(b[16:24]), Options: o}
}

func (m *HomeTest) appendFixed(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Index)
	return append(append(dst, m.Cookie[:]...), m.Token[:]...)
}

func parseCareOfTest(b []byte, o Options) Message {
	return &CareOfTest{Index: binary.BigEndian.Uint16(b[6:]), Cookie: Cookie(b[8:16]), Token: Token(b[16:24]), Options: o}
}

func (m *CareOfTest) appendFixed(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Index)
	return append(append(dst, m.Cookie[:]...), m.Token[:]...)
}

func parseUpdate(b []byte, o Options) Message {
	return &Update{
		Sequence: binary.BigEndian.Uint16(b[6:]), Flags: Flags(binary.BigEndian.Uint16(b[8:])),
		Lifetime: binary.BigEndian.Uint16(b[10:]), Options: o, raw: b,
	}
}

func (m *Update) appendFixed(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Sequence)
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Flags))
	return binary.BigEndian.AppendUint16(dst, m.Lifetime)
}

func parseAck(b []byte, o Options) Message {
	return &Ack{
		Status: Status(b[6]), KeyMoves: b[7]&0x80 != 0,
		Sequence: binary.BigEndian.Uint16(b[8:]), Lifetime: binary.BigEndian.Uint16(b[10:]), Options: o, raw: b,
	}
}

func (m *Ack) appendFixed(dst []byte) []byte {
	k := byte(0)
	if m.KeyMoves {
		k = 0x80
	}
	dst = append(dst, byte(m.Status), k)
	dst = binary.BigEndian.AppendUint16(dst, m.Sequence)
	return binary.BigEndian.AppendUint16(dst, m.Lifetime)
}

func parseError(b []byte, o Options) Message {
	return &Error{Status: ErrorStatus(b[6]), Home: addr(b[8:]), Options: o}
}

func (m *Error) appendFixed(dst []byte) []byte {
	home := m.Home.As16()
	return append(append(dst, byte(m.Status), 0), home[:]...)
}

// CareOf returns the care-of address that an Update from src asks for (RFC 6275 section
// 9.5.1); binding identifier options apart.
func (m *Update) CareOf(src netip.Addr) (netip.Addr, error) {
	a, ok, err := m.Options.Alternate()
	if ok {
		return a, nil
	}
	return src, err
}
