package ha6

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/ha"
	"openmpa/internal/ha/path"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

var careC = netip.MustParseAddr("2001:db8:c::100")

// copies checks that inner went out to each of list with one number, and returns that.
func (r *rig) copies(inner []byte, list ...netip.Addr) (s flow.Shim) {
	r.Helper()
	if len(r.w.out) != len(list) {
		r.Fatalf("%d packets went out, expected %d\n%v", len(r.w.out), len(list), r.c.Counters())
	}
	for i, pkt := range r.w.out {
		_, dst, _, _, err := ipip.ParseIPv6(pkt)
		wrapped, ok := ipip.Unwrap(pkt[ipip.HeaderLen6:], agent, home)
		if err != nil || !ok || dst != list[i] {
			r.Fatalf("to %v, wrapped %v, %v", dst, ok, err)
		}
		one, rest, err := flow.ParseShim(wrapped)
		if err != nil || i > 0 && one != s || !bytes.Equal(rest, inner) {
			r.Fatalf("%+v, before %+v, %v: %x", one, s, err, rest)
		}
		s = one
	}
	r.w.out = nil
	return s
}

// markers checks that the marker of a change went out to each of list, and nothing else.
func (r *rig) markers(id uint64, list ...netip.Addr) {
	r.Helper()
	if len(r.w.out) != len(list) {
		r.Fatalf("%d packets went out, expected markers to %v", len(r.w.out), list)
	}
	for i, pkt := range r.w.out {
		_, dst, _, _, _ := ipip.ParseIPv6(pkt)
		if dst != list[i] || !bytes.Equal(pkt[ipip.HeaderLen6:], r.marker(id, true)) {
			r.Errorf("%x to %v", pkt, dst)
		}
	}
	r.w.out = nil
}

// TestSeveral: bound to all candidates, each gets what the node gets, with one number; bound to one
// of them, what has numbers ends with a marker by each, first by that which stays.
func TestSeveral(t *testing.T) {
	r := newRig(t)
	r.offer(1, careA)
	ack, n := r.offer(2, careA, careB, careC)
	if pm, _ := ack.Options.PathMarkers(); pm != (mip6.PathMarkers{Path: 2, OldPath: true}) || n.What != ha.NoticeMoved || len(n.Also) != 2 {
		t.Errorf("%+v, %+v", pm, n)
	}
	r.markers(2, careA)
	down := datagram(peer, nodePort, 0xb8, "down")
	r.handle(down)
	first := r.copies(down, careA, careB, careC)
	if first.Number != 1 { // so that the second, should it come first, is known to be that
		t.Errorf("%+v", first)
	}
	r.handle(down)
	if next := r.copies(down, careA, careB, careC); next.Epoch != first.Epoch || next.Number != first.Number+1 {
		t.Errorf("%+v after %+v", next, first)
	}
	r.counted("down_sent", 2)
	r.counted("down_copies", 4)
	up := datagram(nodePort, peer, 0, "up")
	for _, careOf := range []netip.Addr{careA, careC} { // nothing waits: no path has ended
		r.handle(r.tunnel(careOf, up))
		r.sent("up", netip.Addr{}, up)
	}
	if b, _ := r.c.Bindings(r.now); *b[0].CareOf != careA || len(b[0].Also) != 2 {
		t.Errorf("%+v", b[0])
	}

	// Fewer, then one.
	ack, _ = r.offer(3, careA, careC)
	if pm, _ := ack.Options.PathMarkers(); pm != (mip6.PathMarkers{Path: 3}) {
		t.Errorf("%+v", pm)
	}
	r.handle(down)
	if next := r.copies(down, careA, careC); next.Number != first.Number+2 {
		t.Errorf("%+v: the numbers go on", next)
	}
	ack, n = r.offer(4, careC)
	if pm, _ := ack.Options.PathMarkers(); pm != (mip6.PathMarkers{Path: 4, OldPath: true}) || len(n.Also) != 0 || n.Previous != careA {
		t.Errorf("%+v, %+v", pm, n)
	}
	if last := r.copies(r.marker(4, true), careC, careA); last.Epoch != first.Epoch || last.Number != first.Number+3 {
		t.Errorf("%+v ends what began with %+v", last, first)
	}
	r.handle(down)
	r.sent("down", careC, down)
	r.handle(r.tunnel(careC, up))
	if len(r.w.out) != 0 {
		t.Error("what comes by the new path does not wait")
	}
	r.handle(r.tunnel(careA, r.marker(4, false)))
	r.sent("behind the marker", netip.Addr{}, up)

	// The next time has another numbering.
	r.offer(5, careC, careA)
	r.w.out = nil
	r.handle(down)
	if again := r.copies(down, careC, careA); again.Epoch == first.Epoch {
		t.Errorf("%+v", again)
	}
}

