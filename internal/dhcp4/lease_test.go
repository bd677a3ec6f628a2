package dhcp4

import (
	"testing"
	"time"
)

// TestUntilRenewal: T1, then halves of what is left until T2, and until the end.
func TestUntilRenewal(t *testing.T) {
	start := time.Unix(1000, 0)
	hour := Lease{Start: start, Lifetime: time.Hour, T1: 30 * time.Minute, T2: 50 * time.Minute}
	short := Lease{Start: start, Lifetime: 32 * time.Second, T1: 16 * time.Second, T2: 28 * time.Second}
	for _, c := range []struct {
		l      Lease
		at     time.Duration // since the start
		failed bool
		want   time.Duration
	}{
		{hour, 0, false, 30 * time.Minute},
		{hour, 0, true, 30 * time.Minute},
		{hour, 30 * time.Minute, true, 10 * time.Minute},
		{hour, 49 * time.Minute, true, time.Minute},
		{hour, 49*time.Minute + 30*time.Second, true, 30 * time.Second}, // to T2, and no further
		{hour, 50 * time.Minute, true, 5 * time.Minute},
		{hour, 59*time.Minute + 50*time.Second, true, 10 * time.Second},
		{hour, time.Hour, true, 0},
		{hour, 2 * time.Hour, true, 0},
		{hour, 40 * time.Minute, false, time.Second},
		{short, 16 * time.Second, true, 6 * time.Second},
		{short, 26 * time.Second, true, 2 * time.Second},
		{short, 28 * time.Second, true, 2 * time.Second},
	} {
		if got := c.l.UntilRenewal(start.Add(c.at), c.failed); got != c.want {
			t.Errorf("lease of %v at %v, failed %v: %v, expected %v", c.l.Lifetime, c.at, c.failed, got, c.want)
		}
	}
}
