package notify

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"openmpa/tunnel/flow"
)

// How says what a Deliver asks for.
type How uint8

// What a Deliver may ask for.
const (
	Guard   How = iota + 1 // keep copies of what you send me, in case my link is cut; send through the tunnel
	Unguard                // no more
	Both                   // send what my policy wants at both places to Outer, too
)

// String names what is asked for.
func (h How) String() string {
	switch h {
	case Guard:
		return "guard"
	case Unguard:
		return "unguard"
	case Both:
		return "both"
	}
	return fmt.Sprintf("How(%d)", uint8(h))
}

func (h How) known() bool { return h >= Guard && h <= Both }

type (
	// Arrival says that the MN is on the router's own link.
	Arrival struct {
		Header
		Receipts []flow.Receipt // what the MN has of what this router sent it in a numbering
		// Previous is the outer address of the tunnel by which the MN's previous router
		// forwards to it: that comes first, until Follow. Invalid: none does.
		Previous netip.AddrPort
	}
	// Follow says that what the previous router held has come, or that the MN waits for
	// it no longer: what this router holds may follow.
	Follow struct{ Header }
	// Deliver says how packets for the MN are to be delivered while it stays where it is.
	Deliver struct {
		Header
		How   How
		Outer netip.AddrPort // with Both: where the MN's end of the tunnel listens at the new place
	}
	// DeliverReply answers a Deliver, when it is done.
	DeliverReply struct {
		Header
		Reason string // why not; empty on success
		How    How    // what is done now
	}
)

// Kind implements Message.
func (Arrival) Kind() Kind { return KindArrival }

// Kind implements Message.
func (Follow) Kind() Kind { return KindFollow }

// Kind implements Message.
func (Deliver) Kind() Kind { return KindDeliver }

// Kind implements Message.
func (DeliverReply) Kind() Kind { return KindDeliverReply }

func (m Arrival) appendFields(b []byte) ([]byte, error) {
	if len(m.Receipts) > 0 {
		r, err := flow.AppendReceipts(nil, m.Receipts)
		if err != nil {
			return nil, err
		}
		b = put(b, fReceipts, r)
	}
	if m.Previous.IsValid() {
		b = putAddrPort(b, fPrevious, m.Previous)
	}
	return b, nil
}

func (m *Arrival) parseFields(f fields) (err error) {
	if v, given := f[fReceipts]; given {
		var rest []byte
		if m.Receipts, rest, err = flow.ParseReceipts(v); err != nil {
			return err
		}
		if len(m.Receipts) == 0 || len(rest) > 0 {
			return fmt.Errorf("field %d: %d receipts and %d octets behind them, expected one at least and nothing", fReceipts, len(m.Receipts), len(rest))
		}
	}
	if _, given := f[fPrevious]; given {
		m.Previous, err = f.addrPort(fPrevious)
	}
	return err
}

func (Follow) appendFields(b []byte) ([]byte, error) { return b, nil }
func (*Follow) parseFields(fields) error             { return nil }

func (m Deliver) appendFields(b []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.How == Both {
		b = putAddrPort(b, fOuter, m.Outer)
	}
	return put(b, fHow, []byte{byte(m.How)}), nil
}

func (m *Deliver) parseFields(f fields) error {
	v, err := f.sized(fHow, 1, 1)
	if err != nil {
		return err
	}
	if m.How = How(v[0]); m.How == Both {
		if m.Outer, err = f.addrPort(fOuter); err != nil {
			return err
		}
	}
	return m.check()
}

func (m Deliver) check() error {
	switch {
	case !m.How.known():
		return fmt.Errorf("%v, expected %v, %v or %v", m.How, Guard, Unguard, Both)
	case m.How == Both && !m.Outer.IsValid():
		return fmt.Errorf("%v, and no address of the other place", m.How)
	}
	return nil
}

func (m DeliverReply) appendFields(b []byte) ([]byte, error) {
	if m.Reason != "" {
		return putReason(b, m.Reason), nil
	}
	if !m.How.known() {
		return nil, fmt.Errorf("%v done, expected one that is known", m.How)
	}
	return put(b, fHow, []byte{byte(m.How)}), nil
}

func (m *DeliverReply) parseFields(f fields) (err error) {
	var refused bool
	if m.Reason, refused, err = f.reason(); refused || err != nil {
		return err
	}
	v, err := f.sized(fHow, 1, 1)
	if err != nil {
		return err
	}
	if m.How = How(v[0]); !m.How.known() {
		return fmt.Errorf("field %d: %v is not known", fHow, m.How)
	}
	return nil
}

// putAddrPort appends an address and a port as field t.
func putAddrPort(b []byte, t uint8, a netip.AddrPort) []byte {
	return put(b, t, a.Addr().AsSlice(), u16(a.Port()))
}

// addrPort reads what putAddrPort wrote: a place to which packets can be sent.
func (f fields) addrPort(t uint8) (netip.AddrPort, error) {
	v, err := f.sized(t, 6, 18)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n := len(v) - 2
	a, ok := netip.AddrFromSlice(v[:n])
	port := binary.BigEndian.Uint16(v[n:])
	if !ok || a.Is4In6() || !usable(a) || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("field %d: %x is not an address and port", t, v)
	}
	return netip.AddrPortFrom(a, port), nil
}
