package ha

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

func TestLifeOfABinding(t *testing.T) {
	r := newRig(t)
	r.down("early")
	r.up(careB, "early")
	r.did()
	q := r.request(careB)
	p := r.bind(q)
	if p.Code != mip4.CodeAcceptedOneBinding || p.Lifetime != 600 || p.HomeAddress != home || p.HomeAgent != agent || p.ID != q.ID {
		t.Errorf("reply %+v", p)
	}
	if _, ok := p.PathMarkers(); ok {
		t.Error("markers were not offered")
	}
	r.did("bound 10.9.0.2")
	r.down("one")
	r.up(careB, "two")
	r.did("to 10.1.0.100 one", "from two")
	b := r.c.Bindings()[0]
	if !b.Bound || *b.CareOf != careB || !b.Expires.Equal(r.now.Add(600*time.Second)) || !b.ReverseTunnel || b.PathMarkers {
		t.Errorf("status %+v", b)
	}
	at, ok := r.c.Deadline()
	if !ok || !at.Equal(*b.Expires) {
		t.Errorf("deadline %v, %v", at, ok)
	}
	r.now = at
	got := r.c.OnDeadline(r.now)
	if len(got) != 1 || got[0].What != NoticeExpired || got[0].CareOf != careB {
		t.Errorf("%+v", got)
	}
	r.did("unbound 10.9.0.2")
	r.down("late")
	r.up(careB, "late")
	r.did()
	if _, ok := r.c.Deadline(); ok {
		t.Error("a deadline is left")
	}
	r.balance()
}

func TestMoveWithMarkers(t *testing.T) {
	r := newRig(t)
	p := r.bind(markers(r.request(careB), 11))
	if pm, ok := p.PathMarkers(); !ok || pm != (mip4.PathMarkers{Path: 11}) {
		t.Errorf("first: %+v, %v", pm, ok)
	}
	r.did("bound 10.9.0.2")
	r.down("d1")
	p = r.bind(markers(r.request(careA), 22))
	if pm, ok := p.PathMarkers(); !ok || pm != (mip4.PathMarkers{Path: 22, OldPath: true}) {
		t.Errorf("move: %+v, %v", pm, ok)
	}
	r.down("d2")
	r.did("to 10.1.0.100 d1", "to 10.1.0.100 marker 16 down=true", "to 10.2.0.100 d2")

	// Up: the new path waits for the marker by the old one.
	r.up(careB, "u1")
	r.up(careA, "u3")
	r.up(careB, "u2")
	r.up(careA, "u4")
	r.did("from u1", "from u2")
	if n, ok := r.upMarker(careB, 22); !ok || n.What != NoticeMarker || n.Path != 22 || n.Released != 2 {
		t.Errorf("%+v, %v", n, ok)
	}
	r.up(careA, "u5")
	r.did("from u3", "from u4", "from u5")
	r.up(careB, "after the marker")
	r.did()
	r.counted("up_dropped_not_bound", 1)
	r.counted("down_markers", 1)
	r.counted("up_markers", 1)

	// A renewal says the same of the path, and moves nothing.
	p = r.bind(markers(r.request(careA), 22))
	if pm, ok := p.PathMarkers(); !ok || pm != (mip4.PathMarkers{Path: 22, OldPath: true}) {
		t.Errorf("renewal: %+v, %v", pm, ok)
	}
	r.up(careA, "u6")
	r.did("from u6")
	r.balance()
}

// TestRetransmittedMove: the reply was lost; the change is not made twice.
func TestRetransmittedMove(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 11))
	r.bind(markers(r.request(careA), 22))
	r.up(careA, "u2")
	p := r.bind(markers(r.request(careA), 22)) // another identification, the same path
	if pm, _ := p.PathMarkers(); pm != (mip4.PathMarkers{Path: 22, OldPath: true}) {
		t.Errorf("%+v", pm)
	}
	r.up(careB, "u1")
	r.upMarker(careB, 22)
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 16 down=true", "from u1", "from u2")
	r.balance()
}

