package dhcp6

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"github.com/insomniacslk/dhcp/iana"
	"go.uber.org/goleak"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	fast      = Timing{First: 100 * time.Millisecond, Max: 400 * time.Millisecond, Tries: 5}
	serverA   = netip.MustParseAddr("2001:db8:2::3")
	linkAddr  = netip.MustParseAddr("2001:db8:2::1")
	subnet    = netip.MustParsePrefix("2001:db8:2::/64")
	dns       = netip.MustParseAddr("2001:db8::53")
	local     = netip.MustParseAddr("fe80::1%v0")
	macA      = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	serverID  = dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 3}}
	firstAddr = netip.MustParseAddr("2001:db8:2::100")
)

// server is a small DHCPv6 server with a hook for misbehaviour.
type server struct {
	mu     sync.Mutex
	leases map[string]netip.Addr // client identifier to address
	bad    map[netip.Addr]bool   // declined
	seen   []*dhcpv6.Message
	outer  []*dhcpv6.RelayMessage
	reply  func(req, resp *dhcpv6.Message) *dhcpv6.Message // nil: as is; returns nil: silent
}

func (s *server) handle(conn net.PacketConn, peer net.Addr, d dhcpv6.DHCPv6) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := d.GetInnerMessage()
	if err != nil {
		return
	}
	s.seen = append(s.seen, m)
	resp := s.answer(m)
	if s.reply != nil && resp != nil {
		resp = s.reply(m, resp)
	}
	if resp == nil {
		return
	}
	var out dhcpv6.DHCPv6 = resp
	if r, ok := d.(*dhcpv6.RelayMessage); ok {
		s.outer = append(s.outer, r)
		if out, err = dhcpv6.NewRelayReplFromRelayForw(r, resp); err != nil {
			return
		}
	}
	_, _ = conn.WriteTo(out.ToBytes(), peer)
}

func (s *server) answer(m *dhcpv6.Message) *dhcpv6.Message {
	resp := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	resp.AddOption(dhcpv6.OptClientID(m.Options.ClientID()))
	resp.AddOption(dhcpv6.OptServerID(&serverID))
	key := string(m.Options.ClientID().ToBytes())
	asked := m.Options.OneIANA()
	ia := &dhcpv6.OptIANA{IaId: asked.IaId, T1: 15 * time.Minute, T2: 24 * time.Minute}
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			resp.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		} else {
			resp.MessageType = dhcpv6.MessageTypeAdvertise
		}
		if _, ok := s.leases[key]; !ok {
			a := firstAddr
			for s.bad[a] || s.taken(a) {
				a = a.Next()
			}
			s.leases[key] = a
		}
	case dhcpv6.MessageTypeDecline:
		s.bad[s.leases[key]] = true
		delete(s.leases, key)
		return resp
	case dhcpv6.MessageTypeRelease:
		delete(s.leases, key)
		return resp
	}
	if a, ok := s.leases[key]; ok {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: 30 * time.Minute, ValidLifetime: time.Hour})
	} else {
		ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoBinding, StatusMessage: "who\x00 are you?"})
	}
	resp.AddOption(ia)
	resp.AddOption(dhcpv6.OptDNS(dns.AsSlice()))
	return resp
}

func (s *server) taken(a netip.Addr) bool {
	for _, l := range s.leases {
		if l == a {
			return true
		}
	}
	return false
}

func (s *server) relayed() []*dhcpv6.RelayMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.outer)
}

func (s *server) behave(fn func(req, resp *dhcpv6.Message) *dhcpv6.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = fn
}

func (s *server) messages(typ dhcpv6.MessageType) []*dhcpv6.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*dhcpv6.Message
	for _, m := range s.seen {
		if m.MessageType == typ {
			out = append(out, m)
		}
	}
	return out
}

