package flow

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// merger carries packets through a merge and writes down what comes out.
type merger struct {
	t   testing.TB
	m   *Merge
	now time.Time
	out []uint64
}

func newMerger(t testing.TB, l MergeLimits) *merger {
	return &merger{t: t, m: NewMerge(l), now: epoch}
}

func (v *merger) take(pkt []byte) {
	n, ok := number(pkt)
	if !ok {
		v.t.Fatalf("packet %d is damaged", n)
	}
	v.out = append(v.out, n)
}

func (v *merger) fetch() {
	for {
		pkt, ok := v.m.Next()
		if !ok {
			return
		}
		v.take(pkt)
		v.m.Recycle(pkt)
	}
}

// packet has the number n of epoch e, and carries n itself.
func (v *merger) packet(e uint16, n uint32) {
	pkt := numbered(uint64(n), 60)
	if v.m.Packet(v.now, Shim{Epoch: e, Number: n}, pkt) {
		v.take(pkt)
	}
	clear(pkt)
	v.fetch()
}

func (v *merger) packets(e uint16, numbers ...uint32) {
	for _, n := range numbers {
		v.packet(e, n)
	}
}

func (v *merger) pass(d time.Duration) {
	v.now = v.now.Add(d)
	if at, ok := v.m.Deadline(); ok && !v.now.Before(at) {
		v.m.OnDeadline(v.now)
		v.fetch()
	}
}

func (v *merger) want(numbers ...uint64) MergeStats {
	v.t.Helper()
	if !slices.Equal(v.out, numbers) {
		v.t.Errorf("want %v, got %v", numbers, v.out)
	}
	v.out = nil
	s := v.m.Stats()
	if s.In != s.Delivered+s.Queued+total(s.Dropped) {
		v.t.Errorf("the account is %+v", s)
	}
	return s
}

var merging = MergeLimits{Window: 64, Wait: 20 * time.Millisecond}

