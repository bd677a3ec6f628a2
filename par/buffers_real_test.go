package par

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/tunnel/flow"
)

// sendBig sends numbered packets of so many octets from the correspondent to a.
func (b *bed) sendBig(a netip.Addr, size int, numbers ...uint32) {
	b.t.Helper()
	buf := make([]byte, size-28)
	for _, k := range numbers {
		binary.BigEndian.PutUint32(buf, k)
		if _, err := b.cn.WriteToUDPAddrPort(buf, netip.AddrPortFrom(a, 9000)); err != nil {
			b.t.Error(err)
		}
	}
}

func upTo(n uint32) (list []uint32) {
	for k := range n {
		list = append(list, k)
	}
	return list
}

// held is what is queued and was dropped for a visitor.
func (b *bed) held(sid uint32) (queued, dropped uint64) {
	s := b.status(sid)
	return s.Queued, count(s.Dropped)
}

// TestSharedBound: of three nodes that are away two get more than the router can hold;
// they have the same, and the third finds room.
func TestSharedBound(t *testing.T) {
	const most, packets = 300, 1000
	b := start(t, func(c *Config) {
		c.Buffer.All.Packets, c.Buffer.Guaranteed = most, flow.Limits{Packets: 10, Bytes: 20000}
		c.Buffer.Each.MaxAge = time.Minute
	})
	var nodes []*end
	for i := range 3 {
		nodes = append(nodes, b.prepare(uint32(i+1), net.HardwareAddr{2, 0, 0, 0, 0, byte(7 + i)}))
	}
	greedy, newcomer := nodes[:2], nodes[2]
	for _, n := range greedy {
		n.depart()
	}
	for k := range uint32(packets) {
		for _, n := range greedy {
			b.send(n.inner, k)
		}
	}
	var had [2]uint64
	for i, n := range greedy {
		b.await("what was sent to arrive", func() bool { q, d := b.held(n.sid); return q+d == packets })
		had[i], _ = b.held(n.sid)
		if s := b.status(n.sid); s.Dropped[flow.ReasonShare] != packets-had[i] || len(s.Dropped) != 1 {
			t.Errorf("node %d: dropped %v of %d, held %d", i, s.Dropped, packets, had[i])
		}
	}
	if had[0] > had[1]+had[1]/5+2 || had[1] > had[0]+had[0]/5+2 {
		t.Errorf("two that want everything hold %d and %d packets", had[0], had[1])
	}
	newcomer.depart()
	b.send(newcomer.inner, upTo(packets)...)
	b.await("what was sent to arrive", func() bool { q, d := b.held(newcomer.sid); return q+d == packets })
	if q, _ := b.held(newcomer.sid); q < 10+(most-had[0]-had[1]-10)/4 {
		t.Errorf("the newcomer holds %d packets beside %v of %d", q, had, most)
	}
	if s := b.r.Status().Buffer; s.Packets > most || s.Accounts != 3 || s.Refused == 0 {
		t.Errorf("the router's status: %+v", s)
	}
	for _, n := range nodes {
		b.r.SessionClosed(n.sid, fmt.Errorf("the end"))
	}
	if s := b.r.Status().Buffer; s.Packets != 0 || s.Bytes != 0 || s.Accounts != 0 {
		t.Errorf("in the end: %+v", s)
	}
}

