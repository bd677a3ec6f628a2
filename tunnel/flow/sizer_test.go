package flow

import (
	"testing"
	"time"
)

func twoClasses(t *testing.T) *Classes {
	t.Helper()
	c, err := NewClasses(
		Class{Name: "voice", DSCP: []uint8{46}, Limits: Limits{MaxAge: 100 * time.Millisecond}},
		Class{Name: "rest"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func gapOf(d time.Duration) (g Gap) {
	for range 100 {
		g.Add(d)
	}
	return g
}

func TestSizer(t *testing.T) {
	z := NewSizer(Sizing{Least: Limits{Packets: 8, Bytes: 9000}, Most: Limits{Packets: 5000, Bytes: 1 << 20}, Gap: time.Second, Spare: 0.5}, twoClasses(t))
	now := epoch
	for range 200 { // a second
		z.Came(now, 0, 100)
		z.Came(now, 1, 1000)
		now = now.Add(5 * time.Millisecond)
	}
	// of voice no more than 100 ms, and all of the rest
	if l := z.Away(now, gapOf(400*time.Millisecond)); l.Packets < 30+120 || l.Packets > 30+121 || l.Bytes < 3000+120000 || l.Bytes > 3000+120001 {
		t.Errorf("both classes: %+v", l)
	}
	z.Back()
	if l := z.Away(now, Gap{}); l.Packets != 30+300 || z.Until() != now.Add(time.Second) {
		t.Errorf("no gap measured: %+v, until %v", l, z.Until())
	}
	z.Back()
	if l := z.Away(now.Add(time.Hour), gapOf(time.Second)); l != (Limits{Packets: 8, Bytes: 9000}) {
		t.Errorf("silent for an hour: %+v", l)
	}
}

// What was not seen before the node left grows with what comes, until the node is
// overdue.
func TestSizerGrows(t *testing.T) {
	z := NewSizer(Sizing{Least: Limits{Packets: 4, Bytes: 4000}, Most: Limits{Packets: 2000, Bytes: 1 << 20}, Spare: 0.25}, twoClasses(t))
	now := epoch
	before := z.Away(now, gapOf(300*time.Millisecond))
	grown := 0
	for i := range 600 { // a packet a ms
		if z.Came(now, 1, 1000) {
			grown++
		}
		l := z.Size()
		if l.Packets < before.Packets || l.Bytes < before.Bytes {
			t.Fatalf("packet %d: it shrank to %+v", i, l)
		}
		if i < 300 && (l.Packets < i+1 || l.Bytes < 1000*(i+1)) {
			t.Fatalf("packet %d: %+v is not enough", i, l)
		}
		before, now = l, now.Add(time.Millisecond)
	}
	if grown == 0 || before.Packets < 375 || before.Packets > 400 {
		t.Errorf("grown %d times to %+v, want what comes in 300 ms and a quarter", grown, before)
	}
	z.Back()
	if z.Came(now, 1, 1000) {
		t.Error("it grew without an absence")
	}
	z.Away(now, gapOf(time.Minute))
	for range 3000 {
		z.Came(now, 1, 1000)
		now = now.Add(100 * time.Microsecond)
	}
	if l := z.Size(); l != (Limits{Packets: 2000, Bytes: 1 << 20}) {
		t.Errorf("more than the most: %+v", l)
	}
}

func TestSizerDoesNotAllocate(t *testing.T) {
	z := NewSizer(Sizing{Most: Limits{Packets: 1 << 20, Bytes: 1 << 30}, Gap: time.Hour}, twoClasses(t))
	now := epoch
	z.Away(now, Gap{})
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		z.Came(now, 1, 1000)
	}); n != 0 {
		t.Errorf("%v a packet", n)
	}
}

// Whoever is overdue leaves half of what is free while nobody else needs room, and most
// of it to those who keep to their claims among several.
func TestClaims(t *testing.T) {
	b := NewBank(1000, 1<<20)
	late, newcomer := open(t, b, 10, 100), open(t, b, 10, 100)
	late.Claim(100, 1000)
	if n := greedy(late, 1); n != 10+490 { // of the 980 that are nobody's as much as stays free
		t.Errorf("alone, beyond its claim: %d", n)
	}
	newcomer.Claim(1<<20, 1<<20)
	if n := greedy(newcomer, 1); n != 10+245 { // half of what is left
		t.Errorf("the newcomer: %d", n)
	}
	if greedy(late, 1) != 0 {
		t.Error("more for the one that is late, though there is less")
	}
	late.give(500, 500)
	if n := greedy(late, 1); n != 10+245 { // of 735, half of what stays free
		t.Errorf("beside another, beyond its claim: %d", n)
	}
	newcomer.give(255, 255)
	if n := greedy(late, 1); n != 245 {
		t.Errorf("alone again: %d more", n)
	}
	late.give(500, 500)
	late.Unclaim()
	if n := greedy(late, 1); n != 10+490 {
		t.Errorf("without a claim: %d", n)
	}
}

func TestClaimsOfMany(t *testing.T) {
	b := NewBank(1000, 1<<20)
	var late []*Account
	for range 4 {
		a := open(t, b, 0, 0)
		a.Claim(10, 1<<20)
		late = append(late, a)
	}
	for got := true; got; { // one after the other, a packet each
		got = false
		for _, a := range late {
			got = a.take(1) || got
		}
	}
	for _, a := range late {
		if a.used[0] < 120 || a.used[0] > 130 { // a quarter of what stays free
			t.Errorf("one of four that are late: %d", a.used[0])
		}
	}
	newcomer := open(t, b, 0, 0)
	newcomer.Claim(1000, 1<<20)
	if n := greedy(newcomer, 1); n < 240 || n > 260 { // half of what is left
		t.Errorf("the newcomer: %d", n)
	}
}
