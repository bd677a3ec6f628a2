package par

import (
	"encoding/json"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/tunnel/flow"
)

// arrive drains the queue to the access link and then leaves the visitor to the kernel.
func (v *visitor) arrive() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.lease == nil || v.tunnel == nil {
		return
	}
	if m := v.group.Mode(); m != flow.Tunnel && m != flow.Hold {
		return // a second arrival
	}
	stats := v.total()
	v.apply(flow.Arrival)
	v.stage = stageArrived
	v.spans.hold.End(nil, "packets", stats.Queued, "high_water", stats.HighWater)
	v.spans.drain = v.r.cfg.Recorder.Begin(v.handover, event.PhaseDrain)
	v.unused.Stop()
	v.r.proxy.Remove(v.lease.Addr.Addr())
	v.r.wg.Go(v.drain)
}

func (v *visitor) drain() {
	v.flush()
	v.mu.Lock()
	s := v.total()
	v.spans.drain.End(nil, "packets", s.HighWater, "held_ms", float64(s.HeldFor)/1e6, "dropped", count(s.Dropped), "reasons", s.Dropped)
	v.spans.flip = v.r.cfg.Recorder.Begin(v.handover, event.PhaseFlip)
	v.mu.Unlock()
	if wasForced, ok := v.flip(); ok {
		v.settle(wasForced)
	}
}

// settle ends the arrival after the flip.
func (v *visitor) settle(wasForced bool) {
	v.mu.Lock()
	if v.tunnel == nil || v.lease == nil { // it went away after the flip
		v.mu.Unlock()
		return
	}
	v.tunnel.Close()
	v.tunnel = nil
	// From here on the entry ages like any other.
	err := v.r.host.SetNeighbour(v.r.cfg.Access, v.lease.Addr.Addr(), v.mac, false)
	v.spans.flip.End(err, "forced", wasForced)
	v.reached(stageArrived)
	id := v.handover
	v.mu.Unlock()
	v.report(id)
}

// flip has the reader delete the host route in a moment in which nothing of the
// visitor's is on its way through the TUN. It reports whether it had to be
// forced, and false if the visitor went away before.
func (v *visitor) flip() (wasForced, ok bool) {
	began := time.Now()
	deadline := began.Add(flipWithin)
	for v.draining() {
		now := time.Now()
		if rest := pauseWorthwhile(now.Sub(began)) - v.pausedFor(now); rest > 0 {
			time.Sleep(rest)
			continue
		}
		switch v.r.fence.cross(v, time.Now().After(deadline)) {
		case flipped:
			return false, true
		case forced:
			return true, true
		case notSilent:
		}
	}
	return false, false
}

// pauseWorthwhile is how long the visitor's packets must have stayed away for an
// attempt to flip, by the time waited so far. At first only a pause as between the
// packets of speech will do, in which none comes while the route is being deleted;
// after that shorter ones, and at last those that the reader itself looks for.
func pauseWorthwhile(waited time.Duration) time.Duration {
	switch {
	case waited < 300*time.Millisecond:
		return 3 * time.Millisecond
	case waited < 600*time.Millisecond:
		return 500 * time.Microsecond
	default:
		return 0
	}
}

func (v *visitor) draining() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.closed && v.lease != nil && v.group.Mode() == flow.Drain
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
