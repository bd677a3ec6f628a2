package tunnel

import (
	"bytes"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// wire is a socket for IP in IP whose packets go to another, as if the kernel carried them.
type wire struct {
	local netip.Addr
	to    *wire
	got   chan bind.Packet
	done  chan struct{}
	fails atomic.Int32 // of the next reads
	marks atomic.Bool  // what it sends meets congestion on the way
	tos   atomic.Int32 // of the last packet sent
}

func wires(a, b netip.Addr) (x, y *wire) {
	x = &wire{local: a, got: make(chan bind.Packet, 100), done: make(chan struct{})}
	y = &wire{local: b, got: make(chan bind.Packet, 100), done: make(chan struct{})}
	x.to, y.to = y, x
	return x, y
}

func (w *wire) LocalAddr() netip.Addr { return w.local }
func (w *wire) Stats() bind.Stats     { return bind.Stats{} }

func (w *wire) Send(_ netip.Addr, inner []byte, tos uint8) error {
	w.tos.Store(int32(tos))
	if w.marks.Load() {
		tos |= 3
	}
	w.to.got <- bind.Packet{Data: bytes.Clone(inner), From: netip.AddrPortFrom(w.local, 0), TOS: tos}
	return nil
}

func (w *wire) ReadBatch(*bind.Batch) ([]bind.Packet, error) {
	if w.fails.Add(-1) >= 0 {
		return nil, unix.ENOBUFS
	}
	select {
	case p := <-w.got:
		return []bind.Packet{p}, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	close(w.done)
	return nil
}

// newPlain is a link whose packets go by IP in IP, and its sockets for that.
func newPlain(t *testing.T, change ...func(mn, ar *TunnelConfig)) (l *link, mn, ar *wire) {
	t.Helper()
	here := loopback.Addr()
	mn, ar = wires(here, here)
	l = newLink(t, func(m, a *TunnelConfig) {
		for _, c := range []struct {
			cfg *TunnelConfig
			w   *wire
		}{{m, mn}, {a, ar}} {
			p, err := c.cfg.Socket.e.AttachPlain(c.w)
			if err != nil {
				t.Fatal(err)
			}
			c.cfg.Plain, c.cfg.PlainPeer, c.cfg.PlainInner, c.cfg.FollowPeer = p, here, visitor, true
		}
		m.AllowDst = visitor
		for _, c := range change {
			c(m, a)
		}
	})
	return l, mn, ar
}

func TestPlain(t *testing.T) {
	l, _, _ := newPlain(t)
	for n := range 5 {
		text := string(rune('0' + n))
		if err := l.mn.Send(up(t, text)); err != nil {
			t.Fatal(err)
		}
		if err := l.ar.Queue(packet(t, corr, visitor, 0, text)); err != nil {
			t.Fatal(err)
		}
		l.atAR.want(t, "packet "+text)
		l.atMN.want(t, "packet "+text)
	}
	if err := l.mn.SendMarker(Marker{Kind: Depart, Handover: handover, Seq: 3}); err != nil {
		t.Fatal(err)
	}
	l.atAR.want(t, "depart 3")
	for _, tun := range []*Tunnel{l.mn, l.ar} {
		if s := tun.Stats(); s.Plain != 5 || s.Sent != 5 || s.Delivered != 5 || sum(s.DroppedIn)+sum(s.DroppedOut) != 0 {
			t.Errorf("%+v", s)
		}
	}
	if out := l.mn.sas.Load().out.Stats(); out.Packets != 1 {
		t.Errorf("%d packets went by ESP, expected the marker", out.Packets)
	}
	balanced(t, []*Tunnel{l.mn, l.ar}, nil)
}

// DSCP and ECN are copied outwards and combined inwards, as with ESP (RFC 6040).
func TestPlainTOS(t *testing.T) {
	got := make(chan uint8, 1)
	l, mn, _ := newPlain(t, func(_, ar *TunnelConfig) { ar.Receive = func(inner []byte) { got <- ipip.TOS(inner) } })
	for _, c := range []struct {
		congested bool
		want      uint8
	}{{false, 0xb8 | 2}, {true, 0xb8 | 3}} {
		mn.marks.Store(c.congested)
		if err := l.mn.Send(packet(t, visitor, corr, 0xb8|2, "x")); err != nil {
			t.Fatal(err)
		}
		if tos := <-got; tos != c.want || mn.tos.Load() != 0xb8|2 {
			t.Errorf("TOS %#x outside, %#x behind the tunnel, expected %#x and %#x", mn.tos.Load(), tos, 0xb8|2, c.want)
		}
	}
	if err := l.mn.Send(packet(t, visitor, corr, 0xb8, "x")); err != nil { // its transport does not know the mark
		t.Fatal(err)
	}
	eventually(t, "a mark that nobody would understand to be a drop", func() bool { return l.ar.Stats().DroppedIn[ReasonECN] == 1 })
}

// What is not from the peer's address, or has another inner address, is not taken.
func TestPlainSources(t *testing.T) {
	l, mn, ar := newPlain(t)
	deliver := func(w *wire, inner []byte, from string) {
		w.got <- bind.Packet{Data: inner, From: netip.AddrPortFrom(netip.MustParseAddr(from), 0)}
	}
	deliver(ar, up(t, "forged"), "192.0.2.1")
	deliver(ar, packet(t, corr, netip.MustParseAddr("10.2.0.7"), 0, "nobody's"), "127.0.0.1")
	deliver(ar, []byte("no packet"), "127.0.0.1")
	deliver(ar, packet(t, corr, visitor, 0, "from another"), "127.0.0.1") // AllowSrc
	deliver(mn, up(t, "to another"), "127.0.0.1")                         // AllowDst
	if err := l.mn.Send(up(t, "good")); err != nil {
		t.Fatal(err)
	}
	l.atAR.want(t, "packet good")
	if err := l.ar.Send(packet(t, corr, visitor, 0, "good")); err != nil {
		t.Fatal(err)
	}
	l.atMN.want(t, "packet good")
	if n := l.ar.cfg.Plain.Foreign(); n != 3 {
		t.Errorf("%d foreign packets, want 3", n)
	}
	if s := l.ar.Stats(); s.DroppedIn[ReasonSource] != 1 {
		t.Errorf("router: %+v", s)
	}
	if s := l.mn.Stats(); s.DroppedIn[ReasonDestination] != 1 {
		t.Errorf("node: %+v", s)
	}
	balanced(t, []*Tunnel{l.mn, l.ar}, nil)
}

// A peer that has moved is where only ESP can tell, and so packets go by that.
func TestPlainEndsWhenThePeerMoves(t *testing.T) {
	l, _, ar := newPlain(t)
	other, err := l.mnEnd.Listen(netip.MustParseAddrPort("127.0.0.2:0"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Rebind(other, l.arSock.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Send(up(t, "from elsewhere")); err != nil {
		t.Fatal(err)
	}
	l.atAR.want(t, "packet from elsewhere")
	if l.ar.Peer() != other.LocalAddr() {
		t.Fatalf("the router takes the node to be at %v", l.ar.Peer())
	}
	if err := l.ar.Send(packet(t, corr, visitor, 0, "there")); err != nil {
		t.Fatal(err)
	}
	l.atMN.want(t, "packet there")
	ar.got <- bind.Packet{Data: up(t, "where it was"), From: netip.AddrPortFrom(loopback.Addr(), 0)}
	eventually(t, "what comes from where the node was is dropped", func() bool { return l.ar.Stats().DroppedIn[ReasonOuter] == 1 })
	for _, tun := range []*Tunnel{l.mn, l.ar} {
		if s := tun.Stats(); s.Plain != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// A shortage passes.
func TestPlainReadsOn(t *testing.T) {
	l, mn, ar := newPlain(t)
	ar.fails.Store(3)
	for _, text := range []string{"the reader waits for this one", "this comes after the failures"} {
		mn.to.got <- bind.Packet{Data: up(t, text), From: netip.AddrPortFrom(loopback.Addr(), 0)}
		l.atAR.want(t, "packet "+text)
	}
	if s := l.ar.Stats(); s.PlainIn != 2 || s.Delivered != 2 {
		t.Errorf("%+v", s)
	}
}

func TestPlainCloses(t *testing.T) {
	l, _, ar := newPlain(t)
	l.ar.Close()
	ar.got <- bind.Packet{Data: up(t, "late"), From: netip.AddrPortFrom(loopback.Addr(), 0)}
	eventually(t, "a closed tunnel takes nothing", func() bool { return l.ar.cfg.Plain.Foreign() == 1 })
	if err := l.mn.cfg.Plain.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Send(up(t, "by ESP")); err != nil || l.mn.Stats().Plain != 0 {
		t.Errorf("without a socket for IP in IP: %v, %+v", err, l.mn.Stats())
	}
	if err := l.mnEnd.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.mnEnd.AttachPlain(&wire{done: make(chan struct{})}); err != ErrClosed {
		t.Errorf("a closed endpoint: %v", err)
	}
	bad := TunnelConfig{Socket: l.arSock, Peer: netip.AddrPortFrom(loopback.Addr(), 9), In: inbound(t, 999, 1), Out: outbound(t, 999, 1), Receive: func([]byte) {}, Plain: l.ar.cfg.Plain}
	if _, err := l.arEnd.Add(bad); err == nil {
		t.Error("a tunnel by IP in IP with no addresses")
	}
}
