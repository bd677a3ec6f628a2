package mn

import (
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel/flow"
)

const (
	// lastCopyWithin is how long packets of the link wait for the router's marker right ahead
	// of the first of them, if it is lost.
	lastCopyWithin = 20 * time.Millisecond
	// readWithin is how long those of the tunnel wait for what the node has yet to read.
	readWithin = 100 * time.Millisecond
)

// turn has what comes by one of a link's sockets wait for the last of what came by another
// before: the router sends natively behind what it sent through the tunnel, or the other way
// round, in one queue of the link, and the node reads the two from two sockets.
//
//	router:  copy, copy, Native | packet, packet
//	node:    tunnel's socket: copy, copy, Native --> ended
//	         native socket:   packet, packet ------> take: behind it
//
//	router:  packet, packet | copy, copy
//	node:    tunnel's socket: copy -----> take --> ask: a packet of the node's own
//	         native socket:   packet, packet, that --> ended
//
// What came first is in its socket when what follows can be read. So the first that waits
// may ask for the packet that ends the wait.
type turn struct {
	deliver func(pkt []byte)
	ask     func(event.HandoverID) error // nil: the end comes by itself

	closed atomic.Bool // false: what comes is delivered at once

	mu    sync.Mutex
	id    event.HandoverID
	asked bool
	token uint64
	gate  *flow.Gate
	timer *time.Timer
}

// expect has what comes wait for the end that has the id, no longer than within.
func (u *turn) expect(id event.HandoverID, within time.Duration, limits flow.Limits) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gate == nil {
		u.gate = flow.NewGate(limits)
		u.timer = time.AfterFunc(time.Hour, u.late)
		u.timer.Stop()
	}
	u.id, u.asked = id, u.ask == nil
	if !u.gate.Armed() { // else the new end is waited for instead of the one before
		u.token++
		u.gate.Arm(time.Now(), u.token, within)
	}
	u.closed.Store(true)
}

// ended takes the end, behind the last packet of before.
func (u *turn) ended(id event.HandoverID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gate != nil && u.id == id {
		u.end()
	}
}

// take takes what is to follow. It is called by one goroutine at a time.
func (u *turn) take(pkt []byte) {
	if !u.closed.Load() {
		u.deliver(pkt)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gate.New(time.Now(), pkt) {
		u.deliver(pkt)
	}
	u.pass() // a full gate opens
	if !u.gate.Armed() || u.asked {
		return
	}
	if u.asked = true; u.ask(u.id) != nil {
		u.end()
	}
}

// end lets all pass, if anything waits for an end; the caller holds mu.
func (u *turn) end() {
	if u.gate.Armed() {
		u.gate.Marker(time.Now(), u.token)
	}
	u.pass()
}

func (u *turn) late() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.gate.OnDeadline(time.Now())
	u.pass()
}

// pass delivers what may go; the caller holds mu.
func (u *turn) pass() {
	for pkt, ok := u.gate.Next(); ok; pkt, ok = u.gate.Next() {
		u.deliver(pkt)
		u.gate.Recycle(pkt)
	}
	if at, ok := u.gate.Deadline(); ok {
		u.timer.Reset(time.Until(at))
	} else {
		u.timer.Stop()
	}
	u.closed.Store(u.gate.Armed())
}

// open delivers what still waits: nothing is waited for any more.
func (u *turn) open() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gate != nil {
		u.end()
	}
}
