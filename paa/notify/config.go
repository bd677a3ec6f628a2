package notify

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// MaxRA bounds the router advertisement in a ConfigReply, in octets: the least MTU of IPv6 (RFC 8200 section 5).
const MaxRA = 1280

// Conflict begins the Reason of a ConfigReply for an address that the MN has formed and that is in use: it may form another one
// and ask again.
const Conflict = "conflict: "

// MaxDNS is how many name servers a ConfigReply has at most.
const MaxDNS = 4

const (
	maxClientID = 255 // RFC 2132 section 9.14
	maxDUID     = 130 // RFC 8415 section 11.1
	minRA       = 16  // RFC 4861 section 4.2
)

type (
	// ConfigRequest asks the configuration agent for an address.
	ConfigRequest struct {
		Header
		Family   uint8            // of the address: 4 or 6; 0 is sent as 4
		ClientID []byte           // IPv4: DHCP client identifier of the MN, 1 to 255 octets (RFC 2132 §9.14); IPv6: its DUID, 1 to 130
		MAC      net.HardwareAddr // link-layer address of the MN, 6 octets
		IAID     uint32           // IPv6: of the MN's interface (RFC 8415 §12)
		// Addr, if valid, is the address that the MN has formed by itself and wants verified (RFC 4862 §5.4). IPv6 only.
		Addr netip.Addr
	}
	// ConfigReply answers a ConfigRequest. Without Addr and Reason it says what the link is like (IPv6 only): the MN forms an
	// address from RA and asks again, to have it verified.
	ConfigReply struct {
		Header
		Reason    string           // why there is no address; empty on success
		Addr      netip.Prefix     // nCoA and its mask
		Router    netip.Addr       // default router; IPv6: its link-local address
		RouterMAC net.HardwareAddr // its link-layer address
		DNS       []netip.Addr     // at most 4, of the family of Router
		ServerID  netip.Addr       // IPv4: the DHCP server that granted the lease
		Age       time.Duration    // how long ago the lease began, ms resolution
		Lifetime  time.Duration    // of the lease from its beginning, seconds; IPv6: 2^32-1 is for ever
		T1, T2    time.Duration    // renewal and rebinding, seconds; an address that the MN has formed has none
		DHCP, DAD time.Duration    // what acquisition and duplicate detection took, ms resolution

		// RA is the router advertisement of the link, an ICMPv6 message without its IP header, at most MaxRA octets, as the
		// router saw it: the MN checks it as one that came over the link. IPv6 only.
		RA         []byte
		ServerDUID []byte        // IPv6: of the DHCPv6 server that granted the lease; empty: the MN has formed the address
		Preferred  time.Duration // IPv6: how long for new connections, from the beginning, at most Lifetime, seconds
		// ClientID, if there is one, is the client identifier (IPv6: DUID) that the lease belongs to, where it is not the MN's.
		ClientID []byte
	}
)

// Kind implements Message.
func (ConfigRequest) Kind() Kind { return KindConfigRequest }

// Kind implements Message.
func (ConfigReply) Kind() Kind { return KindConfigReply }

func (m ConfigRequest) appendFields(b []byte) ([]byte, error) {
	six, longest := m.Family == 6, maxClientID
	if six {
		longest = maxDUID
	}
	switch n := len(m.ClientID); {
	case !six && m.Family != 4 && m.Family != 0:
		return nil, fmt.Errorf("family %d, expected 4 or 6", m.Family)
	case n == 0 || n > longest:
		return nil, fmt.Errorf("client identifier of %d octets, expected 1 to %d", n, longest)
	case len(m.MAC) != 6:
		return nil, fmt.Errorf("link-layer address of %d octets, expected 6", len(m.MAC))
	case m.Addr.IsValid() && !(six && formed(m.Addr)):
		return nil, fmt.Errorf("address %s to verify in a request of family %d: expected one of IPv6 that is neither link-local nor a group's", m.Addr, m.Family)
	}
	if six {
		b = put(put(b, fFamily, []byte{6}), fIAID, u32(m.IAID))
	}
	if m.Addr.IsValid() {
		b = put(b, fWanted, m.Addr.AsSlice())
	}
	return put(put(b, fClientID, m.ClientID), fMAC, m.MAC), nil
}

