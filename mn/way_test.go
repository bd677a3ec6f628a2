package mn

import (
	"testing"
	"time"

	"openmpa/internal/event"
)

// TestNobodyHolds: the previous router was to hold, and is gone when the node leaves, or
// when its link has been carried off: the binding is at the new address in the end.
func TestNobodyHolds(t *testing.T) {
	for name, move := range map[string]func(b *bed){
		"handover": func(b *bed) {
			if o, err := b.handover("a"); o != event.Completed || err != nil {
				b.t.Fatalf("%s, %v", o, err)
			}
		},
		"carried": func(b *bed) {
			if err := b.link.Attach(b.t.Context(), "poa-a"); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(c *Config) { c.Hold, c.Ping = HoldPrevious, 300*time.Millisecond })
			b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
			b.prepare("a")
			if s := b.node.Status(); s.Bound != "10.1.0.100" {
				t.Fatalf("status %+v", s)
			}
			b.stopRouter("b")
			defer b.open["b"]()
			b.eventually("the end of the session", func(s Status) bool { return s.Session == 0 })
			move(b)
			b.eventually("the new network", func(s Status) bool {
				return s.State == "attached" && s.Network == "a" && s.Bound == "10.2.0.100" && len(b.node.turn) == 0
			})
			b.works()
		})
	}
}

// TestMovesOnMeanwhile: the link is carried off while the node waits for what the
// previous router held. It does not go on as if it were there.
func TestMovesOnMeanwhile(t *testing.T) {
	b := start(t, func(c *Config) { c.Hold = HoldPrevious })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.link.onLeave(func(point string) {
		if point == "poa-a" {
			b.stopRouter("b")
		}
	})
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the wait", func(Status) bool {
		for _, e := range b.node.cfg.Recorder.Events(h.ID) {
			if e.Phase == event.PhaseForward && e.Kind == event.KindBegin {
				return true
			}
		}
		return false
	})
	b.open["b"]()
	if err := b.link.Attach(t.Context(), "poa-b"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	asked := 0
	for _, e := range b.node.cfg.Recorder.Events(h.ID) {
		if e.Phase == event.PhaseBind && e.Kind == event.KindBegin {
			asked++
		}
	}
	if asked > 1 {
		t.Errorf("%d bindings were asked for from where the node is not", asked)
	}
	b.eventually("the old network", func(s Status) bool {
		return s.State == "attached" && s.Network == "b" && s.Bound != "" && len(b.node.turn) == 0
	})
	b.works()
}
