package mn

import (
	"context"
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

// turn puts in order what comes to a path natively and by the tunnel, where the wire
// reads both: the router sends one behind the other in one queue of the link, and the
// node reads the two from two sockets (flow.Turns).
//
//	router:  packet, packet | copy, copy, Native | packet
//	node:    native socket:   packet, packet, a packet of its own --> fenced; packet
//	         tunnel's socket: copy, copy, Native --> marked
//
// What came first is in its socket when what follows can be read. So the first of the
// tunnel that waits has the node's own packet sent, and it is there before the router is asked
// for native ones again. Of the zero turn the kernel takes what comes natively.
type turn struct {
	deliver func(pkt []byte)
	mark    func(event.HandoverID) error // sends the node's own packet
	limits  flow.Limits

	closed atomic.Bool // false: what comes is delivered at once

	mu    sync.Mutex
	turns *flow.Turns // nil: nothing was ever expected
	timer *time.Timer
}

// start readies what expects; the caller holds mu.
func (u *turn) start() (now time.Time) {
	if u.turns == nil {
		u.turns = flow.NewTurns(u.limits)
		u.timer = time.AfterFunc(time.Hour, u.late)
		u.timer.Stop()
	}
	return time.Now()
}

// leave is called before the router is asked to send by the tunnel what it may send natively.
func (u *turn) leave(id event.HandoverID) {
	if u.deliver == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.start()
	u.turns.Begin(now, flow.Tunneled, flow.End(id), readWithin)
	u.pass()
}

// land is called before the router is asked to send natively what it may send by the tunnel,
// and marks the end of that with id; the zero id: it does not.
func (u *turn) land(id event.HandoverID) {
	if u.deliver == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.start()
	u.seal(now)
	within := lastCopyWithin
	if id.IsZero() {
		within = 0
	}
	u.turns.Begin(now, flow.Natively, flow.End(id), within)
	u.pass()
}

// settle waits until what came natively has been read, if packets of the tunnel may wait
// for that, no longer than they would.
func (u *turn) settle(ctx context.Context) {
	if u.deliver == nil {
		return
	}
	for u.unread() && ctx.Err() == nil {
		sleep(ctx, time.Millisecond)
	}
}

func (u *turn) unread() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.start()
	u.seal(now)
	defer u.pass()
	return u.turns.Unread(now)
}

// seal sends the node's own packet, if that is due; the caller holds mu.
func (u *turn) seal(now time.Time) {
	if end, mark := u.turns.Seal(); mark && u.mark(event.HandoverID(end)) != nil {
		u.turns.Give(now)
	}
}

// native takes what came natively. It is called by one goroutine at a time.
func (u *turn) native(pkt []byte) { u.take(flow.Natively, pkt) }

// tunneled takes what came by the tunnel. It is called by one goroutine at a time.
func (u *turn) tunneled(pkt []byte) { u.take(flow.Tunneled, pkt) }

func (u *turn) take(way flow.Way, pkt []byte) {
	if !u.closed.Load() {
		u.deliver(pkt)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	deliver, seal := u.turns.Take(now, way, pkt)
	if deliver {
		u.deliver(pkt)
	}
	if seal {
		u.seal(now)
	}
	u.pass()
}

// fenced takes the node's own packet, behind the last native one.
func (u *turn) fenced(id event.HandoverID) { u.ended(flow.Natively, id) }

// marked takes the router's marker, behind the last packet of the tunnel.
func (u *turn) marked(id event.HandoverID) { u.ended(flow.Tunneled, id) }

func (u *turn) ended(way flow.Way, id event.HandoverID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.turns != nil {
		u.turns.Ended(time.Now(), way, flow.End(id))
		u.pass()
	}
}

func (u *turn) late() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turns.OnDeadline(time.Now())
	u.pass()
}

// pass delivers what may go; the caller holds mu.
func (u *turn) pass() {
	for pkt, ok := u.turns.Next(); ok; pkt, ok = u.turns.Next() {
		u.deliver(pkt)
		u.turns.Recycle(pkt)
	}
	if at, ok := u.turns.Deadline(); ok {
		u.timer.Reset(time.Until(at))
	} else {
		u.timer.Stop()
	}
	u.closed.Store(u.turns.Closed())
}

// open delivers what still waits: nothing is waited for any more.
func (u *turn) open() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.turns != nil {
		u.turns.Open(time.Now())
		u.pass()
	}
}
