package tunnel

import (
	"strings"
	"testing"

	"openmpa/tunnel/flow"
)

// A packet through both ends costs no allocation: send, read, open, deliver.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop entries at random")
	}
	arrived := make(chan struct{}, 1)
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.FollowPeer = true
		ar.Receive = func([]byte) { arrived <- struct{}{} }
		ar.Marker = func(Marker, Origin) { arrived <- struct{}{} }
		ar.Numbered = func(flow.Shim, []byte) { arrived <- struct{}{} }
	})
	inner := up(t, strings.Repeat("x", 1380))
	if n := testing.AllocsPerRun(500, func() {
		if err := l.mn.Send(inner); err != nil {
			t.Fatal(err)
		}
		<-arrived
		if err := l.mn.SendMarker(Marker{Kind: Depart, Handover: handover}); err != nil {
			t.Fatal(err)
		}
		<-arrived
		if err := l.mn.SendNumbered(flow.Shim{Number: 1}, inner); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}); n != 0 {
		t.Fatalf("%v allocations per packet", n)
	}
}

// Nor do packets that leave and arrive together.
func TestNoAllocationQueued(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop entries at random")
	}
	const many = 40
	arrived := make(chan struct{}, many)
	l := newLink(t, func(mn, ar *TunnelConfig) {
		offloadLink(t, true, mn, ar)
		ar.Receive = func([]byte) { arrived <- struct{}{} }
	})
	inner := up(t, strings.Repeat("x", 1380))
	if n := testing.AllocsPerRun(200, func() {
		l.mnEnd.Cork()
		for range many {
			if err := l.mn.Queue(inner); err != nil {
				t.Fatal(err)
			}
		}
		l.mnEnd.Uncork()
		for range many {
			<-arrived
		}
	}); n != 0 {
		t.Fatalf("%v allocations for %d packets", n, many)
	}
}

// The whole way through loopback sockets: seal, send, receive, open.
func BenchmarkTunnel(b *testing.B) {
	arrived := make(chan struct{}, 4096)
	l := newLink(b, func(_, ar *TunnelConfig) { ar.Receive = func([]byte) { arrived <- struct{}{} } })
	inner := up(b, strings.Repeat("x", 1380))
	b.SetBytes(int64(len(inner)))
	b.ReportAllocs()
	under := 0 // bounded, so that nothing is dropped
	for b.Loop() {
		if under == 256 {
			<-arrived
			under--
		}
		if err := l.mn.Send(inner); err != nil {
			b.Fatal(err)
		}
		under++
	}
	for range under {
		<-arrived
	}
}
