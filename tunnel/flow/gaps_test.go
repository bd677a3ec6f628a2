package flow

import (
	"fmt"
	"testing"
	"time"
)

func TestGaps(t *testing.T) {
	g := NewGaps(10, time.Hour)
	now := epoch
	expect := func(m Move, want time.Duration) {
		t.Helper()
		gap := g.Of(now, m)
		if got := gap.Expect(time.Minute); got != want {
			t.Errorf("%+v: %v, want %v", m, got, want)
		}
	}
	a := Move{Node: "a", From: "here", To: "there"}
	expect(a, time.Minute)
	g.Add(now, a, 10*time.Millisecond)
	g.Add(now, a, -time.Second)
	expect(a, 30*time.Millisecond)
	expect(Move{Node: "b", From: "here", To: "there"}, 30*time.Millisecond) // what others had
	expect(Move{Node: "a", From: "there", To: "here"}, time.Minute)
	g.Add(now, Move{Node: "b", From: "here", To: "there"}, 100*time.Millisecond)
	expect(a, 30*time.Millisecond)
	expect(Move{Node: "b", From: "here", To: "there"}, 300*time.Millisecond)
	now = now.Add(time.Hour)
	expect(a, 30*time.Millisecond)
	now = now.Add(time.Second)
	expect(a, time.Minute)
	g.Add(now, a, 20*time.Millisecond) // what was before is forgotten
	expect(a, 60*time.Millisecond)
}

// However many nodes there are, so many moves are remembered and not one more; the
// newest are among them.
func TestGapsAreBounded(t *testing.T) {
	for _, most := range []int{0, 1, 2, 3, 50} {
		g := NewGaps(most, time.Hour)
		now := epoch
		var m Move
		for i := range 300 {
			now = now.Add(time.Second)
			m = Move{Node: fmt.Sprint("node", i), From: fmt.Sprint("network", i%7), To: "here"}
			g.Add(now, m, time.Second)
			if g.Len() > most {
				t.Fatalf("%d are remembered, want %d at most", g.Len(), most)
			}
		}
		gap := g.Of(now, m)
		if got := gap.Expect(time.Minute); most > 0 && got != 3*time.Second {
			t.Errorf("of %d, the newest: %v", most, got)
		}
		if most < 50 {
			continue
		}
		now = now.Add(2 * time.Hour)
		g.Add(now, Move{Node: "late"}, time.Second)
		if g.Len() != 2 {
			t.Errorf("%d are remembered two hours later", g.Len())
		}
	}
}
