package dhcpd

import (
	"encoding/hex"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// serverDUID is the lab's DHCPv6 server (RFC 8415, section 11.4), on all links.
var serverDUID = dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{0x02, 'm', 'p', 'a', 'd', '6'}}

// times are T1, T2 and the preferred lifetime of an address, of which only the valid one is a DHCPv4 server's business, too.
func (t *Table) times() (renew, rebind, preferred time.Duration) {
	return t.lifetime / 4, t.lifetime * 2 / 5, t.lifetime / 2
}

// Handle6 answers one DHCPv6 message that came in on ifname, by itself or from a relay. A nil answer is silence.
func (t *Table) Handle6(now time.Time, ifname string, d dhcpv6.DHCPv6) dhcpv6.DHCPv6 {
	m, err := d.GetInnerMessage()
	if err != nil || m.Options.ClientID() == nil && m.MessageType != dhcpv6.MessageTypeInformationRequest {
		t.counts["malformed"]++
		return nil
	}
	relay, relayed := d.(*dhcpv6.RelayMessage)
	p, ok := t.pool6(ifname, relay)
	if !ok {
		t.counts["foreign"]++
		return nil
	}
	t.expire(now)
	t.counts[m.MessageType.String()]++
	r := t.answer6(now, p, m)
	if r == nil || !relayed {
		if r == nil { // or it would be no nil of the interface
			return nil
		}
		return r
	}
	out, err := dhcpv6.NewRelayReplFromRelayForw(relay, r)
	if err != nil {
		t.counts["malformed"]++
		return nil
	}
	return out
}

// pool6 is the link a message is about: that of the relay's link address (RFC 8415, section 13.1), or of the interface.
func (t *Table) pool6(ifname string, relay *dhcpv6.RelayMessage) (Pool, bool) {
	for _, p := range t.pools {
		if relay == nil && p.Interface == ifname && p.Prefix.Addr().Is6() || relay != nil && p.Prefix.Contains(addr(relay.LinkAddr)) {
			return p, true
		}
	}
	return Pool{}, false
}

// answer6 is RFC 8415, sections 18.3.1 to 18.3.9, for one non-temporary address.
func (t *Table) answer6(now time.Time, p Pool, m *dhcpv6.Message) *dhcpv6.Message {
	r := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	if id := m.Options.ClientID(); id != nil {
		r.AddOption(dhcpv6.OptClientID(id))
	}
	r.AddOption(dhcpv6.OptServerID(&serverDUID))
	if id := m.Options.ServerID(); id != nil && !id.Equal(&serverDUID) {
		return nil // section 16: another server is meant
	}
	ia := m.Options.OneIANA()
	switch m.MessageType {
	case dhcpv6.MessageTypeInformationRequest:
	case dhcpv6.MessageTypeConfirm:
		status(&r.Options.Options, iana.StatusSuccess, "")
		if ia == nil || !p.Prefix.Contains(wanted(ia)) {
			r.Options.Del(dhcpv6.OptionStatusCode)
			status(&r.Options.Options, iana.StatusNotOnLink, "the address is of another link")
		}
	default:
		if ia == nil {
			return nil // nothing else is given here
		}
		if !t.address6(now, p, m, ia, r) {
			return nil
		}
	}
	if p.DNS.IsValid() {
		r.AddOption(dhcpv6.OptDNS(p.DNS.AsSlice()))
	}
	if p.Domain != "" {
		r.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: []string{p.Domain}}))
	}
	if p.PAA.IsValid() {
		r.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionPANAAuthenticationAgent, OptionData: p.PAA.AsSlice()})
	}
	return r
}

// address6 puts into r what becomes of the address of ia; false is silence.
func (t *Table) address6(now time.Time, p Pool, m *dhcpv6.Message, ia *dhcpv6.OptIANA, r *dhcpv6.Message) bool {
	client := hex.EncodeToString(m.Options.ClientID().ToBytes()) + "/" + hex.EncodeToString(ia.IaId[:])
	out := &dhcpv6.OptIANA{IaId: ia.IaId}
	defer func() { r.AddOption(out) }()
	mine := func() *Lease {
		if l := t.leases[wanted(ia)]; l != nil && l.Client == client && l.State == Bound {
			return l
		}
		return nil
	}
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit:
		l := t.choose(p, client, wanted(ia))
		if l == nil {
			r.MessageType = dhcpv6.MessageTypeAdvertise
			status(&out.Options.Options, iana.StatusNoAddrsAvail, "no address is free")
			return true
		}
		if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			r.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
			return t.bind6(now, p, client, l.Addr, out)
		}
		r.MessageType = dhcpv6.MessageTypeAdvertise
		if l.State != Bound {
			l.State, l.Expires = Offered, now.Add(offerTime)
			t.keep(*l)
		}
		t.fill(out, l.Addr)
	case dhcpv6.MessageTypeRequest:
		l := t.choose(p, client, wanted(ia))
		if l == nil {
			status(&out.Options.Options, iana.StatusNoAddrsAvail, "no address is free")
			return true
		}
		return t.bind6(now, p, client, l.Addr, out)
	case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		l := mine()
		if l == nil {
			status(&out.Options.Options, iana.StatusNoBinding, "the address is not yours")
			return true
		}
		return t.bind6(now, p, client, l.Addr, out)
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		l := mine()
		switch {
		case l == nil:
			status(&out.Options.Options, iana.StatusNoBinding, "the address is not yours")
		case m.MessageType == dhcpv6.MessageTypeDecline:
			t.keep(Lease{Network: l.Network, Addr: l.Addr, Client: client, State: Declined})
		default:
			t.free(l.Addr)
		}
		status(&r.Options.Options, iana.StatusSuccess, "")
	default:
		return false // a server has no use for the other types
	}
	return true
}

// bind6 leases the address; false: it could not be stored, and the client asks again.
func (t *Table) bind6(now time.Time, p Pool, client string, a netip.Addr, out *dhcpv6.OptIANA) bool {
	if !t.keep(Lease{Network: p.Network, Addr: a, Client: client, State: Bound, Expires: now.Add(t.lifetime)}) {
		return false
	}
	t.fill(out, a)
	return true
}

// fill puts an address and its times into out.
func (t *Table) fill(out *dhcpv6.OptIANA, a netip.Addr) {
	var preferred time.Duration
	out.T1, out.T2, preferred = t.times()
	out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: preferred, ValidLifetime: t.lifetime})
}

// wanted is the address that a client names in ia; invalid: none.
func wanted(ia *dhcpv6.OptIANA) netip.Addr {
	if a := ia.Options.OneAddress(); a != nil {
		return addr(a.IPv6Addr)
	}
	return netip.Addr{}
}

func status(o *dhcpv6.Options, code iana.StatusCode, text string) {
	o.Add(&dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text})
}
