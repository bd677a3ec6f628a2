package par

import (
	"openmpa/internal/event"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// marker takes a signal out of the tunnel, in line with the data.
func (v *visitor) marker(m tunnel.Marker) {
	if m.Kind != tunnel.Depart {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.tunnel == nil || m.Handover != v.handover {
		return
	}
	switch v.group.Mode() {
	case flow.Tunnel:
		if !v.apply(flow.Disable) {
			return
		}
		v.spans.hold = v.r.cfg.Recorder.Begin(v.handover, event.PhaseHold)
		v.answer(false)
	case flow.Hold: // our answer was lost
	default:
		return
	}
	if err := v.tunnel.SendMarker(tunnel.Marker{Kind: tunnel.Departed, Handover: m.Handover, Seq: m.Seq}); err != nil {
		v.r.cfg.Log.Warn("marker not sent", "sid", v.sid, "err", err)
	}
}

// switchBack turns the tunnel on again: the node is back at its old network. It
// may have arrived before, if only its arrival came through.
func (v *visitor) switchBack() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m := v.group.Mode(); v.closed || v.tunnel == nil || m != flow.Hold && m != flow.Drain {
		return
	}
	v.apply(flow.SwitchBack)
	v.reached(stagePrepared)
	const why = "the node is back at its old network"
	v.spans.hold.EndOutcome(event.SwitchedBack, why, "packets", v.total().Queued)
	v.spans.drain.EndOutcome(event.SwitchedBack, why)
	v.spans.flip.EndOutcome(event.SwitchedBack, why)
	v.answer(true)
	v.capture()
	v.r.wg.Go(v.flush)
}
