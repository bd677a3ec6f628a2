package dhcp6

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"openmpa/internal/acd/nd"
	"openmpa/internal/inet"
)

const (
	serverPort = 547
	clientPort = 546

	maxMessageSize = 1500 // octets: what we can read
	maxDNS         = 8    // name servers kept
	maxDomains     = 4    // domains kept
	maxMessage     = 128  // octets of a server's text kept
	minDUID        = 3    // RFC 8415 section 11.1
	maxDUID        = 130
)

// identity is who a message is for.
type identity struct {
	xid      dhcpv6.TransactionID
	clientID []byte
	iaid     [4]byte
	subnet   netip.Prefix // addresses must be inside; zero: any
}

// message builds a message of the given type: to server (nil: any), about the address l has (invalid: none yet).
func (id *identity) message(typ dhcpv6.MessageType, server []byte, addr netip.Addr) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: typ, TransactionID: id.xid}
	m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionClientID, OptionData: id.clientID})
	if server != nil {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: server})
	}
	ia := &dhcpv6.OptIANA{IaId: id.iaid}
	if addr.IsValid() {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.IP(addr.AsSlice())})
	}
	m.AddOption(ia)
	if typ != dhcpv6.MessageTypeRelease && typ != dhcpv6.MessageTypeDecline {
		m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionPANAAuthenticationAgent))
	}
	return m
}

// parse checks that m answers id (RFC 8415 sections 16.3 and 16.10) and returns the server's identifier. ok is false for what is
// not for us and needs no mention.
func (id *identity) parse(m *dhcpv6.Message) (server []byte, ok bool, err error) {
	if m.TransactionID != id.xid || m.MessageType != dhcpv6.MessageTypeAdvertise && m.MessageType != dhcpv6.MessageTypeReply {
		return nil, false, nil
	}
	client := m.Options.ClientID()
	if client == nil || !slices.Equal(client.ToBytes(), id.clientID) {
		return nil, true, malformed("for client identifier %v, expected %x", client, id.clientID)
	}
	duid := m.Options.ServerID()
	if duid == nil {
		return nil, true, malformed("no server identifier")
	}
	if server = duid.ToBytes(); len(server) < minDUID || len(server) > maxDUID {
		return nil, true, malformed("server identifier of %d octets", len(server))
	}
	return server, true, nil
}

// lease takes the lease out of an Advertise or Reply by server. A status that refuses is a *StatusError.
func (id *identity) lease(m *dhcpv6.Message, server []byte, start time.Time) (Lease, error) {
	if err := refusal(m.Options.Status()); err != nil {
		return Lease{}, err
	}
	var ia *dhcpv6.OptIANA
	for _, o := range m.Options.IANA() {
		if o.IaId == id.iaid {
			ia = o
			break
		}
	}
	if ia == nil {
		return Lease{}, malformed("no IA_NA with identifier %x", id.iaid)
	}
	if err := refusal(ia.Options.Status()); err != nil {
		return Lease{}, err
	}
	l := Lease{ClientID: slices.Clone(id.clientID), ServerID: slices.Clone(server), IAID: id.iaid, Start: start}
	why := malformed("an IA_NA without an address")
	for _, o := range ia.Options.Addresses() {
		if why = id.address(o, &l); why == nil {
			break
		}
	}
	if why != nil {
		return Lease{}, why
	}
	if ia.T1 > ia.T2 && ia.T2 > 0 { // section 21.4
		return Lease{}, malformed("T1 %v is after T2 %v", ia.T1, ia.T2)
	}
	// 0 leaves it to us (section 14.2): the shares recommended in section 21.4, of the preferred lifetime.
	if l.T1, l.T2 = ia.T1, ia.T2; l.T2 == 0 {
		l.T2 = max(l.T1, share(l.Preferred, 4, 5))
	}
	if l.T1 == 0 {
		l.T1 = min(l.T2, share(l.Preferred, 1, 2))
	}
	l.T2 = min(l.T2, l.Valid) // a server may say what is too late
	l.T1 = min(l.T1, l.T2)
	for _, a := range m.Options.DNS() {
		if d, ok := netip.AddrFromSlice(a); ok && nd.Unicast(d) && len(l.DNS) < maxDNS && !slices.Contains(l.DNS, d) {
			l.DNS = append(l.DNS, d)
		}
	}
	if o := m.GetOneOption(dhcpv6.OptionDomainSearchList); o != nil {
		l.Domains = inet.Domains(o.ToBytes(), maxDomains)
	}
	if o := m.GetOneOption(dhcpv6.OptionPANAAuthenticationAgent); o != nil {
		l.PAA = agent(o.ToBytes())
	}
	return l, nil
}

// agent is the first of a list of addresses that may be somebody's (RFC 5192 section 4).
func agent(raw []byte) netip.Addr {
	for ; len(raw) >= 16; raw = raw[16:] {
		if a := netip.AddrFrom16([16]byte(raw)); nd.Unicast(a) && !a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// share returns a part of a lifetime; of one that does not end there is none.
func share(d time.Duration, part, of time.Duration) time.Duration {
	if d == nd.Infinite {
		return d
	}
	return d / of * part
}

// address checks an address option and takes it into l.
func (id *identity) address(o *dhcpv6.OptIAAddress, l *Lease) error {
	if err := refusal(o.Options.Status()); err != nil {
		return err
	}
	a, ok := netip.AddrFromSlice(o.IPv6Addr)
	switch {
	case !ok || !nd.Unicast(a) || a.IsLinkLocalUnicast():
		return malformed("address %s is no unicast address", o.IPv6Addr)
	case id.subnet.IsValid() && !id.subnet.Contains(a):
		return malformed("address %s is outside %s", a, id.subnet.Masked())
	case o.PreferredLifetime > o.ValidLifetime: // section 21.6
		return malformed("address %s is preferred for %v and valid for %v", a, o.PreferredLifetime, o.ValidLifetime)
	}
	l.Addr, l.Preferred, l.Valid = a, o.PreferredLifetime, o.ValidLifetime
	return nil
}

func refusal(s *dhcpv6.OptStatusCode) error {
	if s == nil || s.StatusCode == iana.StatusSuccess {
		return nil
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s.StatusMessage[:min(len(s.StatusMessage), maxMessage)])
	return &StatusError{Code: uint16(s.StatusCode), Message: text}
}