// formed says whether a can be an address that a node has formed from an advertised prefix.
func formed(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && usable(a) && !a.IsLinkLocalUnicast()
}

func (m *ConfigRequest) parseFields(f fields) (err error) {
	m.Family = 4
	longest := maxClientID
	if _, given := f[fFamily]; given {
		v, err := f.sized(fFamily, 1, 1)
		if err != nil {
			return err
		}
		if m.Family = v[0]; m.Family != 4 && m.Family != 6 {
			return fmt.Errorf("field %d: family %d, expected 4 or 6", fFamily, m.Family)
		}
	}
	if m.Family == 6 {
		longest = maxDUID
		iaid, err := f.u32s(fIAID, 1)
		if err != nil {
			return err
		}
		m.IAID = iaid[0]
		if _, given := f[fWanted]; given {
			if m.Addr, err = f.addr(fWanted); err != nil {
				return err
			}
			if !formed(m.Addr) {
				return fmt.Errorf("field %d: %s is no address that a node can have formed", fWanted, m.Addr)
			}
		}
	}
	if m.ClientID, err = f.sized(fClientID, 1, longest); err != nil {
		return err
	}
	m.MAC, err = f.mac(fMAC)
	return err
}

func (m ConfigReply) appendFields(b []byte) ([]byte, error) {
	if m.Reason != "" {
		return putReason(b, m.Reason), nil
	}
	six := m.Router.Is6()
	switch {
	case len(m.RouterMAC) != 6 || len(m.DNS) > MaxDNS || !m.Router.IsValid():
		return nil, fmt.Errorf("incomplete: router %s at %s, %d DNS servers", m.Router, m.RouterMAC, len(m.DNS))
	case !six && !(m.Addr.IsValid() && m.ServerID.IsValid()):
		return nil, fmt.Errorf("incomplete: address %s, server %s", m.Addr, m.ServerID)
	case six && !m.Addr.IsValid() && len(m.RA) == 0:
		return nil, fmt.Errorf("incomplete: neither an address nor a router advertisement")
	case m.Addr.IsValid() && m.Addr.Addr().Is6() != six:
		return nil, fmt.Errorf("address %s with router %s", m.Addr, m.Router)
	case len(m.ClientID) > maxClientID || len(m.ServerDUID) > maxDUID:
		return nil, fmt.Errorf("client identifier of %d octets, server's of %d", len(m.ClientID), len(m.ServerDUID))
	case len(m.RA) != 0 && (len(m.RA) < minRA || len(m.RA) > MaxRA):
		return nil, fmt.Errorf("router advertisement of %d octets, expected %d to %d", len(m.RA), minRA, MaxRA)
	}
	for _, field := range []struct {
		number uint8
		value  []byte
	}{{fRA, m.RA}, {fServerDUID, m.ServerDUID}, {fClientID, m.ClientID}} {
		if len(field.value) > 0 {
			b = put(b, field.number, field.value)
		}
	}
	var dns []byte
	for _, a := range m.DNS {
		if a.Is6() != six {
			return nil, fmt.Errorf("DNS server %s with router %s", a, m.Router)
		}
		dns = append(dns, a.AsSlice()...)
	}
	if len(dns) > 0 {
		b = put(b, fDNS, dns)
	}
	if m.Addr.IsValid() {
		b = put(b, fAddr, m.Addr.Addr().AsSlice(), []byte{byte(m.Addr.Bits())})
		if six {
			b = put(b, fPreferred, u32(seconds(m.Preferred)))
		} else {
			b = put(b, fServerID, m.ServerID.AsSlice())
		}
		b = put(b, fLease, u32(millis(m.Age)), u32(seconds(m.Lifetime)), u32(seconds(m.T1)), u32(seconds(m.T2)))
	}
	b = put(put(b, fRouter, m.Router.WithZone("").AsSlice()), fRouterMAC, m.RouterMAC)
	return put(b, fTook, u32(millis(m.DHCP)), u32(millis(m.DAD))), nil
}

