package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"openmpa/internal/neighbourhood"
	"openmpa/testbed/zone"
)

// serveZone serves z on loopback.
func serveZone(t *testing.T, z *zone.Zone) Resolver {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { z.Serve(conn); close(done) }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return Resolver{Servers: []netip.Addr{at.Addr()}, Dial: func(server netip.AddrPort) (net.Conn, error) {
		if server.Port() != 53 {
			return nil, fmt.Errorf("asked at %v", server)
		}
		return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	}}
}

// TestAgents: who a domain's agents are, in the order of their priority, and nothing of what cannot be.
func TestAgents(t *testing.T) {
	a4, a6 := netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("2001:db8:2::1")
	z := &zone.Zone{
		Name: "_pana._udp.site.example.",
		SRV:  []dnsmessage.SRVResource{zone.SRV(10, 717, "b.site.example."), zone.SRV(0, 716, "A.site.example."), zone.SRV(20, 716, "gone.site.example."), zone.SRV(20, 716, "lo.site.example.")},
		Addrs: map[string][]netip.Addr{
			"a.site.example.": {a4, a6}, "A.site.example.": {a4, a6}, "b.site.example.": {netip.MustParseAddr("10.1.0.1")},
			"lo.site.example.": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("fe80::1")},
		},
	}
	r := serveZone(t, z)
	got, err := r.Agents(t.Context(), "site.example")
	if err != nil || len(got) != 2 || got[0].Network() != "a" || len(got[0].Addrs) != 2 || got[1].Network() != "b" || got[1].Addrs[0] != netip.MustParseAddrPort("10.1.0.1:717") {
		t.Errorf("%+v, %v", got, err)
	}
	st := statement("site.example", got)
	if len(st.Networks) != 2 || st.From.Kind != neighbourhood.Link {
		t.Errorf("%+v", st)
	}
	for _, n := range st.Networks {
		if err := n.Check(); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Agents(t.Context(), "other.example"); err == nil {
		t.Error("agents of a domain that is not there")
	}
	if _, err := r.Agents(t.Context(), "site example"); err == nil {
		t.Error("agents of what is no domain")
	}
	if _, err := (Resolver{}).Agents(t.Context(), "site.example"); err == nil {
		t.Error("agents without a server")
	}
}

// TestLyingZone: a server that names hundreds, answers with rubbish or not at all costs a bounded number of questions, and time.
func TestLyingZone(t *testing.T) {
	many := &zone.Zone{Name: "_pana._udp.site.example.", Addrs: map[string][]netip.Addr{}}
	for i := range 40 { // as many as fit a datagram
		host := fmt.Sprintf("n%d.x.", i)
		many.SRV = append(many.SRV, zone.SRV(0, 716, host))
		for j := range 20 {
			many.Addrs[host] = append(many.Addrs[host], netip.AddrFrom4([4]byte{10, 9, byte(i), byte(j + 1)}))
		}
	}
	r := serveZone(t, many)
	got, err := r.Agents(t.Context(), "site.example")
	if err == nil { // or it did not fit
		for _, g := range got {
			if len(g.Addrs) > maxAddresses {
				t.Errorf("%+v", g)
			}
		}
	}
	if len(got) > maxTargets || many.Asked.Load() > 4*(maxTargets+1) {
		t.Errorf("%d agents, %d questions", len(got), many.Asked.Load())
	}
	for what, mangle := range map[string]func([]byte) []byte{
		"rubbish": func(b []byte) []byte { return b[:len(b)/2] },
		"silence": func([]byte) []byte { return nil },
		"cut":     func(b []byte) []byte { b[2] |= 2; return b },
	} {
		z := &zone.Zone{Name: "_pana._udp.site.example.", SRV: []dnsmessage.SRVResource{zone.SRV(0, 716, "a.site.example.")}, Mangle: mangle}
		if got, err := serveZone(t, z).Agents(t.Context(), "site.example"); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
		if z.Asked.Load() > 20 {
			t.Errorf("%s: %d questions", what, z.Asked.Load())
		}
	}
}

// namer is a link with a domain.
type namer struct {
	arrived chan struct{}
	r       Resolver
	domains []string
}

func (n *namer) Arrived() <-chan struct{}    { return n.arrived }
func (n *namer) Names() (Resolver, []string) { return n.r, n.domains }

// TestDNS: what a link's domain has is said.
func TestDNS(t *testing.T) {
	z := &zone.Zone{Name: "_pana._udp.site.example.", SRV: []dnsmessage.SRVResource{zone.SRV(0, 716, "a.site.example.")}, Addrs: map[string][]netip.Addr{"a.site.example.": {netip.MustParseAddr("10.2.0.1")}}}
	ctx, cancel := context.WithCancelCause(t.Context())
	end := errors.New("end")
	DNS{Namer: &namer{make(chan struct{}, 1), serveZone(t, z), []string{"other.example", "site.example"}}, Log: quiet}.Run(ctx, func(st Statement) {
		if st.From.Name != "dns site.example" || len(st.Networks) != 1 || st.Networks[0].Agents[0].Addr != netip.MustParseAddrPort("10.2.0.1:716") {
			t.Errorf("%+v", st)
		}
		cancel(end)
	})
	if context.Cause(ctx) != end {
		t.Error("nothing was said")
	}
}
