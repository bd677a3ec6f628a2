package par

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// TestConservation: whatever the node, the access points and its previous routers say, in
// whatever order and while packets come and some cannot be sent, the node has each packet
// or it is counted as dropped, and in the end nothing is left in the kernel.
func TestConservation(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Offload, c.Host = true, refusing
		c.Host = refusing
		c.Classes = []flow.Class{
			{Name: "voice", DSCP: []uint8{46}, Handling: flow.HandleBicast, Limits: flow.Limits{MaxAge: 50 * time.Millisecond}},
			{Name: "scavenger", DSCP: []uint8{8}, Handling: flow.HandlePass},
			{Name: "rest"},
		}
		c.Buffer.Each.Packets = 5
	})
	idle := b.idle()
	all := map[string]flow.Stats{}
	for seed := range uint64(6) {
		all[fmt.Sprint(seed)] = b.conserves(t, rand.New(rand.NewPCG(seed, 1)))
		if now := b.idle(); now != idle {
			t.Fatalf("seed %d: the kernel has\n%s\nbefore\n%s", seed, now, idle)
		}
		b.await("the lease to be released", func() bool { return len(b.dhcp.Leases()) == 0 })
	}
	if s := sum(all); s.Tunneled == 0 || s.Linked == 0 || s.Bicast == 0 || s.Copied == 0 || s.Recovered == 0 || s.Held == 0 ||
		s.Dropped[flow.ReasonPolicy] == 0 || s.Dropped[flow.ReasonSend] == 0 || s.Dropped[flow.ReasonPackets]+s.Dropped[flow.ReasonShare] == 0 {
		t.Errorf("not everything occurred: %+v", s)
	}
}

// refusing is the machine, but every now and then what is to leave by ESP cannot.
func refusing(log *slog.Logger, owner string) (host.Host, error) {
	h, err := host.Linux(log, owner)
	return refusingHost{h}, err
}

type refusingHost struct{ host.Host }

// OpenESP implements host.Sockets.
func (h refusingHost) OpenESP(local netip.AddrPort, o bind.Options) (host.ESP, error) {
	s, err := h.Host.OpenESP(local, o)
	return &refusingESP{ESP: s}, err
}

type refusingESP struct {
	host.ESP
	sends atomic.Int64
}

// Send implements host.ESP.
func (s *refusingESP) Send(to netip.AddrPort, pkt []byte, tos uint8) error {
	if s.sends.Add(1)%7 == 0 {
		return unix.ENOBUFS
	}
	return s.ESP.Send(to, pkt, tos)
}

// SendBatch implements host.ESP: of some only the first packet leaves.
func (s *refusingESP) SendBatch(to netip.AddrPort, pkts []byte, size int, tos uint8) (sent int, err error) {
	if s.sends.Add(1)%7 != 0 {
		return s.ESP.SendBatch(to, pkts, size, tos)
	}
	if len(pkts) > size {
		sent, _ = s.ESP.SendBatch(to, pkts[:size], size, tos)
	}
	return sent, unix.ENOBUFS
}

// conserves runs one sequence and returns what became of its packets.
func (b *bed) conserves(t *testing.T, rnd *rand.Rand) flow.Stats {
	g := b.prepared(1)
	g.settleIn()
	v := b.r.visitor(1)
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for n := uint32(0); ; n++ {
			select {
			case <-done:
				if n%8 > 0 && n%8 <= 4 {
					b.r.endpoint.Uncork()
				}
				return
			default:
				if n%8 == 0 {
					b.r.endpoint.Cork()
				}
				v.down(time.Now(), classedPacket(t, g.addr, [...]uint8{46, 8, 0}[n%3], n))
				if n%8 == 4 {
					b.r.endpoint.Uncork()
				}
				time.Sleep(20 * time.Microsecond)
			}
		}
	})
	previous := netip.MustParseAddrPort("10.3.0.2:7000")
	head := func() notify.Header { return notify.Header{Handover: event.HandoverID{1, byte(rnd.IntN(4))}} }
	for range 150 {
		var m notify.Message
		switch rnd.IntN(16) {
		case 0, 1, 2:
			m = &notify.Arrival{Header: head(), Receipts: g.receipts()}
		case 3:
			m = &notify.Arrival{Header: head(), Previous: previous}
		case 4:
			m = &notify.Follow{Header: head()}
		case 5:
			m = &notify.SwitchBack{Header: head()}
		case 6, 7, 8:
			m = &notify.Deliver{Header: head(), How: notify.How(1 + rnd.IntN(3)), Outer: g.t.Socket().LocalAddr()}
		case 9, 10, 11:
			_ = g.t.SendMarker(tunnel.Marker{Kind: tunnel.Depart, Handover: head().Handover, Seq: rnd.Uint32N(100)})
		case 12, 13:
			_ = g.t.SendMarker(tunnel.Marker{Kind: tunnel.Resume, Handover: head().Handover, Seq: rnd.Uint32N(100), Receipts: g.receipts()})
		case 14:
			v.gone()
		case 15:
			v.returned()
		}
		if m != nil {
			b.r.SessionMessage(1, m)
		}
		time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
		for len(b.messages(1)) > 0 {
			<-b.messages(1)
		}
		for len(g.markers) > 0 {
			<-g.markers
		}
	}
	close(done)
	wg.Wait()
	b.balanced(1)
	var s flow.Stats
	b.await("the node to have all that was sent", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		s = v.total()
		reached := uint64(g.reached())
		sent := s.In - s.Queued - count(s.Dropped)
		// what came, and could not be repeated, is dropped as far as the router knows
		return reached >= sent && reached <= sent+s.Recovered
	})
	g.cut()
	_ = g.native.Close()
	b.r.SessionClosed(1, errEnd)
	return s
}

// classedPacket is one for a, with a DSCP and a number.
func classedPacket(t *testing.T, a netip.Addr, dscp uint8, n uint32) []byte {
	payload := append(make([]byte, 8), binary.BigEndian.AppendUint32(nil, n)...)
	binary.BigEndian.PutUint16(payload[2:], 9000)
	binary.BigEndian.PutUint16(payload[4:], uint16(len(payload)))
	p, err := ipip.AppendHeader(nil, ipip.Header{Src: netip.MustParseAddr("10.3.0.2"), Dst: a, TOS: dscp << 2, TTL: 64, Protocol: 17}, len(payload))
	if err != nil {
		t.Error(err)
	}
	return append(p, payload...)
}
