package mn

import (
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
)

// TestBoth: while moves go there and back, packets come to the network that was left last as well, and once to
// applications; a return takes that, and is as any other. In its time, and when it is told to, the node has them come to one place.
func TestBoth(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bed) {
		b.start(t, nil, func(*bed) {}, holding(time.Minute, func(c *Config) { c.Several = true }))
		idle := osnettest.Snapshot(t)
		stop := b.flow()
		b.node.SetBoth(true)
		if o, err := b.handover("a"); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
		for _, network := range []string{"b", "a", "b"} {
			b.eventually("the other care-of address", func(Status) bool {
				_, _, also := b.copies()
				return len(also) == 1
			})
			_, copies, _ := b.copies()
			b.eventually("copies", func(Status) bool {
				_, now, _ := b.copies()
				return now > copies+50
			})
			b.returns(network)
		}
		b.eventually("the other care-of address", func(Status) bool {
			_, _, also := b.copies()
			return len(also) == 1
		})
		b.node.SetBoth(false)
		b.eventually("one place", func(Status) bool {
			_, _, also := b.copies()
			return len(also) == 0
		})
		b.node.SetBoth(true)
		b.eventually("the other care-of address", func(Status) bool {
			_, _, also := b.copies()
			return len(also) == 1
		})
		for _, st := range b.node.stoodBy() { // its minute is over
			b.node.mu.Lock()
			st.until = time.Now()
			b.node.mu.Unlock()
		}
		poke(b.node.ladder.wake)
		b.over("b")
		if _, _, also := b.copies(); len(also) > 0 {
			t.Errorf("copies to %v, where the node has nothing any more", also)
		}
		stop()
		if now := osnettest.Snapshot(t); now != idle {
			t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
		}
	})
}

// TestBothRefused: where the home agent binds one address only, packets come to one place, and it is not asked all the time.
func TestBothRefused(t *testing.T) {
	b := &bed{most: 1}
	b.start(t, nil, func(*bed) {}, holding(time.Minute, func(c *Config) { c.Several = true }))
	stop := b.flow()
	b.node.SetBoth(true)
	for _, network := range []string{"a", "b"} {
		if o, err := b.handover(network); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
	}
	b.held("a")
	time.Sleep(3 * againSpread)
	n := b.binds()
	time.Sleep(3 * againSpread)
	if now := b.binds(); now != n {
		t.Errorf("%d bindings asked for, of which the node knows that they are refused", now-n)
	}
	stop()
}

// binds counts bindings asked for.
func (b *bed) binds() (n int) {
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseBind && e.Kind == event.KindEnd {
			n++
		}
	}
	return n
}
