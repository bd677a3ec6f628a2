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

// turned is a turn in a bubble of virtual time, and what has come out of it.
type turned struct {
	*turn
	taken
	t     *testing.T
	marks []event.HandoverID // own packets, sent
	fails error
}

func newTurned(t *testing.T) *turned {
	k := &turned{t: t}
	k.turn = &turn{limits: flow.Limits{Packets: 100}, deliver: k.taken.deliver, mark: func(id event.HandoverID) error {
		k.marks = append(k.marks, id)
		return k.fails
	}}
	return k
}

func (k *turned) natives(marks ...byte) {
	for _, mark := range marks {
		k.native(packet(0, mark))
	}
}

func (k *turned) copies(marks ...byte) {
	for _, mark := range marks {
		k.tunneled(packet(0, mark))
	}
}

func (k *turned) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (k *turned) out(what string, want ...byte) {
	k.t.Helper()
	k.check(k.t, what, want...)
}

func (k *turned) ids(want ...event.HandoverID) {
	k.t.Helper()
	if !slices.Equal(k.marks, want) {
		k.t.Errorf("asked for %v, expected %v", k.marks, want)
	}
	k.marks = nil
}

func turnID(n byte) event.HandoverID { return event.HandoverID{n} }

// TestTurnLands: what comes natively waits for the marker behind the last copy, no longer
// than for one that is lost, nor than there is room.
func TestTurnLands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTurned(t)
		k.limits.Packets = 4
		k.natives(1)
		k.marked(turnID(1))
		k.out("nothing is expected", 1)

		k.land(turnID(1))
		k.natives(2)
		k.marked(turnID(2))
		k.fenced(turnID(1))
		k.natives(3)
		k.out("ahead of the marker, and with that of another move, or a packet of the node's own")
		k.copies(1)
		k.out("the last copy", 1)
		k.marked(turnID(1))
		k.out("the marker", 2, 3)
		k.natives(4)
		k.marked(turnID(1))
		k.out("behind it", 4)

		k.land(turnID(3))
		k.marked(turnID(3))
		k.natives(5)
		k.out("the marker comes first", 5)

		k.land(turnID(4))
		k.after(time.Second)
		k.natives(6)
		k.after(lastCopyWithin - time.Millisecond)
		k.out("too early")
		k.natives(7)
		k.after(2 * time.Millisecond)
		k.out("the marker is lost", 6, 7)
		k.natives(8)
		k.out("behind that", 8)

		k.land(turnID(5))
		k.natives(10, 11, 12, 13, 14, 15)
		k.out("no room", 10, 11, 12, 13, 14, 15)

		k.land(turnID(6))
		k.natives(20)
		k.open()
		k.out("closed", 20)
		k.open()
		k.ids()
		k.after(time.Second) // no timer is left
	})
}

// TestTurnLeaves: the first copy that waits asks for a packet of the node's own, once, and
// where that cannot be nothing waits.
func TestTurnLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTurned(t)
		k.leave(turnID(1))
		k.natives(1)
		k.leave(turnID(2)) // the first was not answered, say
		k.ids()
		k.copies(2, 3)
		k.ids(turnID(1))
		k.natives(4)
		k.out("asked for", 1, 4)
		k.fenced(turnID(1))
		k.copies(5)
		k.out("it comes", 2, 3, 5)

		k.leave(turnID(3))
		k.copies(6)
		k.leave(turnID(4))
		k.copies(7)
		k.ids(turnID(3), turnID(4))
		k.fenced(turnID(3))
		k.natives(8)
		k.out("of a run between that nobody told of", 6, 8)
		k.fenced(turnID(4))
		k.out("behind that", 7)

		k.leave(turnID(5))
		k.copies(9)
		k.after(readWithin + time.Millisecond)
		k.out("it is lost", 9)
		k.ids(turnID(5))

		k.fails = errors.New("no such address")
		k.leave(turnID(6))
		k.copies(10, 11)
		k.out("nothing to wait for", 10, 11)
		k.ids(turnID(6))
		k.after(time.Second) // no timer is left
	})
}

// TestTurnBetween: copies guarded on, off and on before the node has read what came between.
func TestTurnBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTurned(t)
		k.leave(turnID(1))
		if !k.unread() {
			t.Error("settled, but what came natively is not read")
		}
		k.ids(turnID(1))
		k.natives(1)
		k.fenced(turnID(1))
		if k.unread() {
			t.Error("not settled")
		}
		k.out("nothing waits", 1)
		k.land(turnID(2))
		k.leave(turnID(3))
		k.natives(4, 5)
		k.out("copies of before are not read")
		k.copies(2, 3)
		k.out("those", 2, 3)
		k.marked(turnID(2))
		k.out("their end", 4, 5)
		k.copies(7)
		k.natives(6)
		k.out("the second run of copies waits for the natives", 6)
		k.ids(turnID(3))
		k.fenced(turnID(3))
		k.out("their end", 7)

		k.land(turnID(4)) // but the router goes on, and is asked to before it sends natively
		k.copies(8)
		k.leave(turnID(5))
		k.copies(9)
		k.out("no end", 8, 9)
		k.ids()
		for k.unread() {
			k.fenced(turnID(5))
		}
		k.land(turnID(6))
		k.natives(11)
		k.copies(10)
		k.marked(turnID(6))
		k.out("the next end is that of both", 10, 11)

		k.leave(turnID(7))
		k.copies(13)
		k.natives(12)
		k.land(event.HandoverID{})
		k.natives(14) // its own fence is still to come
		k.out("back, and the copies wait", 12, 14)
		k.fenced(turnID(7))
		k.natives(15)
		k.out("all", 13, 15)
		k.after(time.Second) // no timer is left
	})
}

// TestTurnNone: where the kernel takes what comes natively nothing is expected.
func TestTurnNone(t *testing.T) {
	var u turn
	u.leave(turnID(1))
	u.settle(t.Context())
	u.land(turnID(2))
	u.marked(turnID(2))
	u.open()
	if u.turns != nil {
		t.Error("it waits")
	}
}
