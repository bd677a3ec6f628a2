package flow

import (
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func open(t testing.TB, b *Bank, packets, bytes int) *Account {
	t.Helper()
	a, err := b.Open(packets, bytes)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// greedy takes packets of that size until there is no more room, and returns how many.
func greedy(a *Account, size int) (n int) {
	for a.take(size) {
		n++
	}
	return n
}

func TestBankIsFair(t *testing.T) {
	b := NewBank(100, 1<<20)
	one := open(t, b, 10, 1000)
	two := open(t, b, 10, 1000)
	if n := greedy(one, 10); n != 10+40 { // its own, and half of the 80 that are nobody's
		t.Errorf("alone: %d", n)
	}
	if n := greedy(two, 10); n != 10+20 { // half of what is left
		t.Errorf("second: %d", n)
	}
	one.give(30, 300)
	if n := greedy(two, 10); n != 15 { // 20 beyond its own and 50 free: until both are 35
		t.Errorf("second, when the first has drained: %d more", n)
	}
	if _, err := b.Open(36, 0); err == nil || !strings.Contains(err.Error(), "35") {
		t.Errorf("a guarantee of more than there is: %v", err)
	}
	three := open(t, b, 20, 0)
	if n := greedy(three, 0); n < 20 {
		t.Errorf("guaranteed 20, got %d", n)
	}
	before := b.Stats()
	one.Close()
	one.Close()
	if one.take(1) {
		t.Error("a closed account lends")
	}
	one.give(1, 10)
	two.Close()
	three.Close()
	if s := b.Stats(); s.Packets != 0 || s.Bytes != 0 || s.Accounts != 0 || s.Refused != before.Refused+1 {
		t.Errorf("got %+v", s)
	}
	if b.free() != [2]int{100, 1 << 20} {
		t.Errorf("free %v", b.free())
	}
}

func TestBankCountsOctets(t *testing.T) {
	b := NewBank(1000, 10000)
	a := open(t, b, 0, 0)
	if a.take(6000) {
		t.Error("more than what would stay free")
	}
	if n := greedy(a, 1000); n != 5 {
		t.Errorf("got %d of 1000 octets", n)
	}
	if n := greedy(a, 100); n != 0 {
		t.Errorf("then %d of 100", n)
	}
}

// Whoever keeps within its guarantee is never refused, and nothing is lent twice.
func TestBankProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBank(60, 6000)
		var all []*Account
		for range rapid.IntRange(1, 4).Draw(t, "visitors") {
			a, err := b.Open(rapid.IntRange(0, 15).Draw(t, "packets"), rapid.IntRange(0, 1500).Draw(t, "bytes"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		held := make([][]int, len(all))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "who")
			a := all[i]
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 && len(held[i]) > 0 {
				a.give(1, held[i][0])
				held[i] = held[i][1:]
			} else {
				size := rapid.IntRange(0, 400).Draw(t, "size")
				within := a.used[0]+1 <= a.floor[0] && a.used[1]+size <= a.floor[1]
				if ok := a.take(size); ok {
					held[i] = append(held[i], size)
				} else if within {
					t.Fatalf("refused %d octets within the guarantee %v, used %v", size, a.floor, a.used)
				}
			}
			var packets, octets int
			for _, h := range held {
				packets += len(h)
				for _, n := range h {
					octets += n
				}
			}
			if s := b.Stats(); s.Packets != packets || s.Bytes != octets || packets > 60 || octets > 6000 {
				t.Fatalf("%d packets, %d octets are held, the bank says %+v", packets, octets, s)
			}
		}
	})
}

func TestBankIsShared(t *testing.T) {
	b := NewBank(50, 5000)
	var wg sync.WaitGroup
	for range 4 {
		a := open(t, b, 5, 500)
		wg.Go(func() {
			for range 200 {
				if a.take(10) {
					a.give(1, 10)
				}
			}
			a.Close()
		})
	}
	wg.Wait()
	if s := b.Stats(); s.Packets != 0 || s.Accounts != 0 {
		t.Errorf("got %+v", s)
	}
}

// A delivery drops what goes over its share, and gives back what it had.
func TestDeliveryKeepsToItsShare(t *testing.T) {
	b := NewBank(10, 1<<20)
	v := newTrail(t, Options{Limits: Limits{Packets: 100}, Copies: Limits{Packets: 100}, Account: open(t, b, 0, 0)})
	v.apply(Create, Disable)
	v.packets(7)
	if s := v.want(""); s.Queued != 5 || s.Dropped[ReasonShare] != 2 {
		t.Errorf("got %+v", s)
	}
	v.apply(Create)
	v.fetch()
	v.out = nil
	v.apply(Guard)
	v.packets(7)
	if s := v.d.Stats(); s.Copied != 7 || s.Forgotten != 2 || b.Stats().Packets != 5 {
		t.Errorf("got %+v, %+v", s, b.Stats())
	}
	v.out = nil
	v.apply(Create) // its link was cut: the newest copies are what it lacks
	v.fetch()
	v.want("t10#3 t11#4 t12#5 t13#6 t14#7")
	v.apply(Release)
	if s := b.Stats(); s.Packets != 0 || s.Bytes != 0 {
		t.Errorf("got %+v", s)
	}
}
