package impair

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func numbered(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// sent is what came out of a line: numbers of frames with their times.
type sent struct {
	n  uint64
	at time.Duration
}

// carry offers n frames, a step apart, and takes each out at the time it is due.
func carry(l *Line, n int, step time.Duration) (out []sent) {
	drain := func(until time.Duration) {
		for {
			due, ok := l.Due()
			if !ok || due > until {
				return
			}
			octets, _, _ := l.Next(due)
			out = append(out, sent{binary.BigEndian.Uint64(octets), due})
		}
	}
	for i := range n {
		now := time.Duration(i) * step
		drain(now)
		l.Offer(now, numbered(uint64(i)), Fate{})
	}
	drain(math.MaxInt64)
	return out
}

func drawParams(t *rapid.T) Params {
	p := Params{
		Delay: time.Duration(rapid.IntRange(0, 50).Draw(t, "delay")) * time.Millisecond,
		Loss:  rapid.Float64Range(0, 1).Draw(t, "loss"), Duplicate: rapid.Float64Range(0, 1).Draw(t, "dup"),
		Queue: rapid.IntRange(1, 40).Draw(t, "queue"),
	}
	p.Jitter = time.Duration(rapid.Int64Range(0, int64(p.Delay)).Draw(t, "jitter"))
	if p.Delay > 0 && rapid.Bool().Draw(t, "reorders") {
		p.Reorder = rapid.Float64Range(0, 1).Draw(t, "reorder")
	}
	if rapid.Bool().Draw(t, "narrow") {
		p.Rate = rapid.Float64Range(minRate, 1e7).Draw(t, "rate")
	}
	return p
}

// TestConservation: every frame that came is out, lost, refused or waiting.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLine(drawParams(t), rapid.Uint64().Draw(t, "seed"), Out)
		now, gone := time.Duration(0), uint64(0)
		left := func() uint64 {
			c := l.Counts()
			if a, b := c.In+c.Duplicated, c.Out+c.Lost+c.Taken+c.Refused+uint64(l.Queued()); a != b {
				t.Fatalf("%d frames and copies came, %d are accounted for: %+v, %d queued", a, b, c, l.Queued())
			}
			return c.Gone[KindDown]
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 5000).Draw(t, "step")) * time.Microsecond
			if rapid.Bool().Draw(t, "offer") {
				l.Offer(now, make([]byte, rapid.IntRange(1, 1500).Draw(t, "octets")), Fate{Kind: KindDown, Take: rapid.IntRange(0, 9).Draw(t, "take") == 0})
			} else if _, due, ok := l.Next(now); ok && due > now {
				t.Fatalf("a frame due at %v came out at %v", due, now)
			}
			if n := left(); n < gone {
				t.Fatalf("%d frames were gone, and now %d are", gone, n)
			} else {
				gone = n
			}
		}
		for _, _, ok := l.Next(math.MaxInt64); ok; _, _, ok = l.Next(math.MaxInt64) {
		}
		c := l.Counts()
		left()
		// What is gone never came out; everything else did, once or twice.
		if c.Out < c.In-c.Gone[KindDown] || c.Out > 2*(c.In-c.Gone[KindDown]) {
			t.Fatalf("of %d frames %d are gone, and %d came out", c.In, c.Gone[KindDown], c.Out)
		}
	})
}

// TestOrder: without reorder, frames keep their order whatever the jitter, and
// none comes before its time.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t)
		p.Reorder = 0
		var last sent
		for _, s := range carry(NewLine(p, rapid.Uint64().Draw(t, "seed"), In), 300, time.Millisecond) {
			offered := time.Duration(s.n) * time.Millisecond
			if s.n < last.n || s.at < last.at {
				t.Fatalf("%v after %v", s, last)
			}
			if s.at < offered+p.Delay-p.Jitter {
				t.Fatalf("frame offered at %v is due at %v with %v", offered, s.at, p)
			}
			last = s
		}
	})
}