// TestTooOld: what is held longer than it is worth goes, though nothing else comes, and
// the node is given the rest.
func TestTooOld(t *testing.T) {
	b := start(t, func(c *Config) { c.Buffer.Each.MaxAge = 100 * time.Millisecond })
	n := b.prepare(1, b.mac)
	n.depart()
	b.send(leased, upTo(5)...)
	b.await("packets to grow old", func() bool { return b.status(1).Dropped[flow.ReasonAge] == 5 })
	if s := b.r.Status(); s.Buffer.Packets != 0 || s.Visitors[0].Queued != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestSilentCopies: copies for a node to which nothing is sent any more take no room from others.
func TestSilentCopies(t *testing.T) {
	b := start(t, func(c *Config) { c.Unused = 300 * time.Millisecond })
	g := b.attach(1)
	g.must(notify.Guard, netip.AddrPort{})
	b.send(g.addr, 0, 1, 2, 3, 4)
	b.await("packets through the tunnel", func() bool { return g.has() == 5 })
	b.await("copies to be given up", func() bool { return b.status(1).Forgotten == 5 })
	if s := b.r.Status(); s.Buffer.Packets != 0 || s.Visitors[0].Mode != "copy" {
		t.Errorf("status %+v", s)
	}
	g.cut()
	g.resume(moved)
	g.exact(5)
	b.balanced(1)
}

// arrives has the node come to the link.
func (n *end) arrives() *net.UDPConn {
	conn := n.b.onLink(n.inner)
	n.b.r.SessionActivated(n.sid, netip.AddrPortFrom(n.inner, 1))
	n.b.r.SessionMessage(n.sid, &notify.Arrival{Header: header})
	return conn
}

// TestPacedDrain: an access link whose rate is known is not given more than it takes.
func TestPacedDrain(t *testing.T) {
	const packets, size, burst = 500, 1000, 20000
	link := Link{Rate: 8e6, Burst: burst} // a packet a ms
	b := start(t, func(c *Config) { c.Link = link })
	n := b.prepare(1, b.mac)
	n.depart()
	b.sendBig(leased, size, upTo(packets)...)
	b.await("packets to be held", func() bool { return b.status(1).Queued == packets })
	conn := n.arrives()
	var first time.Time
	for k := range uint32(packets) {
		if got := b.number(conn); got != k {
			t.Fatalf("packet %d came in the place of %d", got, k)
		}
		if k == 0 {
			first = time.Now()
		}
	}
	// never faster; how much slower is the machine's affair
	if took, least := time.Since(first), time.Duration(float64(packets*size-2*burst)/link.octets()*float64(time.Second)); took < least {
		t.Errorf("%d packets in %v, which the link does not take in less than %v", packets, took, least)
	}
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	if s := b.status(1); s.Forced != 0 || len(s.Dropped) != 0 || s.Buffer.HighWater != packets {
		t.Errorf("status %+v", s)
	}
}

// TestEndlessDrain: packets come faster than the link takes them. The kernel has them in
// the end, and none is lost for that.
func TestEndlessDrain(t *testing.T) {
	const size = 1000
	b := start(t, func(c *Config) { c.Link = Link{Rate: 4e6, Burst: 3000} }) // a packet in 2 ms
	n := b.prepare(1, b.mac)
	n.depart()
	sent := uint32(0)
	for ; sent < 200; sent++ {
		b.sendBig(leased, size, sent)
	}
	b.await("packets to be held", func() bool { return b.status(1).Queued == 200 })
	conn := n.arrives()
	seen := map[uint32]int{}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	readers.Go(func() {
		buf := make([]byte, 2000)
		var end time.Time
		for end.IsZero() || len(seen) < int(sent) && time.Now().Before(end) {
			_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := conn.Read(buf); err == nil {
				seen[binary.BigEndian.Uint32(buf)]++
			}
			select {
			case <-stop:
				if end.IsZero() {
					end = time.Now().Add(patience)
				}
			default:
			}
		}
	})
	for s := b.status(1); s.Mode != "direct"; s = b.status(1) { // there is more for the link, however little time the machine has for this
		if s.Queued < 1000 {
			for range 100 {
				b.sendBig(leased, size, sent)
				sent++
			}
		}
		time.Sleep(500 * time.Microsecond)
	}
	queued := b.status(1).Queued
	b.sendBig(leased, size, sent, sent+1)
	sent += 2
	close(stop) // and nobody changes sent any more
	readers.Wait()
	s := b.status(1)
	if s.Forced != 1 || queued == 0 || len(s.Dropped) != 0 {
		t.Errorf("%d were queued at the flip, status %+v", queued, s)
	}
	for k := range sent {
		if seen[k] != 1 {
			t.Fatalf("packet %d of %d came %d times", k, sent, seen[k])
		}
	}
	b.await("the drain's record", func() bool {
		for _, e := range b.r.cfg.Recorder.Events(header.Handover) {
			if e.Phase == event.PhaseDrain && e.Kind == event.KindEnd {
				return e.Attrs["endless"] == true
			}
		}
		return false
	})
}
