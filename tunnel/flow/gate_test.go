package flow

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fetchAll empties what a gate has released.
func fetchAll(g *Gate, out func([]byte)) {
	for {
		pkt, ok := g.Next()
		if !ok {
			return
		}
		out(pkt)
		clear(pkt)
		g.Recycle(pkt)
	}
}

// pathOf and packetOn code path and number into a packet's number.
func packetOn(path, n uint64, size int) []byte { return numbered(path<<32|n, size) }

// Whatever comes by whatever path, with markers early, late, lost or repeated,
// small limits and quick changes: each path's order is kept, and everything is
// delivered once or counted.
func TestGateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			Packets: rapid.SampledFrom([]int{0, 1, 5, 1000}).Draw(t, "packets"),
			Bytes:   rapid.SampledFrom([]int{0, 200, 20000}).Draw(t, "bytes"),
		}
		exact := rapid.Bool().Draw(t, "paths known") // By, or only Old and New
		g := NewGate(limits)
		now := epoch
		var path, in uint64
		sent := make(map[uint64]uint64) // per path
		last := make(map[uint64]uint64) // per path, number of the last one delivered
		delivered := uint64(0)
		out := func(b []byte) {
			v, intact := number(b)
			p, n := v>>32, v&0xffffffff
			if !intact || n <= last[p] {
				t.Fatalf("path %d: packet %d (intact %v) after %d", p, n, intact, last[p])
			}
			last[p] = n
			delivered++
		}
		steps := rapid.IntRange(1, 200).Draw(t, "steps")
		for range steps {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 20 * time.Millisecond}).Draw(t, "pause"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2, 3, 4:
				// A packet of the newest path, or of one of the few before it.
				p := path - min(path, uint64(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 5, 12}).Draw(t, "back")))
				sent[p]++
				in++
				pkt := packetOn(p, sent[p], rapid.SampledFrom([]int{8, 100, 1400, 9000}).Draw(t, "size"))
				var deliver bool
				switch {
				case exact:
					deliver = g.By(now, p, pkt)
				case p == path:
					deliver = g.New(now, pkt)
				default:
					deliver = g.Old(now, pkt)
				}
				if deliver {
					out(pkt)
				}
				clear(pkt)
			case 5:
				path++
				g.Arm(now, path, rapid.SampledFrom([]time.Duration{0, 5 * time.Millisecond, 100 * time.Millisecond}).Draw(t, "wait"))
			case 6: // a marker: due, early, late, repeated
				g.Marker(now, path+1-min(path, uint64(rapid.IntRange(0, 3).Draw(t, "marker"))))
			case 7:
				g.OnDeadline(now)
				if at, ok := g.Deadline(); ok && !at.After(now) {
					t.Fatalf("a deadline is left in the past: %v at %v", at, now)
				}
			default:
				fetchAll(g, out)
			}
			s := g.Stats()
			if s.In != in || s.Delivered != delivered || s.In != s.Delivered+s.Queued+total(s.Dropped) {
				t.Fatalf("%d came, %d were delivered, the account is %+v", in, delivered, s)
			}
			if s.HighWater > max(limits.Packets, 0) || s.Queued > uint64(s.HighWater) || g.bytes < 0 || s.Queued == 0 && g.bytes != 0 {
				t.Fatalf("limits %+v, got %+v, %d octets", limits, s, g.bytes)
			}
			if len(g.stages) > maxStages+1 || len(g.spare) > maxStages {
				t.Fatalf("%d stages, %d spare", len(g.stages), len(g.spare))
			}
		}
		// The owner does its duty: nothing stays behind.
		for range 2 * maxStages {
			fetchAll(g, out)
			at, ok := g.Deadline()
			if !ok {
				break
			}
			now = at
			g.OnDeadline(now)
		}
		fetchAll(g, out)
		s := g.Stats()
		if s.Queued != 0 || s.In != s.Delivered+total(s.Dropped) {
			t.Fatalf("at the end: %+v", s)
		}
	})
}

