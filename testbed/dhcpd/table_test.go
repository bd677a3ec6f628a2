package dhcpd

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/state"
)

var (
	t0    = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	pools = []Pool{
		{
			Network: "b", Interface: "lanb", Server: netip.MustParseAddr("10.1.0.3"), Prefix: netip.MustParsePrefix("10.1.0.0/24"),
			Low: netip.MustParseAddr("10.1.0.100"), High: netip.MustParseAddr("10.1.0.102"),
			Router: netip.MustParseAddr("10.1.0.1"), DNS: netip.MustParseAddr("10.0.4.53"),
		},
		{
			Network: "a", Interface: "lana", Server: netip.MustParseAddr("10.2.0.3"), Prefix: netip.MustParsePrefix("10.2.0.0/24"),
			Low: netip.MustParseAddr("10.2.0.100"), High: netip.MustParseAddr("10.2.0.199"),
			Router: netip.MustParseAddr("10.2.0.1"), DNS: netip.MustParseAddr("10.0.4.53"),
		},
	}
)

func newTable(t *testing.T) *Table {
	t.Helper()
	tab, err := NewTable(pools, time.Minute, state.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func message(t *testing.T, kind dhcpv4.MessageType, id string, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	mods = append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 1}),
	}, mods...)
	if id != "" {
		mods = append(mods, dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte(id)))
	}
	m, err := dhcpv4.New(mods...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func server(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}

func expect(t *testing.T, r *dhcpv4.DHCPv4, kind dhcpv4.MessageType, yours string) {
	t.Helper()
	if r == nil {
		t.Fatalf("silence, expected %v", kind)
	}
	if r.MessageType() != kind || (yours != "" && r.YourIPAddr.String() != yours) {
		t.Fatalf("got %v of %v, expected %v of %s", r.MessageType(), r.YourIPAddr, kind, yours)
	}
}

func TestLeaseDirectAndRelayed(t *testing.T) {
	tab := newTable(t)
	r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "mn"))
	expect(t, r, dhcpv4.MessageTypeOffer, "10.1.0.100")
	r = tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "mn", ask("10.1.0.100"), server("10.1.0.3")))
	expect(t, r, dhcpv4.MessageTypeAck, "10.1.0.100")
	if r.Router()[0].String() != "10.1.0.1" || r.IPAddressLeaseTime(0) != time.Minute || r.IPAddressRenewalTime(0) != 30*time.Second {
		t.Errorf("options: %v", r.Options)
	}
	if ones, _ := r.SubnetMask().Size(); ones != 24 {
		t.Errorf("mask of %d bits", ones)
	}

	// By relay, with option 82, on whatever interface it comes in.
	circuit := dhcpv4.WithOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.AgentCircuitIDSubOption, []byte("pana"))))
	relay := dhcpv4.WithRelay(net.IPv4(10, 2, 0, 1))
	m := message(t, dhcpv4.MessageTypeDiscover, "mn", relay, circuit)
	r = tab.Handle(t0, "lanb", m)
	expect(t, r, dhcpv4.MessageTypeOffer, "10.2.0.100")
	if !r.GatewayIPAddr.Equal(net.IPv4(10, 2, 0, 1)) || !bytes.Equal(r.Options.Get(dhcpv4.OptionRelayAgentInformation), m.Options.Get(dhcpv4.OptionRelayAgentInformation)) {
		t.Errorf("relay %v, option 82 %x", r.GatewayIPAddr, r.Options.Get(dhcpv4.OptionRelayAgentInformation))
	}
	if !bytes.Equal(r.Options.Get(dhcpv4.OptionClientIdentifier), []byte("mn")) {
		t.Error("the client identifier does not come back")
	}
	if d := destination(m, r); d.String() != "10.2.0.1:67" {
		t.Errorf("sent to %v", d)
	}
	expect(t, tab.Handle(t0, "lana", message(t, dhcpv4.MessageTypeRequest, "mn", relay, circuit, ask("10.2.0.100"), server("10.2.0.3"))), dhcpv4.MessageTypeAck, "10.2.0.100")
	if l := tab.Leases(t0); len(l) != 2 || l[0].State != Bound || l[1].State != Bound || l[1].Network != "a" {
		t.Errorf("leases %v", l)
	}
}

