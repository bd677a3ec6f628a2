package par

import (
	"sync"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/tunnel/flow"
)

// stations is what the access points say of the stations whose keys they have: the last
// of each, until somebody has seen to it.
type stations struct {
	wake chan struct{} // capacity 1

	mu  sync.Mutex // a leaf
	now map[wpactrl.MAC]bool
}

// saw takes what an access point says. It does not wait.
func (s *stations) saw(station wpactrl.MAC, gone bool) {
	s.mu.Lock()
	s.now[station] = gone
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// watchStations sees to it until the router ends.
func (r *Router) watchStations() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.stations.wake:
		}
		r.stations.mu.Lock()
		now := r.stations.now
		r.stations.now = map[wpactrl.MAC]bool{}
		r.stations.mu.Unlock()
		for station, gone := range now {
			switch v := r.links.owner(station); {
			case v == nil:
			case gone:
				v.gone()
			default:
				v.returned()
			}
		}
	}
}

// gone holds the packets of a node that left the access points without a word, if it has
// a tunnel by which it can ask for them.
func (v *visitor) gone() {
	v.lock()
	defer v.mu.Unlock()
	if v.closed || v.tunnel == nil || !v.here || v.group.Has(flow.Await) {
		return
	}
	if v.capture() != nil || !v.apply(flow.Gone) {
		return
	}
	v.away(event.HandoverID{})
	v.missed = true
	v.r.cfg.Log.Info("the node has left the access points: its packets are held", "sid", v.sid)
}

// returned delivers to a node that is back at an access point. One that wants copies has
// not said what it has got: it gets all again, by their numbers.
func (v *visitor) returned() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.tunnel == nil || !v.missed {
		return
	}
	if v.group.Mode() == flow.Direct { // what was held was given up
		v.isHere()
		return
	}
	if !v.group.Has(flow.Hold, flow.Bicast) {
		return
	}
	if !v.guarded {
		if v.apply(flow.Arrival) {
			v.came()
			v.drainAnd(func(event.HandoverID) {})
		}
		return
	}
	if !v.apply(flow.SwitchBack) {
		return
	}
	v.back("the node is back at an access point")
	v.here, v.guarded = true, v.apply(flow.Guard)
	v.pass(true)
	v.stopUnused()
	v.r.stack(v.inner).proxy.Remove(v.inner)
	v.reached(stageArrived)
	v.r.wg.Go(v.flush)
}