// A marker goes out three times, and may come in as often.
func TestMarkerAgain(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 11))
	r.bind(markers(r.request(careA), 22))
	moved := r.now
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 16 down=true")
	for _, after := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond} {
		at, ok := r.c.Deadline()
		if !ok || !at.Equal(moved.Add(after)) {
			t.Errorf("deadline %v, %v, want %v after the move", at.Sub(moved), ok, after)
		}
		r.now = at
		r.c.OnDeadline(at.Add(-1))
		r.did()
		r.c.OnDeadline(at)
		r.did("to 10.1.0.100 marker 16 down=true")
	}
	r.c.OnDeadline(r.now.Add(time.Second))
	r.did()

	r.up(careA, "u1")
	for i := range 3 {
		if n, ok := r.upMarker(careB, 22); ok != (i == 0) || n.Released != 1-min(i, 1) {
			t.Errorf("marker %d: %+v, %v", i, n, ok)
		}
	}
	r.did("from u1")
	r.counted("up_markers", 3)
	r.counted("up_dropped_not_bound", 0)

	// Who asks for the same again has not heard of it: as little of the markers, maybe.
	r.now = r.now.Add(time.Second)
	r.bind(markers(r.request(careA), 22))
	r.did("to 10.1.0.100 marker 16 down=true")
	r.repeated()
	r.did()
	r.now = moved.Add(10 * time.Second)
	r.bind(markers(r.request(careA), 22))
	r.did()

	// The next change ends the repetition of the one before.
	r.bind(markers(r.request(careB), 33))
	r.bind(markers(r.request(careC), 44))
	r.did("to 10.2.0.100 marker 21 down=true", "to 10.1.0.100 marker 2c down=true")
	r.now = r.now.Add(time.Second)
	r.c.OnDeadline(r.now)
	r.did("to 10.1.0.100 marker 2c down=true")
	bye := r.request(home)
	bye.Lifetime = 0
	r.bind(bye)
	r.now = r.now.Add(time.Second)
	r.c.OnDeadline(r.now)
	r.did("unbound 10.9.0.2")
	r.balance()
}

func TestMarkerMissed(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 11))
	r.bind(markers(r.request(careA), 22))
	r.w.wakes = 0
	r.up(careA, "u1")
	if r.w.wakes != 1 {
		t.Errorf("%d wakes for a new deadline", r.w.wakes)
	}
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 16 down=true")
	sent := r.now
	r.repeated()
	at, _ := r.c.Deadline()
	if !at.Equal(sent.Add(path.DefaultMarkerWait)) {
		t.Errorf("deadline in %v", at.Sub(sent))
	}
	r.c.OnDeadline(at.Add(-time.Nanosecond))
	r.did()
	r.now = at
	if n := r.c.OnDeadline(r.now); len(n) != 1 || n[0].What != NoticeMarkerMissed || n[0].Released != 1 || n[0].Path != 22 {
		t.Errorf("%+v", n)
	}
	r.up(careB, "late but good")
	r.did("from u1", "from late but good")
	if _, ok := r.upMarker(careB, 22); ok {
		t.Error("a marker nobody waits for was told")
	}
	r.up(careB, "after the marker")
	r.did()
	r.balance()
}

// TestMoveWithoutMarkers: packets under way are taken from the old path for a while.
func TestMoveWithoutMarkers(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.bind(r.request(careA))
	r.up(careA, "u2")
	r.up(careB, "u1")
	r.did("bound 10.9.0.2", "from u2", "from u1")
	r.now = r.now.Add(path.DefaultOldPath)
	r.up(careB, "too late")
	r.did()
	r.c.OnDeadline(r.now)
	if b := r.c.Bindings()[0]; b.Previous != nil {
		t.Errorf("%+v", b)
	}
	r.balance()
}

// TestMarkerLostInSilence: a mobile node that sends nothing for a while is not held up later.
func TestMarkerLostInSilence(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 11))
	r.bind(markers(r.request(careA), 22))
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 16 down=true")
	r.repeated()
	r.now, _ = r.c.Deadline()
	r.c.OnDeadline(r.now)
	r.up(careA, "at once")
	r.did("from at once")
	r.balance()
}

// TestForthAndBack before the first change is settled.
func TestForthAndBack(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 1))
	r.bind(markers(r.request(careA), 2))
	r.up(careA, "a1") // waits for marker 2 from B
	r.bind(markers(r.request(careC), 3))
	r.up(careC, "c1") // waits for marker 3 from A
	r.up(careA, "a2")
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 2 down=true", "to 10.2.0.100 marker 3 down=true")
	r.upMarker(careA, 3)
	r.did()
	r.repeated()
	for range 3 {
		at, ok := r.c.Deadline()
		if !ok || at.Sub(r.now) > path.DefaultOldPath {
			break
		}
		r.now = at
		r.c.OnDeadline(at)
	}
	r.did("from a1", "from a2", "from c1")
	r.balance()
}

// TestReturnedBefore its marker: what was sent before a mobile node left its network goes before what it sent elsewhere, also
// where it has returned when that comes.
func TestReturnedBefore(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careA), 1))
	r.bind(markers(r.request(careB), 2))
	r.bind(markers(r.request(careA), 3))
	r.did("bound 10.9.0.2", "to 10.2.0.100 marker 2 down=true", "to 10.1.0.100 marker 3 down=true")
	r.up(careB, "b1") // waits for marker 2 from A
	r.up(careA, "a1") // ahead of that
	r.did("from a1")
	r.upMarker(careA, 2)
	r.did("from b1")
	r.up(careA, "a2") // waits for marker 3 from B
	r.up(careB, "b2")
	r.did("from b2")
	r.upMarker(careB, 3)
	r.up(careA, "a3")
	r.did("from a2", "from a3")
	r.balance()
}