// bed is a client's namespace (the test's) joined by v0-v1 to the server's, where far runs.
func bed(t *testing.T) (n host.Host, far func(func())) {
	t.Helper()
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	far = osnettest.Other(t)
	far(func() { osnettest.NoLinkLocal(t) })
	osnettest.VethTo(t, "v0", "v1", far)
	add := func(dev string, addrs ...string) {
		for _, a := range addrs {
			osnettest.IP(t, "address add "+a+" dev "+dev+" nodad")
		}
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			routes := osnettest.IP(t, "-6 route show table local dev "+dev)
			if strings.Contains(routes, "ff00::/8") && strings.Count(routes, "local ") >= len(addrs) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not come up:\n%s", dev, routes)
			}
		}
	}
	add("v0", "fe80::1/64", linkAddr.String()+"/64")
	far(func() { add("v1", "fe80::3/64", serverA.String()+"/64") })
	n, err := host.Linux(nil, osnet.OwnerLab)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, far
}

func lab(t *testing.T) (host.Host, *server) {
	t.Helper()
	n, far := bed(t)
	s := &server{leases: make(map[string]netip.Addr), bad: make(map[netip.Addr]bool)}
	var srv *server6.Server
	far(func() {
		var err error
		if srv, err = server6.NewServer("v1", &net.UDPAddr{IP: net.IPv6unspecified, Port: serverPort}, s.handle); err != nil {
			t.Error(err)
		}
	})
	if srv == nil {
		t.FailNow()
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve() }()
	t.Cleanup(func() { srv.Close(); <-done })
	return n, s
}