func (m *ConfigReply) parseFields(f fields) (err error) {
	var refused bool
	if m.Reason, refused, err = f.reason(); refused || err != nil {
		return err
	}
	if m.Router, err = f.addr(fRouter); err != nil {
		return err
	}
	if m.RouterMAC, err = f.mac(fRouterMAC); err != nil {
		return err
	}
	t, err := f.u32s(fTook, 2)
	if err != nil {
		return err
	}
	m.DHCP, m.DAD = time.Duration(t[0])*time.Millisecond, time.Duration(t[1])*time.Millisecond
	if err := m.parseDNS(f); err != nil {
		return err
	}
	for _, field := range []struct {
		to     *[]byte
		number uint8
		lo, hi int
	}{{&m.RA, fRA, minRA, MaxRA}, {&m.ServerDUID, fServerDUID, 1, maxDUID}, {&m.ClientID, fClientID, 1, maxClientID}} {
		if _, given := f[field.number]; given {
			if *field.to, err = f.sized(field.number, field.lo, field.hi); err != nil {
				return err
			}
		}
	}
	if _, given := f[fAddr]; !given && m.Router.Is6() {
		switch {
		case !m.Router.IsLinkLocalUnicast():
			return fmt.Errorf("field %d: router %s, expected its link-local address", fRouter, m.Router)
		case m.RA == nil:
			return fmt.Errorf("neither an address (field %d) nor a router advertisement (field %d)", fAddr, fRA)
		}
		return nil
	}
	return m.parseLease(f)
}

func (m *ConfigReply) parseDNS(f fields) error {
	dns, given := f[fDNS]
	if !given {
		return nil
	}
	size := m.Router.BitLen() / 8
	if len(dns) == 0 || len(dns)%size != 0 || len(dns) > size*MaxDNS {
		return fmt.Errorf("field %d of %d octets, expected 1 to %d addresses of %d", fDNS, len(dns), MaxDNS, size)
	}
	for ; len(dns) > 0; dns = dns[size:] {
		a, _ := netip.AddrFromSlice(dns[:size])
		if a.Is4In6() {
			return fmt.Errorf("field %d: DNS server %s", fDNS, a)
		}
		m.DNS = append(m.DNS, a)
	}
	return nil
}

// parseLease reads the address and what comes with one.
func (m *ConfigReply) parseLease(f fields) error {
	v, err := f.sized(fAddr, 5, 17)
	if err != nil {
		return err
	}
	a, ok := netip.AddrFromSlice(v[:len(v)-1])
	if !ok || a.Is4In6() || !usable(a) {
		return fmt.Errorf("field %d: %x is not a unicast address", fAddr, v)
	}
	if m.Addr = netip.PrefixFrom(a, int(v[len(v)-1])); !m.Addr.IsValid() || m.Addr.Bits() == 0 {
		return fmt.Errorf("field %d: prefix length %d of %s", fAddr, v[len(v)-1], a)
	}
	if a.Is6() {
		if !formed(a) || !m.Router.Is6() || !m.Router.IsLinkLocalUnicast() {
			return fmt.Errorf("address %s with router %s, expected the router's link-local address", a, m.Router)
		}
		p, err := f.u32s(fPreferred, 1)
		if err != nil {
			return err
		}
		m.Preferred = time.Duration(p[0]) * time.Second
	} else {
		if !m.Addr.Contains(m.Router) || m.Router == a {
			return fmt.Errorf("router %s is not another address of %s", m.Router, m.Addr.Masked())
		}
		if m.ServerID, err = f.addr(fServerID); err != nil {
			return err
		}
	}
	l, err := f.u32s(fLease, 4)
	if err != nil {
		return err
	}
	m.Age = time.Duration(l[0]) * time.Millisecond
	m.Lifetime, m.T1, m.T2 = time.Duration(l[1])*time.Second, time.Duration(l[2])*time.Second, time.Duration(l[3])*time.Second
	if m.Lifetime <= m.Age || m.T1 > m.T2 || m.T2 > m.Lifetime || m.Preferred > m.Lifetime {
		return fmt.Errorf("lease of %s is %s old, T1 %s, T2 %s, preferred for %s", m.Lifetime, m.Age, m.T1, m.T2, m.Preferred)
	}
	return nil
}