func TestMergeRemovesCopiesAndRestoresOrder(t *testing.T) {
	v := newMerger(t, merging)
	v.packets(5, 1, 1, 2, 4, 4, 5, 2, 3, 3, 6)
	if s := v.want(1, 2, 3, 4, 5, 6); s.Dropped[ReasonNumber] != 4 || s.Held != 2 || s.Missing != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestMergeGivesUpByTime(t *testing.T) {
	v := newMerger(t, merging)
	v.packets(5, 1, 3)
	v.pass(10 * time.Millisecond)
	v.packets(5, 6)
	v.want(1)
	v.pass(10 * time.Millisecond) // 2 is given up, 4 and 5 are not yet
	v.want(1 + 2)
	if at, ok := v.m.Deadline(); !ok || !at.Equal(epoch.Add(30*time.Millisecond)) {
		t.Errorf("deadline %v %v", at, ok)
	}
	v.packets(5, 2) // late
	v.pass(10 * time.Millisecond)
	v.packets(5, 7)
	if s := v.want(6, 7); s.Missing != 3 || s.ByDeadline != 2 || s.Dropped[ReasonLate] != 1 {
		t.Errorf("got %+v", s)
	}
	late := newMerger(t, MergeLimits{Window: 64, Late: true})
	late.packets(5, 1, 3)
	late.pass(0) // no wait at all
	late.packets(5, 2, 2)
	if s := late.want(1, 3, 2); s.Late != 1 || s.Dropped[ReasonNumber] != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestMergeGivesUpForWantOfRoom(t *testing.T) {
	v := newMerger(t, MergeLimits{Window: 4, Wait: time.Second})
	v.packets(5, 1, 3, 5, 6)
	if s := v.want(1, 3); s.ByLimit != 1 || s.Missing != 1 {
		t.Errorf("got %+v", s)
	}
	v.packets(5, 1000)
	if s := v.want(5, 6); s.Missing != 1+1+990 {
		t.Errorf("got %+v", s)
	}
	v = newMerger(t, MergeLimits{Window: 64, Bytes: 130, Wait: time.Second})
	v.packets(5, 1, 3, 4, 7)
	if s := v.want(1, 3, 4); s.ByLimit != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestMergeNumbersWrap(t *testing.T) {
	v := newMerger(t, merging)
	v.packets(5, 0xFFFFFFFD, 0xFFFFFFFF, 0xFFFFFFFE, 1, 0, 0xFFFFFFFF, 2)
	if s := v.want(0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2); s.Missing != 0 || s.Dropped[ReasonNumber] != 1 {
		t.Errorf("got %+v", s)
	}
}

// A sender that begins again; copies of the numbering before still come.
func TestMergeEpochs(t *testing.T) {
	v := newMerger(t, merging)
	v.packets(0xFFFF, 1, 2, 4)
	v.packets(0, 1)
	v.packets(0xFFFF, 3, 5)
	v.packets(0, 2, 3)
	if s := v.want(1, 2, 4, 1, 2, 3); s.Dropped[ReasonEpoch] != 2 || s.Missing != 1 || s.Epochs != 2 {
		t.Errorf("got %+v", s)
	}
	for e := uint16(1); e < 40; e++ {
		v.packets(e, 1)
		v.packets(e-1, 2)
	}
	if s := v.m.Stats(); s.Epochs != 41 || s.Dropped[ReasonEpoch] != 41 {
		t.Errorf("got %+v", s)
	}
}

// The receiver comes in the middle of a numbering: nothing before is waited for.
func TestMergeBeginsInTheMiddle(t *testing.T) {
	v := newMerger(t, merging)
	v.packets(5, 500, 502, 499, 501)
	if s := v.want(500, 501, 502); s.Dropped[ReasonLate] != 1 || s.Missing != 0 {
		t.Errorf("got %+v", s)
	}
	if r := v.m.Report(); r.Top != 502 || r.Missing() != 0 || !r.Has(499) || r.Has(503) {
		t.Errorf("got %+v", r)
	}
}

func TestMergeFlush(t *testing.T) {
	v := newMerger(t, MergeLimits{Window: 64, Wait: time.Hour, Late: true})
	v.packets(5, 1, 3, 6)
	v.m.Flush()
	v.fetch()
	if _, ok := v.m.Deadline(); ok {
		t.Error("something is waited for")
	}
	if r := v.m.Report(); r.Has(2) || r.Has(5) || !r.Has(3) {
		t.Error("what is missing may come yet")
	}
	v.packets(5, 7, 5, 5)
	if s := v.want(1, 3, 6, 7, 5); s.Missing != 3 || s.Late != 1 {
		t.Errorf("got %+v", s)
	}
}

// What is further back than copies are known is never taken for new, and a place that
// was used a window ago is free again.
func TestMergeForgets(t *testing.T) {
	v := newMerger(t, MergeLimits{Window: 64, Late: true})
	const missing = 65536 + 800
	for n := uint32(1); n <= seenNumbers+1000; n++ {
		if n != missing && n != missing+10 {
			v.packet(5, n)
			v.pass(0)
		}
	}
	v.out = nil
	v.packets(5, missing-seenNumbers, missing, missing)
	if s := v.want(missing); s.Dropped[ReasonLate] != 1 || s.Dropped[ReasonNumber] != 1 || s.Late != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestMergeReport(t *testing.T) {
	v := newMerger(t, merging)
	if r := v.m.Report(); r != (Report{}) {
		t.Errorf("nothing received: %+v", r)
	}
	v.packets(5, 1, 2, 5, 70)
	r := v.m.Report()
	if r.Epoch != 5 || r.Top != 70 || r.Missing() != 66 || !r.Has(2) || r.Has(3) || !r.Has(5) || r.Has(69) {
		t.Errorf("got %+v", r)
	}
	v.m.Release()
	if s := v.m.Stats(); s.Queued != 0 || s.Dropped[ReasonReleased] == 0 {
		t.Errorf("got %+v", s)
	}
}

// Whatever numbers come: bounded, accounted for, each once, and in order within an epoch unless late.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := MergeLimits{
			Window: rapid.SampledFrom([]int{0, 1, 4, 33, 5000}).Draw(t, "window"),
			Bytes:  rapid.SampledFrom([]int{0, 200, 5000}).Draw(t, "bytes"),
			Wait:   rapid.SampledFrom([]time.Duration{0, 10 * time.Millisecond}).Draw(t, "wait"),
			Late:   rapid.Bool().Draw(t, "late"),
		}
		m, now := NewMerge(l), epoch
		got := map[[2]uint32]bool{}
		type place struct {
			e uint16
			n uint32
		}
		last := place{e: 0xFFFF}
		deliver := func(b []byte) {
			v, intact := number(b)
			e, n := uint16(v>>32), uint32(v)
			if !intact || got[[2]uint32{uint32(e), n}] {
				t.Fatalf("epoch %d number %d: damaged or a second time", e, n)
			}
			got[[2]uint32{uint32(e), n}] = true
			if !l.Late && e == last.e && int32(n-last.n) <= 0 {
				t.Fatalf("number %d after %d", n, last.n)
			}
			last = place{e, n}
		}
		at := rapid.SampledFrom([]uint32{1, 0xFFFFFFF0, 1 << 31}).Draw(t, "start")
		var e uint16
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 12 * time.Millisecond}).Draw(t, "pause"))
			switch rapid.IntRange(0, 19).Draw(t, "what") {
			case 0:
				at += rapid.Uint32().Draw(t, "jump")
			case 1:
				e++
				at = 1
			case 2, 3, 4:
				if d, ok := m.Deadline(); ok && !now.Before(d) {
					m.OnDeadline(now)
					if d, ok := m.Deadline(); ok && !now.Before(d) {
						t.Fatal("the deadline is still past")
					}
				}
			default:
				n := at + uint32(rapid.IntRange(-6, 8).Draw(t, "near"))
				at = max(at, n)
				pkt := numbered(uint64(e)<<32|uint64(n), 60)
				if m.Packet(now, Shim{Epoch: e, Number: n}, pkt) {
					deliver(pkt)
				}
				clear(pkt)
			}
			if rapid.IntRange(0, 3).Draw(t, "fetch") > 0 {
				for pkt, ok := m.Next(); ok; pkt, ok = m.Next() {
					deliver(pkt)
					clear(pkt)
					m.Recycle(pkt)
				}
			}
			s := m.Stats()
			if s.In != s.Delivered+s.Queued+total(s.Dropped) || s.HighWater > maxWindow || s.Late > s.Missing {
				t.Fatalf("got %+v", s)
			}
			if l.Bytes > 0 && m.bytes > l.Bytes || m.held > len(m.slots) {
				t.Fatalf("%d packets, %d octets held", m.held, m.bytes)
			}
		}
	})
}

