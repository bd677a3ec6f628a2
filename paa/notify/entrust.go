package notify

import (
	"fmt"
	"net"
	"net/netip"
)

// Entrust leaves an address of its link that the MN has leased there itself, by DHCPv6, to the configuration agent, which
// gives it back when the session ends: a server takes that from the link or from a relay agent of it only, and the MN is
// elsewhere by then.
type Entrust struct {
	Header
	Addr       netip.Addr
	ClientID   []byte           // DUID that it was leased under, 1 to 130 octets
	IAID       uint32           //
	ServerDUID []byte           // who granted it, 1 to 130 octets
	MAC        net.HardwareAddr // of the MN on that link, 6 octets
}

// Kind implements Message.
func (Entrust) Kind() Kind { return KindEntrust }

func (m Entrust) appendFields(b []byte) ([]byte, error) {
	if !formed(m.Addr) || len(m.MAC) != 6 || len(m.ClientID) == 0 || len(m.ClientID) > maxDUID || len(m.ServerDUID) == 0 || len(m.ServerDUID) > maxDUID {
		return nil, fmt.Errorf("incomplete: address %s of %s, client identifier of %d octets, server's of %d", m.Addr, m.MAC, len(m.ClientID), len(m.ServerDUID))
	}
	b = put(put(b, fWanted, m.Addr.AsSlice()), fClientID, m.ClientID)
	return put(put(put(b, fIAID, u32(m.IAID)), fServerDUID, m.ServerDUID), fMAC, m.MAC), nil
}

func (m *Entrust) parseFields(f fields) (err error) {
	if m.Addr, err = f.addr(fWanted); err != nil {
		return err
	}
	if !formed(m.Addr) {
		return fmt.Errorf("field %d: %s is no address that can be leased", fWanted, m.Addr)
	}
	if m.ClientID, err = f.sized(fClientID, 1, maxDUID); err != nil {
		return err
	}
	iaid, err := f.u32s(fIAID, 1)
	if err != nil {
		return err
	}
	m.IAID = iaid[0]
	if m.ServerDUID, err = f.sized(fServerDUID, 1, maxDUID); err != nil {
		return err
	}
	m.MAC, err = f.mac(fMAC)
	return err
}
