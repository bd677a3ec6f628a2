package par

import (
	"fmt"
	"testing"
	"time"
)

func TestAheadCheck(t *testing.T) {
	for _, a := range []Ahead{{}, {Most: 1}, {Least: 256, Most: 256}, {Least: 1, Most: 2, Idle: time.Second}} {
		if err := a.Check(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for _, a := range []Ahead{{Least: 1}, {Least: -1}, {Most: -1}, {Most: 257}, {Least: 3, Most: 2}, {Most: 1, Idle: -1}} {
		if a.Check() == nil {
			t.Errorf("%+v: no error", a)
		}
	}
}

// TestDemand: as many as were asked for while one was verified, in the busiest time of the
// last Idle, and never more than Most nor fewer than Least.
func TestDemand(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	d := newDemand(Ahead{Least: 1, Most: 4, Idle: time.Minute}, 5*time.Second)
	next := 0
	ask := func(s float64) {
		t.Helper()
		next++
		if !d.asked(at(s), fmt.Sprint("node ", next)) {
			t.Errorf("a node of its own refused at %v", s)
		}
	}
	want := func(s float64, n int, until float64) {
		t.Helper()
		got, when := d.want(at(s))
		if got != n || until == 0 && !when.IsZero() || until != 0 && !when.Equal(at(until)) {
			t.Errorf("at %v: %d until %v, expected %d until %v", s, got, when.Sub(start), n, until)
		}
	}
	want(0, 1, 0)
	ask(0)
	want(0, 1, 60)
	ask(4.9)
	want(5, 2, 64.9)
	ask(5) // the first is as far back as verifying takes: its place is filled again
	want(5, 2, 65)
	ask(6)
	want(6, 3, 66)
	ask(20)
	want(65.9, 3, 66)
	want(66, 1, 80) // only the one of 20 is left
	want(80, 1, 0)
	for range 100 {
		ask(90)
	}
	want(90, 4, 150)
	d.verified(5*time.Second + 8*time.Second)
	if d.verify != 6*time.Second {
		t.Errorf("verifying takes %v", d.verify)
	}
	if len(d.recent) > 4 || len(d.peaks) > 4 {
		t.Errorf("it keeps %d and %d", len(d.recent), len(d.peaks))
	}
}

// TestDemandOfOne: whoever asks again and again has one in the time that another takes, and
// makes nobody keep more.
func TestDemandOfOne(t *testing.T) {
	start := time.Unix(1000, 0)
	d := newDemand(Ahead{Most: 8}, 5*time.Second)
	served := 0
	for ms := range 20_000 {
		if d.asked(start.Add(time.Duration(ms)*time.Millisecond), "hostile") {
			served++
		}
	}
	now := start.Add(20 * time.Second)
	if n, until := d.want(now); served != 4 || n != 1 || !until.Equal(start.Add(15*time.Second+DefaultIdle)) {
		t.Errorf("served %d times in 20 s; %d are kept until %v", served, n, until.Sub(start))
	}
	if !d.asked(now, "another") || len(d.took) != 1 {
		t.Errorf("of another node, and no longer of the first: %v", d.took)
	}
}

// TestDrawnClientID: IPv4's has the form of RFC 4361, IPv6's is the DUID in that; another
// one each time.
func TestDrawnClientID(t *testing.T) {
	r := &Router{cfg: config(), four: &stack{}, six: &stack{}}
	four, six := newPool(r, r.four, 0), newPool(r, r.six, 0)
	seen := map[string]bool{}
	for range 100 {
		id, err := four.draw()
		duid, err6 := six.draw()
		if err != nil || err6 != nil || len(id) != 23 || id[0] != 255 || seen[string(id)] || len(duid) != 18 || seen[string(duid)] {
			t.Fatalf("%x, %v; %x, %v", id, err, duid, err6)
		}
		for _, d := range [][]byte{id[5:], duid} {
			if d[0] != 0 || d[1] != 4 || d[8]>>4 != 4 || d[10]>>6 != 2 {
				t.Errorf("%x is no DUID of a random UUID", d)
			}
		}
		seen[string(id)], seen[string(duid)] = true, true
	}
}
