package tunnel

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
)

// successors makes both ends of another association of the link.
func successors(t testing.TB, l *link, key byte) (mn, ar esp.Pair) {
	t.Helper()
	toNode, err := l.mnEnd.AllocateSPI(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	toRouter, err := l.arEnd.AllocateSPI(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return esp.Pair{In: inbound(t, toNode, key), Out: outbound(t, toRouter, key+1)},
		esp.Pair{In: inbound(t, toRouter, key+1), Out: outbound(t, toNode, key)}
}

// rekey makes a successor as the two ends would with a request and an answer.
func rekey(t testing.TB, l *link, key byte) {
	t.Helper()
	mn, ar := successors(t, l, key)
	if err := l.ar.Offer(ar); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Offer(mn); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Confirm(); err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: ", what)
		}
	}
}

// Packets go both ways all the time, and none is lost or out of order.
func TestRekeyUnderLoad(t *testing.T) {
	l := newLink(t, func(mn, ar *TunnelConfig) {
		mn.Rekey.Linger, ar.Rekey.Linger = 50*time.Millisecond, 50*time.Millisecond
		ar.FollowPeer = true
	})
	const rekeys, each = 4, 100
	sent := 0
	exchange := func() {
		for range each {
			sent++
			if err := l.mn.Send(up(t, fmt.Sprint(sent))); err != nil {
				t.Fatal(err)
			}
			if err := l.ar.Send(packet(t, corr, visitor, 0, fmt.Sprint(sent))); err != nil {
				t.Fatal(err)
			}
		}
		for n := sent - each + 1; n <= sent; n++ {
			l.atAR.want(t, fmt.Sprintf("packet %d", n))
			l.atMN.want(t, fmt.Sprintf("packet %d", n))
		}
	}
	exchange()
	for n := range rekeys {
		before := [2]uint32{l.mn.SPI(), l.ar.SPI()}
		rekey(t, l, byte(10+2*n))
		exchange()
		eventually(t, "both ends have changed and dropped the old one", func() bool {
			return l.mnEnd.lookup(before[0]) == nil && l.arEnd.lookup(before[1]) == nil
		})
		if l.mn.SPI() == before[0] || l.ar.SPI() == before[1] || l.mnEnd.Tunnels() != 1 || l.arEnd.Tunnels() != 1 {
			t.Fatal("the SPIs are the old ones, or there is another tunnel")
		}
	}
	for _, tun := range []*Tunnel{l.mn, l.ar} {
		s := tun.Stats()
		if s.Rekeys != rekeys || s.Delivered != (rekeys+1)*each || sum(s.DroppedOut) != 0 || sum(s.DroppedIn) != s.DroppedIn[ReasonDummy] {
			t.Errorf("got %+v", s)
		}
	}
	balanced(t, []*Tunnel{l.mn, l.ar}, []*Socket{l.mnSock, l.arSock})
}

// What was sealed before the change is accepted after it, and moves no address.
func TestRekeyAcceptsWhatIsOnItsWay(t *testing.T) {
	l := newLink(t, func(_, ar *TunnelConfig) { ar.FollowPeer = true })
	u := attacker(t)
	old, err := l.mn.sas.Load().out.Seal(nil, up(t, "old"), esp.NextHeaderIPv4)
	if err != nil {
		t.Fatal(err)
	}
	rekey(t, l, 10)
	if err := l.mn.Send(up(t, "new")); err != nil {
		t.Fatal(err)
	}
	l.atAR.want(t, "packet new")
	sendRaw(t, u, l.arSock, old, 0)
	l.atAR.want(t, "packet old")
	if l.ar.Peer() != l.mnSock.LocalAddr() {
		t.Errorf("the peer is taken to be at %v", l.ar.Peer())
	}
}