func relay(t *testing.T, s host.Sockets) *Relay {
	t.Helper()
	r, err := OpenRelay(RelayConfig{Sockets: s, Link: linkAddr, Server: serverA, InterfaceID: "lan0"})
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

func acquire(t *testing.T, c *Client) Lease {
	t.Helper()
	l, err := c.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func checkLease(t *testing.T, l Lease, addr netip.Addr, id []byte) {
	t.Helper()
	if l.Addr != addr || !slices.Equal(l.ClientID, id) || !slices.Equal(l.ServerID, serverID.ToBytes()) || !slices.Equal(l.DNS, []netip.Addr{dns}) ||
		l.Preferred != 30*time.Minute || l.Valid != time.Hour || l.T1 != 15*time.Minute || l.T2 != 24*time.Minute || l.Start.IsZero() ||
		l.Expires() != l.Start.Add(time.Hour) || l.RenewAt() != l.Start.Add(15*time.Minute) {
		t.Errorf("lease %+v, want %s for %x", l, addr, id)
	}
}

// life is what a lease goes through, over either way to the server.
func life(t *testing.T, c *Client, s *server) {
	var offered []Lease
	c.Offered = func(l Lease) error { offered = append(offered, l); return nil }
	l := acquire(t, c)
	checkLease(t, l, firstAddr, c.ClientID)
	if len(offered) != 1 || offered[0].Addr != l.Addr || len(s.messages(dhcpv6.MessageTypeRequest)) == 0 {
		t.Errorf("offered %+v", offered)
	}
	sol, req := s.messages(dhcpv6.MessageTypeSolicit)[0], s.messages(dhcpv6.MessageTypeRequest)[0]
	if sol.TransactionID == req.TransactionID || sol.Options.ServerID() != nil || sol.GetOneOption(dhcpv6.OptionElapsedTime) == nil ||
		!sol.IsOptionRequested(dhcpv6.OptionDNSRecursiveNameServer) || sol.GetOneOption(dhcpv6.OptionRapidCommit) != nil ||
		req.Options.OneIANA().Options.OneAddress().IPv6Addr.String() != firstAddr.String() {
		t.Errorf("solicit %s\nrequest %s", sol.Summary(), req.Summary())
	}
	for name, extend := range map[string]func(context.Context, Lease) (Lease, error){"renew": c.Renew, "rebind": c.Rebind} {
		again, err := extend(t.Context(), l)
		if err != nil || again.Start.Before(l.Start) {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
		checkLease(t, again, firstAddr, c.ClientID)
	}
	if s.messages(dhcpv6.MessageTypeRenew)[0].Options.ServerID() == nil || s.messages(dhcpv6.MessageTypeRebind)[0].Options.ServerID() != nil {
		t.Error("a renewal names the server, a rebinding none")
	}

	// A conflict: the address is declined, another one comes, in two messages.
	if err := c.Decline(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	c.Rapid = true
	requests := len(s.messages(dhcpv6.MessageTypeRequest))
	l = acquire(t, c)
	checkLease(t, l, firstAddr.Next(), c.ClientID)
	if len(offered) != 1 || len(s.messages(dhcpv6.MessageTypeRequest)) != requests {
		t.Error("rapid commit took a request")
	}
	if err := c.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, err := c.Renew(t.Context(), l)
	var status *StatusError
	if !errors.As(err, &status) || status.Code != uint16(iana.StatusNoBinding) || status.Message != "who are you?" {
		t.Errorf("renewing what was released: %v", err)
	}
	if err := c.Release(t.Context(), l); err != nil {
		t.Errorf("released again: %v", err)
	}
}

func TestOnLink(t *testing.T) {
	n, s := lab(t)
	c := &Client{Sockets: n, Local: local, MAC: macA, ClientID: []byte{0, 2, 0, 0, 0x30, 0x39, 'm', 'n'}, IAID: [4]byte{1, 2, 3, 4}, Subnet: subnet, Timing: fast}
	life(t, c, s)
	if s.messages(dhcpv6.MessageTypeSolicit)[0].Options.OneIANA().IaId != c.IAID || len(s.relayed()) != 0 {
		t.Error("not as this client")
	}
}

// TestRelayed leases for one node and for many at once over one socket.
func TestRelayed(t *testing.T) {
	n, s := lab(t)
	r := relay(t, n)
	if _, err := OpenRelay(RelayConfig{Sockets: n, Link: linkAddr, Server: serverA}); err == nil || !strings.Contains(err.Error(), "another DHCPv6 server") {
		t.Errorf("second relay: %v", err)
	}
	if _, err := OpenRelay(RelayConfig{Sockets: n, Link: netip.MustParseAddr("2001:db8:9::1"), Server: serverA}); err == nil || !strings.Contains(err.Error(), "to the interface first") {
		t.Errorf("relay elsewhere: %v", err)
	}
	life(t, &Client{Relay: r, MAC: macA, ClientID: []byte{0, 2, 0, 0, 0x30, 0x39, 'm', 'n'}, Subnet: subnet, Timing: fast}, s)
	for _, o := range s.relayed() {
		hw, mac := o.Options.ClientLinkLayerAddress()
		if o.LinkAddr.String() != linkAddr.String() || o.PeerAddr.String() != nd.LinkLocal(acd.MAC(macA)).String() || o.HopCount != 0 ||
			string(o.Options.InterfaceID()) != "lan0" || hw != iana.HWTypeEthernet || mac.String() != macA.String() {
			t.Errorf("relayed %s", o.Summary())
		}
	}
	if l := acquire(t, &Client{Relay: r, MAC: macA, Timing: fast}); !slices.Equal(l.ClientID, append([]byte{0, 3, 0, 1}, macA...)) || l.IAID != [4]byte{0, 0, 0, 0xa} {
		t.Errorf("default identifiers %x %x", l.ClientID, l.IAID)
	}
	const nodes = 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := make(map[netip.Addr]bool)
	for i := range nodes {
		wg.Go(func() {
			c := &Client{Relay: r, MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}, Subnet: subnet, Timing: fast}
			l, err := c.Acquire(t.Context())
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			if again, err := c.Renew(t.Context(), l); err != nil || again.Addr != l.Addr {
				t.Errorf("node %d: renew: %v %v", i, again.Addr, err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[l.Addr] = true
		})
	}
	wg.Wait()
	if len(got) != nodes || len(r.byXID) != 0 {
		t.Errorf("%d addresses for %d nodes, %d transactions left", len(got), nodes, len(r.byXID))
	}
}

// TestRefusals: answers of a server gone wrong are not believed, and the error names what was wrong.
func TestRefusals(t *testing.T) {
	n, s := lab(t)
	r := relay(t, n)
	address := func(fn func(*dhcpv6.OptIAAddress)) func(*dhcpv6.Message) {
		return func(m *dhcpv6.Message) { fn(m.Options.OneIANA().Options.OneAddress()) }
	}
	inReply := func(fn func(*dhcpv6.Message)) func(*dhcpv6.Message) {
		return func(m *dhcpv6.Message) {
			if m.MessageType == dhcpv6.MessageTypeReply {
				fn(m)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*dhcpv6.Message)
		want   string
	}{
		"outside":        {address(func(a *dhcpv6.OptIAAddress) { a.IPv6Addr = net.ParseIP("2001:db8:3::5") }), "outside 2001:db8:2::/64"},
		"multicast":      {address(func(a *dhcpv6.OptIAAddress) { a.IPv6Addr = net.ParseIP("ff02::5") }), "no unicast"},
		"link-local":     {address(func(a *dhcpv6.OptIAAddress) { a.IPv6Addr = net.ParseIP("fe80::5") }), "no unicast"},
		"no time":        {address(func(a *dhcpv6.OptIAAddress) { a.PreferredLifetime, a.ValidLifetime = 0, 0 }), "valid lifetime 0"},
		"preferred":      {address(func(a *dhcpv6.OptIAAddress) { a.PreferredLifetime = 2 * time.Hour }), "preferred for 2h0m0s"},
		"T1 after T2":    {func(m *dhcpv6.Message) { m.Options.OneIANA().T1 = time.Hour }, "T1"},
		"no IA":          {func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionIANA) }, "no IA_NA"},
		"another IA":     {func(m *dhcpv6.Message) { m.Options.OneIANA().IaId[0]++ }, "no IA_NA"},
		"no address":     {func(m *dhcpv6.Message) { m.Options.OneIANA().Options.Del(dhcpv6.OptionIAAddr) }, "without an address"},
		"no server":      {func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionServerID) }, "no server identifier"},
		"no client":      {func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionClientID) }, "client identifier"},
		"another client": {func(m *dhcpv6.Message) { m.UpdateOption(dhcpv6.OptClientID(&serverID)) }, "client identifier"},
		"reply moves":    {inReply(address(func(a *dhcpv6.OptIAAddress) { a.IPv6Addr = net.ParseIP("2001:db8:2::200") })), "asked for"},
		"another server": {inReply(func(m *dhcpv6.Message) {
			m.UpdateOption(dhcpv6.OptServerID(&dhcpv6.DUIDEN{EnterpriseNumber: 9, EnterpriseIdentifier: []byte{1}}))
		}), "reply by server"},
	} {
		s.behave(func(_, resp *dhcpv6.Message) *dhcpv6.Message { c.change(resp); return resp })
		cl := &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: Timing{First: 20 * time.Millisecond, Tries: 2}}
		l, err := cl.Acquire(t.Context())
		var no *NoAnswerError
		if !errors.As(err, &no) || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: lease %+v, error %v, want one with %q", name, l, err, c.want)
		}
	}
	quick := func() *Client {
		return &Client{Relay: r, MAC: macA, Subnet: subnet, Timing: Timing{First: 20 * time.Millisecond, Max: 40 * time.Millisecond, Tries: 3}}
	}
	before := r.Dropped()
	s.behave(func(_, resp *dhcpv6.Message) *dhcpv6.Message { resp.TransactionID[0]++; return resp })
	if _, err := quick().Acquire(t.Context()); err == nil || r.Dropped() == before {
		t.Errorf("foreign transaction: %v, dropped %d", err, r.Dropped())
	}

	status := func(in dhcpv6.MessageType, code iana.StatusCode) {
		s.behave(func(_, resp *dhcpv6.Message) *dhcpv6.Message {
			if resp.MessageType == in {
				resp.Options.OneIANA().Options = dhcpv6.IdentityOptions{}
				resp.Options.OneIANA().Options.Add(&dhcpv6.OptStatusCode{StatusCode: code})
			}
			return resp
		})
	}
	var no *NoAnswerError
	var refused *StatusError
	status(dhcpv6.MessageTypeAdvertise, iana.StatusNoAddrsAvail) // another server may have some: it is asked on
	if _, err := quick().Acquire(t.Context()); !errors.As(err, &no) || no.Tries != 3 || !errors.As(err, &refused) || refused.Code != 2 {
		t.Errorf("advertised nothing: %v", err)
	}
	status(dhcpv6.MessageTypeReply, iana.StatusNotOnLink)
	no = nil
	if _, err := quick().Acquire(t.Context()); errors.As(err, &no) || !errors.As(err, &refused) || refused.Code != 4 {
		t.Errorf("not on the link: %v", err)
	}
	s.behave(nil)
	l := acquire(t, quick())
	s.behave(func(_, resp *dhcpv6.Message) *dhcpv6.Message {
		a := resp.Options.OneIANA().Options.OneAddress()
		a.PreferredLifetime, a.ValidLifetime = 0, 0
		return resp
	})
	if _, err := quick().Renew(t.Context(), l); !errors.Is(err, ErrWithdrawn) {
		t.Errorf("withdrawn: %v", err)
	}

	s.behave(func(_, _ *dhcpv6.Message) *dhcpv6.Message { return nil })
	releases := len(s.messages(dhcpv6.MessageTypeRelease))
	err := quick().Release(t.Context(), l)
	if !errors.As(err, &no) || no.Tries != 3 || no.Waited == 0 || errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "no reply from server 2001:db8:2::3 (relay 2001:db8:2::1) after 3 tries") {
		t.Errorf("silent server: %v", err)
	}
	if got := len(s.messages(dhcpv6.MessageTypeRelease)) - releases; got != 3 {
		t.Errorf("%d releases, want 3", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := (&Client{Relay: r, MAC: macA}).Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended: %v", err)
	}
	failed := errors.New("cannot be written down")
	s.behave(nil)
	if _, err := (&Client{Relay: r, MAC: macA, Timing: fast, Offered: func(Lease) error { return failed }}).Acquire(t.Context()); !errors.Is(err, failed) {
		t.Errorf("offer not taken: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := quick().Acquire(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestBadClients(t *testing.T) {
	r := &Relay{}
	for name, c := range map[string]*Client{
		"no MAC":      {Relay: r},
		"IPv4 subnet": {Relay: r, MAC: macA, Subnet: netip.MustParsePrefix("10.0.0.0/8")},
		"short DUID":  {Relay: r, MAC: macA, ClientID: []byte{1, 2}},
		"long DUID":   {Relay: r, MAC: macA, ClientID: make([]byte, 131)},
		"peer":        {Relay: r, MAC: macA, Peer: linkAddr},
		"nothing":     {MAC: macA},
	} {
		if _, err := c.Acquire(t.Context()); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	if _, err := (&Client{Relay: r, MAC: macA}).Renew(t.Context(), Lease{}); err == nil || !strings.Contains(err.Error(), "that Acquire returned") {
		t.Errorf("no lease: %v", err)
	}
}

func TestLeaseJSON(t *testing.T) {
	l := Lease{Addr: firstAddr, DNS: []netip.Addr{dns}, Domains: []string{"site.example"}, PAA: dns, ServerID: []byte{1, 2, 3}, ClientID: []byte{4, 5, 6}, IAID: [4]byte{7}, Start: time.Unix(1000, 0).UTC(), Preferred: time.Hour, Valid: nd.Infinite, T1: 1, T2: 2}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var got Lease
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, l) {
		t.Errorf("%s: %+v %v", b, got, err)
	}
}

// TestNamed: of the authentication agents that a server names (RFC 5192 section 4) the first that can be one is taken, and
// domains that are some.
func TestNamed(t *testing.T) {
	id := &identity{clientID: []byte{0, 3, 1}}
	for _, c := range []struct {
		agents []netip.Addr
		cut    int
		want   netip.Addr
	}{
		{nil, 0, netip.Addr{}},
		{[]netip.Addr{dns}, 0, dns},
		{[]netip.Addr{netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("::"), dns}, 0, dns},
		{[]netip.Addr{dns}, 1, netip.Addr{}},
	} {
		m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply}
		ia := &dhcpv6.OptIANA{IaId: id.iaid}
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: firstAddr.AsSlice(), PreferredLifetime: time.Hour, ValidLifetime: time.Hour})
		m.AddOption(ia)
		var raw []byte
		for _, a := range c.agents {
			raw = append(raw, a.AsSlice()...)
		}
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionPANAAuthenticationAgent, OptionData: raw[:len(raw)-c.cut]})
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionDomainSearchList, OptionData: []byte("\x04site\x07example\x00\x03a b\x00")})
		l, err := id.lease(m, []byte{1, 2, 3}, time.Now())
		if err != nil || l.PAA != c.want || !slices.Equal(l.Domains, []string{"site.example"}) {
			t.Errorf("%v: %+v, %v", c.agents, l, err)
		}
	}
}
