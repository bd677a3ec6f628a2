package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// numbered makes a packet of that size which carries its number and a pattern.
func numbered(n uint64, size int) []byte {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(b, n)
	for i := 8; i < len(b); i++ {
		b[i] = byte(n) + byte(i)
	}
	return b
}

// number reads a packet's number and says whether its pattern is intact.
func number(b []byte) (uint64, bool) {
	n := binary.BigEndian.Uint64(b)
	return n, bytes.Equal(b, numbered(n, len(b)))
}

func total(m map[Reason]uint64) uint64 {
	var sum uint64
	for _, n := range m {
		sum += n
	}
	return sum
}

// drive carries packets through a delivery, in its order.
type drive struct {
	t    *testing.T
	d    *Delivery
	now  time.Time
	next uint64
	out  []string // "t1", "l2": where each packet went
}

func newDrive(t *testing.T, l Limits) *drive {
	return &drive{t: t, d: NewDelivery(l), now: epoch}
}

func (v *drive) note(to Dest, pkt []byte) {
	n, ok := number(pkt)
	if !ok {
		v.t.Fatalf("packet %d is damaged", n)
	}
	v.out = append(v.out, map[Dest]string{ToTunnel: "t", ToLink: "l"}[to]+string(rune('0'+n)))
}

func (v *drive) packets(n int) {
	for range n {
		v.next++
		pkt := numbered(v.next, 60)
		if to := v.d.Packet(v.now, pkt); to == ToTunnel || to == ToLink {
			v.note(to, pkt)
		}
	}
}

func (v *drive) apply(e Event) {
	v.t.Helper()
	if err := v.d.Apply(v.now, e); err != nil {
		v.t.Fatal(err)
	}
}

func (v *drive) fetch(n int) {
	for range n {
		pkt, to, ok := v.d.Next(v.now)
		if !ok {
			return
		}
		v.note(to, pkt)
		v.d.Recycle(pkt)
	}
}

func (v *drive) want(out string) {
	v.t.Helper()
	if got := strings.Join(v.out, " "); got != out {
		v.t.Errorf("want %s\n got %s", out, got)
	}
}

// The planned move, RFC 6252 section 6.3.
func TestPlannedMove(t *testing.T) {
	v := newDrive(t, Limits{Packets: 100})
	v.packets(1) // dropped: nobody is here yet
	v.apply(Create)
	v.packets(1)
	v.apply(Disable)
	v.packets(2)
	v.fetch(9) // nothing while the node is away
	v.apply(Arrival)
	v.packets(1) // behind the queue
	v.fetch(2)
	v.packets(1)
	v.fetch(9)
	v.packets(1)
	v.now = v.now.Add(time.Second)
	v.apply(Flip)
	v.packets(1) // was on its way through user space when the flip came
	v.want("t2 l3 l4 l5 l6 l7 l8")
	s := v.d.Stats()
	if s.Held != 4 || s.HighWater != 3 || s.Dropped[ReasonReleased] != 1 || s.ForcedFlips != 0 {
		t.Errorf("got %+v", s)
	}
}

// The move that fails, RFC 6252 appendix C.1: back through the tunnel, in order.
func TestSwitchBackKeepsOrder(t *testing.T) {
	v := newDrive(t, Limits{Packets: 100})
	v.apply(Create)
	v.packets(1)
	v.apply(Disable)
	v.packets(2)
	v.apply(SwitchBack)
	v.packets(1)
	v.fetch(2)
	v.apply(Disable) // off again before the queue was empty
	v.packets(1)
	v.fetch(9)
	v.apply(SwitchBack)
	v.fetch(9)
	v.packets(1)
	v.want("t1 t2 t3 t4 t5 t6")
}

func TestGoneWhileDraining(t *testing.T) {
	v := newDrive(t, Limits{Packets: 100})
	v.apply(Create)
	v.apply(Disable)
	v.packets(3)
	v.apply(Arrival)
	v.fetch(1)
	v.apply(Gone)
	v.packets(1)
	v.fetch(9)
	v.apply(Arrival)
	v.fetch(9)
	v.want("l1 l2 l3 l4")
}

func TestFlipWaitsForTheQueue(t *testing.T) {
	v := newDrive(t, Limits{Packets: 100})
	v.apply(Create)
	v.apply(Disable)
	v.packets(2)
	v.apply(Arrival)
	var refusal *RefusedError
	if err := v.d.Apply(v.now, Flip); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "2 packets are queued") {
		t.Fatalf("want a refusal that says why, got %v", err)
	}
	if v.d.Mode() != Drain {
		t.Fatalf("a refused flip changed the mode to %v", v.d.Mode())
	}
	v.fetch(1)
	if err := v.d.ForcedFlip(v.now); err != nil || v.d.Mode() != Direct {
		t.Fatalf("forced flip: %v, mode %v", err, v.d.Mode())
	}
	v.packets(1)
	v.fetch(9)
	v.want("l1 l2 l3")
	if err := v.d.ForcedFlip(v.now); !errors.As(err, &refusal) {
		t.Errorf("second forced flip: want a refusal, got %v", err)
	}
	if s := v.d.Stats(); s.ForcedFlips != 1 || s.Refused != 2 {
		t.Errorf("got %+v", s)
	}
}

