package mn

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
)

// natHost is a machine behind a NAT, as far as its UDP sockets are concerned:
// forget has every one of them speak from another port, and nothing that is sent
// to the port of before arrives.
type natHost struct {
	host.Host
	mu      sync.Mutex
	sockets []*natUDP
}

func (h *natHost) ListenUDP(local netip.AddrPort) (host.UDP, error) {
	s, err := h.Host.ListenUDP(local)
	if err != nil {
		return nil, err
	}
	n := &natUDP{h: h, UDP: s}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets = append(h.sockets, n)
	return n, nil
}

func (h *natHost) forget(t *testing.T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sockets {
		s.mu.Lock()
		if !s.closed {
			another, err := h.Host.ListenUDP(netip.AddrPortFrom(netip.MustParseAddrPort(s.UDP.LocalAddr().String()).Addr(), 0))
			if err != nil {
				t.Error(err)
			} else {
				_ = s.UDP.Close()
				s.UDP = another
			}
		}
		s.mu.Unlock()
	}
}

type natUDP struct {
	h      *natHost
	mu     sync.Mutex
	closed bool
	host.UDP
}

func (s *natUDP) current() (host.UDP, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.UDP, s.closed
}

func (s *natUDP) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		u, closed := s.current()
		n, from, err := u.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) && !closed {
			if again, closed := s.current(); again != u && !closed {
				continue
			}
		}
		return n, from, err
	}
}

func (s *natUDP) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	u, _ := s.current()
	return u.WriteToUDPAddrPort(b, to)
}

func (s *natUDP) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.UDP.Close()
}

// TestMappingsChange: a NAT forgets its mappings while the router configures the
// address; the node's pings show it the way for the answer.
func TestMappingsChange(t *testing.T) {
	nat := &natHost{}
	b := start(t, func(c *Config) {
		c.Timers.Configure = 10 * time.Second // less than until the next ping of an idle session
		c.Host = func(log *slog.Logger, owner string) (h host.Host, err error) {
			nat.Host, err = host.Linux(log, owner)
			return nat, err
		}
	})
	b.stopRouter("a")
	b.probes.ProbeMin, b.probes.ProbeMax, b.probes.ProbeNum = 300*time.Millisecond, 300*time.Millisecond, 3
	b.open["a"]()
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := func() bool { // the router probes the address: it has the request
		v := b.routers["a"].Status().Visitors
		return len(v) == 1 && b.node.Status().State != "attached" && len(b.dhcp.Leases()) == 2
	}
	for end := time.Now().Add(patience); !acknowledged(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no configuration")
		}
	}
	nat.forget(t)
	if o, err := h.Wait(t.Context()); o != event.Completed || err != nil {
		t.Errorf("%s, %v", o, err)
	}
}
