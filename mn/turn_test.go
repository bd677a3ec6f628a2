package mn

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel/flow"
)

// TestTurn: what comes natively waits for the marker behind the last copy, no longer
// than for one that is lost, nor than there is room.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const dscp = 0
		k := &taken{}
		l := &turn{deliver: k.deliver}
		id := func(n byte) event.HandoverID { return event.HandoverID{n} }
		limits := flow.Limits{Packets: 4}
		l.take(packet(dscp, 1))
		l.ended(id(1))
		k.check(t, "nothing is expected", 1)

		l.expect(id(1), lastCopyWithin, limits)
		l.take(packet(dscp, 2))
		l.ended(id(2))
		l.take(packet(dscp, 3))
		k.check(t, "ahead of the marker, and with that of another move")
		l.ended(id(1))
		k.check(t, "the marker", 2, 3)
		l.take(packet(dscp, 4))
		l.ended(id(1))
		k.check(t, "behind it", 4)

		l.expect(id(3), lastCopyWithin, limits)
		l.ended(id(3))
		l.take(packet(dscp, 5))
		k.check(t, "the marker comes first", 5)

		l.expect(id(4), lastCopyWithin, limits)
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

		l.expect(id(5), lastCopyWithin, limits)
		for mark := range byte(6) {
			l.take(packet(dscp, 10+mark))
		}
		k.check(t, "no room", 10, 11, 12, 13, 14, 15)

		l.expect(id(6), lastCopyWithin, limits)
		l.take(packet(dscp, 20))
		l.open()
		k.check(t, "closed", 20)
		l.open()
		time.Sleep(time.Second) // no timer is left
	})
}

// TestTurnAsks: the first packet that waits asks for the end, once, and where that cannot
// be nothing waits.
func TestTurnAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &taken{}
		var asked []event.HandoverID
		var fails error
		u := &turn{deliver: k.deliver, ask: func(id event.HandoverID) error {
			asked = append(asked, id)
			return fails
		}}
		id := func(n byte) event.HandoverID { return event.HandoverID{n} }
		limits := flow.Limits{Packets: 100}
		u.expect(id(1), readWithin, limits)
		if len(asked) > 0 {
			t.Error("asked before there is anything to wait")
		}
		u.take(packet(0, 1))
		u.take(packet(0, 2))
		k.check(t, "asked for")
		u.ended(id(1))
		u.take(packet(0, 3))
		k.check(t, "the end", 1, 2, 3)

		u.expect(id(2), readWithin, limits)
		u.take(packet(0, 4))
		u.expect(id(3), readWithin, limits)
		u.ended(id(2))
		u.take(packet(0, 5))
		k.check(t, "another end is expected meanwhile")
		u.ended(id(3))
		k.check(t, "that", 4, 5)

		fails = errors.New("no such address")
		u.expect(id(4), readWithin, limits)
		u.take(packet(0, 6))
		u.take(packet(0, 7))
		k.check(t, "nothing to wait for", 6, 7)
		if want := []event.HandoverID{id(1), id(2), id(3), id(4)}; !slices.Equal(asked, want) {
			t.Errorf("asked for %v, expected %v", asked, want)
		}
		time.Sleep(time.Second) // no timer is left
	})
}
