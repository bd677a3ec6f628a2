package mn

import (
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
)

// TestVanishes: the way to what is prepared, with the binding there, is gone without a word. Packets come by the serving
// router again long before PANA gives that session up.
func TestVanishes(t *testing.T) {
	b := start(t, nil)
	id := b.prepare("a")
	b.inside["a"](func() { osnettest.IP(t, "link set core0 down") })
	began := time.Now()
	b.eventually("the binding to be back", func(s Status) bool { return s.Bound == "10.1.0.100" && s.Prepared == nil })
	if d := time.Since(began); d > defaultPing {
		t.Errorf("it took %v; PANA asks after %v", d, defaultPing)
	}
	b.works()
	b.eventually("its end", func(Status) bool { return len(b.ends(id)) == 1 && len(b.node.turn) == 0 })
	b.inside["a"](func() {
		osnettest.IP(t, "link set core0 up")
		osnettest.IP(t, "route add default via 10.0.2.2")
	})
	b.prepare("a")
	b.works()
}

// TestVanishesHere: the link here carries nothing, which looks the same from there. What is prepared is what is left.
func TestVanishesHere(t *testing.T) {
	b := start(t, nil)
	id := b.prepare("a")
	b.air(func() { osnettest.IP(t, "link set mn0 nomaster") })
	time.Sleep(2*b.cfg.Timers.Depart + mappingInterval)
	if s := b.node.Status(); s.Prepared == nil || s.Prepared.Handover != id {
		t.Errorf("given back: %+v", s)
	}
	b.air(func() { osnettest.IP(t, "link set mn0 master poa-b") })
	b.works()
}
