package bench

import (
	"testing"
	"time"
)

// even is a stream of so many packets a second.
func even(t *testing.T, perSecond, size int) *stream {
	t.Helper()
	var sent []int64
	for i := range 200 {
		sent = append(sent, int64(i)*int64(time.Second)/int64(perSecond))
	}
	s, err := record(sent, size)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSimulatedBuffers: what is known of the simulation beforehand.
func TestSimulatedBuffers(t *testing.T) {
	const gap = 100 * time.Millisecond
	s := even(t, 8000, 1400) // 90 Mb/s: 800 packets in a gap
	for _, how := range sizings {
		n, err := simulate(how, s, gap, 1)
		if err != nil {
			t.Fatal(err)
		}
		room, want := how.packets, 0.0
		if room > 0 && room < 800 {
			want = 100 * float64(800-room) / 800
		}
		if got := n.dropped(); got < want-1 || got > want+1 {
			t.Errorf("%s: %.1f %% dropped, expected %.1f", how.name, got, want)
		}
		// what was held is late by the gap at most, and by what the link takes for the rest
		if late := n.late99(); late > 101 || late < 90 {
			t.Errorf("%s: %.1f ms late", how.name, late)
		}
		if room == 0 {
			room = 800
		}
		if n.most > (min(room, 800)+5)*1400 {
			t.Errorf("%s: %d octets held", how.name, n.most)
		}
		st := n.d.Stats()
		if sum := st.Linked + st.Tunneled + st.Queued + uint64(n.dropped()*float64(n.holds)/100+0.5); st.In != sum {
			t.Errorf("%s: %d packets came, %d are accounted for", how.name, st.In, sum)
		}
	}
}

// TestSimulatedCrowd: who is overdue does not take what a newcomer needs.
func TestSimulatedCrowd(t *testing.T) {
	fast, slow := even(t, 9000, 1400), even(t, 1800, 1400)
	for _, how := range sizings[:2] {
		r, err := newSimRouter(how)
		if err != nil {
			t.Fatal(err)
		}
		n, held, err := crowd(r, fast, slow, 4, 500*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if d := n.dropped(); how.packets == 0 && d > 0 || how.packets > 0 && d < 90 {
			t.Errorf("%s: %.1f %% of the newcomer's dropped", how.name, d)
		}
		if held > r.cfg.All.Bytes {
			t.Errorf("%s: %d octets held", how.name, held)
		}
	}
}

func TestRecord(t *testing.T) {
	if _, err := record([]int64{1, 2, 3}, 100); err == nil {
		t.Error("three packets are a stream")
	}
	s := even(t, 1000, 100)
	now := time.Unix(5, 0)
	a := s.again(now)
	for i := range 1000 {
		at, pkt := a.take()
		if want := now.Add(time.Duration(i) * time.Millisecond); !at.Equal(want) || len(pkt) != 100 {
			t.Fatalf("packet %d of %d octets at %v, want %v", i, len(pkt), at, want)
		}
	}
}