// TestSeveralMoved: the first is where the node sends from: when that changes the one before is the
// old path although it stays.
func TestSeveralMoved(t *testing.T) {
	r := newRig(t)
	first, second := datagram(nodePort, peer, 0, "first"), datagram(nodePort, peer, 0, "second")
	r.offer(1, careA)
	r.offer(2, careC, careA, careB)
	r.markers(2, careA)
	r.handle(r.tunnel(careC, second))
	r.offer(3, careC) // arrived, while the marker is under way
	r.copies(r.marker(3, true), careC, careA, careB)
	r.handle(r.tunnel(careA, first))
	r.sent("by the old path", netip.Addr{}, first)
	r.handle(r.tunnel(careA, r.marker(2, false)))
	r.sent("by the new one", netip.Addr{}, second)
	r.handle(r.tunnel(careA, first))
	r.counted("up_dropped_not_bound", 1)

	r.offer(4, careC, careA)
	r.w.out = nil
	r.handle(r.tunnel(careA, first)) // it may
	r.sent("by the second", netip.Addr{}, first)
}

// TestCopiesEnd: copies go on for a bounded time, and the numbers with the first care-of address.
func TestCopiesEnd(t *testing.T) {
	r := newRig(t)
	r.offer(2, careA, careB)
	down := datagram(peer, nodePort, 0, "down")
	r.handle(down)
	first := r.copies(down, careA, careB)
	end := r.now.Add(path.DefaultCopies)
	for at, ok := r.c.Deadline(); ok && !at.After(end); at, ok = r.c.Deadline() {
		r.c.OnDeadline(at)
	}
	r.handle(down)
	if next := r.copies(down, careA); next.Number != first.Number+1 {
		t.Errorf("%+v", next)
	}
	if n := r.bind(home2, careB); len(n) != 1 { // another node is not concerned
		t.Errorf("%+v", n)
	}
}

// TestSeveralWithoutNumbers: a node that does not know them gets each packet once.
func TestSeveralWithoutNumbers(t *testing.T) {
	r := newRig(t)
	r.offer(0, careA, careB)
	down := datagram(peer, nodePort, 0, "down")
	r.handle(down)
	r.sent("down", careA, down)
}

// TestSeveralRestored: after a crash as before, in a numbering of its own.
func TestSeveralRestored(t *testing.T) {
	r := newRig(t)
	r.offer(2, careA, careB)
	down := datagram(peer, nodePort, 0, "down")
	r.handle(down)
	first := r.copies(down, careA, careB)
	r.c = r.core()
	r.now = r.now.Add(time.Second)
	if _, err := r.c.Restore(r.now, home, r.w.kept[home]); err != nil {
		t.Fatal(err)
	}
	r.handle(down)
	if s := r.copies(down, careA, careB); s.Epoch == first.Epoch {
		t.Errorf("%+v", s)
	}
}

// TestTooBigCopy: the source hears of the packet it sent, with room for all that is added.
func TestTooBigCopy(t *testing.T) {
	r := newRig(t)
	r.offer(2, careA, careB)
	inner := datagram(peer, nodePort, 0, string(bytes.Repeat([]byte("x"), 1340)))
	r.handle(inner)
	outer := r.w.out[1]
	router := netip.MustParseAddr("2001:db8:5::1")
	r.w.out = nil
	r.handle(inet.AppendICMPv6(nil, router, agent, inet.ICMPv6TooBig, binary.BigEndian.AppendUint32(nil, 1400), outer[:1232]))
	want := inet.AppendICMPv6(nil, agent, peer.Addr(), inet.ICMPv6TooBig, binary.BigEndian.AppendUint32(nil, 1400-88), inner[:1232-88])
	r.sent("too big", netip.Addr{}, want)
}