func TestRenewReleaseExpire(t *testing.T) {
	tab := newTable(t)
	tab.Handle(t0, "lana", message(t, dhcpv4.MessageTypeDiscover, "mn"))
	tab.Handle(t0, "lana", message(t, dhcpv4.MessageTypeRequest, "mn", ask("10.2.0.100"), server("10.2.0.3")))
	own := dhcpv4.WithClientIP(net.IPv4(10, 2, 0, 100))
	m := message(t, dhcpv4.MessageTypeRequest, "mn", own)
	r := tab.Handle(t0.Add(50*time.Second), "lanb", m)
	expect(t, r, dhcpv4.MessageTypeAck, "10.2.0.100")
	if d := destination(m, r); d.String() != "10.2.0.100:68" {
		t.Errorf("sent to %v", d)
	}
	// Another client may neither renew nor release it.
	expect(t, tab.Handle(t0.Add(51*time.Second), "lana", message(t, dhcpv4.MessageTypeRequest, "thief", own)), dhcpv4.MessageTypeNak, "")
	tab.Handle(t0.Add(51*time.Second), "lana", message(t, dhcpv4.MessageTypeRelease, "thief", own))
	if l := tab.Leases(t0.Add(109 * time.Second)); len(l) != 1 {
		t.Fatalf("leases %v, expected the renewed one", l)
	}
	tab.Handle(t0.Add(109*time.Second), "lana", message(t, dhcpv4.MessageTypeRelease, "mn", own, server("10.2.0.3")))
	if l := tab.Leases(t0.Add(109 * time.Second)); len(l) != 0 {
		t.Fatalf("leases %v after the release", l)
	}
	tab.Handle(t0, "lana", message(t, dhcpv4.MessageTypeDiscover, "mn"))
	if l := tab.Leases(t0.Add(offerTime)); len(l) != 0 {
		t.Fatalf("leases %v, expected the offer to be over", l)
	}
}

func TestDeclineAndExhaustion(t *testing.T) {
	tab := newTable(t)
	for _, want := range []string{"10.1.0.100", "10.1.0.101", "10.1.0.102"} {
		expect(t, tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "mn")), dhcpv4.MessageTypeOffer, want)
		expect(t, tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "mn", ask(want), server("10.1.0.3"))), dhcpv4.MessageTypeAck, want)
		tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDecline, "mn", ask(want), server("10.1.0.3")))
	}
	if r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "mn")); r != nil {
		t.Fatalf("offered %v although every address is declined", r.YourIPAddr)
	}
	if r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "mn", ask("10.1.0.100"), server("10.1.0.3"))); r.MessageType() != dhcpv4.MessageTypeNak {
		t.Fatalf("%v for a declined address", r.MessageType())
	}
	tab.Reset()
	tab.SetEmpty("b", true)
	if r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "mn")); r != nil {
		t.Fatal("offered although it was told to have no address")
	}
	tab.SetEmpty("b", false)
	expect(t, tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "mn", ask("10.1.0.102"))), dhcpv4.MessageTypeOffer, "10.1.0.102")
}

func TestRequestsThatAreNotOurs(t *testing.T) {
	tab := newTable(t)
	expect(t, tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "")), dhcpv4.MessageTypeOffer, "10.1.0.100")
	if r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "", ask("10.1.0.9"), server("10.1.0.77"))); r != nil {
		t.Fatalf("answered %v for another server", r.MessageType())
	}
	if l := tab.Leases(t0); len(l) != 0 {
		t.Fatalf("leases %v: the offer that was not taken is free again", l)
	}
	if r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "x", ask("10.1.0.100"))); r != nil {
		t.Fatalf("answered %v to a client without a record", r.MessageType())
	}
	expect(t, tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "x", ask("10.99.0.1"))), dhcpv4.MessageTypeNak, "")
	for _, m := range []*dhcpv4.DHCPv4{
		message(t, dhcpv4.MessageTypeDiscover, "x", dhcpv4.WithRelay(net.IPv4(10, 77, 0, 1))),
		message(t, dhcpv4.MessageTypeRequest, "x", dhcpv4.WithClientIP(net.IPv4(10, 77, 0, 9))),
	} {
		if r := tab.Handle(t0, "lanb", m); r != nil {
			t.Errorf("answered %v for a network it does not serve", r)
		}
	}
	reply := message(t, dhcpv4.MessageTypeDiscover, "x")
	reply.OpCode = dhcpv4.OpcodeBootReply
	if r := tab.Handle(t0, "lanb", reply); r != nil {
		t.Error("answered a reply")
	}
	if c := tab.Counts(); c["foreign"] != 2 || c["malformed"] != 1 {
		t.Errorf("counts %v", c)
	}
}

func TestPoolsAreChecked(t *testing.T) {
	bad := pools[0]
	bad.High = netip.MustParseAddr("10.2.0.1")
	if _, err := NewTable([]Pool{bad}, time.Minute, state.NewMemory()); err == nil {
		t.Error("a pool beyond its prefix was taken")
	}
	if _, err := NewTable(pools, 0, state.NewMemory()); err == nil {
		t.Error("leases of no duration were taken")
	}
}

func FuzzHandle(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDecline} {
		m, err := dhcpv4.New(dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 1}), ask("10.1.0.100"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		tab, err := NewTable(pools, time.Minute, state.NewMemory())
		if err != nil {
			t.Fatal(err)
		}
		if r := tab.Handle(t0, "lanb", m); r != nil {
			if _, err := dhcpv4.FromBytes(r.ToBytes()); err != nil {
				t.Fatalf("the answer cannot be parsed: %v", err)
			}
		}
		if l := tab.Leases(t0); len(l) > 1 {
			t.Fatalf("one message took %d addresses", len(l))
		}
	})
}