func TestDeregister(t *testing.T) {
	for name, c := range map[string]struct {
		careOf netip.Addr
		gone   bool
	}{
		"all":     {home, true},
		"this":    {careA, true},
		"another": {careC, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.bind(markers(r.request(careB), 1))
			r.bind(markers(r.request(careA), 2))
			r.up(careA, "held")
			r.did("bound 10.9.0.2", "to 10.1.0.100 marker 2 down=true")
			q := r.request(c.careOf)
			q.Lifetime = 0
			p, a := r.ask(q)
			if !p.Code.Accepted() || p.Lifetime != 0 || a.Notice.What != NoticeUnbound {
				t.Errorf("%+v, %+v", p, a.Notice)
			}
			if c.gone {
				r.did("unbound 10.9.0.2", "from held")
				r.up(careA, "later")
				r.did()
				// A new binding starts without the old one's gate.
				r.bind(markers(r.request(careC), 3))
				r.up(careC, "new")
				r.did("bound 10.9.0.2", "from new")
			} else {
				r.did()
			}
			r.balance()
		})
	}
}

func TestWorldRefuses(t *testing.T) {
	r := newRig(t)
	r.w.refuse = errors.New("the route is somebody else's")
	p, a := r.ask(r.request(careB))
	if p.Code != mip4.CodeReason || !strings.Contains(a.Notice.Reason, "somebody else") {
		t.Errorf("%v, %+v", p.Code, a.Notice)
	}
	r.w.refuse = nil
	r.bind(r.request(careB))
	r.w.lost = errors.New("no route")
	r.down("d")
	r.counted("down_dropped_error", 1)
	r.bind(markers(r.request(careA), 2))
	if b := r.c.Bindings()[0]; *b.CareOf != careA {
		t.Error("a marker that could not be sent stopped the change")
	}
}

func TestForwardChecks(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	noReverse := mip4.Request{Flags: mip4.FlagD, Lifetime: 60, HomeAddress: home2, HomeAgent: agent, CareOf: careC, ID: inet.NTP(r.now)}
	if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careC, 434), r.octets(noReverse, sa2)); err != nil {
		t.Fatal(err)
	}
	r.did("bound 10.9.0.2", "bound 10.9.0.3")
	zero := packet(home, peer, "x")
	zero[8] = 0
	down := packet(peer, home, "x")
	down[8] = 0
	forged, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: home, HomeAgent: agent, ID: 1}, sa2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		counter string
		do      func()
	}{
		{"up_dropped_format", func() { r.c.Up(r.now, careB, nil) }},
		{"up_dropped_format", func() { r.c.Up(r.now, careB, zero) }},
		{"up_dropped_unknown_node", func() { r.c.Up(r.now, careB, packet(peer, home, "x")) }},
		{"up_dropped_not_bound", func() { r.up(careA, "x") }},
		{"up_dropped_not_bound", func() { r.c.Up(r.now, netip.Addr{}, packet(home, peer, "x")) }},
		{"up_dropped_no_reverse_tunnel", func() { r.c.Up(r.now, careC, packet(home2, peer, "x")) }},
		{"up_dropped_marker", func() { r.c.Up(r.now, careB, forged) }},
		{"down_dropped_format", func() { r.c.Down(headed([]byte{0x60, 0, 0})) }},
		{"down_dropped_unbound", func() { r.c.Down(headed(packet(peer, careA, "x"))) }},
		{"down_dropped_loop", func() { r.c.Down(headed(packet(careB, home, "x"))) }},
		{"down_dropped_loop", func() { r.c.Down(headed(down)) }},
	} {
		before := r.c.Counters()[c.counter]
		c.do()
		r.counted(c.counter, before+1)
	}
	r.did()
	padded := append(packet(home, peer, "short"), "padding"...)
	r.c.Up(r.now, careB, padded)
	r.did("from short")
	r.balance()
}

func TestCloseUndoes(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.c.Close()
	r.c.Close()
	r.did("bound 10.9.0.2", "unbound 10.9.0.2")
}

// What comes while the home agent ends is for the next one.
func TestRequestAtTheEnd(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.c.Close()
	r.did("bound 10.9.0.2", "unbound 10.9.0.2")
	if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careA, 434), r.octets(r.request(careA), sa)); !errors.Is(err, errEnding) {
		t.Errorf("got %v", err)
	}
	r.did()
	if got := r.restart(); len(got) != 1 || got[0].CareOf != careB {
		t.Errorf("%+v", got)
	}
}
