package mn

import (
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel/flow"
)

// TestLanding: what comes natively waits for the marker behind the last copy, no longer
// than for one that is lost, nor than there is room.
func TestLanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const dscp = 0
		k := &taken{}
		l := &landing{deliver: k.deliver}
		id := func(n byte) event.HandoverID { return event.HandoverID{n} }
		limits := flow.Limits{Packets: 4}
		l.take(packet(dscp, 1))
		l.ended(id(1))
		k.check(t, "nothing is expected", 1)

		l.expect(id(1), limits)
		l.take(packet(dscp, 2))
		l.ended(id(2))
		l.take(packet(dscp, 3))
		k.check(t, "ahead of the marker, and with that of another move")
		l.ended(id(1))
		k.check(t, "the marker", 2, 3)
		l.take(packet(dscp, 4))
		l.ended(id(1))
		k.check(t, "behind it", 4)

		l.expect(id(3), limits)
		l.ended(id(3))
		l.take(packet(dscp, 5))
		k.check(t, "the marker comes first", 5)

		l.expect(id(4), limits)
		time.Sleep(time.Second)
		l.take(packet(dscp, 6))
		time.Sleep(lastCopyWithin - time.Millisecond)
		synctest.Wait()
		k.check(t, "too early")
		l.take(packet(dscp, 7))
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		k.check(t, "the marker is lost", 6, 7)
		l.take(packet(dscp, 8))
		k.check(t, "behind that", 8)

		l.expect(id(5), limits)
		for mark := range byte(6) {
			l.take(packet(dscp, 10+mark))
		}
		k.check(t, "no room", 10, 11, 12, 13, 14, 15)

		l.expect(id(6), limits)
		l.take(packet(dscp, 20))
		l.close()
		k.check(t, "closed", 20)
		time.Sleep(time.Second) // no timer is left
	})
}
