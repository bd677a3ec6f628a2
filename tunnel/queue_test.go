package tunnel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Queued packets leave at Uncork, in their order, whatever their lengths and classes are;
// without a cork they leave at once.
func TestQueue(t *testing.T) {
	for _, offload := range []bool{false, true} {
		l := newLink(t, func(mn, ar *TunnelConfig) { offloadLink(t, offload, mn, ar) })
		queue := func(payload string, tos uint8) {
			t.Helper()
			if err := l.mn.Queue(packet(t, visitor, corr, tos, payload)); err != nil {
				t.Fatal(err)
			}
		}
		queue("at once", 0)
		l.atAR.want(t, "packet at once")

		l.mnEnd.Cork()
		var want []string
		for i := range 300 {
			payload := fmt.Sprintf("%d %s", i, strings.Repeat("x", []int{1000, 1000, 1000, 40, 1300, 0}[i%6]))
			want = append(want, "packet "+payload)
			queue(payload, []uint8{0, 0, 0, 0xb8}[i/5%4])
		}
		l.mnEnd.Uncork()
		for _, w := range want {
			l.atAR.want(t, w)
		}
		if s := l.mn.Stats(); s.Sent != 301 || len(s.DroppedOut) > 0 {
			t.Errorf("%+v; expected 301 sent", s)
		}
	}
}

// offloadLink has both ends of a link use sockets that are made so.
func offloadLink(t testing.TB, offload bool, ends ...*TunnelConfig) {
	t.Helper()
	for i, c := range ends {
		s, err := c.Socket.e.ListenWith(loopback, bind.Options{Offload: offload})
		if err != nil {
			t.Fatal(err)
		}
		c.Socket, ends[(i+1)%len(ends)].Peer = s, s.LocalAddr()
	}
}

// Whatever is sent at once leaves behind what was queued: a marker most of all.
func TestQueueIsPushed(t *testing.T) {
	l := newLink(t, nil)
	l.mnEnd.Cork()
	defer l.mnEnd.Uncork()
	steps := []struct {
		send func() error
		want string
	}{
		{func() error { return l.mn.SendMarker(Marker{Kind: Depart, Handover: handover, Seq: 7}) }, "depart 7"},
		{func() error { return l.mn.Send(up(t, "sent")) }, "packet sent"},
		{func() error { l.mnEnd.Flush(); return nil }, ""},
	}
	for i, s := range steps {
		if err := l.mn.Queue(up(t, fmt.Sprint("queued ", i))); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-l.atAR:
			t.Fatalf("%s has left", got)
		case <-time.After(time.Millisecond): // it would be there; that it is not shows in the order, too
		}
		if err := s.send(); err != nil {
			t.Fatal(err)
		}
		l.atAR.want(t, fmt.Sprint("packet queued ", i))
		if s.want != "" {
			l.atAR.want(t, s.want)
		}
	}
}

