package dhcp4

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/inet"
)

const (
	serverPort = 67
	clientPort = 68

	maxMessageSize = 1500 // option 57, octets: what we can read
	maxDNS         = 8    // name servers kept
	maxDomains     = 4    // domains kept
	maxMessage     = 128  // octets of a server's text kept
	minMaskBits    = 8    // shortest prefix believed
	infinite       = time.Duration(0xffffffff) * time.Second
)

// identity is who a message is for: what both the request and its answers carry.
type identity struct {
	xid      dhcpv4.TransactionID
	mac      net.HardwareAddr
	clientID []byte
	giaddr   netip.Addr // zero: not relayed
	circuit  string
	subnet   netip.Prefix // addresses must be inside; zero: any
}

func ip(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }

// message builds a request of the given type.
func (id *identity) message(typ dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{
		OpCode:         dhcpv4.OpcodeBootRequest,
		HWType:         1, // Ethernet
		ClientHWAddr:   id.mac,
		TransactionID:  id.xid,
		ClientIPAddr:   net.IPv4zero,
		YourIPAddr:     net.IPv4zero,
		ServerIPAddr:   net.IPv4zero,
		GatewayIPAddr:  net.IPv4zero,
		Options:        make(dhcpv4.Options),
		ServerHostName: "",
	}
	m.UpdateOption(dhcpv4.OptMessageType(typ))
	if len(id.clientID) > 0 {
		m.UpdateOption(dhcpv4.OptClientIdentifier(id.clientID))
	}
	if typ == dhcpv4.MessageTypeDiscover || typ == dhcpv4.MessageTypeRequest {
		m.UpdateOption(dhcpv4.OptMaxMessageSize(maxMessageSize))
		m.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue, dhcpv4.OptionPANAAuthenticationAgent,
			dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList))
	}
	if id.giaddr.IsValid() { // RFC 1542 section 4.1.1, RFC 3046 section 2.1
		m.GatewayIPAddr = ip(id.giaddr)
		m.HopCount = 1
		if id.circuit != "" {
			m.UpdateOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.AgentCircuitIDSubOption, []byte(id.circuit))))
		}
	}
	return m
}

func (id *identity) discover() *dhcpv4.DHCPv4 {
	m := id.message(dhcpv4.MessageTypeDiscover)
	if !id.giaddr.IsValid() {
		m.SetBroadcast() // answers may find no address here
	}
	return m
}

// request asks for an offer (SELECTING).
func (id *identity) request(o Lease) *dhcpv4.DHCPv4 {
	m := id.message(dhcpv4.MessageTypeRequest)
	m.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(o.Addr.Addr())))
	m.UpdateOption(dhcpv4.OptServerIdentifier(ip(o.ServerID)))
	if !id.giaddr.IsValid() {
		m.SetBroadcast()
	}
	return m
}

// extend asks for more time (RENEWING, REBINDING): ciaddr, neither server identifier nor requested address.
func (id *identity) extend(l Lease) *dhcpv4.DHCPv4 {
	m := id.message(dhcpv4.MessageTypeRequest)
	m.ClientIPAddr = ip(l.Addr.Addr())
	return m
}

func (id *identity) decline(l Lease) *dhcpv4.DHCPv4 {
	m := id.message(dhcpv4.MessageTypeDecline)
	m.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(l.Addr.Addr())))
	m.UpdateOption(dhcpv4.OptServerIdentifier(ip(l.ServerID)))
	m.UpdateOption(dhcpv4.OptMessage("address in use"))
	return m
}

func (id *identity) release(l Lease) *dhcpv4.DHCPv4 {
	m := id.message(dhcpv4.MessageTypeRelease)
	m.ClientIPAddr = ip(l.Addr.Addr())
	m.UpdateOption(dhcpv4.OptServerIdentifier(ip(l.ServerID)))
	return m
}

// parse reads a message and checks that it answers id. ok is false for what is not for us and needs no mention.
func (id *identity) parse(b []byte) (m *dhcpv4.DHCPv4, ok bool, err error) {
	if len(b) < 240 || len(b) > maxMessageSize {
		return nil, true, malformed("%d octets, expected 240 to %d", len(b), maxMessageSize)
	}
	if dhcpv4.TransactionID(b[4:8]) != id.xid {
		return nil, false, nil
	}
	m, err = dhcpv4.FromBytes(b)
	if err != nil {
		return nil, true, malformed("%v", err)
	}
	if m.OpCode != dhcpv4.OpcodeBootReply {
		return nil, false, nil
	}
	if !slices.Equal(m.ClientHWAddr, id.mac) {
		return nil, true, malformed("for hardware address %s, expected %s", m.ClientHWAddr, id.mac)
	}
	if echo := m.Options.Get(dhcpv4.OptionClientIdentifier); echo != nil && !slices.Equal(echo, id.clientID) {
		return nil, true, malformed("for client identifier %x, expected %x", echo, id.clientID)
	}
	return m, true, nil
}