// TestSameSeedSameFate: the n-th frame has the same fate, whenever it comes, and
// another one with another seed or in the other direction.
func TestSameSeedSameFate(t *testing.T) {
	p := Params{Delay: 10 * time.Millisecond, Loss: 0.3, Duplicate: 0.2}
	numbers := func(seed uint64, d Direction, step time.Duration) (list []uint64) {
		for _, s := range carry(NewLine(p, seed, d), 200, step) {
			list = append(list, s.n)
		}
		return list
	}
	same := func(a, b []uint64) bool {
		if len(a) != len(b) {
			return false
		}
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	first := numbers(5, Out, time.Millisecond)
	if !same(first, numbers(5, Out, 7*time.Millisecond)) {
		t.Error("the same seed gave other losses")
	}
	if same(first, numbers(6, Out, time.Millisecond)) || same(first, numbers(5, In, time.Millisecond)) {
		t.Error("another seed or direction gave the same losses")
	}
}

func TestDelayLossAndReorder(t *testing.T) {
	const n = 20000
	l := NewLine(Params{Delay: 40 * time.Millisecond}, 1, Out)
	for _, s := range carry(l, 100, time.Millisecond) {
		if want := time.Duration(s.n)*time.Millisecond + 40*time.Millisecond; s.at != want {
			t.Fatalf("frame %d at %v, expected %v", s.n, s.at, want)
		}
	}
	l = NewLine(Params{Delay: 4 * time.Millisecond, Loss: 0.1, Duplicate: 0.05, Reorder: 0.02}, 1, Out)
	carry(l, n, time.Millisecond)
	c := l.Counts()
	for _, x := range []struct {
		what string
		got  uint64
		want float64
	}{{"lost", c.Lost, 0.1 * n}, {"duplicated", c.Duplicated, 0.05 * 0.9 * n}, {"reordered", c.Reordered, 0.02 * 0.9 * n}} {
		if f := float64(x.got); f < 0.8*x.want || f > 1.2*x.want {
			t.Errorf("%d of %d frames are %s, expected about %.0f", x.got, n, x.what, x.want)
		}
	}
	l = NewLine(Params{Loss: 1}, 1, Out)
	l.Offer(0, numbered(0), Fate{Kind: KindARP})
	l.Offer(0, numbered(1), Fate{Kind: KindUp})
	if c := l.Counts(); l.Queued() != 1 || c.Gone[KindUp] != 1 || c.Gone[KindARP] != 0 {
		t.Errorf("%d frames wait, %+v; expected the ARP frame alone", l.Queued(), c)
	}
}

// TestRate: frames leave no faster than the rate, and a queue that is full
// refuses.
func TestRate(t *testing.T) {
	l := NewLine(Params{Rate: 80000, Queue: 10}, 1, Out) // 1000 octets: 100 ms
	for range 20 {
		l.Offer(0, make([]byte, 1000), Fate{})
	}
	if c := l.Counts(); c.Refused != 10 || l.Queued() != 10 {
		t.Errorf("%d refused, %d queued, expected 10 each", c.Refused, l.Queued())
	}
	for i := range 10 {
		if due, _ := l.Due(); due != time.Duration(i+1)*100*time.Millisecond {
			t.Errorf("frame %d is due at %v", i, due)
		}
		l.Next(time.Hour)
	}
	if _, _, ok := l.Next(time.Hour); ok {
		t.Error("a frame nobody offered")
	}
}

func TestOfferDoesNotAllocate(t *testing.T) {
	l := NewLine(Params{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1}, 1, Out)
	now, frame := time.Duration(0), make([]byte, 1500)
	step := func() {
		now += 100 * time.Microsecond
		l.Offer(now, frame, Fate{Kind: KindDown})
		for _, _, ok := l.Next(now); ok; _, _, ok = l.Next(now) {
		}
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func TestLateness(t *testing.T) {
	var h lateness
	for us := 1; us <= 100000; us++ {
		h.add(time.Duration(us) * time.Microsecond)
	}
	for p, want := range map[uint64]time.Duration{50: 50 * time.Millisecond, 99: 99 * time.Millisecond, 100: 100 * time.Millisecond} {
		if got := h.percentile(p); got > want || float64(got) < 0.98*float64(want) {
			t.Errorf("p%d is %v, expected %v", p, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(-1, int64(time.Hour)).Draw(t, "d"))
		low := lowest(bucket(d))
		if low > max(d, 0) || float64(max(d, 0)-low) > float64(d)/subBuckets+float64(time.Microsecond) {
			t.Fatalf("%v is in the bucket of %v", d, low)
		}
	})
}