// A whole stream over two ways that lose, delay and reorder, one of them cut
// without warning in the middle: with copies and reports each packet arrives once, in order.
func TestCutWithoutWarningLosesNothing(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		v := newMerger(t, MergeLimits{Window: 256, Wait: time.Hour, Late: true})
		d := New(Options{Limits: Limits{Packets: 1000}, Copies: Limits{Packets: 200}, Epoch: uint16(seed)})
		var sent uint64
		cut := false
		var air [][]byte // with the shim in front, on its way
		arrive := func(n int) {
			for ; n > 0 && len(air) > 0; n-- {
				s, pkt, err := ParseShim(air[0])
				if err != nil {
					t.Fatal(err)
				}
				air = air[1:]
				if v.m.Packet(v.now, s, pkt) {
					v.take(pkt)
				}
				v.fetch()
			}
		}
		send := func(o Out, pkt []byte) {
			if o.Dest == ToTunnel && !cut {
				b, err := Shim{Epoch: o.Epoch, Number: o.Number}.AppendBinary(nil)
				if err != nil {
					t.Fatal(err)
				}
				air = append(air, append(b, pkt...))
			}
		}
		apply := func(e Event) {
			if err := d.Apply(v.now, e); err != nil {
				t.Fatal(err)
			}
		}
		apply(Serve)
		apply(Guard)
		offer := func(n int) {
			for range n {
				sent++
				pkt := numbered(sent, 60)
				send(d.Take(v.now, pkt), pkt)
				arrive(rnd.IntN(3))
				if rnd.IntN(10) == 0 {
					d.Confirm(v.m.Report())
				}
			}
		}
		offer(100 + rnd.IntN(50))
		cut, air = true, nil // gone with what was on the air
		offer(rnd.IntN(20))  // nobody has noticed
		apply(Gone)
		offer(30)
		d.Confirm(v.m.Report())
		apply(Create)
		cut = false
		for o, ok := d.Fetch(v.now); ok; o, ok = d.Fetch(v.now) {
			send(o, o.Pkt)
			d.Recycle(o.Pkt)
		}
		offer(20)
		arrive(len(air))
		s := v.m.Stats()
		if uint64(len(v.out)) != sent || !slices.IsSorted(v.out) || total(s.Dropped) != 0 || s.Missing != 0 {
			t.Fatalf("seed %d: %d sent, %d arrived, in order %v, %+v, %+v", seed, sent, len(v.out), slices.IsSorted(v.out), s, d.Stats())
		}
		if st := d.Stats(); st.Forgotten != 0 || st.Tunneled != sent {
			t.Fatalf("seed %d: %+v", seed, st)
		}
	}
}

