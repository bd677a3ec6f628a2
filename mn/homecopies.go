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
// A marker ends what has no numbers before what has some, and the other way round.
type copies struct {
	merges merges

	// with gateMu
	now    bool           // what has numbers is the newest path
	paths  int            // that it comes by
	ending uint64         // its marker has come by marked, and something is missing that others may bring; 0: no
	marked map[*path]bool // with the marker ending
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
	h.copies.paths, h.copies.ending = paths, 0
	h.gate.Arm(time.Now(), id, h.n.cfg.Timers.PathEnd)
}

// refuseCopies takes back expectCopies: the home agent sends to p alone, without numbers.
func (h *home) refuseCopies(p *path) {
	h.gateMu.Lock()
	h.newest, h.copies.now = p, false
	h.gateMu.Unlock()
	h.endCopies()
}

// endCopies lets what has numbers through, as nothing that is missing comes any more.
func (h *home) endCopies() {
	h.gateMu.Lock()
	over := !h.copies.now
	h.gateMu.Unlock()
	if over {
		h.copies.merges.expect(false)
	}
}

// ended takes the marker id, which came by p: it ends what had numbers, or began that. Where
// something is missing that another path may bring, it waits for that path's marker; for no
// longer than for what is missing.
func (h *home) ended(p *path, id uint64) {
	waits := h.copies.merges.waiting()
	h.gateMu.Lock()
	if h.copies.ending != id {
		h.copies.ending, h.copies.marked = id, map[*path]bool{}
	}
	h.copies.marked[p] = true
	if h.copies.now || len(h.copies.marked) >= h.copies.paths {
		waits = false
	}
	h.gateMu.Unlock()
	if !waits {
		h.marker(id)
	}
}

// complete ends what had numbers, where its marker has come and nothing is missing any more.
func (h *home) complete() {
	h.gateMu.Lock()
	id := h.copies.ending
	h.gateMu.Unlock()
	if id != 0 && !h.copies.merges.waiting() {
		h.marker(id)
	}
}

// marker opens the gate, behind what had numbers.
func (h *home) marker(id uint64) {
	h.endCopies()
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	if h.copies.ending == id {
		h.copies.ending = 0
	}
	h.gate.Marker(time.Now(), id)
	h.pass()
}

// uncopied is called ahead of a packet without a number. Where no marker is waited for, what had
// numbers has ended without one: what is missing of it does not come any more.
func (h *home) uncopied() {
	h.complete()
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

// copied takes a packet that was sent to several care-of addresses, if it is one.
func (h *home) copied(inner []byte) bool {
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
	h.copies.merges.numbered(shim, pkt)
	h.complete()
	return true
}

// copy takes one that is to go on.
func (h *home) copy(pkt []byte) {
	if h.mip.signals(pkt) {
		h.receive(pkt, true)
		return
	}
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.order(h.copies.now, pkt)
}
