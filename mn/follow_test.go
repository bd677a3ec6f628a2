package mn

import (
	"testing"
	"time"
)

// TestFollow: the binding could not be moved ahead, as the home agent said nothing, and it may
// have moved all the same. The previous router holds and forwards, the next one waits behind
// that, and goes on when the node says that all has come; not when it would have waited long
// enough.
func TestFollow(t *testing.T) {
	b := start(t, func(c *Config) { c.Timers.Bind = 500 * time.Millisecond })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.stopHA()
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the next router to deliver", func(s Status) bool {
		v := b.routers["a"].Status().Visitors
		return s.Network == "a" && len(v) == 1 && v[0].Mode == "direct"
	})
	if all := b.routers["a"].Status().Visitors[0].Classes["all"]; all.WaitedOut > 0 {
		t.Errorf("the next router has waited %d times as long as it would for anybody, and was not told: %+v", all.WaitedOut, all)
	}
	b.agent()
	_, _ = h.Wait(t.Context())
	b.eventually("the binding", func(Status) bool { return b.node.home.isBound(b.serving().path) })
	b.works()
}