// lease checks an OFFER or ACK and takes the lease out of it. Offers may lack times.
func (id *identity) lease(m *dhcpv4.DHCPv4, start time.Time) (Lease, error) {
	l := Lease{ClientID: slices.Clone(id.clientID), Start: start}
	var ok bool
	if l.ServerID, ok = optionAddr(m, dhcpv4.OptionServerIdentifier); !ok || !unicast(l.ServerID) {
		return Lease{}, malformed("server identifier %s is no unicast address", l.ServerID)
	}
	a, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || !unicast(a) {
		return Lease{}, malformed("your address %s is no unicast address", m.YourIPAddr)
	}
	bits, err := id.maskBits(m)
	if err != nil {
		return Lease{}, err
	}
	l.Addr = netip.PrefixFrom(a, bits)
	if id.subnet.IsValid() && !id.subnet.Contains(a) {
		return Lease{}, malformed("address %s is outside %s", a, id.subnet.Masked())
	}
	if !hostAddr(l.Addr) {
		return Lease{}, malformed("%s is the address of the subnet or its broadcast address", l.Addr)
	}
	if raw := m.Options.Get(dhcpv4.OptionRouter); raw != nil {
		for _, r := range addrs(raw) {
			if l.Addr.Contains(r) && unicast(r) && r != a && hostAddr(netip.PrefixFrom(r, bits)) {
				l.Router = r
				break
			}
		}
		if !l.Router.IsValid() {
			return Lease{}, malformed("no router of %v is on the subnet of %s", addrs(raw), l.Addr)
		}
	}
	for _, d := range addrs(m.Options.Get(dhcpv4.OptionDomainNameServer)) {
		if unicast(d) && len(l.DNS) < maxDNS && !slices.Contains(l.DNS, d) {
			l.DNS = append(l.DNS, d)
		}
	}
	l.Domains = domains(m)
	agents := addrs(m.Options.Get(dhcpv4.OptionPANAAuthenticationAgent))
	if i := slices.IndexFunc(agents, unicast); i >= 0 {
		l.PAA = agents[i]
	}
	lifetime, ok := optionSeconds(m, dhcpv4.OptionIPAddressLeaseTime)
	if !ok && m.MessageType() == dhcpv4.MessageTypeOffer {
		return l, nil
	}
	if !ok || lifetime <= 0 {
		return Lease{}, malformed("lease time missing or 0")
	}
	l.Lifetime = lifetime
	// RFC 2131 section 4.4.5: T1 0.5, T2 0.875 of the lease unless the server says otherwise.
	l.T1, l.T2 = lifetime/2, lifetime/8*7
	t1, ok1 := optionSeconds(m, dhcpv4.OptionRenewTimeValue)
	t2, ok2 := optionSeconds(m, dhcpv4.OptionRebindingTimeValue)
	if !ok1 {
		t1 = l.T1
	}
	if !ok2 {
		t2 = l.T2
	}
	if t1 > 0 && t1 < t2 && t2 < lifetime {
		l.T1, l.T2 = t1, t2
	}
	return l, nil
}

func (id *identity) maskBits(m *dhcpv4.DHCPv4) (int, error) {
	raw := m.Options.Get(dhcpv4.OptionSubnetMask)
	if raw == nil {
		if id.subnet.IsValid() {
			return id.subnet.Bits(), nil
		}
		return 0, malformed("no subnet mask")
	}
	if len(raw) != 4 {
		return 0, malformed("subnet mask of %d octets", len(raw))
	}
	ones, size := net.IPMask(raw).Size()
	if size == 0 || ones < minMaskBits {
		return 0, malformed("subnet mask %s", net.IP(raw))
	}
	if id.subnet.IsValid() && ones < id.subnet.Bits() {
		return 0, malformed("subnet mask %s is wider than the subnet %s", net.IP(raw), id.subnet.Masked())
	}
	return ones, nil
}

// domains are those of the link, the search list first. Some servers end the name with NUL.
func domains(m *dhcpv4.DHCPv4) []string {
	out := inet.Domains(m.Options.Get(dhcpv4.OptionDNSDomainSearchList), maxDomains)
	name := strings.TrimSuffix(strings.TrimRight(string(m.Options.Get(dhcpv4.OptionDomainName)), "\x00"), ".")
	if inet.Domain(name) && len(out) < maxDomains && !slices.Contains(out, name) {
		out = append(out, name)
	}
	return out
}

// serverText returns option 56 for people.
func serverText(m *dhcpv4.DHCPv4) string {
	s := string(m.Options.Get(dhcpv4.OptionMessage))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), maxMessage)])
}

func optionAddr(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) (netip.Addr, bool) {
	raw := m.Options.Get(code)
	if len(raw) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(raw)
}

func optionSeconds(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) (time.Duration, bool) {
	raw := m.Options.Get(code)
	if len(raw) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(raw)) * time.Second, true
}

// addrs splits an option of addresses; an incomplete last one is left out.
func addrs(raw []byte) []netip.Addr {
	var out []netip.Addr
	for ; len(raw) >= 4; raw = raw[4:] {
		out = append(out, netip.AddrFrom4([4]byte(raw)))
	}
	return out
}

// unicast reports whether a can be a host's address.
func unicast(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() &&
		a.As4()[0] != 0 && a.As4()[0] < 240
}

// hostAddr reports whether p's address is neither its subnet's nor the broadcast address (RFC 3021: both may be used in a /31).
func hostAddr(p netip.Prefix) bool {
	if p.Bits() >= 31 {
		return true
	}
	host := binary.BigEndian.Uint32(p.Addr().AsSlice()) & (1<<(32-p.Bits()) - 1)
	return host != 0 && host != 1<<(32-p.Bits())-1
}