func TestRekeyDue(t *testing.T) {
	var told atomic.Int32
	l := newLink(t, func(mn, _ *TunnelConfig) {
		mn.Rekey = esp.RekeyLimits{Packets: 3, Patience: 20 * time.Millisecond}
		mn.RekeyDue = func() { told.Add(1) }
	})
	for n := range 6 {
		if err := l.mn.Send(up(t, fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		if n == 1 && told.Load() != 0 {
			t.Fatal("due too early")
		}
	}
	eventually(t, "due", func() bool { return told.Load() == 1 })
	next, _ := successors(t, l, 10)
	if err := l.mn.Offer(next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "due again when the successor was not used", func() bool { return told.Load() == 2 })
	if l.mnEnd.lookup(next.In.SPI()) != nil {
		t.Error("its SPI is in use")
	}
}

func TestRekeyDueByAge(t *testing.T) {
	due := make(chan bool, 10)
	newLink(t, func(mn, _ *TunnelConfig) {
		mn.Rekey = esp.RekeyLimits{Age: 10 * time.Millisecond}
		mn.RekeyDue = func() { due <- true }
	})
	<-due
	time.Sleep(30 * time.Millisecond)
	if len(due) != 0 {
		t.Error("told again although nothing was offered")
	}
}

// silent is a socket to which nothing comes.
type silent struct{ done chan struct{} }

func (silent) LocalAddr() netip.AddrPort                { return loopback }
func (silent) Send(netip.AddrPort, []byte, uint8) error { return nil }
func (silent) Stats() bind.Stats                        { return bind.Stats{} }

func (silent) SendBatch(_ netip.AddrPort, pkts []byte, size int, _ uint8) (int, error) {
	return (len(pkts) + size - 1) / size, nil
}

func (s silent) ReadBatch(*bind.Batch) ([]bind.Packet, error) {
	<-s.done
	return nil, net.ErrClosed
}

func (s silent) Close() error {
	close(s.done)
	return nil
}

// The lifetime of the tunnel is that of its association.
func TestRekeyBeginsLifetimeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime = 2 * time.Second
		e := NewEndpoint(nil)
		defer e.Close()
		s, err := e.Attach(silent{make(chan struct{})})
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan time.Time, 1)
		tun := add(t, e, TunnelConfig{
			Socket: s, Peer: netip.MustParseAddrPort("192.0.2.1:4500"), Out: outbound(t, spiToRouter, 1), In: inbound(t, spiToNode, 2),
			Receive: func([]byte) {}, Lifetime: lifetime, Expired: func() { over <- time.Now() },
		})
		time.Sleep(lifetime / 8)
		before := time.Now()
		spi, err := e.AllocateSPI(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tun.Offer(esp.Pair{In: inbound(t, spi, 10), Out: outbound(t, spiToRouter+1, 11)}), tun.Confirm()); err != nil {
			t.Fatal(err)
		}
		if lasted := (<-over).Sub(before); lasted != lifetime {
			t.Errorf("the successor was good for %v, want %v", lasted, lifetime)
		}
		if err := tun.Send(up(t, "x")); !errors.Is(err, esp.ErrExpired) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// cable is one end of a cable that loses what lose says.
type cable struct {
	local, far netip.AddrPort
	in, out    chan []byte
	done       chan struct{}
	lose       func() bool
}

func (c *cable) LocalAddr() netip.AddrPort { return c.local }
func (c *cable) Stats() bind.Stats         { return bind.Stats{} }

func (c *cable) Send(_ netip.AddrPort, pkt []byte, _ uint8) error {
	if !c.lose() {
		c.out <- append([]byte(nil), pkt...)
	}
	return nil
}

func (c *cable) SendBatch(to netip.AddrPort, pkts []byte, _ int, tos uint8) (int, error) {
	return 1, c.Send(to, pkts, tos)
}

func (c *cable) ReadBatch(*bind.Batch) ([]bind.Packet, error) {
	select {
	case <-c.done:
		return nil, net.ErrClosed
	case pkt := <-c.in:
		return []bind.Packet{{Data: pkt, From: c.far}}, nil
	}
}

func (c *cable) Close() error {
	close(c.done)
	return nil
}

// TestRekeyTold: nobody sends anything, and what says that the successor seals is lost for a
// time, in one direction or both. Both ends change all the same, drop what was before, and
// can be rekeyed again; they do not go on for ever.
func TestRekeyTold(t *testing.T) {
	for name, lost := range map[string][2]int{"none": {}, "from who asks": {7, 0}, "from who answers": {0, 3}, "both": {5, 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := lost
				loses := func(n *int) func() bool {
					return func() bool {
						*n--
						return *n >= 0
					}
				}
				there, back := make(chan []byte, 100), make(chan []byte, 100)
				mnAddr, arAddr := netip.MustParseAddrPort("192.0.2.1:4500"), netip.MustParseAddrPort("192.0.2.2:4500")
				l := &link{atMN: newLog(), atAR: newLog(), mnEnd: NewEndpoint(nil), arEnd: NewEndpoint(nil)}
				defer l.mnEnd.Close()
				defer l.arEnd.Close()
				var err, err2 error
				l.mnSock, err = l.mnEnd.Attach(&cable{mnAddr, arAddr, back, there, make(chan struct{}), loses(&left[0])})
				l.arSock, err2 = l.arEnd.Attach(&cable{arAddr, mnAddr, there, back, make(chan struct{}), loses(&left[1])})
				if err := errors.Join(err, err2); err != nil {
					t.Fatal(err)
				}
				l.mn = add(t, l.mnEnd, TunnelConfig{Socket: l.mnSock, Peer: arAddr, Out: outbound(t, spiToRouter, 1), In: inbound(t, spiToNode, 2), Receive: l.atMN.receive})
				l.ar = add(t, l.arEnd, TunnelConfig{Socket: l.arSock, Peer: mnAddr, Out: outbound(t, spiToNode, 2), In: inbound(t, spiToRouter, 1), Receive: l.atAR.receive})
				rekey(t, l, 10)
				time.Sleep(2 * time.Minute) // longer than the router keeps a successor that nobody uses
				if l.mn.Rekeying() || l.ar.Rekeying() || l.mn.PeerSPI() != l.ar.SPI() || l.ar.PeerSPI() != l.mn.SPI() {
					t.Errorf("rekeying %v and %v, the node seals for %#x, the router takes %#x", l.mn.Rekeying(), l.ar.Rekeying(), l.mn.PeerSPI(), l.ar.SPI())
				}
				if err := l.mn.Send(up(t, "x")); err != nil {
					t.Error(err)
				}
				l.atAR.want(t, "packet x")
				quiet := [2]uint64{l.mn.Stats().Received, l.ar.Stats().Received}
				time.Sleep(time.Hour)
				if now := [2]uint64{l.mn.Stats().Received, l.ar.Stats().Received}; now != quiet {
					t.Errorf("received %d, an hour later %d", quiet, now)
				}
				rekey(t, l, 20)
			})
		})
	}
}

