package mn

import (
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel/flow"
)

// lastCopyWithin is how long packets of the link wait for the marker right ahead of the
// first of them, if it is lost.
const lastCopyWithin = 20 * time.Millisecond

// landing has what comes natively behind the last of what the router sent through the
// tunnel to this link as well, before the node was there: the two are read from two sockets.
//
//	router:  copy, copy, Native | packet, packet       one queue of the link
//	node:    tunnel's socket: copy, copy, Native --> ended
//	         native socket:   packet, packet ------> take: behind it
type landing struct {
	deliver func(pkt []byte)

	closed atomic.Bool // false: what comes is delivered at once

	mu    sync.Mutex
	id    event.HandoverID
	token uint64
	gate  *flow.Gate
	timer *time.Timer
}

// expect has what comes natively wait for the marker of a handover.
func (l *landing) expect(id event.HandoverID, limits flow.Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate == nil {
		l.gate = flow.NewGate(limits)
		l.timer = time.AfterFunc(time.Hour, l.late)
		l.timer.Stop()
	}
	l.id = id
	l.token++
	l.gate.Arm(time.Now(), l.token, lastCopyWithin)
	l.closed.Store(true)
}

// ended takes the marker, behind the last copy.
func (l *landing) ended(id event.HandoverID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate == nil || l.id != id {
		return
	}
	l.gate.Marker(time.Now(), l.token)
	l.pass()
}

// take takes what came natively. It is called by one goroutine.
func (l *landing) take(pkt []byte) {
	if !l.closed.Load() {
		l.deliver(pkt)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate.New(time.Now(), pkt) {
		l.deliver(pkt)
	}
	l.pass() // a full gate opens
}

func (l *landing) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gate.OnDeadline(time.Now())
	l.pass()
}

// pass delivers what may go; the caller holds mu.
func (l *landing) pass() {
	for pkt, ok := l.gate.Next(); ok; pkt, ok = l.gate.Next() {
		l.deliver(pkt)
		l.gate.Recycle(pkt)
	}
	if at, ok := l.gate.Deadline(); ok {
		l.timer.Reset(time.Until(at))
	}
	l.closed.Store(l.gate.Armed())
}

// close delivers what still waits.
func (l *landing) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate == nil {
		return
	}
	l.timer.Stop()
	l.gate.Marker(time.Now(), l.token)
	l.pass()
}
