package ha6

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/ha"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
)

// offer registers care-of addresses with an offer of path-end markers, and returns the answer.
// path 0: without one.
func (r *rig) offer(path uint64, list ...netip.Addr) (*mip6.Ack, ha.Notice) {
	r.Helper()
	r.now = r.now.Add(time.Second)
	careOf := list[0]
	u := &mip6.Update{Sequence: uint16(r.now.Unix()), Flags: mip6.FlagA | mip6.FlagH, Lifetime: 150, Options: mip6.Options{mip6.AlternateOption(careOf)}}
	if len(list) > 1 {
		u.Flags, u.Options = u.Flags|mip6.FlagO, nil
		for i, a := range list {
			u.Options = append(u.Options, mip6.BindingID{ID: uint16(i + 1), CareOf: a}.Option())
		}
	}
	if path != 0 {
		u.Options = append(u.Options, mip6.PathMarkers{Path: path}.Option())
	}
	u.Options = append(u.Options, mip6.ReplayOption(inet.NTP(r.now)))
	b := append([]byte{0x60, 0, 0, 0, 0, 0, mip6.Protocol, 64}, home.AsSlice()...)
	b, err := mip6.Append(append(b, agent.AsSlice()...), u, home, agent, sa.Signer(careOf, home))
	if err != nil {
		r.Fatal(err)
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	if b, err = mip6.AppendFromHome(nil, b, careOf); err != nil {
		r.Fatal(err)
	}
	r.handle(b)
	r.w.out = nil
	notices, err := r.c.Signal(r.now, r.w.signal)
	if err != nil {
		r.Fatal(err)
	}
	notices = append(notices, r.c.Probed(r.now, home, true)...)
	if len(notices) != 1 {
		r.Fatalf("%+v", notices)
	}
	answer := r.w.out[len(r.w.out)-1]
	r.w.out = r.w.out[:len(r.w.out)-1]
	p, err := mip6.ParsePacket(answer)
	if err != nil {
		r.Fatal(err)
	}
	m, err := mip6.Parse(p.Payload, p.Source(), p.Destination())
	if err != nil {
		r.Fatal(err)
	}
	ack := m.(*mip6.Ack)
	if !ack.Status.Accepted() {
		r.Fatalf("status %v", ack.Status)
	}
	return ack, notices[0]
}

func (r *rig) marker(id uint64, down bool) []byte {
	r.Helper()
	b, err := mip6.AppendMarkerPacket(nil, mip6.Marker{Home: home, HomeAgent: agent, ID: id, Down: down}, sa)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// TestMoveWithMarkers: the last packet of the old path is a marker, both ways, and nothing of
// the new one passes before.
func TestMoveWithMarkers(t *testing.T) {
	r := newRig(t)
	ack, n := r.offer(11, careA)
	if pm, ok := ack.Options.PathMarkers(); !ok || pm != (mip6.PathMarkers{Path: 11}) || n.Path != 11 {
		t.Errorf("first: %+v %v, %+v", pm, ok, n)
	}
	ack, n = r.offer(22, careB)
	if pm, _ := ack.Options.PathMarkers(); pm != (mip6.PathMarkers{Path: 22, OldPath: true}) || n.What != ha.NoticeMoved {
		t.Errorf("move: %+v, %+v", pm, n)
	}
	r.sent("marker on the old path", careA, r.marker(22, true))
	down := datagram(peer, nodePort, 0, "down")
	r.handle(down)
	r.sent("down after the move", careB, down)

	first, second := datagram(nodePort, peer, 0, "first"), datagram(nodePort, peer, 0, "second")
	r.handle(r.tunnel(careB, second))
	r.handle(r.tunnel(careA, first))
	r.sent("by the old path", netip.Addr{}, first)
	forged, err := mip6.AppendMarkerPacket(nil, mip6.Marker{Home: home, HomeAgent: agent, ID: 22}, sa2)
	if err != nil {
		t.Fatal(err)
	}
	r.handle(r.tunnel(careA, forged))
	r.counted("up_dropped_marker", 1)
	if n, ok := r.handle(r.tunnel(careA, r.marker(22, false))); !ok || n.What != ha.NoticeMarker || n.Path != 22 || n.Released != 1 {
		t.Errorf("%+v, %v", n, ok)
	}
	r.sent("behind the marker", netip.Addr{}, second)
	r.handle(r.tunnel(careA, first))
	r.counted("up_dropped_not_bound", 1)

	// The answer was lost: asked again, the same is said, and nothing changes.
	ack, n = r.offer(22, careB)
	if pm, _ := ack.Options.PathMarkers(); pm != (mip6.PathMarkers{Path: 22, OldPath: true}) || n.What != ha.NoticeRenewed {
		t.Errorf("renewal: %+v, %+v", pm, n)
	}
}

// TestMarkerAgain: a marker goes out three times, and the wait for the other ends without it.
func TestMarkerAgain(t *testing.T) {
	r := newRig(t)
	r.offer(11, careA)
	r.offer(22, careB)
	moved := r.now
	r.handle(r.tunnel(careB, datagram(nodePort, peer, 0, "waits")))
	r.w.out = nil
	for _, after := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond} {
		at, ok := r.c.Deadline()
		if !ok || !at.Equal(moved.Add(after)) {
			t.Errorf("deadline %v, %v, want %v after the move", at.Sub(moved), ok, after)
		}
		r.c.OnDeadline(at)
		r.sent("marker again", careA, r.marker(22, true))
	}
	at, _ := r.c.Deadline()
	if n := r.c.OnDeadline(at); at.Sub(moved) != 500*time.Millisecond || len(n) != 1 || n[0].What != ha.NoticeMarkerMissed || n[0].Released != 1 {
		t.Errorf("after %v: %+v", at.Sub(moved), n)
	}
	r.sent("without the marker", netip.Addr{}, datagram(nodePort, peer, 0, "waits"))
}

// TestNodeToNodeAfterMove: what waited for a marker and goes to another mobile node gets there.
func TestNodeToNodeAfterMove(t *testing.T) {
	r := newRig(t)
	r.bind(home2, careA)
	r.offer(11, careA)
	r.offer(22, careB)
	r.w.out = nil
	inner := datagram(nodePort, netip.AddrPortFrom(home2, 1), 0, "to the other")
	r.handle(r.tunnel(careB, inner))
	r.handle(r.tunnel(careA, r.marker(22, false)))
	inner[7]--
	r.sent("between nodes", careA, inner)
}
