package pana

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// talker is a machine to whose queue something is added whenever something is taken out, and
// whose timer is due every millisecond.
type talker struct {
	r       *runner
	packets int
	timers  chan int // packets until then
	at      time.Time
}

func (m *talker) deadline() (time.Time, bool) { return m.at, true }
func (m *talker) flush()                      {}
func (m *talker) abandon()                    {}

func (m *talker) onDeadline(now time.Time) {
	m.at = now.Add(time.Millisecond)
	select {
	case m.timers <- m.packets:
	default:
	}
}

func (m *talker) packet(_ time.Time, from netip.AddrPort, _ []byte) {
	if from.IsValid() { // another's
		return
	}
	m.packets++
	b := make([]byte, smallBuffer)
	m.r.queues[classSession] <- datagram{data: &b}
}

// TestRounds: a session that never stops talking keeps the owner neither from timers nor from
// calls, nor from what others say, nor from its end.
func TestRounds(t *testing.T) {
	conn := &pipeConn{closed: make(chan struct{})}
	r := newRunner(conn, onlyPeer)
	m := &talker{r: r, timers: make(chan int), at: time.Now()}
	for range queueLen {
		b := make([]byte, smallBuffer)
		r.queues[classSession] <- datagram{data: &b}
	}
	for _, c := range []class{classStart, classStranger} {
		b := make([]byte, smallBuffer)
		r.queues[c] <- datagram{from: addrOther, data: &b}
	}
	r.run(t.Context(), m)
	timeout := time.After(patience)
	for range 3 {
		select {
		case <-m.timers:
		case <-timeout:
			t.Fatal("no timer has its turn")
		}
	}
	called := make(chan struct{})
	if err := r.post(func(time.Time) { close(called) }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-called:
	case <-timeout:
		t.Fatal("no call has its turn")
	}
	for _, c := range []class{classStart, classStranger} {
		for len(r.queues[c]) > 0 {
			select {
			case <-m.timers:
			case <-timeout:
				t.Fatalf("no datagram of class %d has its turn", c)
			}
		}
	}
	r.cancel()
	select {
	case <-r.done:
	case <-timeout:
		t.Fatal("it does not end")
	}
	r.close()
}

// TestForgedFlood: somebody who knows the identifier of a session has its hashes computed so
// many times a second, and shuts the node itself out from nothing.
func TestForgedFlood(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	sid := n.pac.SID()
	s := w.paa.sessions[sid]
	forged := encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: sid, Seq: s.rxSeq, AVPs: []AVP{{Code: CodeAUTH, Data: make([]byte, s.sa.integ.ICVLen())}}}, nil)
	const flood = 10_000
	for range flood {
		w.paa.HandlePacket(w.now, addrOther, bytes.Clone(forged))
	}
	counts := w.paa.Counters()
	if counts[DiscardAUTH] != weighRate || counts[DiscardRate] != flood-weighRate {
		t.Errorf("counters %v, expected %d messages looked at, and the rest refused", counts, weighRate)
	}
	n.do(func(now time.Time, p *PaC) {
		if _, err := p.Notify(now, vendorAVP("all the same"), NotifyOptions{}); err != nil {
			t.Error(err)
		}
	})
	if !w.run(500*time.Millisecond, func() bool { return count[Notified](w.outs) == 1 }) {
		t.Errorf("the node is shut out: %v", w.paa.Counters())
	}
}

// TestPendingSource: one address, by however many ports, or of IPv6 one link, has its share of
// what is pending, and gets it back.
func TestPendingSource(t *testing.T) {
	const all, each = 40, 10
	start := func(w *world, from netip.AddrPort) {
		w.paa.HandlePacket(w.now, from, encode(&Message{Type: TypePCI}, nil))
		for _, s := range sent(w.paa) {
			m, err := ParseMessage(s.Data)
			if err != nil {
				t.Fatal(err)
			}
			w.paa.HandlePacket(w.now, from, encode(&Message{Type: TypeAuth, Flags: FlagS, SID: m.SID, Seq: m.Seq}, nil))
		}
	}
	for _, kind := range []struct {
		name string
		from func(i int) netip.AddrPort
		next netip.AddrPort
	}{
		{"one address", func(i int) netip.AddrPort { return netip.AddrPortFrom(addrOld.Addr(), uint16(i)+1) }, addrOther},
		{"one link", func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:1::%x", i+1)), 716)
		}, netip.MustParseAddrPort("[2001:db8:0:2::1]:716")},
	} {
		t.Run(kind.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{MaxPending: all, MaxPendingSource: each, PCIRatePerSource: 1e6, AllowKeyless: true})
			for i := range 3 * all {
				start(w, kind.from(i))
			}
			if w.paa.pending != each || w.paa.Counters()[DiscardLimit] == 0 {
				t.Fatalf("%d are pending, counters %v, expected %d", w.paa.pending, w.paa.Counters(), each)
			}
			start(w, kind.next)
			if w.paa.pending != each+1 {
				t.Error("there is no room for anybody else")
			}
			w.pass(time.Minute) // DefaultAuthTimeout
			if w.paa.pending != 0 || len(w.paa.sources) != 0 {
				t.Errorf("%d are pending, of %v", w.paa.pending, w.paa.sources)
			}
			start(w, kind.from(0))
			if w.paa.pending != 1 {
				t.Error("its share is gone for ever")
			}
		})
	}
}

