package tunnel

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// queued are sealed packets of one tunnel that leave in one call: behind one another, all
// of one length but the last, which may be shorter, with one TOS, by one path. They have
// left when the reader that holds the endpoint corked has no more packets in hand:
//
//	Cork                                     Uncork
//	  Queue  Queue  Queue  SendMarker  Queue    |
//	    \______\______|        |          |     |
//	                  +-- out  +-- out    +-----+-- out
type queued struct {
	mu sync.Mutex

	// guarded by mu
	room  *[]byte // of rooms; nil while there is nothing
	buf   []byte  // in room
	size  int     // length of each packet
	n     int     // packets
	full  bool    // nothing may follow: the last one is shorter
	tos   uint8
	path  *path
	inner uint64                      // octets of inner packets
	shims [bind.MaxSegments]flow.Shim // of the packets

	listed bool // the endpoint knows that something is here
}

// rooms hold what is queued: as much as one call takes.
var rooms = sync.Pool{New: func() any { b := make([]byte, 0, bind.MaxSegmented); return &b }}

// Cork has packets of Queue wait until Uncork: for a reader that has several in hand.
func (e *Endpoint) Cork() { e.corked.Add(1) }

// Uncork sends what was queued since Cork, by whomever.
func (e *Endpoint) Uncork() {
	e.corked.Add(-1)
	e.Flush()
}

// Flush sends what is queued, and lets the endpoint be corked.
func (e *Endpoint) Flush() {
	e.flushing.Lock()
	defer e.flushing.Unlock()
	e.pendingMu.Lock()
	pending := e.pending
	e.pending = e.spare[:0]
	e.pendingMu.Unlock()
	for i, t := range pending {
		pending[i] = nil
		t.queued.mu.Lock()
		t.queued.listed = false
		t.flush()
		t.queued.mu.Unlock()
	}
	e.spare = pending
}

// Flush sends what of the tunnel is queued.
func (t *Tunnel) Flush() {
	t.queued.mu.Lock()
	defer t.queued.mu.Unlock()
	t.flush()
}

// AroundReads has before and after run around the callbacks for what one read of a
// socket brought, on the socket's reader. It is called before the first Listen.
func (e *Endpoint) AroundReads(before, after func()) { e.before, e.after = before, after }

// Queue is Send, but while the endpoint is corked the packet may wait, to leave with
// others in one call. Packets and markers sent after it leave after it. A packet that
// could not leave in the end is counted.
func (t *Tunnel) Queue(inner []byte) error { return t.QueueAs(flow.Shim{}, inner) }

// QueueAs is Queue for a packet that is s to Unsent, and goes without a shim header.
func (t *Tunnel) QueueAs(s flow.Shim, inner []byte) error {
	inner, err := t.sane(inner)
	if err != nil {
		return err
	}
	return t.enqueue(s, nil, inner, nextHeader(inner))
}

// QueueNumbered is SendNumbered as Queue is Send.
func (t *Tunnel) QueueNumbered(s flow.Shim, inner []byte) error {
	var room [flow.ShimLen]byte
	head, inner, err := t.shimmed(room[:0], s, inner)
	if err != nil {
		return err
	}
	return t.enqueue(s, head, inner, esp.NextHeaderNumbered)
}

func (t *Tunnel) enqueue(s flow.Shim, head, payload []byte, nextHeader byte) error {
	size := esp.SealedLen(len(head) + len(payload))
	if t.e.corked.Load() == 0 || size > bind.MaxSegmented || t.cfg.Plain != nil {
		return t.carry(*t.path.Load(), head, payload, nextHeader)
	}
	p := t.path.Load()
	if !p.peer.IsValid() {
		return t.notSent(ReasonNoPeer, ErrNoPeer)
	}
	tos := t.cfg.Marking.Outer(ipip.TOS(payload))
	q := &t.queued
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.closed.Load() { // else Close sends it
		return t.notSent(ReasonClosed, ErrClosed)
	}
	if q.n > 0 && !q.takes(p, tos, size) {
		t.flush()
	}
	if q.n == 0 {
		q.room = rooms.Get().(*[]byte)
		q.buf, q.size, q.full, q.tos, q.path, q.inner = (*q.room)[:0], size, false, tos, p, 0
	}
	inner := payload
	if len(head) > 0 {
		at := len(q.buf) + esp.Headroom
		inner = append(append(q.buf[:at], head...), payload...)[at:]
	}
	buf, err := t.sas.Load().out.Seal(q.buf, inner, nextHeader)
	if err != nil {
		return t.failed(err, 1)
	}
	q.buf, q.full, q.shims[q.n] = buf, size < q.size, s
	q.n++
	q.inner += uint64(len(payload))
	if !q.listed {
		q.listed = true
		t.e.pendingMu.Lock()
		t.e.pending = append(t.e.pending, t)
		t.e.pendingMu.Unlock()
	}
	if t.e.corked.Load() == 0 { // whoever held it may have looked before this was there
		t.flush()
	}
	return nil
}

// takes reports whether a packet can leave with those that are there.
func (q *queued) takes(p *path, tos uint8, size int) bool {
	return !q.full && q.path == p && q.tos == tos && size <= q.size && q.n < bind.MaxSegments && len(q.buf)+size <= bind.MaxSegmented
}

// flush sends what is queued; the caller holds queued.mu.
func (t *Tunnel) flush() {
	q := &t.queued
	if q.room == nil {
		return
	}
	if q.n > 0 {
		sent, err := q.path.socket.udp.SendBatch(q.path.peer, q.buf, q.size, q.tos)
		if sent > 0 {
			t.sentNow()
			t.counters.sent.Add(uint64(sent))
			t.counters.sentBytes.Add(q.inner * uint64(sent) / uint64(q.n))
		}
		if err != nil {
			_ = t.failed(err, q.n-sent) // counted
			for _, s := range q.shims[sent:q.n] {
				if t.cfg.Unsent != nil {
					t.cfg.Unsent(s)
				}
			}
		}
	}
	*q.room = q.buf[:0]
	rooms.Put(q.room)
	q.room, q.buf, q.n, q.path = nil, nil, 0, nil
}

// failed counts n packets that were sealed, or were to be, and not sent, and says why.
func (t *Tunnel) failed(err error, n int) error {
	reason := ReasonSend
	switch {
	case errors.Is(err, esp.ErrExpired):
		reason = ReasonExpired
	case errors.Is(err, esp.ErrSequenceExhausted):
		reason = ReasonExhausted
	case errors.Is(err, net.ErrClosed):
		reason, err = ReasonClosed, fmt.Errorf("%w: its socket: %w", ErrClosed, err)
	default:
		err = fmt.Errorf("tunnel: %w", err)
	}
	for range n {
		t.counters.droppedOut.add(reason)
	}
	return err
}
