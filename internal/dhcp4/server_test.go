package dhcp4

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"go.uber.org/goleak"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	fast    = Timing{First: 100 * time.Millisecond, Max: 400 * time.Millisecond, Tries: 3}
	serverA = netip.MustParseAddr("10.2.0.3")
	subnet  = netip.MustParsePrefix("10.2.0.0/24")
	giaddr  = netip.MustParseAddr("10.2.0.1")
	macA    = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
)

// server is a small DHCP server with a hook for misbehaviour.
type server struct {
	mu     sync.Mutex
	leases map[string]netip.Addr // client identifier to address
	bad    map[netip.Addr]bool   // declined
	seen   []*dhcpv4.DHCPv4
	reply  func(req, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 // nil: as is; returns nil: silent
	empty  bool
}

func (s *server) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, m)
	id := string(m.Options.Get(dhcpv4.OptionClientIdentifier))
	typ := dhcpv4.MessageTypeOffer
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if s.empty {
			return
		}
		if _, ok := s.leases[id]; !ok {
			a := netip.MustParseAddr("10.2.0.100")
			for s.bad[a] || s.taken(a) {
				a = a.Next()
			}
			s.leases[id] = a
		}
	case dhcpv4.MessageTypeRequest:
		typ = dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeDecline:
		s.bad[s.leases[id]] = true
		delete(s.leases, id)
		return
	case dhcpv4.MessageTypeRelease:
		delete(s.leases, id)
		return
	default:
		return
	}
	resp, err := dhcpv4.NewReplyFromRequest(m,
		dhcpv4.WithMessageType(typ), dhcpv4.WithYourIP(ip(s.leases[id])), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(ip(giaddr)), dhcpv4.WithDNS(net.IP{10, 0, 4, 53}), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(serverA))))
	if err != nil {
		return
	}
	if s.reply != nil {
		if resp = s.reply(m, resp); resp == nil {
			return
		}
	}
	switch {
	case !m.GatewayIPAddr.IsUnspecified():
		peer = &net.UDPAddr{IP: m.GatewayIPAddr, Port: 67}
	case m.IsBroadcast():
		peer = &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
	}
	_, _ = conn.WriteTo(resp.ToBytes(), peer)
}

func (s *server) taken(a netip.Addr) bool {
	for _, l := range s.leases {
		if l == a {
			return true
		}
	}
	return false
}

func (s *server) messages(typ dhcpv4.MessageType) []*dhcpv4.DHCPv4 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*dhcpv4.DHCPv4
	for _, m := range s.seen {
		if m.MessageType() == typ {
			out = append(out, m)
		}
	}
	return out
}

func (s *server) behave(fn func(req, resp *dhcpv4.DHCPv4) *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = fn
}

// lab is a client's namespace (the test's) joined by v0-v1 to the server's.
func lab(t *testing.T) (host.Host, *server) {
	t.Helper()
	osnettest.Enter(t)
	other := osnettest.Other(t)
	osnettest.VethTo(t, "v0", "v1", other)
	s := &server{leases: make(map[string]netip.Addr), bad: make(map[netip.Addr]bool)}
	var srv *server4.Server
	other(func() {
		osnettest.IP(t, "address add 10.2.0.3/24 dev v1")
		c, err := server4.NewIPv4UDPConn("v1", &net.UDPAddr{IP: net.IPv4zero, Port: 67})
		if err != nil {
			t.Error(err)
			return
		}
		if srv, err = server4.NewServer("", nil, s.handle, server4.WithConn(c)); err != nil {
			t.Error(err)
		}
	})
	if srv == nil {
		t.FailNow()
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve() }()
	t.Cleanup(func() { srv.Close(); <-done })
	n, err := host.Linux(nil, osnet.OwnerLab)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, s
}

func acquire(t *testing.T, c *Client) Lease {
	t.Helper()
	l, err := c.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func checkLease(t *testing.T, l Lease, addr string, id []byte) {
	t.Helper()
	if l.Addr.String() != addr || l.Router != giaddr || l.ServerID != serverA || !slices.Equal(l.ClientID, id) ||
		!slices.Equal(l.DNS, []netip.Addr{netip.MustParseAddr("10.0.4.53")}) ||
		l.Lifetime != time.Hour || l.T1 != 30*time.Minute || l.T2 != 52*time.Minute+30*time.Second || l.Start.IsZero() {
		t.Errorf("lease %+v, want %s for %x", l, addr, id)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
