package par

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
)

// moved is the handover by which a node goes on to another router.
var moved = event.HandoverID{9, 9}

// guest is a node with a numbered tunnel. It puts together what comes by the tunnel, and
// has what its application has, by whichever way.
type guest struct {
	b       *bed
	sid     uint32
	addr    netip.Addr
	native  *net.UDPConn
	raw     syscall.RawConn // of native; guarded by mu
	e       *tunnel.Endpoint
	t       *tunnel.Tunnel
	router  netip.AddrPort
	markers chan tunnel.Marker
	seq     uint32
	stop    func() uint32 // of what is sent to it, if it is so

	mu    sync.Mutex
	merge [3]*flow.Merge // guarded by mu; by class
	got   []uint32       // guarded by mu
	holds bool           // guarded by mu: what comes natively, until the marker behind the last packet of the tunnel
	held  []uint32       // guarded by mu
	wire  []uint32       // guarded by mu: what came by the tunnel with a number, copies too
	// before is how much of wire there was at the newest marker; guarded by mu.
	before int
}

// attach makes a session of a node that has come to the link by itself, with a tunnel
// that stands by.
func (b *bed) attach(sid uint32) *guest {
	b.t.Helper()
	return b.attachAt(sid, b.leased)
}

func (b *bed) attachAt(sid uint32, addr netip.Addr) *guest {
	b.t.Helper()
	b.r.SessionOpened(sid, "mn@home.example", netip.AddrPortFrom(addr, 1000), false, sessionKeys(sid), time.Hour)
	g := b.guest(sid, addr)
	g.settleIn()
	g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac, Numbered: true})
	return g
}

// prepared makes a session of a node elsewhere, with address and tunnel.
func (b *bed) prepared(sid uint32) *guest {
	b.t.Helper()
	c := b.open(sid, b.mac)
	if c.Reason != "" {
		b.t.Fatalf("no address: %s", c.Reason)
	}
	g := b.guest(sid, c.Addr.Addr())
	g.tunnel(b.outer, &notify.TunnelRequest{Numbered: true})
	return g
}

func (b *bed) guest(sid uint32, addr netip.Addr) *guest {
	g := &guest{b: b, sid: sid, addr: addr, markers: make(chan tunnel.Marker, 1000), e: tunnel.NewEndpoint(nil)}
	b.t.Cleanup(func() { _ = g.e.Close() })
	for i := range g.merge {
		g.merge[i] = flow.NewMerge(flow.MergeLimits{Window: 2048, Wait: time.Minute})
	}
	return g
}

// settleIn gives the node its address on the link.
func (g *guest) settleIn() {
	g.b.t.Helper()
	g.native = g.b.onLink(g.addr)
	conn := g.native
	raw, err := conn.SyscallConn()
	if err != nil {
		g.b.t.Fatal(err)
	}
	g.mu.Lock()
	g.raw = raw
	g.mu.Unlock()
	var wg sync.WaitGroup
	g.b.t.Cleanup(wg.Wait)
	g.b.t.Cleanup(func() { _ = conn.Close() })
	wg.Go(func() {
		_ = raw.Read(func(fd uintptr) bool { // until it is closed
			g.mu.Lock()
			defer g.mu.Unlock()
			g.natively(fd)
			return false
		})
	})
}

// natively takes what has come natively; the caller holds mu.
func (g *guest) natively(fd uintptr) {
	var buf [2000]byte
	for {
		n, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return
		}
		if k := binary.BigEndian.Uint32(buf[:n]); g.holds {
			g.held = append(g.held, k)
		} else {
			g.got = append(g.got, k)
		}
	}
}

// first takes what came natively before a packet of the tunnel: another goroutine may not have yet. The caller holds mu.
func (g *guest) first() {
	if g.raw != nil {
		_ = g.raw.Control(g.natively)
	}
}

// cut takes the node from the link.
func (g *guest) cut() {
	g.b.t.Helper()
	g.b.in(func() { osnettest.IP(g.b.t, "address del "+g.b.with(g.addr)+" dev "+g.b.dev) })
}

// tunnel makes a tunnel, and has the router know where it leads.
func (g *guest) tunnel(at netip.Addr, m *notify.TunnelRequest) {
	b := g.b
	b.t.Helper()
	g.make(at, m)
	if err := g.t.Refresh(); err != nil {
		b.t.Fatal(err)
	}
	b.await("the router to know the tunnel's other end", func() bool {
		s := b.status(g.sid)
		return s != nil && s.Outer == g.t.Socket().LocalAddr().String()
	})
}

