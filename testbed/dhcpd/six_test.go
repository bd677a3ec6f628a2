package dhcpd

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"openmpa/internal/state"
)

var pools6 = []Pool{
	{
		Network: "b", Interface: "lanb", Server: netip.MustParseAddr("2001:db8:1::3"), Prefix: netip.MustParsePrefix("2001:db8:1::/64"),
		Low: netip.MustParseAddr("2001:db8:1::100"), High: netip.MustParseAddr("2001:db8:1::101"), DNS: netip.MustParseAddr("2001:db8::53"),
	},
	{
		Network: "a", Interface: "lana", Server: netip.MustParseAddr("2001:db8:2::3"), Prefix: netip.MustParsePrefix("2001:db8:2::/64"),
		Low: netip.MustParseAddr("2001:db8:2::100"), High: netip.MustParseAddr("2001:db8:2::199"), DNS: netip.MustParseAddr("2001:db8::53"),
	},
}

func newTable6(t *testing.T, store state.Store) *Table {
	t.Helper()
	tab, err := NewTable(pools6, time.Minute, store)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// message6 is a client's, about an address where one is named.
func message6(kind dhcpv6.MessageType, client byte, about string, more ...dhcpv6.Option) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, client}}))
	ia := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, 7}}
	if about != "" {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(about)})
	}
	m.AddOption(ia)
	for _, o := range more {
		m.AddOption(o)
	}
	return m
}

var rapid = &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}

// answered checks an answer: its type, and the address in it or the status instead.
func answered(t *testing.T, d dhcpv6.DHCPv6, kind dhcpv6.MessageType, addr string, code iana.StatusCode) {
	t.Helper()
	if d == nil {
		t.Fatalf("silence, expected %v", kind)
	}
	m, err := d.GetInnerMessage()
	if err != nil || m.MessageType != kind || m.Options.ClientID() == nil || !m.Options.ServerID().Equal(&serverDUID) {
		t.Fatalf("got %v, %v", d.Summary(), err)
	}
	ia := m.Options.OneIANA()
	if got := ia.Options.OneAddress(); addr != "" && (got == nil || got.IPv6Addr.String() != addr || got.ValidLifetime != time.Minute || got.PreferredLifetime != 30*time.Second) {
		t.Fatalf("got %v, expected %s", d.Summary(), addr)
	}
	if s := ia.Options.Status(); addr == "" && (s == nil || s.StatusCode != code) {
		t.Fatalf("got %v, expected status %v", d.Summary(), code)
	}
}

func bound(tab *Table, now time.Time) (n int) {
	for _, l := range tab.Leases(now) {
		if l.State == Bound {
			n++
		}
	}
	return n
}

func TestLease6(t *testing.T) {
	store := state.NewMemory()
	tab := newTable6(t, store)
	server := dhcpv6.OptServerID(&serverDUID)
	const first, second = "2001:db8:1::100", "2001:db8:1::101"
	answered(t, tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeSolicit, 1, "")), dhcpv6.MessageTypeAdvertise, first, 0)
	if bound(tab, t0) != 0 {
		t.Error("an offer is no lease")
	}
	answered(t, tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeRequest, 1, first, server)), dhcpv6.MessageTypeReply, first, 0)
	answered(t, tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeSolicit, 2, "", rapid)), dhcpv6.MessageTypeReply, second, 0)
	if bound(tab, t0) != 2 {
		t.Errorf("leases: %v", tab.Leases(t0))
	}
	answered(t, tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeSolicit, 3, "")), dhcpv6.MessageTypeAdvertise, "", iana.StatusNoAddrsAvail)
	answered(t, tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeRenew, 2, first, server)), dhcpv6.MessageTypeReply, "", iana.StatusNoBinding)
	answered(t, tab.Handle6(t0.Add(50*time.Second), "lanb", message6(dhcpv6.MessageTypeRebind, 1, first)), dhcpv6.MessageTypeReply, first, 0)
	if again := newTable6(t, store); bound(again, t0.Add(40*time.Second)) != 2 {
		t.Error("leases did not outlive the server")
	}
	if n := bound(tab, t0.Add(70*time.Second)); n != 1 {
		t.Errorf("%d leases after the second one's end", n)
	}
	other := dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}})
	if d := tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeRelease, 1, first, other)); d != nil {
		t.Errorf("another server's release is answered: %v", d.Summary())
	}
	tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeDecline, 1, first, server))
	if l := tab.Leases(t0); len(l) == 0 || l[0].State != Declined {
		t.Errorf("declined: %v", l)
	}
	answered(t, tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeSolicit, 4, first, rapid)), dhcpv6.MessageTypeReply, second, 0)
	tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeRelease, 4, second, server))
	if n := bound(tab, t0); n != 0 {
		t.Errorf("%d leases after the release", n)
	}
}

func TestLease6Relayed(t *testing.T) {
	tab := newTable6(t, state.NewMemory())
	relay := func(link string) dhcpv6.DHCPv6 {
		d, err := dhcpv6.EncapsulateRelay(message6(dhcpv6.MessageTypeSolicit, 1, "", rapid), dhcpv6.MessageTypeRelayForward, net.ParseIP(link), net.ParseIP("fe80::1"))
		if err != nil {
			t.Fatal(err)
		}
		d.AddOption(dhcpv6.OptInterfaceID([]byte("lan0")))
		return d
	}
	d := tab.Handle6(t0, "lanb", relay("2001:db8:2::1"))
	answered(t, d, dhcpv6.MessageTypeReply, "2001:db8:2::100", 0)
	if r, ok := d.(*dhcpv6.RelayMessage); !ok || r.MessageType != dhcpv6.MessageTypeRelayReply || string(r.Options.InterfaceID()) != "lan0" {
		t.Errorf("got %v", d.Summary())
	}
	if d := tab.Handle6(t0, "lanb", relay("2001:db8:7::1")); d != nil {
		t.Errorf("a relay of a link that is not served is answered: %v", d.Summary())
	}
}

func TestWithoutAddress6(t *testing.T) {
	tab := newTable6(t, state.NewMemory())
	for about, want := range map[string]iana.StatusCode{"2001:db8:1::100": iana.StatusSuccess, "2001:db8:2::100": iana.StatusNotOnLink} {
		m, err := tab.Handle6(t0, "lanb", message6(dhcpv6.MessageTypeConfirm, 1, about)).GetInnerMessage()
		if err != nil || m.Options.Status() == nil || m.Options.Status().StatusCode != want {
			t.Errorf("%s: %v, %v", about, m, err)
		}
	}
	m, err := tab.Handle6(t0, "lanb", &dhcpv6.Message{MessageType: dhcpv6.MessageTypeInformationRequest}).GetInnerMessage()
	if err != nil || len(m.Options.DNS()) != 1 {
		t.Errorf("%v, %v", m, err)
	}
	if d := tab.Handle6(t0, "lanb", &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}); d != nil || tab.Counts()["malformed"] != 1 {
		t.Errorf("a solicit without a client identifier: %v", d)
	}
}