func TestRekeyRefuses(t *testing.T) {
	l := newLink(t, nil)
	one, _ := successors(t, l, 10)
	two, _ := successors(t, l, 12)
	if err := l.mn.Confirm(); !errors.Is(err, esp.ErrRekeying) {
		t.Errorf("confirm without an offer: %v", err)
	}
	if err := l.mn.Offer(esp.Pair{In: one.In}); err == nil {
		t.Error("half a pair")
	}
	if err := l.mn.Offer(esp.Pair{In: inbound(t, l.mn.SPI(), 9), Out: one.Out}); !errors.Is(err, ErrSPIInUse) {
		t.Errorf("its own SPI: %v", err)
	}
	if err := l.mn.Offer(one); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Offer(two); !errors.Is(err, esp.ErrRekeying) {
		t.Errorf("two offers: %v", err)
	}
	l.mn.Abandon()
	if l.mnEnd.lookup(one.In.SPI()) != nil {
		t.Error("an abandoned SPI is in use")
	}
	if err := l.mn.Offer(two); err != nil {
		t.Fatal(err)
	}
	l.mn.Close()
	if l.mnEnd.lookup(two.In.SPI()) != nil || l.mnEnd.Tunnels() != 0 {
		t.Error("a closed tunnel has an SPI")
	}
	if err := l.mn.Offer(one); !errors.Is(err, ErrClosed) {
		t.Errorf("offer after the end: %v", err)
	}
	if err := l.mn.Confirm(); !errors.Is(err, ErrClosed) {
		t.Errorf("confirm after the end: %v", err)
	}
}

// Numbers go along with packets, and only where they are agreed on.
func TestNumbered(t *testing.T) {
	l := newLink(t, nil)
	got := make(chan flow.Shim, 4)
	other := newLink(t, func(_, ar *TunnelConfig) {
		ar.Numbered = func(s flow.Shim, inner []byte) {
			got <- s
			ar.Receive(inner)
		}
	})
	want := flow.Shim{Class: 2, Epoch: 9, Number: 0xFFFFFFFF}
	for _, size := range []int{1, 1380, 3000} { // the last is larger than pooled buffers
		text := strings.Repeat("x", size)
		for _, l := range []*link{l, other} {
			if err := l.mn.SendNumbered(want, up(t, text)); err != nil {
				t.Fatal(err)
			}
		}
		other.atAR.want(t, "packet "+text)
		if s := <-got; s != want {
			t.Errorf("got %+v", s)
		}
	}
	moved := other.mn.Peer()
	if err := other.mn.Rebind(other.mn.Socket(), netip.MustParseAddrPort("127.0.0.1:9")); err != nil { // where nobody is
		t.Fatal(err)
	}
	for n, send := range []func(s flow.Shim) error{
		func(s flow.Shim) error { return other.mn.SendNumbered(s, up(t, "nowhere")) },
		func(s flow.Shim) error { return other.mn.SendNumberedTo(moved, s, up(t, "beside")) },
	} {
		if err := send(flow.Shim{Number: uint32(n)}); err != nil {
			t.Fatal(err)
		}
	}
	other.atAR.want(t, "packet beside")
	if s := <-got; s.Number != 1 {
		t.Errorf("got %+v", s)
	}
	if err := other.mn.Rebind(other.mn.Socket(), moved); err != nil {
		t.Fatal(err)
	}
	if err := other.mn.SendNumberedTo(netip.AddrPort{}, want, up(t, "x")); !errors.Is(err, ErrNoPeer) {
		t.Errorf("to nowhere: %v", err)
	}
	eventually(t, "the other end knows no numbers", func() bool { return l.ar.Stats().DroppedIn[ReasonNextHeader] == 3 })
	if err := other.mn.transmit(nil, []byte{0x10, 0, 0}, esp.NextHeaderNumbered, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "too short for a shim header", func() bool { return other.ar.Stats().DroppedIn[ReasonShim] == 1 })
	if err := l.mn.SendNumbered(flow.Shim{Class: 99}, up(t, "x")); !errors.Is(err, flow.ErrFormat) {
		t.Errorf("class 99: %v", err)
	}
	if err := l.mn.SendNumbered(want, []byte("no packet")); err == nil {
		t.Error("no packet was sent")
	}
	if s := l.mn.Stats(); s.DroppedOut[ReasonShim] != 1 || s.DroppedOut[ReasonInner] != 1 {
		t.Errorf("got %+v", s)
	}
	balanced(t, []*Tunnel{l.ar, other.ar}, nil)
}