// make makes a tunnel whose end is at an address of the node's, as m asks.
func (g *guest) make(at netip.Addr, m *notify.TunnelRequest) {
	b := g.b
	b.t.Helper()
	spi, err := g.e.AllocateSPI(b.r.cfg.Rand)
	if err != nil {
		b.t.Fatal(err)
	}
	m.Header, m.Inner, m.SPI, m.Nonce = header, g.addr, spi, bytes.Repeat([]byte{5}, 32)
	b.r.SessionMessage(g.sid, m)
	r := got[*notify.TunnelReply](b, g.sid)
	if r.Reason != "" {
		b.t.Fatalf("no tunnel: %s", r.Reason)
	}
	suite := esp.Transform(r.Suite)
	k := keys.DeriveESP(sessionKeys(g.sid).MNAR.Bytes(), m.Nonce, r.Nonce, r.SPI, spi, suite.MaterialLen())
	pair, err := suite.NewPair(spi, k.ToNode, r.SPI, k.ToRouter)
	if err != nil {
		b.t.Fatal(err)
	}
	g.router = netip.AddrPortFrom(r.Outer, r.Port)
	g.t, err = g.e.Add(tunnel.TunnelConfig{
		Socket: g.socket(at), Peer: g.router, In: pair.In, Out: pair.Out,
		Receive: func(p []byte) {
			if p[0]>>4 == 6 && p[6] == 58 { // what the link's router advertises
				return
			}
			g.merged(-1, nil)
			g.take(binary.BigEndian.Uint32(payload(p)))
		},
		Numbered: func(s flow.Shim, p []byte) {
			g.merged(int(s.Class), func(m *flow.Merge) bool { return m.Packet(time.Now(), s, p) }, p...)
		},
		Marker: func(m tunnel.Marker, _ tunnel.Origin) {
			g.mu.Lock()
			g.before = len(g.wire)
			if m.Kind == tunnel.Native {
				g.got, g.held, g.holds = append(g.got, g.held...), nil, false
			}
			g.mu.Unlock()
			g.markers <- m
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (g *guest) socket(at netip.Addr) (s *tunnel.Socket) {
	g.b.t.Helper()
	var err error
	g.b.in(func() { s, err = g.e.Listen(netip.AddrPortFrom(at, 0), "") })
	if err != nil {
		g.b.t.Fatal(err)
	}
	return s
}

// take is the application's.
func (g *guest) take(k uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got = append(g.got, k)
}

// merged gives a packet to the merge of its class; class -1 flushes them all, for what
// comes without a number.
func (g *guest) merged(class int, packet func(*flow.Merge) bool, pkt ...byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.first()
	for i, m := range g.merge {
		switch {
		case class < 0:
			m.Flush()
		case i != class:
			continue
		default:
			g.wire = append(g.wire, binary.BigEndian.Uint32(payload(pkt)))
			if packet(m) {
				g.got = append(g.got, binary.BigEndian.Uint32(payload(pkt)))
			}
		}
		for {
			p, ok := m.Next()
			if !ok {
				break
			}
			g.got = append(g.got, binary.BigEndian.Uint32(payload(p)))
			m.Recycle(p)
		}
	}
}

// receipts are what the node has.
func (g *guest) receipts() (list []flow.Receipt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for class, m := range g.merge {
		list = append(list, flow.Receipt{Class: uint8(class), Report: m.Report()})
	}
	return list
}

// endedNatively checks that one marker has come, behind all that came by the tunnel.
func (g *guest) endedNatively() {
	g.b.t.Helper()
	g.b.await("the marker", func() bool { return len(g.markers) > 0 })
	if m := <-g.markers; m.Kind != tunnel.Native || m.Handover != header.Handover || len(g.markers) > 0 {
		g.b.t.Errorf("marker %+v, and %d more", m, len(g.markers))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.wire) - g.before; n != 0 {
		g.b.t.Errorf("%d copies came behind the marker", n)
	}
}

// has is how many packets the application has.
func (g *guest) has() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.got)
}

// reached is how many packets have come to the node, by whichever way.
func (g *guest) reached() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[uint32]bool{}
	for _, k := range append(slices.Clone(g.wire), g.got...) {
		all[k] = true
	}
	return len(all)
}

func (g *guest) copies() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.wire)
}

