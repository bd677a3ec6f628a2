package dhcp4

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

func relay(t *testing.T, s host.Sockets) *Relay {
	t.Helper()
	osnettest.IP(t, "address add 10.2.0.1/24 dev v0")
	r, err := OpenRelay(RelayConfig{Sockets: s, Giaddr: giaddr, Server: serverA, CircuitID: "lan0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestOnLink is the life of a mobile node's own lease.
func TestOnLink(t *testing.T) {
	n, s := lab(t)
	l0, err := n.LinkByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Sockets: n, Iface: "v0", MAC: l0.MAC, ClientID: []byte("\x00mn@home"), Subnet: subnet, Timing: fast}
	l := acquire(t, c)
	checkLease(t, l, "10.2.0.100/24", c.ClientID)
	d := s.messages(dhcpv4.MessageTypeDiscover)[0]
	if !d.IsBroadcast() || !d.GatewayIPAddr.IsUnspecified() || d.HopCount != 0 || d.Options.Has(dhcpv4.OptionRelayAgentInformation) {
		t.Errorf("discover %s", d.Summary())
	}
	if size, err := d.MaxMessageSize(); err != nil || size != maxMessageSize {
		t.Errorf("option 57: %v %v", size, err)
	}

	// The address is on the interface: renewing is unicast from it.
	if err := n.AddAddress("v0", l.Addr, osnet.AddrOptions{}); err != nil {
		t.Fatal(err)
	}
	renewed, err := c.Renew(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	checkLease(t, renewed, "10.2.0.100/24", c.ClientID)
	reqs := s.messages(dhcpv4.MessageTypeRequest)
	r := reqs[len(reqs)-1]
	if r.ClientIPAddr.String() != "10.2.0.100" || r.IsBroadcast() || r.Options.Has(dhcpv4.OptionServerIdentifier) || r.Options.Has(dhcpv4.OptionRequestedIPAddress) {
		t.Errorf("renewal %s", r.Summary())
	}
	if _, err := c.Rebind(t.Context(), l); err != nil {
		t.Errorf("Rebind: %v", err)
	}
	if err := c.Release(t.Context(), l, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release", func() bool { return len(s.messages(dhcpv4.MessageTypeRelease)) == 2 }) // the same twice
	rel := s.messages(dhcpv4.MessageTypeRelease)[0]
	if rel.ClientIPAddr.String() != "10.2.0.100" || rel.ServerIdentifier().String() != "10.2.0.3" {
		t.Errorf("release %s", rel.Summary())
	}
	if err := n.DelAddress("v0", l.Addr); err != nil {
		t.Fatal(err)
	}

	// A conflict: the address is declined, another one comes.
	l = acquire(t, c)
	if err := c.Decline(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	eventually(t, "decline", func() bool { return len(s.messages(dhcpv4.MessageTypeDecline)) == 1 })
	dec := s.messages(dhcpv4.MessageTypeDecline)[0]
	if dec.RequestedIPAddress().String() != "10.2.0.100" || dec.ServerIdentifier().String() != "10.2.0.3" || !dec.ClientIPAddr.IsUnspecified() {
		t.Errorf("decline %s", dec.Summary())
	}
	checkLease(t, acquire(t, c), "10.2.0.101/24", c.ClientID)
}

// TestRelayed leases for many nodes at once over one socket.
func TestRelayed(t *testing.T) {
	n, s := lab(t)
	r := relay(t, n)
	if _, err := OpenRelay(RelayConfig{Sockets: n, Giaddr: giaddr, Server: serverA}); err == nil || !strings.Contains(err.Error(), "another DHCP server or relay") {
		t.Errorf("second relay: %v", err)
	}
	const nodes = 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := make(map[netip.Addr]int)
	for i := range nodes {
		wg.Go(func() {
			c := &Client{Relay: r, MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}, ClientID: fmt.Appendf(nil, "\x00node-%d", i), Subnet: subnet, Timing: fast}
			l, err := c.Acquire(t.Context())
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			again, err := c.Renew(t.Context(), l)
			if err != nil || again.Addr != l.Addr {
				t.Errorf("node %d: renew: %v %v", i, again.Addr, err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[l.Addr.Addr()]++
			if l.Router != giaddr || string(l.ClientID) != string(c.ClientID) {
				t.Errorf("node %d: %+v", i, l)
			}
		})
	}
	wg.Wait()
	if len(got) != nodes {
		t.Errorf("%d addresses for %d nodes: %v", len(got), nodes, got)
	}
	for _, m := range s.messages(dhcpv4.MessageTypeDiscover) {
		info := m.RelayAgentInfo()
		if m.GatewayIPAddr.String() != "10.2.0.1" || m.HopCount != 1 || info == nil || string(info.Get(dhcpv4.AgentCircuitIDSubOption)) != "lan0" {
			t.Errorf("relayed %s", m.Summary())
		}
	}
	c := &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: fast}
	l := acquire(t, c)
	if string(l.ClientID) != "\x01"+string(macA) {
		t.Errorf("default client identifier %x", l.ClientID)
	}
	if err := c.Decline(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	eventually(t, "decline", func() bool { return len(s.messages(dhcpv4.MessageTypeDecline)) == 1 })
	l2 := acquire(t, c)
	if l2.Addr == l.Addr {
		t.Error("declined address came again")
	}
	if err := c.Release(t.Context(), l2, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release", func() bool { return len(s.messages(dhcpv4.MessageTypeRelease)) == 1 })
	if len(r.byXID) != 0 {
		t.Errorf("%d transactions left", len(r.byXID))
	}
}

// TestRefusals: answers of a server gone wrong are not believed, and the error names what was wrong.
func TestRefusals(t *testing.T) {
	n, s := lab(t)
	r := relay(t, n)
	opt := func(code dhcpv4.OptionCode, b []byte) func(*dhcpv4.DHCPv4) {
		return func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptGeneric(code, b)) }
	}
	for name, c := range map[string]struct {
		change func(*dhcpv4.DHCPv4)
		want   string
	}{
		"outside":        {func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IP{10, 3, 0, 5} }, "outside 10.2.0.0/24"},
		"multicast":      {func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IP{224, 0, 0, 5} }, "no unicast"},
		"zero":           {func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4zero }, "no unicast"},
		"broadcast":      {func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IP{10, 2, 0, 255} }, "broadcast"},
		"mask holes":     {opt(dhcpv4.OptionSubnetMask, []byte{255, 0, 255, 0}), "subnet mask"},
		"mask 0":         {opt(dhcpv4.OptionSubnetMask, []byte{0, 0, 0, 0}), "subnet mask"},
		"mask wide":      {opt(dhcpv4.OptionSubnetMask, []byte{255, 255, 0, 0}), "wider"},
		"mask short":     {opt(dhcpv4.OptionSubnetMask, []byte{255, 255}), "2 octets"},
		"router away":    {opt(dhcpv4.OptionRouter, []byte{192, 0, 2, 1}), "no router"},
		"router is us":   {opt(dhcpv4.OptionRouter, []byte{10, 2, 0, 100}), "no router"},
		"no time":        {opt(dhcpv4.OptionIPAddressLeaseTime, u32(0)), "lease time"},
		"short time":     {opt(dhcpv4.OptionIPAddressLeaseTime, []byte{1}), "lease time"},
		"no server":      {func(m *dhcpv4.DHCPv4) { m.Options.Del(dhcpv4.OptionServerIdentifier) }, "server identifier"},
		"server 0":       {opt(dhcpv4.OptionServerIdentifier, u32(0)), "server identifier"},
		"other hardware": {func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = net.HardwareAddr{9, 9, 9, 9, 9, 9} }, "hardware address"},
		"other client":   {opt(dhcpv4.OptionClientIdentifier, []byte("\x00other")), "client identifier"},
		"ack moves": {func(m *dhcpv4.DHCPv4) {
			if m.MessageType() == dhcpv4.MessageTypeAck {
				m.YourIPAddr = net.IP{10, 2, 0, 200}
			}
		}, "asked for"},
		"ack by another": {func(m *dhcpv4.DHCPv4) {
			if m.MessageType() == dhcpv4.MessageTypeAck {
				m.UpdateOption(dhcpv4.OptServerIdentifier(net.IP{10, 2, 0, 4}))
			}
		}, "by server 10.2.0.4"},
	} {
		s.behave(func(_, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { c.change(resp); return resp })
		cl := &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: Timing{First: 20 * time.Millisecond, Tries: 2}}
		l, err := cl.Acquire(t.Context())
		var no *NoAnswerError
		if !errors.As(err, &no) || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: lease %+v, error %v, want one with %q", name, l, err, c.want)
		}
	}
	before := r.Dropped()
	s.behave(func(_, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { resp.TransactionID[0]++; return resp })
	cl := &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: Timing{First: 20 * time.Millisecond, Tries: 1}}
	if _, err := cl.Acquire(t.Context()); err == nil || r.Dropped() == before {
		t.Errorf("foreign transaction: %v, dropped %d", err, r.Dropped())
	}
}

