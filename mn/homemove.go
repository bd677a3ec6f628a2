package mn

import (
	"time"

	"openmpa/tunnel/flow"
)

// move makes p the path of the uplink, and ends the old one with a marker
// behind its last packet.
func (h *home) move(p *path, r registered) {
	h.mu.Lock()
	old := h.bound
	if old != nil && old != p && r.markers {
		h.endMarker(old, r.id)
	}
	h.bound, h.before = p, nil
	if r.more && old != p {
		h.before = old
	}
	if old != nil && old != p {
		h.inherit(p, old)
	}
	h.mu.Unlock()
	if !r.markers {
		h.settle() // the home agent ends no path with a marker: nothing to wait for
	}
}

// inherit sends by p what the path before has kept while there was no link: packets of
// the home address belong to no care-of address. The caller holds mu.
func (h *home) inherit(p, old *path) {
	if old.delivery.Mode() != flow.Hold {
		return
	}
	if err := old.become(flow.Arrival); err != nil {
		h.n.cfg.Log.Error("uplink", "coa", old.coa, "err", err)
		return
	}
	for {
		pkt, _, ok := old.delivery.Next(time.Now())
		if !ok {
			break
		}
		h.take(p, pkt)
		old.delivery.Recycle(pkt)
	}
	if err := old.become(flow.Flip); err != nil {
		h.n.cfg.Log.Error("uplink", "coa", old.coa, "err", err)
	}
}

// fallBack makes p the path of the uplink although the home agent has not said so:
// it is asked from there until it does.
func (h *home) fallBack(p *path) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound = p
}

// endMarkerAgain is when the marker that ends a path is sent again: it may be lost,
// and what waits for it at the home agent would wait long.
var endMarkerAgain = []time.Duration{20 * time.Millisecond, 60 * time.Millisecond}

// endMarker is the last packet of a path that is no longer bound. The caller holds
// h.mu.
func (h *home) endMarker(p *path, id uint64) {
	pkt, err := h.mip.endMarker(id)
	if err != nil {
		h.n.cfg.Log.Error("path-end marker", "err", err)
		return
	}
	to := flow.ToLink
	if m := p.delivery.Mode(); p.tunnel != nil && (m == flow.Tunnel || m == flow.Hold) {
		to = flow.ToTunnel
	}
	p.send(pkt, to)
	for _, d := range endMarkerAgain {
		time.AfterFunc(d, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !p.closed && h.bound != p && (to == flow.ToLink || p.tunnel != nil) {
				p.send(pkt, to)
			}
		})
	}
}