func TestMergeAllocatesNothing(t *testing.T) {
	m := NewMerge(merging)
	pkt := numbered(1, 1400)
	n := uint32(0)
	turn := func() {
		for _, k := range []uint32{n + 2, n + 1, n + 1} {
			m.Packet(epoch, Shim{Number: k}, pkt)
			for p, ok := m.Next(); ok; p, ok = m.Next() {
				m.Recycle(p)
			}
		}
		n += 2
	}
	for range 100 {
		turn()
	}
	if a := testing.AllocsPerRun(100, turn); a != 0 {
		t.Errorf("%v allocations for three packets", a)
	}
}

// Keeping copies, and taking them back, costs nothing in the long run either.
func TestCopiesAllocateNothing(t *testing.T) {
	d := New(Options{Limits: Limits{Packets: 64}, Copies: Limits{Packets: 32}})
	pkt := numbered(1, 1400)
	turn := func() {
		for _, e := range []Event{Create, Guard} {
			if err := d.Apply(epoch, e); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			d.Take(epoch, pkt)
		}
		if err := d.Apply(epoch, Create); err != nil {
			t.Fatal(err)
		}
		for o, ok := d.Fetch(epoch); ok; o, ok = d.Fetch(epoch) {
			d.Recycle(o.Pkt)
		}
	}
	turn()
	if a := testing.AllocsPerRun(50, turn); a != 0 {
		t.Errorf("%v allocations for 100 packets", a)
	}
}

func BenchmarkMerge(b *testing.B) {
	m := NewMerge(MergeLimits{Window: 256, Wait: 20 * time.Millisecond})
	pkt := make([]byte, 1400)
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	n := uint32(0)
	for b.Loop() { // two copies, and the second way is eight packets late
		n++
		m.Packet(epoch, Shim{Number: n}, pkt)
		if n > 8 {
			m.Packet(epoch, Shim{Number: n - 8}, pkt)
		}
	}
}

func BenchmarkCopies(b *testing.B) {
	d := New(Options{Copies: Limits{Packets: 256}})
	for _, e := range []Event{Create, Guard} {
		if err := d.Apply(epoch, e); err != nil {
			b.Fatal(err)
		}
	}
	pkt := make([]byte, 1400)
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		d.Take(epoch, pkt)
	}
}

func TestReasonsAreReported(t *testing.T) {
	var d drops
	for i, r := range reasons {
		d.add(r, uint64(i+1))
	}
	d.add("unheard of", 100)
	got := d.report()
	if len(got) != len(reasons) || got[ReasonReleased] != 101 {
		t.Errorf("got %v", got)
	}
	for i, r := range reasons[1:] {
		if got[r] != uint64(i+2) || strings.TrimSpace(string(r)) == "" {
			t.Errorf("%q: got %d", r, got[r])
		}
	}
}
