package flow

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The sender, its ways and the receiver together. Whatever happens to the node, and
// however its link fails: nothing arrives twice, and what does not arrive is queued, or
// copied, or counted as dropped or forgotten, or was on the air without a copy.
func TestAnySequenceArrivesOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New(Options{
			Limits: Limits{Packets: 30, MaxAge: rapid.SampledFrom([]time.Duration{0, 200 * time.Millisecond}).Draw(t, "age")},
			Copies: Limits{Packets: rapid.SampledFrom([]int{3, 60}).Draw(t, "copies")}, Epoch: 0xFFFE,
		})
		m := NewMerge(MergeLimits{Window: 64, Wait: 40 * time.Millisecond, Late: true})
		now := epoch
		got := map[uint64]bool{}
		bare := map[uint64]bool{} // lost on the air, and no copy was kept
		arrive := func(pkt []byte) {
			n, intact := number(pkt)
			if !intact || got[n] {
				t.Fatalf("packet %d: damaged or a second time", n)
			}
			got[n] = true
			delete(bare, n)
		}
		fetch := func() {
			for pkt, ok := m.Next(); ok; pkt, ok = m.Next() {
				arrive(pkt)
				m.Recycle(pkt)
			}
		}
		cut := false
		carry := func(o Out, pkt []byte) {
			ways := map[Dest]int{ToTunnel: 1, ToLink: 1, ToBoth: 2}[o.Dest]
			came := 0
			for range ways {
				if cut || rapid.IntRange(0, 19).Draw(t, "air") == 0 {
					continue
				}
				came++
				if !o.Numbered {
					arrive(pkt)
				} else if m.Packet(now, Shim{Epoch: o.Epoch, Number: o.Number}, pkt) {
					arrive(pkt)
				}
				fetch()
			}
			if n, _ := number(pkt); ways > 0 && came == 0 && d.Mode() != Copy {
				bare[n] = true
			}
		}
		var sent uint64
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 50 * time.Millisecond}).Draw(t, "pause"))
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0, 1, 2:
				for range rapid.IntRange(1, 8).Draw(t, "run") {
					sent++
					pkt := numbered(sent, 40)
					carry(d.Take(now, pkt), pkt)
				}
			case 3, 4:
				e := Event(rapid.IntRange(0, int(numEvents)-1).Draw(t, "event"))
				m.Flush()
				fetch()
				d.Confirm(m.Report())
				_ = d.Apply(now, e) // refused or not
			case 5:
				cut = !cut
			case 6:
				if at, ok := m.Deadline(); ok && !now.Before(at) {
					m.OnDeadline(now)
					fetch()
				}
			default:
				if o, ok := d.Fetch(now); ok {
					carry(o, o.Pkt)
					d.Recycle(o.Pkt)
				}
			}
			s := d.Stats()
			missing := int(sent) - len(got) - len(bare) - m.held - int(total(s.Dropped))
			for _, q := range []*fifo{&d.queue, &d.ring.queue} {
				for i := range q.n {
					if n, _ := number(q.get(i).buf); !got[n] && !bare[n] {
						missing--
					}
				}
			}
			if missing < -m.held || missing > int(s.Forgotten) {
				t.Fatalf("%d sent, %d arrived, %d lost bare: %d without an owner; %+v, %+v", sent, len(got), len(bare), missing, s, m.Stats())
			}
		}
	})
}
