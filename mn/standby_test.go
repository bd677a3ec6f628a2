package mn

import "testing"

// TestStandbyAgain: a tunnel that stands by and ends is replaced by another one.
func TestStandbyAgain(t *testing.T) {
	b := start(t, nil)
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	first := b.serving().tunnel.Load()
	first.Close()
	b.eventually("another one", func(Status) bool {
		now := b.serving().tunnel.Load()
		return now != nil && now != first
	})
	b.works()
}