func TestSilentFor(t *testing.T) {
	v := newDrive(t, Limits{Packets: 100})
	silent := func(want time.Duration, after string) {
		t.Helper()
		if got := v.d.SilentFor(v.now); got != want {
			t.Errorf("after %s: want %v, got %v", after, want, got)
		}
	}
	pass := func(d time.Duration) { v.now = v.now.Add(d) }
	v.apply(Create)
	pass(time.Second)
	silent(time.Second, "create")
	v.apply(Disable)
	v.packets(2)
	pass(time.Second)
	silent(time.Second, "packets held")
	v.apply(Arrival)
	silent(0, "arrival")
	pass(3 * time.Millisecond)
	v.fetch(1) // what we put out is on its way, too
	silent(0, "a packet out")
	pass(2 * time.Millisecond)
	v.fetch(1)
	pass(time.Millisecond)
	silent(time.Millisecond, "the last one out")
	v.fetch(1) // nothing left: no activity
	silent(time.Millisecond, "an empty queue")
	v.packets(1)
	silent(0, "a packet through")
	pass(7 * time.Millisecond)
	if v.d.Apply(v.now, Disable) != nil || v.d.Apply(v.now, Flip) == nil {
		t.Fatal("flip in hold accepted")
	}
	pass(time.Millisecond)
	silent(time.Millisecond, "a refused event")
}

func TestHeldFor(t *testing.T) {
	v := newDrive(t, Limits{Packets: 100})
	held := func(want time.Duration, when string) {
		t.Helper()
		if got := v.d.Stats().HeldFor; got != want {
			t.Errorf("%s: want %v, got %v", when, want, got)
		}
	}
	v.apply(Create)
	v.now = v.now.Add(time.Second)
	v.packets(1)
	held(0, "tunnel")
	v.apply(Disable)
	v.now = v.now.Add(40 * time.Millisecond)
	v.packets(1)
	held(40*time.Millisecond, "hold")
	v.now = v.now.Add(10 * time.Millisecond)
	v.apply(Arrival)
	v.now = v.now.Add(5 * time.Millisecond)
	v.fetch(9)
	held(55*time.Millisecond, "drained")
	v.now = v.now.Add(time.Second)
	v.packets(1)
	held(55*time.Millisecond, "draining without a queue")
	v.apply(Gone)
	v.now = v.now.Add(time.Millisecond)
	v.apply(Release)
	held(56*time.Millisecond, "released")
}

func TestLimitsDropAndCount(t *testing.T) {
	v := newDrive(t, Limits{Packets: 3, Bytes: 150, MaxAge: time.Second})
	v.apply(Create)
	v.apply(Disable)
	v.packets(4) // 60 octets each: the third is over the octets
	s := v.d.Stats()
	if s.Queued != 2 || s.Dropped[ReasonBytes] != 2 {
		t.Errorf("octets: %+v", s)
	}
	v.d.Packet(v.now, numbered(5, 8))
	v.d.Packet(v.now, numbered(6, 8))
	if s = v.d.Stats(); s.Queued != 3 || s.Dropped[ReasonPackets] != 1 {
		t.Errorf("packets: %+v", s)
	}
	v.now = v.now.Add(time.Second)
	if at, ok := v.d.Deadline(); !ok || !at.Equal(v.now) {
		t.Errorf("deadline: %v, %v", at, ok)
	}
	v.d.OnDeadline(v.now)
	if s = v.d.Stats(); s.Queued != 0 || s.Dropped[ReasonAge] != 3 {
		t.Errorf("age: %+v", s)
	}
	v.packets(1)
	v.d.Release(v.now, ReasonLimit)
	if s = v.d.Stats(); s.Dropped[ReasonLimit] != 1 || s.Queued != 0 || v.d.Mode() != Released {
		t.Errorf("limit: %+v", s)
	}
	if s.In != total(s.Dropped) {
		t.Errorf("account: %+v", s)
	}
	v.apply(Create) // delivery can begin again
	v.apply(Disable)
	v.packets(1)
	v.apply(Arrival)
	v.fetch(1)
	if s = v.d.Stats(); s.Linked != 1 {
		t.Errorf("after a new start: %+v", s)
	}
}