// Nothing stays behind when several queue while others cork and uncork: all arrives, and
// what one has queued arrives in its order.
func TestQueueFromSeveral(t *testing.T) {
	const senders, each = 4, 1000
	var mu sync.Mutex
	next := map[int]int{}
	var got atomic.Int64
	l := newLink(t, func(mn, ar *TunnelConfig) {
		offloadLink(t, true, mn, ar)
		ar.Receive = func(inner []byte) {
			var who, n int
			fmt.Sscanf(string(inner[ipip.HeaderLen:]), "%d %d", &who, &n)
			mu.Lock()
			defer mu.Unlock()
			if next[who] != n {
				t.Errorf("of %d came %d, expected %d", who, n, next[who])
			}
			next[who] = n + 1
			got.Add(1)
		}
	})
	var wg sync.WaitGroup
	for who := range senders {
		wg.Go(func() {
			for n := range each {
				if who%2 == 0 && n%7 == 0 {
					l.mnEnd.Cork()
				}
				if err := l.mn.Queue(up(t, fmt.Sprintf("%03d %05d", who, n))); err != nil {
					t.Error(err)
				}
				if who%2 == 0 && (n%7 == 6 || n == each-1) {
					l.mnEnd.Uncork()
				}
				if n%256 == 255 { // the receiver is to keep up
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	for end := time.Now().Add(20 * time.Second); got.Load() < senders*each && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := got.Load(); n != senders*each {
		t.Errorf("%d of %d arrived: sent %+v, received %+v by %+v", n, senders*each, l.mn.Stats(), l.ar.Stats(), l.ar.Socket().Stats())
	}
}

// What cannot leave in the end is counted, each packet once.
func TestQueueCountsWhatFails(t *testing.T) {
	var unsent []flow.Shim
	l := newLink(t, func(mn, _ *TunnelConfig) { mn.Unsent = func(s flow.Shim) { unsent = append(unsent, s) } })
	l.mnEnd.Cork()
	want := []flow.Shim{{}, {Class: 2}, {Class: 1, Epoch: 3, Number: 4}}
	if err := errors.Join(l.mn.Queue(up(t, "x of 9 oc")), l.mn.QueueAs(want[1], up(t, "x of 9 oc")), l.mn.QueueNumbered(want[2], up(t, "x"))); err != nil {
		t.Fatal(err)
	}
	if err := l.mnSock.Close(); err != nil {
		t.Fatal(err)
	}
	l.mnEnd.Uncork()
	if s := l.mn.Stats(); s.Sent != 0 || s.DroppedOut[ReasonClosed] != 3 {
		t.Errorf("%+v; expected 3 dropped with a closed socket", s)
	}
	if !slices.Equal(unsent, want) {
		t.Errorf("told of %+v, expected %+v", unsent, want)
	}
	l.mnEnd.Cork()
	defer l.mnEnd.Uncork()
	l.mn.Close()
	for _, err := range []error{l.mn.Queue(up(t, "x")), l.mn.QueueNumbered(flow.Shim{}, up(t, "x"))} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if err := l.mn.Queue([]byte{0x45}); !errors.Is(err, ipip.ErrFormat) {
		t.Errorf("no packet: %v", err)
	}
	if err := l.mn.QueueNumbered(flow.Shim{Class: 255}, []byte{0x45}); !errors.Is(err, ipip.ErrFormat) {
		t.Errorf("no packet: %v", err)
	}
}

// What is queued when the tunnel is closed has left.
func TestCloseSendsWhatIsQueued(t *testing.T) {
	l := newLink(t, nil)
	l.mnEnd.Cork()
	defer l.mnEnd.Uncork()
	if err := l.mn.Queue(up(t, "last")); err != nil {
		t.Fatal(err)
	}
	l.mn.Close()
	l.atAR.want(t, "packet last")
}

// Numbers stay with their packets.
func TestQueueNumbered(t *testing.T) {
	got := newLog()
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.Numbered = func(s flow.Shim, inner []byte) { got <- fmt.Sprint(s.Number, " ", string(inner[ipip.HeaderLen:])) }
	})
	l.mnEnd.Cork()
	for i := range 5 {
		if err := l.mn.QueueNumbered(flow.Shim{Number: uint32(i)}, up(t, fmt.Sprint("p", i))); err != nil {
			t.Fatal(err)
		}
	}
	l.mnEnd.Uncork()
	for i := range 5 {
		got.want(t, fmt.Sprintf("%d p%d", i, i))
	}
}

// What one read brought is received between before and after.
func TestAroundReads(t *testing.T) {
	l := newLog()
	e := NewEndpoint(nil)
	e.AroundReads(func() { l <- "before" }, func() { l <- "after" })
	s := listen(t, e)
	other, from := endpoint(t)
	tun := add(t, other, TunnelConfig{
		Socket: from, Peer: s.LocalAddr(), Out: outbound(t, spiToRouter, 1), In: inbound(t, spiToNode, 2), Receive: func([]byte) {},
	})
	add(t, e, TunnelConfig{
		Socket: s, Peer: from.LocalAddr(), Out: outbound(t, spiToNode, 2), In: inbound(t, spiToRouter, 1), Receive: l.receive,
	})
	if err := tun.Send(up(t, "x")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before", "packet x", "after"} {
		l.want(t, want)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
