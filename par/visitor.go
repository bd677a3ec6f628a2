package par

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/dhcp4"
	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/par/neigh"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// visitor is one mobile node at this router, wherever it is at the moment.
type visitor struct {
	r   *Router
	sid uint32
	ctx context.Context // ends with the visitor
	end context.CancelFunc

	mu          sync.Mutex // taken before Router.mu, if both are
	identity    string     // as AAA has it
	keys        *keys.SessionKeys
	ends        time.Time      // of the keys
	peer        netip.AddrPort // where PANA found it
	mac         net.HardwareAddr
	lease       *dhcp4.Lease
	tenure      *tenure // of the lease
	stage       stage
	configuring bool                    // a configuration is under way
	linking     bool                    // link keys are under way
	asked       *notify.LinkKeysRequest // meanwhile; nil: nothing
	handover    event.HandoverID
	delivery    *flow.Delivery
	tunnel      *tunnel.Tunnel
	unused      *time.Timer
	spans       struct{ hold, drain, flip *event.Span }
	closed      bool
}

func newVisitor(r *Router, sid uint32) *visitor {
	v := &visitor{r: r, sid: sid, stage: stageLeased, delivery: flow.NewDelivery(r.cfg.Buffer)}
	v.ctx, v.end = context.WithCancel(r.ctx)
	return v
}

func (v *visitor) opened(identity string, from netip.AddrPort, k *keys.SessionKeys, life time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		v.keys.Clear()
	}
	v.identity, v.peer, v.keys, v.ends = identity, from, k, time.Now().Add(life)
}

func (v *visitor) moved(to netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peer = to
}

// who is the node, and where.
func (v *visitor) who() (identity string, peer netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.identity, v.peer
}

// where says how far the node has come.
func (v *visitor) where() (stage, netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stage, v.peer
}

// reached has it written down that the node has come to s, while packets go on; the
// caller holds mu.
func (v *visitor) reached(s stage) {
	v.stage = s
	if t := v.tenure; t != nil {
		v.r.wg.Go(func() { t.note(v) })
	}
}

// address returns the visitor's care-of address, the zero Addr before there is one.
func (v *visitor) address() netip.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lease == nil {
		return netip.Addr{}
	}
	return v.lease.Addr.Addr()
}

// down delivers one packet for the care-of address. The caller keeps pkt.
func (v *visitor) down(now time.Time, pkt []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch v.delivery.Packet(now, pkt) {
	case flow.ToTunnel:
		v.sendTunnel(pkt)
	case flow.ToLink:
		v.sendLink(pkt)
	}
}

func (v *visitor) sendTunnel(pkt []byte) {
	if err := v.tunnel.Send(pkt); err != nil {
		v.delivery.Failed(flow.ToTunnel)
		v.r.cfg.Log.Debug("tunnel send", "sid", v.sid, "err", err)
	}
}

func (v *visitor) sendLink(pkt []byte) {
	if _, err := v.r.dev.Write(pkt); err != nil {
		v.delivery.Failed(flow.ToLink)
		v.r.cfg.Log.Debug("TUN write", "sid", v.sid, "err", err)
	}
}

// flush sends what is queued and may go, packet by packet, so that what comes
// meanwhile queues behind it.
func (v *visitor) flush() {
	for {
		v.mu.Lock()
		pkt, to, ok := v.delivery.Next(time.Now())
		if !ok {
			v.mu.Unlock()
			return
		}
		if to == flow.ToTunnel {
			v.sendTunnel(pkt)
		} else {
			v.sendLink(pkt)
		}
		v.delivery.Recycle(pkt)
		v.mu.Unlock()
	}
}

// deliverAnew begins another delivery; the router keeps what the one before has
// counted. The caller holds mu.
func (v *visitor) deliverAnew() {
	v.delivery.Release(time.Now(), flow.ReasonReleased)
	v.r.mu.Lock()
	for why, n := range v.delivery.Stats().Dropped {
		v.r.gone[why] += n
	}
	v.r.mu.Unlock()
	v.delivery = flow.NewDelivery(v.r.cfg.Buffer)
}

// apply moves the delivery mode; the caller holds mu.
func (v *visitor) apply(e flow.Event) bool {
	if err := v.delivery.Apply(time.Now(), e); err != nil {
		v.r.cfg.Log.Warn("delivery", "sid", v.sid, "err", err)
		return false
	}
	return true
}

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
	switch v.delivery.Mode() {
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
	if m := v.delivery.Mode(); v.closed || v.tunnel == nil || m != flow.Hold && m != flow.Drain {
		return
	}
	v.apply(flow.SwitchBack)
	v.reached(stagePrepared)
	const why = "the node is back at its old network"
	v.spans.hold.EndOutcome(event.SwitchedBack, why, "packets", v.delivery.Len())
	v.spans.drain.EndOutcome(event.SwitchedBack, why)
	v.spans.flip.EndOutcome(event.SwitchedBack, why)
	v.answer(true)
	v.capture()
	v.r.wg.Go(v.flush)
}

// capture brings the packets for the care-of address into the TUN.
func (v *visitor) capture() {
	if err := v.r.host.SetRoute(v.hostRoute()); err != nil {
		v.r.cfg.Log.Error("host route", "sid", v.sid, "err", err)
	}
}

