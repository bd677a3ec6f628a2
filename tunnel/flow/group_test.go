package flow

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// policy is the one of the examples: voice goes both ways, bulk is held, the rest neither.
func policy(t rapid.TB) *Classes {
	c, err := NewClasses(
		Class{Name: "voice", DSCP: []uint8{46, 44}, Handling: HandleBicast, Limits: Limits{Packets: 20, MaxAge: 100 * time.Millisecond}},
		Class{Name: "bulk", DSCP: []uint8{10, 0}, Limits: Limits{Packets: 20}, Copies: Limits{Packets: 20}},
		Class{Name: "rest", Handling: HandlePass, Limits: Limits{Packets: 20}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const dscpVoice, dscpBulk, dscpRest = 46, 10, 8

// classed is an IPv4 packet with a DSCP and a number, padded.
func classed(dscp uint8, n uint64) []byte {
	b := make([]byte, 40)
	b[0], b[1] = 0x45, dscp<<2|2
	binary.BigEndian.PutUint64(b[20:], n)
	return b
}

func TestClassesOf(t *testing.T) {
	c := policy(t)
	v6 := make([]byte, 40)
	v6[0], v6[1] = 0x60|46>>2, 46<<6&0xFF|0x30 // with ECN
	for name, x := range map[string]struct {
		pkt  []byte
		want int
	}{
		"voice": {classed(46, 0), 0}, "admitted voice": {classed(44, 0), 0}, "bulk": {classed(10, 0), 1}, "best effort": {classed(0, 0), 1},
		"other": {classed(8, 0), 2}, "IPv6 voice": {v6, 0}, "short": {classed(46, 0)[:19], 2}, "nothing": {nil, 2}, "no IP": {make([]byte, 40), 2},
	} {
		if got := c.Of(x.pkt); got != x.want {
			t.Errorf("%s: class %d, want %d", name, got, x.want)
		}
	}
}

func TestNewClassesRefuses(t *testing.T) {
	for want, list := range map[string][]Class{
		"0 classes":     {},
		"9 classes":     make([]Class, MaxReceipts+1),
		"takes the":     {{Name: "a", DSCP: []uint8{1}}},
		"has no DSCP":   {{Name: "a"}, {Name: "b"}},
		"DSCP 64":       {{Name: "a", DSCP: []uint8{64}}, {}},
		"belongs to":    {{Name: "a", DSCP: []uint8{1}}, {Name: "b", DSCP: []uint8{1}}, {}},
		"Handling(9)":   {{Name: "a", Handling: 9}},
		"\"a\" and \"a": {{Name: "a", DSCP: []uint8{1, 1}}, {}},
	} {
		if _, err := NewClasses(list...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for h, want := range map[Handling]string{HandleHold: "hold", HandleBicast: "bicast", HandlePass: "pass"} {
		if h.String() != want {
			t.Errorf("%d prints as %s", uint8(h), h)
		}
	}
}

// The mode of a group is the one farthest from direct.
func TestGroupMode(t *testing.T) {
	g := NewGroup(policy(t), Options{})
	for _, x := range []struct {
		on   Event
		want Mode
		has  []Mode
	}{
		{Serve, Direct, []Mode{Direct}},
		{Both, Bicast, []Mode{Direct, Bicast}},
		{Disable, Hold, []Mode{Hold, Bicast}},
		{Create, Tunnel, []Mode{Tunnel}},
		{Behind, Await, []Mode{Await, Drain}},
		{Ended, Drain, []Mode{Drain}},
		{Release, Released, []Mode{Released}},
	} {
		if err := g.Apply(epoch, x.on); err != nil {
			t.Fatalf("%v: %v", x.on, err)
		}
		if g.Mode() != x.want {
			t.Errorf("after %v: %v, want %v", x.on, g.Mode(), x.want)
		}
		for m := range numModes {
			if g.Has(m) != slices.Contains(x.has, m) {
				t.Errorf("after %v: has %v: %v", x.on, m, g.Has(m))
			}
		}
	}
	if g.Len() != 3 || g.Has() || !g.Has(Hold, Released) {
		t.Errorf("%d classes", g.Len())
	}
}

// The previous router of a planned move, by class.
func TestGroupByPolicy(t *testing.T) {
	now := epoch
	g := NewGroup(policy(t), Options{Epoch: 7})
	var n uint64
	send := func(want string, dscp ...uint8) {
		t.Helper()
		var got []string
		for _, d := range dscp {
			n++
			_, out := g.Take(now, classed(d, n))
			got = append(got, out.Dest.String())
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("want %s, got %s", want, s)
		}
	}
	apply := func(events ...Event) {
		t.Helper()
		for _, e := range events {
			if err := g.Apply(now, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	every := []uint8{dscpVoice, dscpBulk, dscpRest}
	send("dropped, dropped, dropped", every...)
	apply(Serve)
	send("to link, to link, to link", every...)
	apply(Both) // it moves soon
	send("to both, to link, to link", every...)
	apply(Disable)
	send("to both, held, dropped", every...)
	if packets, bytes := g.Queued(); packets != 1 || bytes != 40 {
		t.Errorf("%d packets, %d octets are queued", packets, bytes)
	}
	apply(Create) // it asks from the new place
	if !g.Mark(now, 5) {
		t.Fatal("no mark")
	}
	send("held, held, held", every...) // behind the mark
	var got []string
	for {
		class, out, ok := g.Fetch(now)
		if !ok {
			break
		}
		if out.Pkt == nil {
			got = append(got, "mark")
			continue
		}
		got = append(got, string("vbr"[class])+map[Dest]string{ToTunnel: "t"}[out.Dest])
		g.Class(class).Recycle(out.Pkt)
	}
	if s := strings.Join(got, " "); s != "vt bt bt mark rt" {
		t.Errorf("got %s", s)
	}
	if err := g.Apply(now, Flip); err == nil {
		t.Error("flipped in the tunnel")
	}
	apply(Arrival)
	if err := g.ForcedFlip(now); err != nil {
		t.Fatal(err)
	}
	if err := g.ForcedFlip(now); err == nil {
		t.Error("flipped twice")
	}
	if err := g.Apply(now, Flip); err == nil {
		t.Error("flipped a third time")
	}
	send("to link, to link, to link", every...)
	for name, s := range g.Stats() {
		if s.In != s.Tunneled+s.Linked+s.Bicast+s.Queued+total(s.Dropped) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	g.Release(now, ReasonLimit)
	send("dropped, dropped, dropped", every...)
}

// Of a class that is not held the previous router forwards nothing, so nobody waits for it.
func TestGroupBehind(t *testing.T) {
	g := NewGroup(policy(t), Options{})
	for _, e := range []Event{Create, Disable, Behind} {
		if err := g.Apply(epoch, e); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []Mode{Await, Await, Drain} {
		if m := g.Class(i).Mode(); m != want {
			t.Errorf("class %d: %v, want %v", i, m, want)
		}
	}
	if class, out := g.Previous(epoch, classed(dscpVoice, 1)); class != 0 || out.Dest != ToLink {
		t.Errorf("forwarded: class %d, %+v", class, out)
	}
	for _, e := range []Event{Ended, Flip} {
		if err := g.Apply(epoch, e); err != nil {
			t.Error(err)
		}
	}
}

func TestGroupDeadline(t *testing.T) {
	g := NewGroup(policy(t), Options{Wait: time.Second})
	for _, e := range []Event{Create, Disable} {
		if err := g.Apply(epoch, e); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := g.Deadline(); ok {
		t.Error("a deadline for nothing")
	}
	g.Take(epoch, classed(dscpBulk, 1))
	g.Take(epoch, classed(dscpVoice, 2))
	at, ok := g.Deadline()
	if !ok || !at.Equal(epoch.Add(100*time.Millisecond)) {
		t.Fatalf("%v %v", at, ok)
	}
	g.OnDeadline(at)
	s := g.Stats()
	if s["voice"].Dropped[ReasonAge] != 1 || s["bulk"].Queued != 1 || g.SilentFor(at) != 100*time.Millisecond {
		t.Errorf("got %+v", s)
	}
}

// Any sequence of events and packets, by class: everything is accounted for, order holds
// within a class, an event is taken by all that it concerns or by none, and a mark comes
// behind what was queued before it.
func TestGroupProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGroup(policy(t), Options{Wait: 300 * time.Millisecond})
		now := epoch
		var n, marks uint64
		var last [3]uint64
		pending := map[uint64]uint64{} // mark, and the last packet before it
		again := map[uint64]uint64{}   // mark, and how much had been taken back until then
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 60 * time.Millisecond}).Draw(t, "pause"))
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0, 1, 2:
				n++
				class, out := g.Take(now, classed(rapid.SampledFrom([]uint8{dscpVoice, dscpBulk, dscpRest}).Draw(t, "dscp"), n))
				if out.Dest != Held && out.Dest != Dropped {
					if last[class] >= n {
						t.Fatalf("class %d: %d after %d", class, n, last[class])
					}
					last[class] = n
				}
			case 3, 4:
				before := [3]Mode{g.Class(0).Mode(), g.Class(1).Mode(), g.Class(2).Mode()}
				e := Event(rapid.IntRange(0, int(numEvents)-1).Draw(t, "event"))
				recovered := g.Class(1).Stats().Recovered
				err := g.Apply(now, e)
				var refusal *RefusedError
				after := [3]Mode{g.Class(0).Mode(), g.Class(1).Mode(), g.Class(2).Mode()}
				if err != nil && !errors.As(err, &refusal) {
					t.Fatal(err)
				}
				if err != nil && after != before && !waitedOut(before, after) {
					t.Fatalf("%v was refused, but led from %v to %v", e, before, after)
				}
				if g.Class(1).Stats().Recovered > recovered {
					last[1] = 0 // what was sent is sent again
				}
			case 5:
				marks++
				if g.Mark(now, marks) {
					pending[marks], again[marks] = n, g.Class(1).Stats().Recovered
				}
			default:
				class, out, ok := g.Fetch(now)
				if !ok {
					break
				}
				if out.Pkt == nil {
					if _, ok := pending[out.Mark]; !ok {
						t.Fatalf("mark %d comes by itself, or again", out.Mark)
					}
					for i := range 3 {
						d := g.Class(i)
						if d.Stats().Recovered > again[out.Mark] && i == 1 {
							continue // what had gone out before the mark goes out again
						}
						if d.queue.n > 0 && binary.BigEndian.Uint64(d.queue.first().buf[20:]) <= pending[out.Mark] {
							t.Fatalf("mark %d passed a packet of class %d", out.Mark, i)
						}
					}
					delete(pending, out.Mark)
					break
				}
				k := binary.BigEndian.Uint64(out.Pkt[20:])
				if g.classes.Of(out.Pkt) != class || last[class] >= k {
					t.Fatalf("class %d: %d after %d", class, k, last[class])
				}
				last[class] = k
				g.Class(class).Recycle(out.Pkt)
			}
			var in uint64
			for name, s := range g.Stats() {
				in += s.In
				if s.In != s.Tunneled+s.Linked+s.Bicast+s.Queued+total(s.Dropped) {
					t.Fatalf("%s: %+v", name, s)
				}
			}
			if in != n {
				t.Fatalf("%d packets came, %d are accounted for", n, in)
			}
		}
	})
}

// waitedOut says whether the only change is the end of a wait for the previous router,
// which time brings and no event.
func waitedOut(before, after [3]Mode) bool {
	for i := range before {
		if after[i] != before[i] && (before[i] != Await || after[i] != Drain) {
			return false
		}
	}
	return true
}
