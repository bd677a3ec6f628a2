package mn

import (
	"testing"
	"time"
)

// TestEbb: the wait for a router's marker ends when nothing has come for a time, and not
// while packets come, but for those that never end.
func TestEbb(t *testing.T) {
	const within, again = 300 * time.Millisecond, 20 * time.Millisecond
	for _, c := range []struct {
		name     string
		until    time.Duration // packets come
		from, to time.Duration // of the wait
	}{
		{"nothing comes", 0, within, within + again},
		{"packets come", 2 * within, 3*within - within/4, 4 * within},
		{"packets come for ever", time.Hour, aliveTries * within, (aliveTries + 1) * within},
	} {
		e, looks, over := ebb{within: within, again: again, came: 7}, time.Duration(0), false
		for came := uint64(7); !over && looks < time.Minute; {
			if looks += e.again; looks < c.until {
				came++
			}
			over = e.over(came)
		}
		if looks < c.from || looks > c.to {
			t.Errorf("%s: waited for %v, want %v to %v", c.name, looks, c.from, c.to)
		}
	}
	// On a long path it waits for two markers at least.
	e := ebb{within: time.Second, again: 600 * time.Millisecond}
	if e.over(0) || !e.over(0) {
		t.Error("on a path of 200 ms: want two looks")
	}
}