func TestSilenceAndNAK(t *testing.T) {
	n, s := lab(t)
	r := relay(t, n)
	c := &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: Timing{First: 20 * time.Millisecond, Max: 40 * time.Millisecond, Tries: 3}}

	s.mu.Lock()
	s.empty = true
	s.mu.Unlock()
	_, err := c.Acquire(t.Context())
	var no *NoAnswerError
	if !errors.As(err, &no) || no.Tries != 3 || no.Waiting != "offer" || no.Waited == 0 || errors.Is(err, ErrMalformed) ||
		!strings.Contains(err.Error(), "no offer from server 10.2.0.3 (relay 10.2.0.1) after 3 tries") || !strings.Contains(err.Error(), "free addresses") {
		t.Errorf("empty server: %v", err)
	}
	if got := len(s.messages(dhcpv4.MessageTypeDiscover)); got != 3 {
		t.Errorf("%d discovers, want 3", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	patient := *c
	patient.Timing = Timing{}
	if _, err := patient.Acquire(ctx); !errors.As(err, &no) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context ended: %v", err)
	}
	link := &Client{Sockets: n, Iface: "v0", MAC: macA, Timing: c.Timing}
	if _, err := link.Acquire(t.Context()); !errors.As(err, &no) || !strings.Contains(err.Error(), "any server on v0") {
		t.Errorf("empty server on the link: %v", err)
	}
	s.mu.Lock()
	s.empty = false
	s.mu.Unlock()

	// Lost answers are asked for again.
	lost := map[dhcpv4.MessageType]bool{}
	s.behave(func(req, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if !lost[req.MessageType()] {
			lost[req.MessageType()] = true
			return nil
		}
		return resp
	})
	checkLease(t, acquire(t, c), "10.2.0.100/24", append([]byte{1}, macA...))

	nak := func(_, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if resp.MessageType() == dhcpv4.MessageTypeAck {
			resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			resp.UpdateOption(dhcpv4.OptMessage("not \x1b[31mtoday\n" + strings.Repeat("x", 500)))
		}
		return resp
	}
	s.behave(nak)
	var refused *NAKError
	if _, err = c.Acquire(t.Context()); !errors.As(err, &refused) || refused.Server != serverA || refused.Addr.String() != "10.2.0.100" ||
		!strings.HasPrefix(refused.Message, "not [31mtodayxxx") || len(refused.Message) > maxMessage {
		t.Errorf("NAK: %v", err)
	}
	// One NAK only: the client begins again.
	once := false
	s.behave(func(req, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if resp.MessageType() == dhcpv4.MessageTypeAck && !once {
			once = true
			return nak(req, resp)
		}
		return resp
	})
	l := acquire(t, c)
	s.behave(nak)
	if _, err := c.Renew(t.Context(), l); !errors.As(err, &refused) {
		t.Errorf("renewal refused: %v", err)
	}

	// Ways to call it wrongly.
	for want, fn := range map[string]func() error{
		"Ethernet":        func() error { _, err := (&Client{Relay: r}).Acquire(t.Context()); return err },
		"neither a relay": func() error { _, err := (&Client{MAC: macA}).Acquire(t.Context()); return err },
		"2 to 255": func() error {
			_, err := (&Client{Relay: r, MAC: macA, ClientID: []byte{1}}).Acquire(t.Context())
			return err
		},
		"that Acquire": func() error { return c.Decline(t.Context(), Lease{}) },
		"no interface": func() error {
			_, err := (&Client{Sockets: n, Iface: "nosuch", MAC: macA}).Acquire(t.Context())
			return err
		},
		"not on this": func() error { _, err := link.Renew(t.Context(), l); return err },
		"access interface": func() error {
			_, err := OpenRelay(RelayConfig{Sockets: n, Giaddr: netip.MustParseAddr("10.9.9.9"), Server: serverA})
			return err
		},
		"unicast": func() error { _, err := OpenRelay(RelayConfig{Sockets: n, Server: serverA}); return err },
	} {
		if err := fn(); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "dhcp4: ") {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}

	// The relay closes under an exchange.
	s.behave(func(_, _ *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil })
	fail := make(chan error)
	go func() { _, err := patient.Acquire(context.Background()); fail <- err }()
	eventually(t, "exchange begun", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.byXID) == 1 })
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-fail; !errors.Is(err, net.ErrClosed) {
		t.Errorf("relay closed: %v", err)
	}
	if _, err := c.Acquire(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("relay closed before: %v", err)
	}
}

