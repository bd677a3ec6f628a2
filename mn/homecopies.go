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
	now    bool // with gateMu: what has numbers is the newest path
}

// expectCopies is expect, where what is to come has numbers.
func (h *home) expectCopies(id uint64) {
	h.copies.merges.expect(true)
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	if h.copies.now && h.armed == id {
		return // the same request again
	}
	h.newest, h.copies.now, h.armed = nil, true, id
	h.gate.Arm(time.Now(), id, h.n.cfg.Timers.PathEnd)
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
