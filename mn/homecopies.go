package mn

import (
	"time"

	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// copies are packets of the home address while several care-of addresses are bound: the home
// agent sends each to all of them, with one number, and here it goes on once, in order.
//
//	path of any --> wrapped? --> merges --> gate (what has numbers is one path) --> applications
//
// A marker ends what has no numbers before what has some, and the other way round. That has the
// number behind the last one: what is missing before it may come by another path, until the marker
// has come by all of them, for no longer than merges wait.
type copies struct {
	merges merges

	// with gateMu
	now    bool           // what has numbers is the newest path
	paths  int            // that it comes by
	ending uint64         // the marker that has come by marked
	marked map[*path]bool // not all paths yet
}

// expectCopies is expect, where what is to come has numbers, and comes by so many paths.
func (h *home) expectCopies(id uint64, paths int) {
	h.copies.merges.expect(true)
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	if h.copies.now && h.armed == id {
		return // the same request again
	}
	h.newest, h.copies.now, h.armed = nil, true, id
	h.copies.paths = paths
	h.gate.Arm(time.Now(), id, h.n.cfg.Timers.PathEnd)
}

// refuseCopies takes back expectCopies: the home agent sends to p alone, without numbers.
func (h *home) refuseCopies(p *path) {
	h.gateMu.Lock()
	h.newest, h.copies.now = p, false
	h.gateMu.Unlock()
	h.copies.merges.expect(false)
}

// marker opens the gate.
func (h *home) marker(id uint64) {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.Marker(time.Now(), id)
	h.pass()
}

// ended says whether the marker id, which came by p with a number, has come by all paths now: nothing
// that is missing before it comes any more.
func (h *home) ended(p *path, id uint64) bool {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	if !h.gate.Waits(id) {
		return false // of before
	}
	if h.copies.ending != id {
		h.copies.ending, h.copies.marked = id, map[*path]bool{}
	}
	h.copies.marked[p] = true
	return len(h.copies.marked) >= h.copies.paths
}

// uncopied is called ahead of a packet without a number. Where no marker is waited for, what had
// numbers has ended without one: what is missing of it does not come any more.
func (h *home) uncopied() {
	h.gateMu.Lock()
	over := h.copies.now && !h.gate.Armed()
	h.gateMu.Unlock()
	if over {
		h.copies.merges.expect(false)
		h.gateMu.Lock()
		h.copies.now = false
		h.gateMu.Unlock()
	}
}

// copied takes a packet that was sent to several care-of addresses and came by p, if it is one.
func (h *home) copied(p *path, inner []byte) bool {
	b, ok := ipip.Unwrap(inner, h.agent, h.address)
	if !ok {
		return false
	}
	shim, pkt, err := flow.ParseShim(b)
	if err == nil {
		var total int
		if _, _, _, total, err = ipip.Parse(pkt); err == nil {
			pkt = pkt[:total]
			_, err = ipip.DecapsulateECN(pkt, ipip.TOS(inner))
		}
	}
	if err != nil {
		h.unopened.Add(1)
		return true
	}
	var id uint64
	marker := h.mip.isMarker(pkt)
	if marker {
		if id, ok = h.mip.parseMarker(pkt); !ok {
			h.forged.Add(1) // its number is another's
			return true
		}
	}
	h.copies.merges.numbered(shim, pkt)
	if marker && h.ended(p, id) {
		h.copies.merges.over()
	}
	return true
}

// copy takes one that is to go on.
func (h *home) copy(pkt []byte) {
	if h.mip.isMarker(pkt) {
		if id, ok := h.mip.parseMarker(pkt); ok {
			h.marker(id)
		}
		return
	}
	if h.mip.signals(pkt) {
		h.receive(pkt, true)
		return
	}
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.order(h.copies.now, 0, pkt)
}