// Where each path ends with its marker, no marker is lost or too late, and the
// buffer suffices, all packets come out in the order of the paths: nothing that
// was sent later overtakes anything sent earlier, however the paths interleave.
func TestGateOrderAcrossPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGate(Limits{Packets: 100000})
		paths := rapid.IntRange(1, 6).Draw(t, "changes") + 1
		type item struct {
			n      uint64
			marker bool
		}
		wire := make([][]item, paths)
		var want []uint64
		for p := range wire {
			for n := range rapid.IntRange(0, 6).Draw(t, "packets") {
				wire[p] = append(wire[p], item{n: uint64(n + 1)})
				want = append(want, uint64(p)<<32|uint64(n+1))
			}
			if p+1 < paths {
				wire[p] = append(wire[p], item{marker: true})
			}
		}
		var got []uint64
		out := func(b []byte) {
			v, _ := number(b)
			got = append(got, v)
		}
		armed := 0 // the newest path armed
		for {
			// Some path whose next item is on its way: only paths armed, and markers
			// may be early, that is before the Arm they are for.
			var ready []int
			for p := range wire {
				if len(wire[p]) > 0 && p <= armed {
					ready = append(ready, p)
				}
			}
			if armed+1 < paths {
				ready = append(ready, -1)
			}
			if len(ready) == 0 {
				break
			}
			p := rapid.SampledFrom(ready).Draw(t, "which")
			if p < 0 {
				armed++
				g.Arm(epoch, uint64(armed), time.Hour)
				continue
			}
			it := wire[p][0]
			wire[p] = wire[p][1:]
			if it.marker {
				g.Marker(epoch, uint64(p+1))
			} else if pkt := packetOn(uint64(p), it.n, 60); g.By(epoch, uint64(p), pkt) {
				out(pkt)
			}
			if rapid.Bool().Draw(t, "fetch") {
				fetchAll(g, out)
			}
		}
		fetchAll(g, out)
		if !slices.Equal(got, want) {
			t.Fatalf("want %x, got %x", want, got)
		}
		if s := g.Stats(); s.ByMarker != uint64(paths-1) || s.ByDeadline+s.ByLimit+s.Late != 0 {
			t.Fatalf("got %+v", s)
		}
	})
}

// gateDrive notes what a gate lets out.
type gateDrive struct {
	t   *testing.T
	g   *Gate
	now time.Time
	out []uint64
}

func (v *gateDrive) note(b []byte) {
	n, ok := number(b)
	if !ok {
		v.t.Errorf("packet %d is damaged", n)
	}
	v.out = append(v.out, n)
}

func (v *gateDrive) old(ns ...uint64) {
	for _, n := range ns {
		if pkt := numbered(n, 60); v.g.Old(v.now, pkt) {
			v.note(pkt)
		}
	}
	fetchAll(v.g, v.note)
}

func (v *gateDrive) new(ns ...uint64) {
	for _, n := range ns {
		if pkt := numbered(n, 60); v.g.New(v.now, pkt) {
			v.note(pkt)
		}
	}
	fetchAll(v.g, v.note)
}

func (v *gateDrive) marker(token uint64) bool {
	ok := v.g.Marker(v.now, token)
	fetchAll(v.g, v.note)
	return ok
}

func (v *gateDrive) want(ns ...uint64) {
	v.t.Helper()
	if !slices.Equal(v.out, ns) {
		v.t.Errorf("want %v, got %v", ns, v.out)
	}
}

func newGateDrive(t *testing.T, l Limits) *gateDrive {
	return &gateDrive{t: t, g: NewGate(l), now: epoch}
}

func TestGateMarkerBetween(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	v.new(1)
	v.g.Arm(v.now, 7, time.Second)
	v.old(2)
	v.new(5)
	v.old(3)
	v.new(6)
	v.want(1, 2, 3)
	if v.marker(8) {
		t.Error("a marker of another change opened the gate")
	}
	if !v.g.Armed() {
		t.Error("not armed any more")
	}
	v.old(4)
	if !v.marker(7) || v.g.Armed() {
		t.Error("its marker did not open the gate")
	}
	v.new(7)
	v.want(1, 2, 3, 4, 5, 6, 7)
	if s := v.g.Stats(); s.ByMarker != 1 || s.Held != 2 || s.HighWater != 2 || s.Late != 0 {
		t.Errorf("got %+v", s)
	}
	if _, ok := v.g.Deadline(); ok {
		t.Error("an open gate has a deadline")
	}
}

