package par

import (
	"errors"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/internal/standstill"
	"openmpa/par/neigh"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// native says whether the kernel delivers packets of the visitor, or may from now on. The
// caller holds mu.
func (v *visitor) native() bool { return v.group.Has(flow.Direct, flow.Drain) }

// kernelAhead is how long the answer to a departure waits where the kernel delivered so
// far: what it forwards may be in the backlog of another processor than ours.
const kernelAhead = 3 * time.Millisecond

// capture brings the packets for the care-of address into the TUN, if the kernel delivers
// them. What it has sent before is ahead of what the router sends from v.clear on, in the
// same queue of the link. The caller holds mu.
func (v *visitor) capture() error {
	if !v.native() {
		return nil
	}
	if err := v.r.host.SetRoute(v.hostRoute()); err != nil {
		v.r.cfg.Log.Error("host route", "sid", v.sid, "err", err)
		return err
	}
	v.clear = time.Now().Add(kernelAhead)
	return nil
}

// answer says whether probes for the care-of address are answered: while
// the node may be arriving they may be its own.
func (v *visitor) answer(probes bool) {
	if err := v.r.stack(v.inner).proxy.Set(v.inner, neigh.Policy{IgnoreMAC: v.mac, AnswerProbes: probes}); err != nil {
		v.r.cfg.Log.Warn("proxy ARP", "sid", v.sid, "err", err)
	}
}

// announce has hosts on the access link that know the node's link-layer address send to the
// router, which answers for the care-of address from here on (RFC 5227 section 2.3). A node
// that comes announces itself. The caller holds mu.
func (v *visitor) announce() {
	if err := v.r.stack(v.inner).proxy.Announce(v.inner); err != nil {
		v.r.cfg.Log.Warn("the link does not know that the router answers", "sid", v.sid, "err", err)
	}
}

// detecting is longer than a node detects duplicates of its address when it has come to a link (RFC 4862
// section 5.4; nd.DefaultTimers).
const detecting = 2500 * time.Millisecond

// announceAway is announce for a node that has just said that it leaves, or wants its packets through the tunnel, and may still be on
// the link. If it has not been there
// for long, it would take an advertisement of IPv6 for one of somebody else who has its address: so that waits. The caller
// holds mu.
func (v *visitor) announceAway() {
	appeared, addr := v.appeared, v.inner
	wait := time.Until(appeared.Add(detecting))
	if addr.Is4() || wait <= 0 {
		v.announce()
		return
	}
	time.AfterFunc(wait, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if !v.closed && v.inner == addr && !v.here && v.appeared.Equal(appeared) {
			v.announce()
		}
	})
}

// pin keeps the node's link-layer address in the kernel until it is no longer wanted; then
// it ages like any other. The caller holds mu.
func (v *visitor) pin(on bool) error {
	if v.pinned == on {
		return nil
	}
	err := v.r.host.SetNeighbour(v.r.cfg.Access, v.inner, v.mac, on)
	if err == nil {
		v.pinned = on
	}
	return err
}

// way is that of the packets of route while they wait for the end of a flip.
func (v *visitor) way(route osnet.Route) *standstill.Way {
	return &standstill.Way{Host: v.r.host, Dev: v.r.cfg.Access, IPv6: route.Dst.Addr().Is6(), Hurry: v.hurried, Lead: func(via netip.Addr) error {
		return v.r.host.SetRoute(osnet.Route{Dst: route.Dst, Dev: v.r.cfg.Access, Via: via, OnLink: true})
	}}
}

func (v *visitor) say(err error) {
	if err != nil {
		v.r.cfg.Log.Error("flip", "sid", v.sid, "err", err)
	}
}

// expectUse gives up what is held, or forwarded, when the node has neither arrived nor
// sent anything through the tunnel for a time: nobody asks for it. The caller holds mu.
func (v *visitor) expectUse() {
	v.stopUnused()
	t := v.tunnel
	was := authentic(t)
	var timer *time.Timer
	timer = time.AfterFunc(v.r.cfg.Unused, func() {
		v.lock()
		defer v.mu.Unlock()
		switch {
		case v.unused != timer || v.tunnel != t:
		case authentic(t) == was:
			v.giveUp("nobody arrived through it, and nothing came, in " + v.r.cfg.Unused.String())
		default:
			v.expectUse()
		}
	})
	v.unused = timer
}

func (v *visitor) stopUnused() {
	if v.unused != nil {
		v.unused.Stop()
		v.unused = nil
	}
}

// authentic counts what the node itself has sent through the tunnel: IP-in-IP may be
// anybody's.
func authentic(t *tunnel.Tunnel) uint64 {
	s := t.Stats()
	return s.Delivered - s.PlainIn + s.MarkersIn + s.DroppedIn[tunnel.ReasonDummy]
}

// deleteTunnel ends the tunnel as the node asks. One that has arrived is not sent away
// again: what stands by goes, and the kernel delivers on.
func (v *visitor) deleteTunnel() {
	v.lock()
	defer v.mu.Unlock()
	switch {
	case v.tunnel == nil || v.group.Has(flow.Drain, flow.Await):
	case v.group.Mode() == flow.Direct:
		v.retire()
	default:
		v.dropTunnel("the node asked")
	}
}

// dropTunnel ends tunnel and delivery, and gives back what the kernel has for them. The
// caller holds mu.
func (v *visitor) dropTunnel(why string) {
	v.lateGone(time.Now(), 0)
	if !v.inner.IsValid() {
		return
	}
	v.stopUnused()
	if !v.group.Has(flow.Released) {
		v.apply(flow.Release)
	}
	v.room.ended()
	v.spans.hold.EndOutcome(event.Cancelled, why)
	v.undrain(event.Cancelled, why)
	if v.tunnel != nil {
		v.tunnel.Close()
		v.tunnel = nil
	}
	addr, route := v.inner, v.hostRoute()
	v.pinned, v.guarded, v.missed, v.left, v.inner = false, false, false, event.HandoverID{}, netip.Addr{}
	if (*v.r.byAddr.Load())[addr] != v {
		return
	}
	v.r.stack(addr).proxy.Remove(addr)
	v.r.capture(addr, nil)
	err := errors.Join(v.r.host.DelRoute(route), v.r.host.DelNeighbour(v.r.cfg.Access, addr))
	for _, way := range v.ways {
		err = errors.Join(err, way.Forget())
	}
	if v.ways = nil; err != nil {
		v.r.cfg.Log.Error("left in the kernel", "sid", v.sid, "err", err)
	}
	if v.stage != stageArrived && !v.served { // else it is here, or may be, whatever becomes of the tunnel
		v.reached(stageLeased)
	}
	v.r.cfg.Log.Info("tunnel deleted", "sid", v.sid, "addr", addr, "why", why)
}

// hostRoute brings the packets for the care-of address into the TUN.
func (v *visitor) hostRoute() osnet.Route {
	return osnet.Route{Dst: netip.PrefixFrom(v.inner, v.inner.BitLen()), Dev: v.r.dev.Name()}
}
