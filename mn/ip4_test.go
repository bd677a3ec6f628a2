package mn

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"openmpa/internal/acd"
	"openmpa/internal/host"
)

// pastARP is a machine whose ARP sockets are silent, but the first, in which lies what a router has said while
// the node was elsewhere.
type pastARP struct {
	host.Host
	said   acd.Packet
	opened atomic.Int32
}

func (h *pastARP) OpenARP(string) (host.ARP, error) {
	s := &pastSocket{}
	if h.opened.Add(1) == 1 {
		s.lies = []acd.Packet{h.said}
	}
	return s, nil
}

type pastSocket struct {
	host.ARP
	lies []acd.Packet
}

func (s *pastSocket) ReadARP(ctx context.Context) (acd.Packet, error) {
	if len(s.lies) > 0 {
		p := s.lies[0]
		s.lies = nil
		return p, nil
	}
	<-ctx.Done()
	return acd.Packet{}, ctx.Err()
}

func (s *pastSocket) WriteARP(net.HardwareAddr, acd.Packet) error { return nil }
func (s *pastSocket) Close() error                                { return nil }

// TestProbePast: what somebody has said before an address is looked for is no conflict.
func TestProbePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addr := netip.MustParseAddr("10.1.0.100")
		router := acd.MAC{2, 0, 0, 0, 0, 1}
		h := &pastARP{said: acd.Packet{Op: acd.OpReply, SenderMAC: router, SenderIP: addr, TargetMAC: router, TargetIP: addr}}
		n := &Node{net: h, cfg: Config{DAD: acd.DefaultTimers(), Rand: rand.Reader}}
		i, err := openIP4(&port{n: n, name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 2}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := i.probe(t.Context(), addr); err != nil {
				t.Errorf("a free address: %v", err)
			}
		}
		if err := i.close(); err != nil {
			t.Error(err)
		}
	})
}
