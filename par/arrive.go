package par

import (
	"encoding/json"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// arrive delivers on the access link: what is held first, and before that what the
// node's previous router forwards, if it says that one does.
func (v *visitor) arrive(m *notify.Arrival) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard.arrived(m.Handover)
	if v.closed {
		return
	}
	if v.tunnel == nil || !v.group.Has(flow.Tunnel, flow.Hold, flow.Copy, flow.Bicast) {
		v.isHere() // and has said so before, mostly
		return
	}
	v.confirm(m.Receipts)
	if !m.Handover.IsZero() {
		v.handover = m.Handover
	}
	e := flow.Arrival
	if m.Previous.IsValid() {
		e = flow.Behind
	}
	both := v.group.Has(flow.Bicast)
	if !v.apply(e) {
		return
	}
	if both {
		v.natively(v.outer, m.Handover)
	}
	v.previous = m.Previous
	v.came()
	if !v.group.Has(flow.Await) {
		v.beginDrain()
		return
	}
	v.r.wg.Go(v.flush) // of classes that wait for nothing
	gen := v.gen
	v.await = time.AfterFunc(previousWithin+time.Millisecond, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.group.OnDeadline(time.Now())
		v.ended(gen)
	})
}

// natively tells the node, which is on the link, that what went through the tunnel to there
// is over: it reads what comes natively from another socket. The caller holds mu.
func (v *visitor) natively(at netip.AddrPort, id event.HandoverID) {
	if err := v.tunnel.SendMarkerTo(at, tunnel.Marker{Kind: tunnel.Native, Handover: id}); err != nil {
		v.r.cfg.Log.Warn("marker not sent", "sid", v.sid, "err", err)
	}
}

// follow ends the wait for the previous router.
func (v *visitor) follow() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || !v.group.Has(flow.Await) || !v.apply(flow.Ended) {
		return
	}
	v.ended(v.gen)
}

// ended goes on behind the previous router's packets, if it is still the arrival gen and
// nothing awaits them any more. The caller holds mu.
func (v *visitor) ended(gen uint64) {
	if v.gen != gen || v.await == nil || v.group.Has(flow.Await) {
		return
	}
	v.stopAwait()
	v.beginDrain()
}

func (v *visitor) stopAwait() {
	if v.await != nil {
		v.await.Stop()
		v.await = nil
	}
}

// came follows a change to delivery on the link. The caller holds mu.
func (v *visitor) came() {
	v.gen++
	v.heard.arrived(event.HandoverID{})
	v.left = event.HandoverID{}
	v.here, v.served, v.held, v.stage, v.guarded, v.missed = true, true, false, stageArrived, false, false
	v.appeared = time.Now()
	v.room.found(v.appeared, true)
	s := v.total()
	v.spans.hold.End(nil, append(v.room.ended(), "packets", s.Queued, "high_water", s.HighWater)...)
	v.pass(true)
	v.stopUnused()
	v.r.stack(v.inner).proxy.Remove(v.inner)
	if err := v.pin(true); err != nil {
		v.r.cfg.Log.Error("neighbour", "sid", v.sid, "err", err)
	}
}

// beginDrain sends what is queued, then leaves the visitor to the kernel, and tells the
// node what became of its handover. The caller holds mu.
func (v *visitor) beginDrain() { v.drainAnd(v.report) }

// drainAnd calls then with the handover in the end, if it comes to that.
func (v *visitor) drainAnd(then func(event.HandoverID)) {
	v.previous = netip.AddrPort{}
	v.spans.drain = v.r.cfg.Recorder.Begin(v.handover, event.PhaseDrain)
	gen, id := v.gen, v.handover
	v.r.wg.Go(func() {
		if v.drain(gen) {
			then(id)
		}
	})
}

// undrain ends an arrival that came to no end. The caller holds mu.
func (v *visitor) undrain(o event.Outcome, why string) {
	v.gen++
	v.stopAwait()
	v.previous = netip.AddrPort{}
	v.spans.drain.EndOutcome(o, why)
	v.spans.flip.EndOutcome(o, why)
}

// drain says whether the kernel delivers in the end.
func (v *visitor) drain(gen uint64) bool {
	empty := v.flushFor(flipWithin)
	v.mu.Lock()
	if !v.draining(gen) {
		v.mu.Unlock()
		return false
	}
	s := v.total()
	v.spans.drain.End(nil, append(v.endless(empty), "packets", s.HighWater, "held_ms", float64(s.HeldFor)/1e6, "dropped", count(s.Dropped), "reasons", s.Dropped)...)
	v.spans.flip = v.r.cfg.Recorder.Begin(v.handover, event.PhaseFlip)
	v.mu.Unlock()
	wasForced, ok := v.flip(gen, !empty)
	if ok && wasForced {
		v.flush()
	}
	return ok && v.settle(wasForced)
}

// settle ends the arrival after the flip. It says no if the node went away after that.
func (v *visitor) settle(wasForced bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tunnel == nil || v.group.Mode() != flow.Direct {
		return false
	}
	if !v.standby {
		v.retire()
	}
	// From here on the entry ages like any other.
	err := v.pin(false)
	v.spans.flip.End(err, "forced", wasForced)
	v.reached(stageArrived)
	return true
}

// draining says whether it is still the arrival gen. The caller holds mu.
func (v *visitor) draining(gen uint64) bool {
	return !v.closed && v.gen == gen && v.group.Mode() == flow.Drain
}

func (v *visitor) stillDraining(gen uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.draining(gen)
}

// report sends the node the router's record of the handover, so that it can
// explain both ends.
func (v *visitor) report(id event.HandoverID) {
	var batch []json.RawMessage
	size := 2
	send := func() {
		if len(batch) == 0 {
			return
		}
		b, err := json.Marshal(batch)
		if err == nil {
			v.r.send(v.sid, &notify.Report{Header: notify.Header{Handover: id}, Events: b})
		}
		batch, size = nil, 2
	}
	for _, e := range v.r.cfg.Recorder.Events(id) {
		if e.Kind != event.KindEnd {
			continue
		}
		b, err := json.Marshal(e)
		if err != nil || len(b)+2 > notify.MaxReport {
			continue
		}
		if size+len(b)+1 > notify.MaxReport {
			send()
		}
		batch, size = append(batch, b), size+len(b)+1
	}
	send()
}
