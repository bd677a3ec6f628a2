package notify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

type (
	// TunnelRequest asks the access router for a tunnel.
	TunnelRequest struct {
		Header
		Inner netip.Addr // nCoA; with Serving or Held: the address that the MN has, or had, on the router's link
		SPI   uint32     // of the direction to the node
		Nonce []byte     // 32 octets
		// Serving asks for a tunnel that stands by: the router delivers to the MN on its
		// own link, and the tunnel is for the time after.
		Serving bool
		// Held asks for a tunnel to where the MN is now: it has left the router's link and may return. It is in the place
		// of what stood by; the enforcement point lets the MN pass no more until it has arrived again.
		Held bool
		MAC  net.HardwareAddr // with Serving or Held only: link-layer address of the MN, 6 octets
		// Standby asks the router to keep the tunnel when the MN has arrived, as with Serving.
		Standby  bool
		Numbered bool // the MN takes packets with shim headers (package flow)
		// Plain, if valid, says that the MN would have packets by IP in IP (RFC 2003), from and
		// to this outer address of its; the association stays for all else.
		Plain  netip.Addr
		Suites []uint8 // that the MN takes, the best first (package esp has the numbers); none: the router's choice
	}
	// TunnelReply answers a TunnelRequest.
	TunnelReply struct {
		Header
		Reason   string     // why there is no tunnel; empty on success
		Outer    netip.Addr // where the router's end is
		Port     uint16     // UDP port of the router's end
		SPI      uint32     // of the direction to the router
		Nonce    []byte     // 32 octets
		Suite    uint8      // of package esp, one of those asked for
		MTU      uint16     // largest inner packet, shim header not counted
		Numbered bool       // the router takes packets with shim headers
		Plain    bool       // packets go by IP in IP, as asked for
	}
)

// Kind implements Message.
func (TunnelRequest) Kind() Kind { return KindTunnelRequest }

// Kind implements Message.
func (TunnelReply) Kind() Kind { return KindTunnelReply }

// options are bits; those that are not known are not looked at.
const (
	optServing  = 1
	optStandby  = 2
	optNumbered = 4
	optPlain    = 8 // of the reply
	optHeld     = 16
)

// putOptions appends those that are set.
func putOptions(b []byte, set map[byte]bool) []byte {
	var bits byte
	for bit, on := range set {
		if on {
			bits |= bit
		}
	}
	if bits == 0 {
		return b
	}
	return put(b, fOptions, []byte{bits})
}

// options reads what putOptions wrote.
func (f fields) options() (bits byte, err error) {
	if _, given := f[fOptions]; !given {
		return 0, nil
	}
	v, err := f.sized(fOptions, 1, 1)
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

func (m TunnelRequest) appendFields(b []byte) ([]byte, error) {
	if len(m.Nonce) != nonceLen || !m.Inner.IsValid() {
		return nil, fmt.Errorf("nonce of %d octets, expected %d; inner address %s", len(m.Nonce), nonceLen, m.Inner)
	}
	if m.Serving && m.Held || (m.Serving || m.Held) != (len(m.MAC) == 6) {
		return nil, fmt.Errorf("serving %v, held %v with a link-layer address of %d octets, expected 6 with one of the two", m.Serving, m.Held, len(m.MAC))
	}
	b = putOptions(b, map[byte]bool{optServing: m.Serving, optStandby: m.Standby, optNumbered: m.Numbered, optHeld: m.Held})
	b, err := putSuites(b, m.Suites)
	if err != nil {
		return nil, err
	}
	if m.Serving || m.Held {
		b = put(b, fMAC, m.MAC)
	}
	if m.Plain.IsValid() {
		b = put(b, fPlain, m.Plain.AsSlice())
	}
	return put(put(put(b, fInner, m.Inner.AsSlice()), fSPI, u32(m.SPI)), fNonce, m.Nonce), nil
}

func (m *TunnelRequest) parseFields(f fields) (err error) {
	if m.Inner, err = f.addr(fInner); err != nil {
		return err
	}
	if m.SPI, err = f.spi(fSPI); err != nil {
		return err
	}
	if m.Nonce, err = f.sized(fNonce, nonceLen, nonceLen); err != nil {
		return err
	}
	bits, err := f.options()
	if err != nil {
		return err
	}
	m.Serving, m.Standby, m.Numbered, m.Held = bits&optServing != 0, bits&optStandby != 0, bits&optNumbered != 0, bits&optHeld != 0
	if m.Serving && m.Held {
		return errors.New("a node that is served is not held as well")
	}
	if m.Serving || m.Held {
		if m.MAC, err = f.mac(fMAC); err != nil {
			return err
		}
	}
	if _, given := f[fPlain]; given {
		if m.Plain, err = f.addr(fPlain); err != nil {
			return err
		}
	}
	m.Suites, err = f.suites()
	return err
}

// spi reads an SPI; 0 to 255 are reserved (RFC 4303 §2.1).
func (f fields) spi(t uint8) (uint32, error) {
	v, err := f.u32s(t, 1)
	if err != nil {
		return 0, err
	}
	if v[0] < 256 {
		return 0, fmt.Errorf("SPI %d is reserved", v[0])
	}
	return v[0], nil
}

func (m TunnelReply) appendFields(b []byte) ([]byte, error) {
	if m.Reason != "" {
		return putReason(b, m.Reason), nil
	}
	if len(m.Nonce) != nonceLen || !m.Outer.IsValid() || m.Suite == 0 {
		return nil, fmt.Errorf("nonce of %d octets, expected %d; outer address %s; suite %d", len(m.Nonce), nonceLen, m.Outer, m.Suite)
	}
	b = putOptions(b, map[byte]bool{optNumbered: m.Numbered, optPlain: m.Plain})
	b = putAddrPort(b, fOuter, netip.AddrPortFrom(m.Outer, m.Port))
	b = put(put(b, fSPI, u32(m.SPI)), fNonce, m.Nonce)
	return put(put(b, fSuite, []byte{m.Suite}), fMTU, u16(m.MTU)), nil
}

func (m *TunnelReply) parseFields(f fields) (err error) {
	var refused bool
	if m.Reason, refused, err = f.reason(); refused || err != nil {
		return err
	}
	outer, err := f.addrPort(fOuter)
	if err != nil {
		return err
	}
	m.Outer, m.Port = outer.Addr(), outer.Port()
	if m.SPI, err = f.spi(fSPI); err != nil {
		return err
	}
	if m.Nonce, err = f.sized(fNonce, nonceLen, nonceLen); err != nil {
		return err
	}
	if m.Suite, err = f.suite(); err != nil {
		return err
	}
	v, err := f.sized(fMTU, 2, 2)
	if err != nil {
		return err
	}
	if m.MTU = binary.BigEndian.Uint16(v); m.MTU < 576 {
		return fmt.Errorf("MTU %d, expected at least 576", m.MTU)
	}
	bits, err := f.options()
	m.Numbered, m.Plain = bits&optNumbered != 0, bits&optPlain != 0
	return err
}
