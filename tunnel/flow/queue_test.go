package flow

import "testing"

// A ring that grows while its oldest packet lies in the middle keeps the order.
func TestFifoGrowsInOrder(t *testing.T) {
	for _, lead := range []int{0, 1, 7, 15, 16, 17, 31} {
		var f fifo
		var in, out, bytes int
		push := func() {
			f.push(entry{buf: numbered(uint64(in), 8+in%5)})
			bytes += 8 + in%5
			in++
		}
		pop := func() {
			b := f.pop()
			bytes -= len(b)
			if n, ok := number(b); n != uint64(out) || !ok {
				t.Fatalf("lead %d: want packet %d, got %d", lead, out, n)
			}
			out++
		}
		for range lead {
			push()
		}
		for range lead {
			pop()
		}
		for range 100 {
			push()
		}
		for range 100 {
			if n, _ := number(f.first().buf); n != uint64(out) {
				t.Fatalf("lead %d: first is %d, want %d", lead, n, out)
			}
			if f.bytes != bytes || f.n != in-out {
				t.Fatalf("lead %d: want %d octets in %d, got %d in %d", lead, bytes, in-out, f.bytes, f.n)
			}
			pop()
		}
		if f.n != 0 || f.bytes != 0 {
			t.Errorf("lead %d: %d packets, %d octets left", lead, f.n, f.bytes)
		}
	}
}
