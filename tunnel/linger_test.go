package tunnel

import (
	"errors"
	"testing"
)

// What the peer has sent before comes through a tunnel that lingers, and nothing else
// happens by it.
func TestLinger(t *testing.T) {
	l := newLink(t, func(_, ar *TunnelConfig) {
		ar.FollowPeer = true
		ar.Moved = func(Origin) { t.Error("the peer is followed") }
	})
	l.ar.Linger()
	l.ar.Linger()
	select {
	case <-l.ar.Done():
	default:
		t.Error("its end was not told")
	}
	if err := l.ar.Send(packet(t, corr, visitor, 0, "down")); !errors.Is(err, ErrClosed) {
		t.Errorf("sent: %v", err)
	}
	if err := l.mn.Rebind(listen(t, l.mnEnd), l.arSock.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return l.mn.SendMarker(Marker{Kind: Depart, Handover: handover, Seq: 1}) },
		func() error { return l.mn.Send(up(t, "one")) },
		func() error { return l.mn.Send(packet(t, corr, corr, 0, "of somebody else")) },
		func() error { return l.mn.Send(up(t, "two")) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	l.atAR.want(t, "packet one") // no marker before it
	l.atAR.want(t, "packet two")
	s := l.ar.Stats()
	if s.Delivered != 2 || s.DroppedIn[ReasonClosed] != 1 || s.DroppedIn[ReasonSource] != 1 || s.PeerChanges != 0 {
		t.Errorf("got %+v", s)
	}
	if e := l.arEnd; e.Tunnels() != 0 || e.Lingering() != 1 || e.Late() != 2 {
		t.Errorf("%d tunnels, %d linger, %d packets were late", e.Tunnels(), e.Lingering(), e.Late())
	}
	l.ar.Close()
	if l.arEnd.Lingering() != 0 || l.arEnd.lookup(spiToRouter) != nil {
		t.Error("left after Close")
	}
	balanced(t, []*Tunnel{l.ar}, nil)
}
