package notify

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Types of the fields.
const (
	fReason     = 1
	fClientID   = 2
	fMAC        = 3
	fAddr       = 4 // address, then prefix length
	fRouter     = 5
	fRouterMAC  = 6
	fDNS        = 7
	fServerID   = 8
	fLease      = 9  // age ms, lifetime s, T1 s, T2 s
	fTook       = 10 // DHCP ms, DAD ms
	fInner      = 11
	fSPI        = 12
	fNonce      = 13
	fOuter      = 14 // address, then port
	fMTU        = 15
	fEvents     = 16
	fLinkLife   = 17 // s
	fPoints     = 18 // of each: BSSID, number of the suite
	fOptions    = 19 // bits, see options
	fSuites     = 20 // of each: its number
	fSuite      = 21
	fOld        = 22 // SPI
	fHow        = 23
	fReceipts   = 24 // as package flow appends them
	fPrevious   = 25 // address, then port
	fPlain      = 26 // outer address
	fFamily     = 27 // 6; absent: 4
	fWanted     = 28 // IPv6 address
	fIAID       = 29
	fRA         = 30 // ICMPv6 message
	fServerDUID = 31 // DUID
	fPreferred  = 32 // s
	fRevision   = 33
	fPart       = 34 // number; of a reply also how many there are
	fLives      = 35 // s, two octets of each
	fNetworks   = 36 // part of what AppendNetworks writes
)

// fields maps the type of a field to its value.
type fields map[uint8][]byte

func parseFields(b []byte) (fields, error) {
	f := fields{}
	for len(b) > 0 {
		if len(b) < 3 {
			return nil, fmt.Errorf("field header of %d octets, expected 3", len(b))
		}
		t, n := b[0], int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < 3+n {
			return nil, fmt.Errorf("field %d of %d octets, only %d left", t, n, len(b)-3)
		}
		if _, twice := f[t]; twice {
			return nil, fmt.Errorf("field %d given twice", t)
		}
		f[t], b = b[3:3+n], b[3+n:]
	}
	return f, nil
}

func put(b []byte, t uint8, v ...[]byte) []byte {
	value := slices.Concat(v...)
	b = append(b, t)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// sized returns field t, which must have from lo to hi octets, as a copy.
func (f fields) sized(t uint8, lo, hi int) ([]byte, error) {
	v, ok := f[t]
	if !ok {
		return nil, fmt.Errorf("field %d missing", t)
	}
	if len(v) < lo || len(v) > hi {
		return nil, fmt.Errorf("field %d of %d octets, expected %d to %d", t, len(v), lo, hi)
	}
	return slices.Clone(v), nil
}

func (f fields) addr(t uint8) (netip.Addr, error) {
	v, ok := f[t]
	if !ok {
		return netip.Addr{}, fmt.Errorf("field %d missing", t)
	}
	a, ok := netip.AddrFromSlice(v)
	if !ok || a.Is4In6() || !usable(a) {
		return netip.Addr{}, fmt.Errorf("field %d: %x is not a unicast address", t, v)
	}
	return a, nil
}

func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (f fields) u32s(t uint8, n int) ([]uint32, error) {
	v, err := f.sized(t, 4*n, 4*n)
	if err != nil {
		return nil, err
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.BigEndian.Uint32(v[4*i:])
	}
	return out, nil
}

func (f fields) mac(t uint8) (net.HardwareAddr, error) {
	v, err := f.sized(t, 6, 6)
	if err != nil {
		return nil, err
	}
	if !unicast([6]byte(v)) {
		return nil, fmt.Errorf("field %d: %s is not a unicast link-layer address", t, net.HardwareAddr(v))
	}
	return v, nil
}

// unicast says whether a link-layer address is that of one interface.
func unicast(mac [6]byte) bool { return mac[0]&1 == 0 && mac != [6]byte{} }

// reason reports whether the message is a refusal, and its text made printable.
func (f fields) reason() (string, bool, error) {
	if _, refused := f[fReason]; !refused {
		return "", false, nil
	}
	v, err := f.sized(fReason, 1, MaxReason)
	if err != nil {
		return "", false, err
	}
	return string(printable(v)), true, nil
}

func putReason(b []byte, s string) []byte {
	return put(b, fReason, []byte(s[:min(len(s), MaxReason)]))
}

func (TunnelDelete) appendFields(b []byte) ([]byte, error) { return b, nil }
func (*TunnelDelete) parseFields(fields) error             { return nil }

func (SwitchBack) appendFields(b []byte) ([]byte, error) { return b, nil }
func (*SwitchBack) parseFields(fields) error             { return nil }

func (m Report) appendFields(b []byte) ([]byte, error) {
	if len(m.Events) > MaxReport {
		return nil, fmt.Errorf("%d octets of events, at most %d fit", len(m.Events), MaxReport)
	}
	return put(b, fEvents, m.Events), nil
}

func (m *Report) parseFields(f fields) (err error) {
	m.Events, err = f.sized(fEvents, 2, MaxReport)
	return err
}