// TestStartsPerSlot: one address and port begins as many sessions in a slot as there are
// identifiers for it, however often it ends them.
func TestStartsPerSlot(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRatePerSource: 1e6, AllowKeyless: true})
	w.now = time.Unix(w.now.Unix()/16*16, 0)
	begun := map[uint32]bool{}
	for range 100 {
		w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
		for _, s := range sent(w.paa) {
			m, err := ParseMessage(s.Data)
			if err != nil {
				t.Fatal(err)
			}
			answer := encode(&Message{Type: TypeAuth, Flags: FlagS, SID: m.SID, Seq: m.Seq}, nil)
			for range 2 { // once more begins nothing more
				w.paa.HandlePacket(w.now, addrOld, bytes.Clone(answer))
				w.paa.Terminate(w.now, m.SID)
			}
			begun[m.SID] = true
		}
		w.now = w.now.Add(100 * time.Millisecond)
	}
	if len(begun) != cookieTry || len(w.paa.sessions) != cookieTry {
		t.Errorf("%d sessions in 10 s, expected %d", len(begun), cookieTry)
	}
}

// TestAwaitPort: whoever can send from the PAA's address does not choose where the PaC's
// answers go, but by a PAR[S] that the PaC takes.
func TestAwaitPort(t *testing.T) {
	paa, other := netip.MustParseAddrPort("10.2.0.1:5001"), netip.MustParseAddrPort("10.2.0.1:5002")
	conn := &sentConn{pipeConn{in: make(chan pipeDatagram), closed: make(chan struct{})}, make(chan netip.AddrPort, 10)}
	c, err := Await(t.Context(), conn, paa.Addr(), PaCConfig{NewEAP: func() (EAPPeer, error) { return &fakePeer{}, nil }}, func(Output) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := NewPAA(PAAConfig{Rand: newSeeded(1)})
	if err != nil {
		t.Fatal(err)
	}
	p.Invite(time.Now(), addrOld)
	start := sent(p)[0].Data
	m, err := ParseMessage(start)
	if err != nil {
		t.Fatal(err)
	}
	preauth := bytes.Clone(start)
	preauth[4] |= byte(FlagE >> 8)
	useless := map[string][]byte{
		"nothing":          {1, 2, 3},
		"a PAR":            encode(&Message{Type: TypeAuth, Flags: FlagR, SID: m.SID, Seq: m.Seq + 1}, nil),
		"a PAR[S] for E=1": preauth,
		"no algorithm":     encode(&Message{Type: TypeAuth, Flags: FlagR | FlagS, SID: 9, AVPs: []AVP{avp32(CodePRF, 99), avp32(CodeIntegrity, 99)}}, nil),
	}
	where := func() (to netip.AddrPort) {
		t.Helper()
		if err := c.Do(func(time.Time, *PaC) { to = c.paa }); err != nil {
			t.Fatal(err)
		}
		return to
	}
	heard := func() (n uint64) {
		if err := c.Do(func(_ time.Time, p *PaC) {
			for _, k := range p.Counters() {
				n += k
			}
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	try := func(when string, want netip.AddrPort) {
		t.Helper()
		for name, b := range useless {
			before := heard()
			conn.in <- pipeDatagram{other, b}
			for began := time.Now(); heard() == before; time.Sleep(time.Millisecond) {
				if time.Since(began) > patience {
					t.Fatalf("%s: %s is not counted", when, name)
				}
			}
			if to := where(); to != want {
				t.Errorf("%s: after %s the PAA is at %v, expected %v", when, name, to, want)
			}
		}
	}
	try("before the session", netip.AddrPortFrom(paa.Addr(), 0))
	conn.in <- pipeDatagram{paa, start}
	select {
	case to := <-conn.to:
		if to != paa {
			t.Errorf("the answer goes to %v", to)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
	try("in it", paa)
}

// sentConn says where datagrams go.
type sentConn struct {
	pipeConn
	to chan netip.AddrPort
}

func (c *sentConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	select {
	case c.to <- to:
		return len(b), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// TestForgedDoubt: a PAR[S] that nobody signed, however often it comes, takes nothing from the
// time that a session has while the way to the PAA is cut.
func TestForgedDoubt(t *testing.T) {
	for i := range 60 {
		every := 5 * time.Millisecond << (i % 12) * time.Duration(100+i) / 100 // up to 15 s
		delay := []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}[i%3]
		t.Run(fmt.Sprintf("every %v, %v away", every, delay), func(t *testing.T) {
			w := newWorld(t, uint64(i), PAAConfig{})
			w.delay = delay
			n := w.node(addrOld, PaCConfig{PingInterval: 20 * time.Second, PingTimeout: 20 * time.Second})
			w.open(n)
			stranger, err := NewPAA(PAAConfig{Rand: newSeeded(5)})
			if err != nil {
				t.Fatal(err)
			}
			w.tap = func(netip.AddrPort, netip.AddrPort, []byte) bool { return false }
			for end := w.now.Add(15 * time.Second); w.now.Before(end); w.pass(min(every, end.Sub(w.now))) {
				stranger.Invite(w.now, addrOld)
				n.pac.HandlePacket(w.now, sent(stranger)[0].Data)
				n.flush()
			}
			if n.closed() != nil {
				t.Fatalf("closed with %v", n.closed())
			}
			w.tap = nil
			w.pass(20 * time.Second)
			if n.closed() != nil || n.pac.State() != PaCOpen {
				t.Errorf("closed with %v", n.closed())
			}
		})
	}
}
