package par

import (
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// heard remembers the last markers, so that one that was long on its way does not send
// away a node that has arrived since.
type heard struct {
	last [16]mark
	next int
	here event.HandoverID // by which the node has come
}

// mark is the newest of the markers of one kind in one handover.
type mark struct {
	kind tunnel.MarkerKind
	id   event.HandoverID
	seq  uint32
	over bool // the node has arrived since
}

// of returns what was heard of the kind and handover of a marker, nil if nothing was.
func (h *heard) of(m tunnel.Marker) *mark {
	for i := range h.last {
		if l := &h.last[i]; l.kind == m.Kind && l.id == m.Handover {
			return l
		}
	}
	return nil
}

// late says whether the node has arrived since it sent a marker.
func (h *heard) late(m tunnel.Marker) bool {
	if l := h.of(m); l != nil {
		return l.over && m.Seq <= l.seq
	}
	return m.Kind == tunnel.Depart && !h.here.IsZero() && m.Handover == h.here
}

// fresh takes note of a marker and says whether it is to be heeded.
func (h *heard) fresh(m tunnel.Marker) bool {
	if h.late(m) {
		return false
	}
	if l := h.of(m); l != nil {
		l.seq, l.over = max(l.seq, m.Seq), false
		return true
	}
	h.last[h.next] = mark{kind: m.Kind, id: m.Handover, seq: m.Seq}
	h.next = (h.next + 1) % len(h.last)
	return true
}

// arrived: what is heard from now on of the markers before is late, and so are the first
// ones of the handover by which the node has come. The zero one stands for none.
func (h *heard) arrived(id event.HandoverID) {
	for i := range h.last {
		h.last[i].over = true
	}
	if !id.IsZero() {
		h.here = id
	}
}

// marker takes a signal out of the tunnel, in line with the data. It runs on the reader
// of all tunnels: where the kernel has to be asked, it does not wait.
func (v *visitor) marker(m tunnel.Marker, o tunnel.Origin) {
	act := v.departs
	switch m.Kind {
	case tunnel.Depart:
	case tunnel.Resume:
		act = v.resumes
	default:
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.tunnel == nil || m.Handover.IsZero() || !v.heard.fresh(m) {
		return
	}
	if !v.native() {
		act(m, o)
		return
	}
	t := v.tunnel // which leads to where o is by now
	v.r.wg.Go(func() {
		v.lock()
		defer v.mu.Unlock()
		if !v.closed && v.tunnel == t && !v.heard.late(m) {
			act(m, tunnel.Origin{})
		}
	})
}

// departs holds what comes from here on: the node leaves, whether it comes to us or
// goes from us. The caller holds mu.
func (v *visitor) departs(m tunnel.Marker, _ tunnel.Origin) {
	if v.left != m.Handover { // else our answer was lost
		if v.capture() != nil {
			return
		}
		comes, known := !v.here, !v.group.Has(flow.Hold)
		if !v.apply(flow.Disable) {
			return
		}
		if known {
			v.pass(comes)
		}
		v.away(m.Handover)
	}
	wait, open := time.Until(v.clear), v.r.keeper.settled(v.passes)
	if wait <= 0 && open == nil {
		v.departed(m)
		return
	}
	t := v.tunnel
	v.r.wg.Go(func() {
		v.r.ready(wait, open)
		v.mu.Lock()
		defer v.mu.Unlock()
		if !v.closed && v.tunnel == t && v.left == m.Handover {
			v.departed(m)
		}
	})
}

// ready returns after wait, once open, unless it is nil, is closed, too; after gateWait in any case,
// and when the router ends.
func (r *Router) ready(wait time.Duration, open <-chan struct{}) {
	if open != nil {
		at := time.Now().Add(wait)
		late := time.NewTimer(r.keeper.wait)
		defer late.Stop()
		select {
		case <-open:
		case <-late.C:
		case <-r.ctx.Done():
		}
		wait = time.Until(at)
	}
	select {
	case <-time.After(wait):
	case <-r.ctx.Done():
	}
}

// departed answers a departure, behind what has been sent. The caller holds mu.
func (v *visitor) departed(m tunnel.Marker) {
	if err := v.tunnel.SendMarker(tunnel.Marker{Kind: tunnel.Departed, Handover: m.Handover, Seq: m.Seq}); err != nil {
		v.r.cfg.Log.Warn("marker not sent", "sid", v.sid, "err", err)
	}
}

// away begins a hold; id is the zero one if the node said nothing. The caller holds mu.
func (v *visitor) away(id event.HandoverID) {
	v.left, v.missed = id, false
	if !id.IsZero() {
		v.handover = id
	}
	v.undrain(event.Cancelled, "the node leaves again")
	v.makeRoom()
	v.spans.hold = v.r.cfg.Recorder.Begin(v.handover, event.PhaseHold)
	was := v.here
	if was {
		v.here = false
		v.reached(stagePrepared)
	}
	v.answer(false)
	if was {
		v.announceAway()
	}
	v.expectUse()
}

// resumes delivers through the tunnel: the node is where the marker comes from. What it
// has not got goes first, and then the answer. The caller holds mu.
func (v *visitor) resumes(m tunnel.Marker, o tunnel.Origin) {
	copied := v.group.Has(flow.Copy)
	if copied && !o.Of(v.tunnel) {
		return // the node is elsewhere by now, and says so again
	}
	v.confirm(m.Receipts)
	v.handover = m.Handover
	if v.here || v.native() || v.group.Mode() != flow.Tunnel {
		if v.capture() != nil {
			return
		}
		if !v.apply(flow.Create) { // as switch-back, and of what was copied, all that is not confirmed
			return
		}
		v.room.found(time.Now(), false)
		v.back("the node is elsewhere: what comes is forwarded")
	}
	if copied {
		v.adopt(o)
	}
	v.marks++
	if v.group.Mark(time.Now(), v.marks) { // else there are some before it, and it is said again
		v.resumed[v.marks] = tunnel.Marker{Kind: tunnel.Forwarded, Handover: m.Handover, Seq: m.Seq}
	}
	v.r.wg.Go(v.flush)
}

// switchBack turns the tunnel on again: the node is back at its old network. It
// may have arrived before, if only its arrival came through.
func (v *visitor) switchBack() {
	v.lock()
	defer v.mu.Unlock()
	if v.closed || v.tunnel == nil || !v.group.Has(flow.Hold, flow.Await, flow.Drain) {
		return
	}
	if v.capture() != nil || !v.apply(flow.SwitchBack) {
		return
	}
	v.heard = heard{} // it departs again
	v.back("the node is back at its old network")
	v.r.wg.Go(v.flush)
}

// back follows a change to delivery through the tunnel. The caller holds mu.
func (v *visitor) back(why string) {
	v.pass(false)
	was := v.here
	v.left, v.here, v.guarded, v.missed = event.HandoverID{}, false, false, false
	v.room.ended()
	v.reached(stagePrepared)
	v.spans.hold.EndOutcome(event.SwitchedBack, why, "packets", v.total().Queued)
	v.undrain(event.SwitchedBack, why)
	v.answer(true)
	if was {
		v.announceAway()
	}
	v.expectUse()
}