// answer says whether ARP probes for the care-of address are answered: while
// the node may be arriving they may be its own.
func (v *visitor) answer(probes bool) {
	if err := v.r.proxy.Set(v.lease.Addr.Addr(), neigh.Policy{IgnoreMAC: v.mac, AnswerProbes: probes}); err != nil {
		v.r.cfg.Log.Warn("proxy ARP", "sid", v.sid, "err", err)
	}
}

// arrive drains the queue to the access link and then leaves the visitor to the kernel.
func (v *visitor) arrive() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.lease == nil || v.tunnel == nil {
		return
	}
	if m := v.delivery.Mode(); m != flow.Tunnel && m != flow.Hold {
		return // a second arrival
	}
	stats := v.delivery.Stats()
	v.apply(flow.Arrival)
	v.stage = stageArrived
	v.spans.hold.End(nil, "packets", v.delivery.Len(), "high_water", stats.HighWater)
	v.spans.drain = v.r.cfg.Recorder.Begin(v.handover, event.PhaseDrain)
	v.unused.Stop()
	v.r.proxy.Remove(v.lease.Addr.Addr())
	v.r.wg.Go(v.drain)
}

func (v *visitor) drain() {
	v.flush()
	v.mu.Lock()
	s := v.delivery.Stats()
	v.spans.drain.End(nil, "packets", s.HighWater, "held_ms", float64(s.HeldFor)/1e6, "dropped", total(s.Dropped), "reasons", s.Dropped)
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
	return !v.closed && v.lease != nil && v.delivery.Mode() == flow.Drain
}

// uncapture leaves the care-of address to the kernel's connected route. It does
// not keep the lock meanwhile: packets go on.
func (v *visitor) uncapture() {
	v.mu.Lock()
	if v.lease == nil {
		v.mu.Unlock()
		return
	}
	route := v.hostRoute()
	v.mu.Unlock()
	if err := v.r.host.DelRoute(route); err != nil {
		v.r.cfg.Log.Error("host route", "sid", v.sid, "err", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tunnel != nil && v.delivery.Mode() == flow.Tunnel { // it switched back just now
		v.capture()
	}
}

// pausedFor is how long no packet came for the visitor; 0 while some wait.
func (v *visitor) pausedFor(now time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.delivery.Len() > 0 {
		return 0
	}
	return v.delivery.SilentFor(now)
}

// packets counts what has come for the visitor.
func (v *visitor) packets() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.delivery.Stats().In
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

// close gives back all the router holds for the visitor.
func (v *visitor) close(reason error) {
	v.end()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if !errors.Is(reason, context.Canceled) { // else the router ends, and whoever ends the access points takes all keys
		v.r.links.release(v)
	}
	v.dropTunnel(reason.Error())
	v.deliverAnew()
	if v.keys != nil {
		v.keys.Clear()
	}
	if v.lease == nil {
		return
	}
	_ = v.r.host.DelNeighbour(v.r.cfg.Access, v.lease.Addr.Addr())
	var goodbye *pana.ErrPeerTerminated
	v.tenure.free(v, errors.As(reason, &goodbye))
	v.lease, v.tenure = nil, nil
}

// deleteTunnel ends the tunnel t, nil for any, that was not used: a node that has
// arrived by it is not sent away again.
func (v *visitor) deleteTunnel(t *tunnel.Tunnel, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m := v.delivery.Mode(); t != nil && t != v.tunnel || m != flow.Tunnel && m != flow.Hold {
		return
	}
	v.dropTunnel(why)
}

func (v *visitor) dropTunnel(why string) {
	if v.lease == nil {
		return
	}
	addr := v.lease.Addr.Addr()
	if v.unused != nil {
		v.unused.Stop()
	}
	if v.delivery.Mode() != flow.Released {
		v.apply(flow.Release)
	}
	for _, s := range []*event.Span{v.spans.hold, v.spans.drain, v.spans.flip} {
		s.EndOutcome(event.Cancelled, why)
	}
	if v.tunnel != nil {
		v.tunnel.Close()
		v.tunnel = nil
	}
	if (*v.r.byAddr.Load())[addr] != v {
		return
	}
	v.r.proxy.Remove(addr)
	v.r.capture(addr, nil)
	err := errors.Join(v.r.host.DelRoute(v.hostRoute()), v.r.host.DelNeighbour(v.r.cfg.Access, addr))
	if err != nil {
		v.r.cfg.Log.Error("left in the kernel", "sid", v.sid, "err", err)
	}
	if v.stage != stageArrived { // else it is here, whatever becomes of the tunnel
		v.reached(stageLeased)
	}
	v.r.cfg.Log.Info("tunnel deleted", "sid", v.sid, "addr", addr, "why", why)
}

// hostRoute brings the packets for the care-of address into the TUN.
func (v *visitor) hostRoute() osnet.Route {
	a := v.lease.Addr.Addr()
	return osnet.Route{Dst: netip.PrefixFrom(a, a.BitLen()), Dev: v.r.dev.Name()}
}

func total(m map[flow.Reason]uint64) (n uint64) {
	for _, c := range m {
		n += c
	}
	return n
}
