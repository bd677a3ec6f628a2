package pana

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// pipeConn is a socket whose datagrams come from a channel, in order and without loss.
type pipeConn struct {
	in     chan pipeDatagram
	out    chan []byte
	closed chan struct{}
}

type pipeDatagram struct {
	from netip.AddrPort
	b    []byte
}

func (c *pipeConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.in:
		return copy(b, d.b), d.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *pipeConn) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	c.out <- b
	return len(b), nil
}

func (c *pipeConn) Close() error {
	close(c.closed)
	return nil
}

// TestQueues: while the owner is busy strangers fill their queue and no more; what a
// session has to say is handled before what they said, all of it, and a PAN[S] has room, and its turn
// after a round of what sessions say.
func TestQueues(t *testing.T) {
	const flood = 5000
	conn := &pipeConn{in: make(chan pipeDatagram), out: make(chan []byte, 2*flood), closed: make(chan struct{})}
	type began struct {
		sid      uint32
		refused  uint64 // pings refused until then
		answered int    // strangers
	}
	starts, ready := make(chan began, 10), make(chan struct{})
	var server *Server
	server, err := Serve(t.Context(), conn, PAAConfig{AllowKeyless: true, PCIRate: 1e6, PCIRatePerSource: 1e6}, func(o Output) {
		<-ready
		if o, ok := o.(EAPStart); ok {
			starts <- began{o.SID, server.paa.Counters()[DiscardUnexpected], len(conn.out)}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	t.Cleanup(server.Close)
	say := func(from netip.AddrPort, m *Message) {
		raw, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.in <- pipeDatagram{from, raw}
	}
	start := func() began {
		select {
		case b := <-starts:
			return b
		case <-time.After(patience):
			t.Fatalf("no session in %v", patience)
			return began{}
		}
	}
	hear := func() *Message {
		select {
		case b := <-conn.out:
			m, err := ParseMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			return m
		case <-time.After(patience):
			t.Fatalf("nothing in %v", patience)
			return nil
		}
	}
	say(addrOld, &Message{Type: TypePCI})
	par := hear()
	say(addrOld, &Message{Type: TypeAuth, Flags: FlagS, SID: par.SID, Seq: par.Seq})
	start() // a session that exists
	say(addrNew, &Message{Type: TypePCI})
	other := hear() // and one that is about to begin

	busy, free := make(chan struct{}), make(chan struct{})
	if err := server.Post(func(time.Time, *PAA) { close(busy); <-free }); err != nil {
		t.Fatal(err)
	}
	<-busy
	for range flood {
		say(addrOther, &Message{Type: TypePCI})
	}
	say(addrNew, &Message{Type: TypeAuth, Flags: FlagS, SID: other.SID, Seq: other.Seq})
	long := AVP{Code: 1, Vendor: VendorID, Data: make([]byte, 2*smallBuffer)}
	for range queueLen { // refused, since the session is not open: they are counted
		say(addrOld, &Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: par.SID, AVPs: []AVP{long}})
	}
	if n := server.Overflows(); n != flood-queueLen {
		t.Errorf("%d datagrams dropped of %d, %d fit", n, flood, queueLen)
	}
	for len(server.queues[classSession]) < queueLen { // the last one is on its way to it
		time.Sleep(time.Millisecond)
	}
	close(free)
	if o := start(); o.sid != other.SID || o.refused != roundLen || o.answered != 0 {
		t.Errorf("session %08x began after %d pings and %d strangers, expected %08x after %d and none", o.sid, o.refused, o.answered, other.SID, roundLen)
	}
	for range queueLen {
		hear()
	}
	var heard uint64
	if err := server.Do(func(_ time.Time, p *PAA) { heard = p.Counters()[DiscardUnexpected] }); err != nil {
		t.Fatal(err)
	}
	if heard != queueLen {
		t.Errorf("%d pings were heard, expected all %d", heard, queueLen)
	}
}
