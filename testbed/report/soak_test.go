package report

import (
	"strings"
	"testing"

	"openmpa/internal/control"
)

// soaked is a soak of 20 samples, 100 moves apart, in which after n moves a daemon
// takes what of says.
func soaked(of func(moves int) control.Resources, kernel func(moves int) int) *Soak {
	s := &Soak{Moves: 1900}
	for i := range 20 {
		s.Samples = append(s.Samples, Sample{
			Moves: 100 * i, Daemons: map[string]control.Resources{"mn": of(100 * i)}, Kernel: map[string]int{"mn": kernel(100 * i)},
		})
	}
	return s
}

func TestSoakGrown(t *testing.T) {
	flat := control.Resources{Goroutines: 30, Descriptors: 20, HeapBytes: 8 << 20, ResidentBytes: 30 << 20}
	same := func(int) int { return 40 }
	for _, c := range []struct {
		name string
		of   func(moves int) control.Resources
		want string // empty: nothing grows
	}{
		{"flat", func(int) control.Resources { return flat }, ""},
		{"warm-up", func(n int) control.Resources {
			r := flat
			r.HeapBytes += uint64(min(n, 600)) * 4096
			return r
		}, ""},
		{"noise", func(n int) control.Resources {
			r := flat
			r.Goroutines += n / 100 % 3
			r.HeapBytes += uint64(n/100%5) * 20000
			return r
		}, ""},
		{"a goroutine in 100 moves", func(n int) control.Resources { r := flat; r.Goroutines += n / 100; return r }, "goroutines grow"},
		{"a descriptor in 200 moves", func(n int) control.Resources { r := flat; r.Descriptors += n / 200; return r }, "descriptors grow"},
		{"a kilobyte a move", func(n int) control.Resources { r := flat; r.HeapBytes += uint64(n) << 10; return r }, "the heap grows"},
		{"outside the heap", func(n int) control.Resources { r := flat; r.ResidentBytes += uint64(n) << 15; return r }, "the process grows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(soaked(c.of, same).Grown(), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("kernel", func(t *testing.T) {
		got := soaked(func(int) control.Resources { return flat }, func(n int) int { return 40 + n/1900 }).Grown()
		if len(got) != 1 || !strings.Contains(got[0], "mn: the kernel holds 41 things after 1900 moves, 40 before") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("too few", func(t *testing.T) {
		if got := (&Soak{Samples: make([]Sample, 5)}).Grown(); len(got) != 1 || !strings.Contains(got[0], "make more moves") {
			t.Errorf("got %q", got)
		}
	})
}
