package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

// Data and markers arrive in the order in which they were sent, both ways.
func TestOrderWithMarkers(t *testing.T) {
	l := newLink(t, nil)
	for _, dir := range []struct {
		from *Tunnel
		to   log
	}{{l.mn, l.atAR}, {l.ar, l.atMN}} {
		var want []string
		for i := range 300 {
			if i%100 == 99 {
				if err := dir.from.SendMarker(Marker{Kind: Depart, Handover: handover, Seq: uint32(i)}); err != nil {
					t.Fatal(err)
				}
				want = append(want, fmt.Sprint("depart ", i))
			}
			if err := dir.from.Send(append(up(t, fmt.Sprint(i)), "behind the packet"...)); err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprint("packet ", i))
		}
		for _, w := range want {
			dir.to.want(t, w)
		}
	}
	if s := l.mn.Stats(); s.Sent != 300 || s.MarkersOut != 3 || s.Delivered != 300 || s.MarkersIn != 3 || s.SentBytes != s.DeliveredBytes || s.SentBytes == 0 {
		t.Errorf("%+v", s)
	}
	balanced(t, []*Tunnel{l.mn, l.ar}, []*Socket{l.mnSock, l.arSock})
}

// Each goroutine's packets keep their order, and none is lost, when many send.
func TestConcurrentSend(t *testing.T) {
	const senders, each = 4, 300
	l := newLink(t, nil)
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				if err := l.mn.Send(up(t, fmt.Sprintf("%d %d", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [senders]int
	for range senders * each {
		var g, i int
		if _, err := fmt.Sscanf(l.atAR.next(t), "packet %d %d", &g, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[g] {
			t.Fatalf("sender %d: packet %d where %d was due", g, i, next[g])
		}
		next[g]++
	}
	wg.Wait()
	balanced(t, []*Tunnel{l.mn, l.ar}, []*Socket{l.mnSock, l.arSock})
}

// SPIs tell tunnels apart, whichever socket a packet comes through.
func TestDemux(t *testing.T) {
	node, nodeSock := endpoint(t)
	router, first := endpoint(t)
	second := listen(t, router)
	var logs [3]log
	var out [3]*Tunnel
	for i := range logs {
		logs[i] = newLog()
		spi, key := uint32(0x5000+i), byte(10+i)
		add(t, router, TunnelConfig{
			Socket: first, FollowPeer: true, Out: outbound(t, spi, key+50), In: inbound(t, spi, key), Receive: logs[i].receive,
		})
		out[i] = add(t, node, TunnelConfig{
			Socket: nodeSock, Peer: first.LocalAddr(), Out: outbound(t, spi, key), In: inbound(t, spi, key+50), Receive: func([]byte) {},
		})
	}
	if router.Tunnels() != 3 {
		t.Fatalf("%d tunnels", router.Tunnels())
	}
	for _, sock := range []*Socket{first, second} {
		for i := range out {
			if err := out[i].Rebind(nodeSock, sock.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if err := out[i].Send(up(t, fmt.Sprint("for ", i))); err != nil {
				t.Fatal(err)
			}
			logs[i].want(t, fmt.Sprint("packet for ", i))
		}
	}
	for _, s := range router.Sockets() {
		if s.ToTunnels != 3 || s.Received != 3 {
			t.Errorf("%+v", s)
		}
	}
	if got := router.lookup(0x5000).Socket(); got != second {
		t.Error("answers do not leave by the socket at which the peer's packets arrive")
	}
}

// Everything that can be wrong with a packet that arrives has its own counter.
func TestDropsHaveReasons(t *testing.T) {
	l := newLink(t, func(_, ar *TunnelConfig) { ar.AllowDst = corr })
	evil := attacker(t)
	good := outbound(t, spiToRouter, 1) // the node's own half, in the attacker's hands for this test
	seal := func(inner []byte, nh byte) []byte {
		t.Helper()
		b, err := good.Seal(nil, inner, nh)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	send := func(pkt []byte) { t.Helper(); sendRaw(t, evil, l.arSock, pkt, 0) }

	// Of the socket.
	send([]byte{0xff})
	send([]byte{1})
	send([]byte{})
	send([]byte{0, 0, 0, 0, 'i', 'k', 'e'})
	send([]byte{0, 0, 1, 1, 'e', 's', 'p'})
	// Of the tunnel.
	first := seal(up(t, "first"), esp.NextHeaderIPv4)
	send(first)
	send(first) // replay
	send(first[:30])
	forged := seal(up(t, "forged"), esp.NextHeaderIPv4)
	forged[len(forged)-1] ^= 1
	send(forged)
	old := seal(up(t, "old"), esp.NextHeaderIPv4)
	for range esp.DefaultWindow {
		seal(nil, esp.NextHeaderIPv4)
	}
	send(seal(up(t, "second"), esp.NextHeaderIPv4))
	send(old)
	send(seal(up(t, "x"), 6)) // transport mode, and nobody to take it
	send(seal(up(t, "x"), esp.NextHeaderIPv6))
	send(seal(packet6(t, corr6, visitor6, "x"), esp.NextHeaderIPv4))
	send(seal(packet6(t, corr6, visitor6, "x")[:39], esp.NextHeaderIPv6))
	send(seal(packet6(t, visitor6, corr6, "x"), esp.NextHeaderIPv6)) // the tunnel is for an address of IPv4
	send(seal(nil, esp.NextHeaderDummy))
	send(seal([]byte("noise"), esp.NextHeaderDummy))
	send(seal([]byte("MPAm\x01\x01"), esp.NextHeaderDummy))
	send(seal([]byte("no packet"), esp.NextHeaderIPv4))
	send(seal(packet(t, corr, corr, 0, "x"), esp.NextHeaderIPv4))
	send(seal(packet(t, visitor, visitor, 0, "x"), esp.NextHeaderIPv4))
	sendRaw(t, evil, l.arSock, seal(up(t, "x"), esp.NextHeaderIPv4), 3) // congestion, not ECN capable
	send(seal(append(up(t, "last"), make([]byte, 50)...), esp.NextHeaderIPv4))

	l.atAR.want(t, "packet first")
	l.atAR.want(t, "packet second")
	l.atAR.want(t, "packet last") // without its TFC padding; all before it is counted now

	wantSocket := map[Reason]uint64{ReasonShort: 2, ReasonNonESP: 1, ReasonUnknownSPI: 1}
	if s := l.arSock.Stats(); fmt.Sprint(s.Dropped) != fmt.Sprint(wantSocket) || s.Keepalives != 1 {
		t.Errorf("socket: %+v, want %v", s, wantSocket)
	}
	wantTunnel := map[Reason]uint64{
		ReasonReplay: 1, ReasonFormat: 1, ReasonAuth: 1, ReasonTooOld: 1, ReasonNextHeader: 1, ReasonDummy: 2,
		ReasonMarker: 1, ReasonInner: 4, ReasonSource: 2, ReasonDestination: 1, ReasonECN: 1,
	}
	if s := l.ar.Stats(); fmt.Sprint(s.DroppedIn) != fmt.Sprint(wantTunnel) || s.Delivered != 3 {
		t.Errorf("tunnel: %+v, want %v", s, wantTunnel)
	}
	balanced(t, []*Tunnel{l.ar}, []*Socket{l.arSock})
	if l.ar.Peer() != l.mnSock.LocalAddr() {
		t.Error("the peer's address was adopted without FollowPeer")
	}
}

// FollowPeer adopts addresses from the newest authentic packets and from nothing else.
func TestFollowPeer(t *testing.T) {
	changed := make(chan netip.AddrPort, 10)
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.FollowPeer, ar.Peer = true, netip.AddrPort{}
		ar.Moved = func(o Origin) {
			o.Adopt()
			changed <- o.Addr()
		}
	})
	if err := l.ar.Send(up(t, "x")); !errors.Is(err, ErrNoPeer) {
		t.Fatalf("send without a peer: %v", err)
	}
	before, after, evil := attacker(t), attacker(t), attacker(t)
	node := outbound(t, spiToRouter, 1)
	var pkts [][]byte
	for i := range 4 {
		p, err := node.Seal(nil, up(t, fmt.Sprint(i)), esp.NextHeaderIPv4)
		if err != nil {
			t.Fatal(err)
		}
		pkts = append(pkts, p)
	}
	step := func(from netip.AddrPort, want string) {
		t.Helper()
		l.atAR.want(t, want)
		if l.ar.Peer() != from {
			t.Fatalf("peer %v, want %v", l.ar.Peer(), from)
		}
	}
	sendRaw(t, before, l.arSock, pkts[0], 0)
	step(before.LocalAddr(), "packet 0")
	sendRaw(t, after, l.arSock, pkts[2], 0)
	step(after.LocalAddr(), "packet 2")
	sendRaw(t, before, l.arSock, pkts[1], 0) // late: taken, but no reason to go back
	step(after.LocalAddr(), "packet 1")
	sendRaw(t, evil, l.arSock, pkts[2], 0) // replay
	forged := bytes.Clone(pkts[3])
	forged[20] ^= 1
	sendRaw(t, evil, l.arSock, forged, 0)
	sendRaw(t, evil, l.arSock, []byte{0xff}, 0)
	for l.arSock.Stats().Received != 6 {
		time.Sleep(time.Millisecond)
	}
	sendRaw(t, after, l.arSock, pkts[3], 0)
	step(after.LocalAddr(), "packet 3")
	for _, want := range []netip.AddrPort{before.LocalAddr(), after.LocalAddr()} {
		if got := <-changed; got != want {
			t.Fatalf("told of %v, want %v", got, want)
		}
	}
	if s := l.ar.Stats(); s.PeerChanges != 2 || len(changed) != 0 || s.DroppedOut[ReasonNoPeer] != 1 {
		t.Fatalf("%+v, %d more changes told", s, len(changed))
	}
	if err := l.ar.Send(up(t, "answer")); err != nil {
		t.Fatal(err)
	}
	if _, from, err := after.Read(make([]byte, 2000)); err != nil || from != l.arSock.LocalAddr() {
		t.Fatal(from, err)
	}
}

// TestRefresh: the peer follows it to a new address, and delivers nothing.
func TestRefresh(t *testing.T) {
	changed := make(chan netip.AddrPort, 1)
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.FollowPeer = true
		ar.Moved = func(o Origin) {
			o.Adopt()
			changed <- o.Addr()
		}
	})
	moved := listen(t, l.mn.e)
	if err := l.mn.Rebind(moved, l.mn.Peer()); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got := <-changed; got != moved.LocalAddr() {
		t.Errorf("told of %v, want %v", got, moved.LocalAddr())
	}
	l.mn.Close()
	if err := l.mn.Refresh(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if s := l.ar.Stats(); s.Delivered != 0 || s.Received != 1 {
		t.Errorf("%+v", s)
	}
}

// The congestion mark and the DSCP go through the tunnel.
func TestTOS(t *testing.T) {
	tos := make(chan uint8, 2)
	l := newLink(t, func(_, ar *TunnelConfig) { ar.Receive = func(inner []byte) { tos <- ipip.TOS(inner) } })
	inner := packet(t, visitor, corr, 0xb8|2, "x")
	if err := l.mn.Send(inner); err != nil {
		t.Fatal(err)
	}
	if got := <-tos; got != 0xb8|2 {
		t.Fatalf("TOS %#x", got)
	}
	pkt, err := l.mn.cfg.Out.Seal(nil, inner, esp.NextHeaderIPv4)
	if err != nil {
		t.Fatal(err)
	}
	sendRaw(t, attacker(t), l.arSock, pkt, 0xb8|3)
	if got := <-tos; got != 0xb8|3 {
		t.Fatalf("TOS %#x after congestion on the way", got)
	}
	if pkt, err = l.mn.cfg.Out.Seal(nil, packet(t, visitor, corr, 0xb8|3, "x"), esp.NextHeaderIPv4); err != nil {
		t.Fatal(err)
	}
	sendRaw(t, attacker(t), l.arSock, pkt, 1)
	if got, s := <-tos, l.ar.Stats(); got != 0xb8|3 || s.ECNAlarms != 1 {
		t.Fatalf("TOS %#x with fields that no ingress makes, %+v", got, s)
	}

	sink := attacker(t)
	if err := l.mn.Rebind(l.mnSock, sink.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Send(inner); err != nil {
		t.Fatal(err)
	}
	packets, err := sink.ReadBatch(newBatch())
	if err != nil || len(packets) != 1 || packets[0].TOS != 0xb8|2 {
		t.Fatalf("%+v %v", packets, err)
	}

	l = newLink(t, func(mn, _ *TunnelConfig) { mn.Marking = ipip.Marking{Pipe: true, DSCP: 10, Compatibility: true} })
	if err := l.mn.Rebind(l.mnSock, sink.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Send(inner); err != nil {
		t.Fatal(err)
	}
	packets, err = sink.ReadBatch(newBatch())
	if err != nil || len(packets) != 1 || packets[0].TOS != 10<<2 {
		t.Fatalf("one class for all: %+v %v", packets, err)
	}
}

func TestSendErrors(t *testing.T) {
	l := newLink(t, func(mn, _ *TunnelConfig) { mn.Out.SetLifetime(esp.Lifetime{HardPackets: 3}, nil) })
	fails := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || !strings.Contains(err.Error(), ": ") {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	fails("no packet", l.mn.Send([]byte("no packet")), ipip.ErrFormat)
	fails("no marker", l.mn.SendMarker(Marker{}), ErrMarker)
	fails("too big", l.mn.Send(up(t, strings.Repeat("x", 65500))), unix.EMSGSIZE)
	if err := l.mn.Rebind(l.mnSock, netip.MustParseAddrPort("192.0.2.1:9")); err != nil {
		t.Fatal(err)
	}
	// From a loopback address; which error it is depends on the machine's routes.
	if err := l.mn.Send(up(t, "x")); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("refused by the kernel: %v", err)
	}
	if err := l.mn.Rebind(l.mnSock, l.arSock.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := l.mn.Send(up(t, "x")); err != nil {
		t.Fatal(err)
	}
	fails("lifetime", l.mn.Send(up(t, "x")), esp.ErrExpired)
	if err := l.arSock.Close(); err != nil {
		t.Fatal(err)
	}
	fails("socket closed", l.ar.Send(up(t, "x")), ErrClosed)
	l.mn.Close()
	l.mn.Close()
	fails("closed", l.mn.Send(up(t, "x")), ErrClosed)
	fails("closed", l.mn.SendMarker(Marker{Kind: Depart}), ErrClosed)
	fails("rebind closed", l.mn.Rebind(l.mnSock, l.arSock.LocalAddr()), ErrClosed)
	want := map[Reason]uint64{ReasonInner: 1, ReasonMarker: 1, ReasonSend: 2, ReasonExpired: 1, ReasonClosed: 2}
	if s := l.mn.Stats(); fmt.Sprint(s.DroppedOut) != fmt.Sprint(want) || s.Sent != 1 {
		t.Errorf("%+v, want %v", s, want)
	}
	if l.mnEnd.Tunnels() != 0 {
		t.Error("a closed tunnel is still there")
	}
}

// A callback may close its tunnel; what comes after is of an unknown SPI.
func TestCloseInsideReceive(t *testing.T) {
	closed, which := make(chan struct{}), make(chan *Tunnel, 1)
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.Receive = func([]byte) { (<-which).Close(); close(closed) }
	})
	which <- l.ar
	if err := l.mn.Send(up(t, "x")); err != nil {
		t.Fatal(err)
	}
	<-closed
	if err := l.mn.Send(up(t, "y")); err != nil {
		t.Fatal(err)
	}
	for l.arSock.Stats().Dropped[ReasonUnknownSPI] != 1 {
		time.Sleep(time.Millisecond)
	}
	balanced(t, []*Tunnel{l.ar}, []*Socket{l.arSock})
}

func TestLifetime(t *testing.T) {
	expired := make(chan struct{})
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.Lifetime = time.Millisecond
		ar.Expired = func() { close(expired) }
	})
	<-expired
	if err := l.ar.Send(up(t, "x")); !errors.Is(err, esp.ErrExpired) {
		t.Fatalf("send: %v", err)
	}
	if err := l.mn.Send(up(t, "x")); err != nil {
		t.Fatal(err)
	}
	for l.ar.Stats().DroppedIn[ReasonExpired] != 1 {
		time.Sleep(time.Millisecond)
	}
}

func TestKeepalive(t *testing.T) {
	sink := attacker(t)
	l := newLink(t, func(mn, _ *TunnelConfig) {
		mn.Peer, mn.Keepalive = sink.LocalAddr(), time.Millisecond
	})
	buf := make([]byte, 100)
	for range 3 {
		n, from, err := sink.Read(buf)
		if err != nil || n != 1 || buf[0] != 0xff || from != l.mnSock.LocalAddr() {
			t.Fatalf("%x from %v: %v", buf[:n], from, err)
		}
	}
	// At the other end they are counted and nothing else.
	if err := l.mn.Rebind(l.mnSock, l.arSock.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	for l.arSock.Stats().Keepalives == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := l.mnEnd.Close(); err != nil { // waits for the timer, which counts what it has sent
		t.Fatal(err)
	}
	if s := l.mn.Stats(); s.KeepalivesOut < 4 || s.Sent != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestKeepaliveDue(t *testing.T) {
	const interval = 20 * time.Second
	for _, c := range []struct {
		idle time.Duration
		due  bool
		next time.Duration
	}{
		{0, false, interval},
		{5 * time.Second, false, 15 * time.Second},
		{interval - 1, false, 1},
		{interval, true, interval},
		{interval + 1, true, interval},
		{-1, false, interval}, // a packet was sent between reading the clock and now
	} {
		due, next := keepaliveDue(1e12, 1e12-int64(c.idle), interval)
		if due != c.due || next != c.next {
			t.Errorf("idle %v: %v, look again in %v", c.idle, due, next)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	e, s := endpoint(t)
	_, foreign := endpoint(t)
	ok := TunnelConfig{Socket: s, Peer: s.LocalAddr(), Out: outbound(t, 256, 1), In: inbound(t, 256, 1), Receive: func([]byte) {}}
	for name, change := range map[string]func(*TunnelConfig){
		"no socket":        func(c *TunnelConfig) { c.Socket = nil },
		"foreign socket":   func(c *TunnelConfig) { c.Socket = foreign },
		"no inbound half":  func(c *TunnelConfig) { c.In = nil },
		"no outbound half": func(c *TunnelConfig) { c.Out = nil },
		"no receiver":      func(c *TunnelConfig) { c.Receive = nil },
		"no peer":          func(c *TunnelConfig) { c.Peer = netip.AddrPort{} },
		"port 0":           func(c *TunnelConfig) { c.Peer = loopback },
		"IPv6 peer":        func(c *TunnelConfig) { c.Peer = netip.MustParseAddrPort("[::1]:4500") },
		"keepalive":        func(c *TunnelConfig) { c.Keepalive = -1 },
		"lifetime":         func(c *TunnelConfig) { c.Lifetime = -1 },
	} {
		cfg := ok
		change(&cfg)
		if _, err := e.Add(cfg); err == nil || !strings.HasPrefix(err.Error(), "tunnel: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	tun := add(t, e, ok)
	if _, err := e.Add(ok); !errors.Is(err, ErrSPIInUse) {
		t.Errorf("the same SPI again: %v", err)
	}
	if err := tun.Rebind(foreign, s.LocalAddr()); err == nil {
		t.Error("rebound to a socket of another endpoint")
	}
	tun.Close()
	add(t, e, ok)
}
