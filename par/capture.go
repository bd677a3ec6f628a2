package par

import (
	"errors"
	"net/netip"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/par/neigh"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

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
	if v.tunnel != nil && v.group.Mode() == flow.Tunnel { // it switched back just now
		v.capture()
	}
}

// deleteTunnel ends the tunnel t, nil for any, that was not used: a node that has
// arrived by it is not sent away again.
func (v *visitor) deleteTunnel(t *tunnel.Tunnel, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m := v.group.Mode(); t != nil && t != v.tunnel || m != flow.Tunnel && m != flow.Hold {
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
	if v.group.Mode() != flow.Released {
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
