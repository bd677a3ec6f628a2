package flow

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestGap(t *testing.T) {
	var g Gap
	if g.Expect(time.Second) != time.Second {
		t.Error("without a sample")
	}
	g.Add(-time.Second)
	g.Add(40 * time.Millisecond)
	if e := g.Expect(0); e != 120*time.Millisecond {
		t.Errorf("after one sample: %v", e)
	}
	for range 60 {
		g.Add(40 * time.Millisecond)
	}
	if e := g.Expect(0); e < 40*time.Millisecond || e > 42*time.Millisecond {
		t.Errorf("always the same: %v", e)
	}
	g.Add(400 * time.Millisecond)
	if e := g.Expect(0); e < 400*time.Millisecond {
		t.Errorf("after one that was much longer: %v", e)
	}
}

// What is expected is exceeded seldom, whatever the spread.
func TestGapIsSeldomExceeded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var g Gap
	const moves = 5000
	exceeded := 0
	for i := range moves {
		d := 20*time.Millisecond + time.Duration(rnd.ExpFloat64()*float64(15*time.Millisecond))
		if i > 10 && d > g.Expect(0) {
			exceeded++
		}
		g.Add(d)
	}
	if exceeded > moves/20 {
		t.Errorf("exceeded %d of %d times", exceeded, moves)
	}
}

func TestRate(t *testing.T) {
	var r Rate
	now := epoch
	if p, b := r.Peak(now); p != 0 || b != 0 {
		t.Errorf("nothing came: %v %v", p, b)
	}
	for range 100 { // 1000 packets/s of 100 octets
		r.Add(now, 100)
		now = now.Add(time.Millisecond)
	}
	for range 50 { // 50 packets/s
		r.Add(now, 100)
		now = now.Add(20 * time.Millisecond)
	}
	if p, b := r.Peak(now); p != 1000 || b != 100000 {
		t.Errorf("the busiest slot: %v %v", p, b)
	}
	for range 40 {
		r.Add(now, 100)
		now = now.Add(20 * time.Millisecond)
	}
	if p, _ := r.Peak(now); p != 50 {
		t.Errorf("the burst is over: %v", p)
	}
	if p, _ := r.Peak(now.Add(time.Hour)); p != 0 {
		t.Errorf("an hour later: %v", p)
	}
	if p, _ := r.Peak(now.Add(-time.Hour)); p != 0 { // the clock went back
		t.Errorf("back: %v", p)
	}
}

func TestSize(t *testing.T) {
	var g Gap
	var r Rate
	s := Sizing{Least: Limits{Packets: 8, Bytes: 9000}, Most: Limits{Packets: 2000, Bytes: 1 << 20}, Gap: 500 * time.Millisecond, Spare: 0.25}
	if l := s.Size(epoch, &g, &r); l != s.Least {
		t.Errorf("nothing measured: %+v", l)
	}
	for i := range 100 { // 1000 packets/s of 500 octets
		r.Add(epoch.Add(time.Duration(i)*time.Millisecond), 500)
	}
	now := epoch.Add(100 * time.Millisecond)
	if l := s.Size(now, &g, &r); l != (Limits{Packets: 625, Bytes: 312500}) {
		t.Errorf("no gap measured: %+v", l)
	}
	for range 200 {
		g.Add(40 * time.Millisecond)
	}
	if l := s.Size(now, &g, &r); l.Packets < 50 || l.Packets > 52 {
		t.Errorf("gaps of 40 ms: %+v", l)
	}
	s.MaxAge = 20 * time.Millisecond
	if l := s.Size(now, &g, &r); l.Packets != 25 || l.MaxAge != s.MaxAge {
		t.Errorf("worthless after 20 ms: %+v", l)
	}
	g.Add(time.Hour)
	s.MaxAge = 0
	if l := s.Size(now, &g, &r); l != s.Most {
		t.Errorf("a gap of an hour: %+v", l)
	}
}

// A buffer sized by what was measured drops nothing where a fixed one does, and holds
// hardly more than is needed.
func TestSizedBufferDropsNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	s := Sizing{Least: Limits{Packets: 16}, Most: Limits{Packets: 1 << 16, Bytes: 1 << 30}, Gap: 500 * time.Millisecond, Spare: 0.25}
	for _, rate := range []int{50, 1000, 9000} {
		var g Gap
		var r Rate
		d := New(Options{})
		now := epoch
		step := time.Second / time.Duration(rate)
		run := func(length time.Duration) {
			for end := now.Add(length); now.Before(end); now = now.Add(step) {
				r.Add(now, 1000)
				d.Packet(now, numbered(1, 1000))
			}
		}
		apply := func(e Event) {
			if err := d.Apply(now, e); err != nil {
				t.Fatal(err)
			}
		}
		apply(Serve)
		for range 30 {
			run(300 * time.Millisecond)
			d.SetLimits(s.Size(now, &g, &r))
			gap := 30*time.Millisecond + time.Duration(rnd.IntN(20))*time.Millisecond
			apply(Disable)
			run(gap)
			apply(Arrival)
			g.Add(gap)
			for {
				pkt, _, ok := d.Next(now)
				if !ok {
					break
				}
				d.Recycle(pkt)
			}
			apply(Flip)
		}
		limits := s.Size(now, &g, &r)
		if st := d.Stats(); total(st.Dropped) != 0 || limits.Packets > 4*max(st.HighWater, 16) {
			t.Errorf("%d packets/s: limits %+v, %+v", rate, limits, st)
		}
	}
}

func TestPacer(t *testing.T) {
	p := NewPacer(1e6, 3000) // a packet of 1000 octets takes 1 ms
	now, sent := epoch, 0
	for ; sent < 1000; sent++ {
		at := p.At(now)
		if at.Before(now) {
			t.Fatal("in the past")
		}
		now = at
		p.Sent(now, 1000)
	}
	if took := now.Sub(epoch); took != 996*time.Millisecond {
		t.Errorf("1000 packets took %v, want as long as 996 of them: 3 in a burst, and the last begins", took)
	}
	now = now.Add(time.Hour)
	burst := 0
	for ; p.At(now).Equal(now); burst++ {
		p.Sent(now, 1000)
	}
	if burst != 4 {
		t.Errorf("a burst of %d after silence", burst)
	}
	p.SetRate(0, 0)
	if !p.At(now).Equal(now) {
		t.Error("unpaced, and yet later")
	}
	var zero Pacer
	zero.Sent(now, 1000)
	if !zero.At(now).Equal(now) {
		t.Error("the zero pacer waits")
	}
}