func TestGateMarkerBeforeAnything(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	v.old(1)
	if v.marker(7) {
		t.Error("nobody waited for that marker")
	}
	v.g.Arm(v.now, 7, time.Second)
	v.new(2)
	v.want(1, 2)
	// It is used up: a token does not open two gates.
	v.g.Arm(v.now, 7, time.Second)
	v.new(3)
	v.want(1, 2)
}

// Only the last few early markers are remembered; others wait for the deadline.
func TestGateEarlyMarkersAreBounded(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	for token := uint64(1); token <= maxEarly+2; token++ {
		v.marker(token)
	}
	for _, c := range []struct {
		token uint64
		open  bool
	}{{2, false}, {3, true}, {maxEarly + 2, true}, {5, true}, {5, false}} {
		g := *v.g // a copy each, so that they do not wait for each other
		g.stages = slices.Clone(v.g.stages)
		g.Arm(v.now, c.token, time.Second)
		if g.Armed() == c.open {
			t.Errorf("token %d: want open %v", c.token, c.open)
		}
		if c.token == 5 {
			v.g.takeEarly(5)
		}
	}
}

func TestGateDeadline(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	v.g.Arm(v.now, 7, 50*time.Millisecond)
	if _, ok := v.g.Deadline(); ok {
		t.Error("the wait begins with the first packet of the new path")
	}
	v.now = v.now.Add(time.Second)
	v.new(2)
	at, ok := v.g.Deadline()
	if !ok || !at.Equal(v.now.Add(50*time.Millisecond)) {
		t.Fatalf("deadline: %v, %v", at, ok)
	}
	v.now = v.now.Add(20 * time.Millisecond)
	v.new(3)
	v.g.OnDeadline(v.now) // too soon
	v.old(1)
	v.want(1)
	last := v.now
	v.now = at
	v.g.OnDeadline(v.now) // the old path is not silent for long enough
	fetchAll(v.g, v.note)
	v.want(1)
	if at, ok = v.g.Deadline(); !ok || !at.Equal(last.Add(50*time.Millisecond)) {
		t.Fatalf("deadline with a packet by the old path: %v, %v", at, ok)
	}
	v.now = at
	v.g.OnDeadline(v.now)
	fetchAll(v.g, v.note)
	v.old(9) // overtaken: let through and counted
	v.marker(7)
	v.want(1, 2, 3, 9)
	if s := v.g.Stats(); s.ByDeadline != 1 || s.ByMarker != 0 || s.Late != 1 {
		t.Errorf("got %+v", s)
	}
}

// An old path that carries packets all the time, and no marker, is not waited for without
// end, and one that is about to be closed without a packet by the new one.
func TestGateDeadlineIsBounded(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	const wait = 50 * time.Millisecond
	v.g.Arm(v.now, 7, wait)
	v.g.Expect(v.now)
	var want []uint64
	for n := uint64(1); v.g.Armed() && n < 1000; n++ {
		v.old(n)
		want = append(want, n)
		v.now = v.now.Add(wait / 5)
		if n == 40 {
			v.new(5000)
		}
		v.g.OnDeadline(v.now)
		v.g.Expect(v.now) // said again it begins nothing anew
	}
	fetchAll(v.g, v.note)
	v.want(append(want, 5000)...)
	if took := v.now.Sub(epoch); took != mostWaits*wait {
		t.Errorf("opened after %v", took)
	}
	v.g.Arm(v.now, 8, wait)
	v.g.Expect(v.now)
	if at, ok := v.g.Deadline(); !ok || !at.Equal(v.now.Add(wait)) {
		t.Errorf("deadline of a silent path: %v, %v", at, ok)
	}
}

// A path that never carried a packet does not hold up those after it for ever.
func TestGateSilentPathInBetween(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	v.g.Arm(v.now, 1, 50*time.Millisecond)
	v.g.Arm(v.now, 2, 20*time.Millisecond)
	v.new(1)
	v.marker(2)
	v.want()
	for range 2 {
		if at, ok := v.g.Deadline(); ok {
			v.now = at
			v.g.OnDeadline(at)
		}
	}
	fetchAll(v.g, v.note)
	v.want(1)
	if v.now.Sub(epoch) != 50*time.Millisecond {
		t.Errorf("opened after %v", v.now.Sub(epoch))
	}
}