// say sends a marker until the answer comes.
func (g *guest) say(kind, want tunnel.MarkerKind, id event.HandoverID, receipts ...flow.Receipt) {
	g.b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		g.seq++
		if err := g.t.SendMarker(tunnel.Marker{Kind: kind, Handover: id, Seq: g.seq, Receipts: receipts}); err != nil {
			g.b.t.Fatal(err)
		}
		select {
		case m := <-g.markers:
			if m.Kind == want && m.Handover == id {
				return
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
	g.b.t.Fatalf("no %v came for %v; status %+v", want, kind, g.b.r.Status())
}

func (g *guest) depart(id event.HandoverID) {
	g.b.t.Helper()
	g.say(tunnel.Depart, tunnel.Departed, id)
}

// rebind has the tunnel go on from another socket at that address.
func (g *guest) rebind(at netip.Addr) {
	g.b.t.Helper()
	if err := g.t.Rebind(g.socket(at), g.router); err != nil {
		g.b.t.Fatal(err)
	}
}

// resume goes on at the other network.
func (g *guest) resume(id event.HandoverID, receipts ...flow.Receipt) {
	g.b.t.Helper()
	g.rebind(g.b.outer)
	g.say(tunnel.Resume, tunnel.Forwarded, id, receipts...)
}

// ask sends a Deliver and returns why it is not done.
func (g *guest) ask(how notify.How, other netip.AddrPort) string {
	g.b.t.Helper()
	g.mu.Lock()
	g.holds = how == notify.Unguard
	g.mu.Unlock()
	g.b.r.SessionMessage(g.sid, &notify.Deliver{Header: header, How: how, Outer: other})
	r := got[*notify.DeliverReply](g.b, g.sid)
	if r.Reason == "" && r.How != how {
		g.b.t.Errorf("%v done, asked for %v", r.How, how)
	}
	return r.Reason
}

func (g *guest) must(how notify.How, other netip.AddrPort) {
	g.b.t.Helper()
	if why := g.ask(how, other); why != "" {
		g.b.t.Fatalf("%v: %s", how, why)
	}
}

// exact checks that the application has each of n packets once, in order. Each flip that was forced, and counted, may have
// made packets come late in one place: that is what is promised.
func (g *guest) exact(n uint32) {
	g.b.t.Helper()
	g.exactFrom(0, n)
}

// exactFrom is exact where the first of the packets is that number.
func (g *guest) exactFrom(first, n uint32) {
	g.b.t.Helper()
	n -= first
	g.b.await("all packets", func() bool { return g.has() >= int(n) })
	time.Sleep(20 * time.Millisecond) // for one too many
	forced := uint64(0)
	if s := g.b.status(g.sid); s != nil {
		forced = s.Forced
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	late := uint64(0)
	for i := 1; i < len(g.got); i++ {
		if g.got[i] < g.got[i-1] {
			if late++; late > forced {
				g.b.t.Fatalf("packet %d of %d is number %d, %d flips were forced; around it %v", i, len(g.got), g.got[i], forced, g.got[max(0, i-3):min(i+4, len(g.got))])
			}
		}
	}
	slices.Sort(g.got)
	for i, k := range g.got {
		if k != first+uint32(i) {
			g.b.t.Fatalf("packet %d of %d is number %d, of %d that were sent; around it %v", i, len(g.got), k, n, g.got[max(0, i-3):min(i+4, len(g.got))])
		}
	}
	if len(g.got) != int(n) {
		g.b.t.Errorf("%d packets, %d were sent", len(g.got), n)
	}
}

// stream sends numbered packets until the function it returns is called, which says how
// many.
func (b *bed) stream(to netip.Addr) (stop func() uint32) {
	return b.streamEvery(200*time.Microsecond, to)
}

func (b *bed) streamEvery(d time.Duration, to netip.Addr) (stop func() uint32) {
	return b.streamTo(d, func(uint32) netip.Addr { return to })
}

// streamTo sends the packet of each number to where to says.
func (b *bed) streamTo(d time.Duration, to func(uint32) netip.Addr) (stop func() uint32) {
	done, sent := make(chan struct{}), make(chan uint32, 1)
	go func() {
		for k := uint32(0); ; k++ {
			select {
			case <-done:
				sent <- k
				return
			default:
				_, _ = b.cn.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, k), netip.AddrPortFrom(to(k), 9000))
				time.Sleep(d)
			}
		}
	}()
	var once sync.Once
	var n uint32
	stop = func() uint32 {
		once.Do(func() {
			close(done)
			n = <-sent
		})
		return n
	}
	b.t.Cleanup(func() { stop() })
	return stop
}

// balanced checks that every packet that came is delivered or counted.
func (b *bed) balanced(sid uint32) {
	b.t.Helper()
	v := b.r.visitor(sid)
	v.mu.Lock()
	s := v.total()
	v.mu.Unlock()
	if sum := s.Tunneled + s.Linked + s.Bicast + s.Queued + count(s.Dropped); s.In != sum {
		b.t.Errorf("%d packets came, %d are accounted for: %+v", s.In, sum, s)
	}
}

var errEnd = &pana.ErrPeerTerminated{}

// end ends a session, and checks that nothing of it is left in the kernel.
func (b *bed) end(sid uint32, idle string) {
	b.t.Helper()
	b.balanced(sid)
	b.r.SessionClosed(sid, errEnd)
	if now := b.idle(); now != idle {
		b.t.Errorf("left of the visitor:\n%s\nbefore\n%s", now, idle)
	}
}