func TestFailedSendsAreDropped(t *testing.T) {
	v := newDrive(t, Limits{Packets: 10})
	v.d.Failed(ToTunnel) // nothing was given out yet: nothing to count
	v.d.Failed(ToLink)
	v.apply(Create)
	v.packets(2)
	v.d.Failed(ToTunnel)
	v.apply(Disable)
	v.packets(2)
	v.d.Failed(Held)
	v.apply(Arrival)
	v.fetch(2)
	v.d.Failed(ToLink)
	s := v.d.Stats()
	if s.In != 4 || s.Tunneled != 1 || s.Linked != 1 || s.Dropped[ReasonSend] != 2 || total(s.Dropped) != 2 {
		t.Errorf("got %+v", s)
	}
}

// Buffering off: what comes while the node is away is lost, and counted.
func TestNoBuffer(t *testing.T) {
	v := newDrive(t, Limits{})
	v.apply(Create)
	v.packets(1)
	v.apply(Disable)
	v.packets(2)
	v.apply(Arrival)
	v.packets(1)
	v.want("t1 l4")
	if s := v.d.Stats(); s.Dropped[ReasonPackets] != 2 || s.Held != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestRecycledBuffersStayApart(t *testing.T) {
	v := newDrive(t, Limits{Packets: 8})
	v.apply(Create)
	v.apply(Disable)
	v.packets(4)
	v.apply(Arrival)
	var out [][]byte
	for {
		pkt, _, ok := v.d.Next(v.now)
		if !ok {
			break
		}
		out = append(out, pkt)
	}
	v.apply(Gone)
	v.packets(4) // must not lie in buffers that are still out
	var got []uint64
	for _, pkt := range out {
		n, intact := number(pkt)
		if !intact {
			t.Errorf("packet %d was overwritten before Recycle", n)
		}
		got = append(got, n)
	}
	if !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("got %v", got)
	}
}

// Foreign and outsize buffers given to Recycle are not kept.
func TestRecycleKeepsTheBound(t *testing.T) {
	d := NewDelivery(Limits{Packets: 2})
	for range 5 {
		d.Recycle(make([]byte, bufferSize))
		d.Recycle(make([]byte, 10))
		d.Recycle(make([]byte, 65535))
		d.Recycle(nil)
	}
	if len(d.pool.free) != 2 {
		t.Errorf("want 2 buffers kept, got %d", len(d.pool.free))
	}
	for _, b := range d.pool.free {
		if cap(b) != bufferSize {
			t.Errorf("kept a buffer of %d octets", cap(b))
		}
	}
}

// What held packets and copies is given back when it is empty, not while it is in use.
func TestRest(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Copies: Limits{Packets: 9}})
	inUse := func(want bool) {
		t.Helper()
		v.d.Rest()
		if got := len(v.d.pool.free)+len(v.d.queue.ring)+len(v.d.ring.queue.ring) > 0; got != want {
			t.Errorf("mode %v: memory is kept: %v", v.d.mode, got)
		}
	}
	v.apply(Create, Guard)
	v.packets(2)
	inUse(true)
	v.apply(Gone)
	v.packets(2)
	inUse(true)
	v.apply(Create)
	inUse(true)
	v.fetch()
	inUse(false)
	v.apply(Guard)
	v.packets(1)
	v.apply(Gone, Create)
	v.fetch()
	if s := v.want("t1#1 t2#2 t1#1 t2#2 t3#3 t4#4 t5#5 t5#5"); s.Tunneled != 5 {
		t.Errorf("got %+v", s)
	}
}

func TestDeliveryDoesNotAllocate(t *testing.T) {
	d := NewDelivery(Limits{Packets: 256, Bytes: 1 << 20, MaxAge: time.Minute})
	pkt := numbered(1, 1400)
	now := epoch
	cycle := func() {
		now = now.Add(time.Millisecond)
		_ = d.Apply(now, Create)
		d.Packet(now, pkt) // straight through
		_ = d.Apply(now, Disable)
		for range 100 {
			d.Packet(now, pkt)
		}
		_ = d.Apply(now, Arrival)
		for range 50 {
			d.Packet(now, pkt) // behind the queue
		}
		for {
			p, _, ok := d.Next(now)
			if !ok {
				break
			}
			d.Recycle(p)
		}
		d.Packet(now, pkt) // straight to the link
	}
	cycle()
	if n := testing.AllocsPerRun(50, cycle); n != 0 {
		t.Errorf("want no allocation per handover of 152 packets, got %v", n)
	}
	if s := d.Stats(); s.Held < 5000 || total(s.Dropped) != 0 {
		t.Errorf("the cycle did not do what it should: %+v", s)
	}
}