// There and back again before the first marker came.
func TestGateArmedTwice(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 10})
	by := func(path uint64, ns ...uint64) {
		for _, n := range ns {
			if pkt := numbered(n, 60); v.g.By(v.now, path, pkt) {
				v.note(pkt)
			}
		}
		fetchAll(v.g, v.note)
	}
	by(0, 1)
	v.g.Arm(v.now, 11, time.Second)
	by(11, 3)
	v.g.Arm(v.now, 12, time.Second)
	by(12, 5)
	by(11, 4)
	by(0, 2)
	v.want(1, 2)
	v.marker(12)
	v.want(1, 2)
	v.marker(11)
	v.want(1, 2, 3, 4, 5)
	by(99, 6) // an unknown path counts as the oldest
	v.want(1, 2, 3, 4, 5, 6)
	if s := v.g.Stats(); s.Late != 1 || s.Armed != 2 || s.ByMarker != 2 {
		t.Errorf("got %+v", s)
	}
}

func TestGateTooManyChanges(t *testing.T) {
	v := newGateDrive(t, Limits{Packets: 100})
	for n := uint64(1); n <= maxStages+3; n++ {
		v.g.Arm(v.now, n, time.Second)
		v.new(n)
	}
	// Three were opened for want of room.
	v.want(1, 2, 3)
	if s := v.g.Stats(); s.ByLimit != 3 || s.Queued != maxStages {
		t.Errorf("got %+v", s)
	}
	for n := uint64(1); n <= maxStages+3; n++ {
		v.marker(n)
	}
	v.want(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
}

// A full buffer opens the gate: it reorders rather than loses, and says so.
func TestGateFull(t *testing.T) {
	for name, l := range map[string]Limits{"packets": {Packets: 3}, "octets": {Packets: 100, Bytes: 150}} {
		v := newGateDrive(t, l)
		v.g.Arm(v.now, 7, time.Second)
		v.new(1, 2)
		v.want()
		v.new(3)
		v.want(1, 2, 3)
		v.new(4)
		v.want(1, 2, 3, 4)
		if s := v.g.Stats(); s.ByLimit != 1 || total(s.Dropped) != 0 {
			t.Errorf("%s: got %+v", name, s)
		}
	}
}

// A caller that does not fetch what was released loses packets, counted.
func TestGateNotFetched(t *testing.T) {
	g := NewGate(Limits{Packets: 2})
	g.Arm(epoch, 7, time.Second)
	for n := uint64(1); n <= 4; n++ {
		if g.New(epoch, numbered(n, 60)) {
			t.Errorf("packet %d overtook what waits", n)
		}
	}
	if s := g.Stats(); s.Dropped[ReasonPackets] != 2 || s.Queued != 2 {
		t.Errorf("got %+v", s)
	}
	g.Release()
	if s := g.Stats(); s.Dropped[ReasonReleased] != 2 || s.Queued != 0 || s.In != 4 {
		t.Errorf("released: %+v", s)
	}
	if !g.New(epoch, numbered(5, 60)) || g.Armed() {
		t.Error("a released gate is not open")
	}
}

// Without a buffer a gate cannot hold, and must not lose either.
func TestGateWithoutBuffer(t *testing.T) {
	v := newGateDrive(t, Limits{})
	v.g.Arm(v.now, 7, time.Second)
	v.new(1)
	v.old(2)
	v.want(1, 2)
	if s := v.g.Stats(); s.ByLimit != 1 || total(s.Dropped) != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestGateDoesNotAllocate(t *testing.T) {
	g := NewGate(Limits{Packets: 1000})
	pkt := numbered(1, 1400)
	token := uint64(0)
	cycle := func() {
		token++
		g.Arm(epoch, token, time.Second)
		for range 100 {
			g.Old(epoch, pkt)
			g.New(epoch, pkt)
		}
		g.Marker(epoch, token)
		for {
			p, ok := g.Next()
			if !ok {
				break
			}
			g.Recycle(p)
		}
		for range 100 {
			g.New(epoch, pkt)
		}
	}
	cycle()
	cycle()
	if n := testing.AllocsPerRun(50, cycle); n != 0 {
		t.Errorf("want no allocation per change of path, got %v", n)
	}
	if s := g.Stats(); s.Held < 5000 || total(s.Dropped) != 0 || s.Late != 0 {
		t.Errorf("the cycle did not do what it should: %+v", s)
	}
}
