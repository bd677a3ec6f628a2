package mn

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/tunnel/flow"
)

// downlink is the order of what comes for the home address, by the path that is bound
// and the one before.
type downlink struct {
	forged atomic.Uint64 // path-end markers that were not signed

	gateMu sync.Mutex
	gate   *flow.Gate
	timer  *time.Timer
	newest *path  // the path whose packets wait while the gate is armed
	armed  uint64 // token of its newest arming
	leaves []leave
	copies copies
}

// leave is a change away from a path, whose marker has not come by it. What comes by it before that was sent before the
// change, also where the path is the newest again meanwhile.
type leave struct {
	p  *path
	id uint64
}

// left is the first change away from p that waits for its marker; 0: there is none. The caller holds gateMu.
func (h *home) left(p *path) uint64 {
	h.leaves = slices.DeleteFunc(h.leaves, func(l leave) bool { return !h.gate.Waits(l.id) })
	for _, l := range h.leaves {
		if l.p == p {
			return l.id
		}
	}
	return 0
}

// expect arms the gate: from the request on, the home agent may deliver by the
// new path while packets of the old one are under way. The old one is that which is
// bound, or one that was asked for, whose answer nobody waited for.
func (h *home) expect(p *path, id uint64) {
	h.mu.Lock()
	bound := h.bound
	h.mu.Unlock()
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	switch {
	case bound == nil, bound == p && (h.newest == nil || h.newest == p) && !h.gate.Armed() && !h.copies.now:
		return // there is no other path
	case h.newest == p && h.armed == id:
		return // the same request again
	}
	if before := cmp.Or(h.newest, bound); before != p && !h.copies.now { // what was copied is known by its numbers
		h.leaves = append(h.leaves, leave{before, id})
	}
	h.newest, h.copies.now, h.armed = p, false, id
	h.gate.Arm(time.Now(), id, h.n.cfg.Timers.PathEnd)
}

// settle lets everything through that waited for the old path's end.
func (h *home) settle() {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.Marker(time.Now(), h.armed)
	h.pass()
}

// emptied waits for the marker that ends the path bound before.
func (h *home) emptied() {
	for armed := h.expectEnd(); armed && h.ctx.Err() == nil; armed = h.expectEnd() {
		sleep(h.ctx, 2*time.Millisecond)
	}
}

// expectEnd begins the wait for the end of the path before, and says whether there is any.
func (h *home) expectEnd() bool {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.Expect(time.Now())
	h.watchGate()
	return h.gate.Armed()
}

// down takes a packet for the home address that came by p.
func (h *home) down(p *path, inner []byte, src netip.Addr) {
	if src != h.agent {
		if !h.n.cfg.Plain || !h.n.isRouter(src) { // whose packets come by that as well
			h.foreign.Add(1)
		}
		return
	}
	if h.mip.isMarker(inner) {
		id, ok := h.mip.parseMarker(inner)
		if !ok {
			h.forged.Add(1)
			return
		}
		h.marker(id)
		return
	}
	if h.copied(p, inner) {
		return
	}
	if h.mip.signals(inner) {
		h.receive(inner, true)
		return
	}
	h.uncopied()
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	left := uint64(0)
	if p == h.newest {
		left = h.left(p)
	}
	h.order(p == h.newest, left, inner)
}

// order delivers a packet of the newest path, or of one before, in its turn; left: of before that change away from it, if it is
// not 0. The caller holds gateMu.
func (h *home) order(newest bool, left uint64, inner []byte) {
	take := h.gate.Old
	switch {
	case left != 0:
		take = func(now time.Time, pkt []byte) bool { return h.gate.Before(now, left, pkt) }
	case newest:
		take = h.gate.New
	}
	if take(time.Now(), inner) {
		h.write(inner)
		return
	}
	h.pass() // a full gate opens
	h.watchGate()
}

// watchGate has the gate looked at when nothing more is waited for. The caller holds gateMu.
func (h *home) watchGate() {
	if d, ok := h.gate.Deadline(); ok {
		h.timer.Reset(time.Until(d))
	}
}

// pass writes what the gate has let go. The caller holds gateMu.
func (h *home) pass() {
	for pkt, ok := h.gate.Next(); ok; pkt, ok = h.gate.Next() {
		h.write(pkt)
		h.gate.Recycle(pkt)
	}
}

func (h *home) gateDeadline() {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.OnDeadline(time.Now())
	h.pass()
	h.watchGate()
}