func TestLeaseJSON(t *testing.T) {
	l := Lease{
		Addr: netip.MustParsePrefix("10.2.0.100/24"), Router: giaddr, DNS: []netip.Addr{serverA}, Domains: []string{"site.example"}, PAA: serverA, ServerID: serverA,
		ClientID: []byte{1, 2}, Start: time.Unix(1000, 0).UTC(), Lifetime: time.Hour, T1: 30 * time.Minute, T2: 50 * time.Minute,
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"addr":"10.2.0.100/24","router":"10.2.0.1","dns":["10.2.0.3"],"domains":["site.example"],"paa":"10.2.0.3","server_id":"10.2.0.3","client_id":"0102","start":"1970-01-01T00:16:40Z","lifetime_s":3600,"t1_s":1800,"t2_s":3000}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var back Lease
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, l) {
		t.Errorf("back: %+v %v", back, err)
	}
	for _, bad := range []string{`{`, `{"client_id":"x"}`, `{"lifetime_s":-1}`, `{"lifetime_s":1e300}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
	if l.Expires() != l.Start.Add(time.Hour) || l.RenewAt() != l.Start.Add(30*time.Minute) {
		t.Error("Expires or RenewAt")
	}
}

// TestGiveBack: nothing is requested, and a server that is silent has got nothing.
func TestGiveBack(t *testing.T) {
	n, s := lab(t)
	r := relay(t, n)
	refused := errors.New("no room")
	c := &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: fast, Offered: func(l Lease) error {
		if l.Addr.String() != "10.2.0.100/24" || l.Lifetime != time.Hour {
			t.Errorf("told of %+v", l)
		}
		if len(s.messages(dhcpv4.MessageTypeRequest)) != 0 {
			t.Error("told of the offer after it was requested")
		}
		return refused
	}}
	if _, err := c.Acquire(t.Context()); !errors.Is(err, refused) || len(s.messages(dhcpv4.MessageTypeRequest)) != 0 {
		t.Errorf("acquired with %v", err)
	}
	c.Offered = nil
	l := acquire(t, c)
	if err := c.GiveBack(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release", func() bool { return len(s.messages(dhcpv4.MessageTypeRelease)) == 1 })
	if rel := s.messages(dhcpv4.MessageTypeRelease)[0]; rel.ClientIPAddr.String() != "10.2.0.100" || !rel.GatewayIPAddr.Equal(giaddr.AsSlice()) {
		t.Errorf("release %s", rel.Summary())
	}
	if n := len(s.messages(dhcpv4.MessageTypeRequest)); n != 1 {
		t.Errorf("%d requests", n)
	}
	s.behave(func(_, _ *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil })
	var silent *NoAnswerError
	if err := c.GiveBack(t.Context(), l); !errors.As(err, &silent) {
		t.Errorf("silent server: %v", err)
	}
	if err := c.GiveBack(t.Context(), Lease{}); err == nil {
		t.Error("no lease: want an error")
	}
}

// TestReleaseRefused: a server that is just being restarted hears of the release.
func TestReleaseRefused(t *testing.T) {
	osnettest.Enter(t)
	other := osnettest.Other(t)
	osnettest.VethTo(t, "v0", "v1", other)
	other(func() { osnettest.IP(t, "address add 10.2.0.3/24 dev v1") })
	osnettest.IP(t, "address add 10.2.0.100/24 dev v0")
	n, err := host.Linux(nil, osnet.OwnerLab)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c := &Client{Sockets: n, Iface: "v0", MAC: macA}
	l := Lease{Addr: netip.MustParsePrefix("10.2.0.100/24"), ServerID: serverA, ClientID: []byte{1, 2}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Release(ctx, l, netip.Addr{}); err == nil || !strings.Contains(err.Error(), "no server runs at 10.2.0.3") {
		t.Errorf("no server: %v", err)
	}
	renewing, err := openUnicast(n, "v0", netip.AddrPortFrom(l.Addr.Addr(), clientPort), serverA) // and disturbs nobody
	if err != nil {
		t.Fatal(err)
	}
	defer renewing.Close()
	done := make(chan error)
	go func() { done <- c.Release(t.Context(), l, netip.Addr{}) }()
	time.Sleep(400 * time.Millisecond)
	var server *net.UDPConn
	other(func() { server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: serverA.AsSlice(), Port: 67}) })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var buf [1500]byte
	if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	size, err := server.Read(buf[:])
	if err != nil {
		t.Fatal(err)
	}
	if m, err := dhcpv4.FromBytes(buf[:size]); err != nil || m.MessageType() != dhcpv4.MessageTypeRelease {
		t.Errorf("heard %v, %v", m, err)
	}
	// Once more, for a server that died before it had read this one.
	if again, err := server.Read(buf[size:]); err != nil || !bytes.Equal(buf[:size], buf[size:size+again]) {
		t.Errorf("the second one has %d octets, %v", again, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
