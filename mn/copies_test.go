package mn

import (
	"testing"

	"openmpa/internal/event"
)

// TestSeveral: while the node moves the home agent sends to both care-of addresses; each packet
// goes on once, in order, and the copies end with the arrival.
func TestSeveral(t *testing.T) {
	b := start6(t, func(c *Config) { c.Several = true })
	stop := b.flow()
	for _, name := range []string{"a", "b", "a"} {
		if o, err := b.handover(name); o != event.Completed || err != nil {
			t.Fatalf("to %s: %s, %v", name, o, err)
		}
	}
	stop()
	s := b.six.home.Status()
	if s.Counters["down_copies"] == 0 || len(s.Bindings[0].Also) != 0 {
		t.Errorf("%d copies; %+v", s.Counters["down_copies"], s.Bindings[0])
	}
	t.Logf("%d packets, %d copies", s.Counters["down_sent"], s.Counters["down_copies"])
}
