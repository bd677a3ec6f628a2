package mn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// home is the node's end of Mobile IPv4: the binding at the home agent, and the
// packets of the home address on the path that is bound.
type home struct {
	uplink
	address  netip.Addr
	agent    netip.Addr
	security mip4.Security
	replies  chan []byte
	requests chan bindRequest
	hurried  chan struct{} // see hurry

	forged  atomic.Uint64 // path-end markers that were not signed
	foreign atomic.Uint64 // IP-in-IP from others than the home agent
	// unopened: IP-in-IP out of a tunnel that was malformed, or carried a congestion mark
	// for a transport without ECN (RFC 6040 section 4.2).
	unopened atomic.Uint64

	gateMu sync.Mutex // the downlink
	gate   *flow.Gate
	timer  *time.Timer
	newest *path  // the path whose packets wait while the gate is armed
	armed  uint64 // token of its newest arming
}

type bindRequest struct {
	path    *path // nil: deregister
	from    *path
	ordered bool // the old path still carries packets: both ends close it with a marker
	done    chan bindResult
}

type bindResult struct {
	registered mip4.Registered
	err        error
}

// openHome puts the home address on the TUN and starts the binding client.
func (n *Node) openHome(ctx context.Context) (*home, error) {
	c := n.cfg.Home
	client, err := mip4.NewClient(c)
	if err != nil {
		return nil, err
	}
	h := &home{
		uplink: uplink{n: n, ctx: ctx, gone: map[string]uint64{}}, address: c.HomeAddress, agent: c.HomeAgent,
		security: mip4.Security{SPI: c.SPI, Key: c.Key, Algorithm: c.Algorithm},
		replies:  make(chan []byte, 16), requests: make(chan bindRequest), hurried: make(chan struct{}, 1), gate: flow.NewGate(n.cfg.Buffer),
	}
	if err := n.net.AddAddress(n.dev.Name(), single(c.HomeAddress), osnet.AddrOptions{NoPrefixRoute: true}); err != nil {
		return nil, err
	}
	if err := n.net.SetRoute(h.route(0)); err != nil {
		return nil, err
	}
	h.timer = time.AfterFunc(time.Hour, h.gateDeadline)
	h.timer.Stop()
	h.wg.Go(func() { h.run(client) })
	return h, nil
}

// route has packets of the home address come to the TUN; mtu 0: as large as it takes.
func (h *home) route(mtu int) osnet.Route {
	return osnet.Route{Dst: anywhere, Dev: h.n.dev.Name(), Src: h.address, MTU: mtu}
}

// narrow implements mobility.
func (h *home) narrow(mtu int) error { return h.n.net.SetRoute(h.route(mtu - ipip.HeaderLen)) }

// bind registers p's care-of address and makes p the path of the uplink. When the
// old path is alive, markers end it.
func (h *home) bind(ctx context.Context, _ event.HandoverID, p *path, ordered bool) (at []any, err error) {
	result := h.request(ctx, bindRequest{path: p, from: p, ordered: ordered})
	r := result.registered
	// The home agent's own record has the same path identification.
	return []any{"path", fmt.Sprintf("%016x", r.ID), "tries", r.Tries, "rtt_ms", float64(r.RTT) / 1e6}, result.err
}

// unbind deregisters, from the path p.
func (h *home) unbind(ctx context.Context, p *path) error {
	if p == nil {
		return nil // there is nothing to speak to the home agent from
	}
	return h.request(ctx, bindRequest{from: p}).err
}

func (h *home) request(ctx context.Context, r bindRequest) bindResult {
	r.done = make(chan bindResult, 1)
	select {
	case h.requests <- r:
	case <-ctx.Done():
		return bindResult{err: ctx.Err()}
	case <-h.ctx.Done():
		return bindResult{err: h.ctx.Err()}
	}
	select {
	case result := <-r.done:
		return result
	case <-ctx.Done():
		return bindResult{err: fmt.Errorf("home agent %s: no registration: %w", h.agent, context.Cause(ctx))}
	case <-h.ctx.Done():
		return bindResult{err: h.ctx.Err()}
	}
}

// hurry has a registration under way asked for again at once: something that held
// it up is gone.
func (h *home) hurry() {
	select {
	case h.hurried <- struct{}{}:
	default:
	}
}

// The pause before a binding that was lost is asked for again, which doubles.
const (
	rebindFirst = time.Second
	rebindMost  = 30 * time.Second
)

// run owns the registration client.
func (h *home) run(client *mip4.Client) {
	var pending bindRequest
	// lost: what the home agent has may not be the bound path: it is asked again
	// until it is.
	lost, pause := false, rebindFirst
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	lose := func() {
		h.confirmed(netip.Addr{})
		if lost = true; pending.done == nil {
			again.Reset(pause)
			pause = min(2*pause, rebindMost)
		}
	}
	answer := func(r mip4.Registered, err error) {
		if pending.done != nil {
			pending.done <- bindResult{r, err}
		}
		pending = bindRequest{}
	}
	current := func() *path { // where registrations go from
		if pending.from != nil {
			return pending.from
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.bound
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for o, ok := client.Poll(); ok; o, ok = client.Poll() {
			switch o := o.(type) {
			case mip4.Send:
				p := current()
				if p == nil || p.coa != o.From {
					continue
				}
				if pending.path != nil && o.Path != 0 {
					h.expect(pending.path, o.Path)
				}
				if _, err := p.wire.(*homeWire).udp.WriteToUDPAddrPort(o.Data, o.To); err != nil {
					h.n.cfg.Log.Warn("registration not sent", "from", o.From, "err", err)
				}
			case mip4.Registered:
				h.confirmed(o.CareOf)
				if pending.path != nil && pending.path.coa == o.CareOf {
					h.move(pending.path, o)
					answer(o, nil)
				}
				if p := current(); p != nil && p.coa == o.CareOf {
					lost, pause = false, rebindFirst
					again.Stop()
				}
			case mip4.Deregistered:
				answer(mip4.Registered{}, nil)
			case mip4.Expired:
				h.n.cfg.Log.Error("binding has expired: the home agent did not answer renewals", "home_agent", h.agent, "care_of", o.CareOf)
				lose()
			case mip4.Failed:
				if o.Renewal {
					h.n.cfg.Log.Warn("binding not renewed", "err", o.Err)
				} else {
					h.settle()
					answer(mip4.Registered{}, o.Err)
					lose()
				}
			}
		}
		if d, ok := client.Deadline(); ok {
			timer.Reset(time.Until(d))
		} else {
			timer.Stop()
		}
		select {
		case r := <-h.requests:
			answer(mip4.Registered{}, errors.New("another binding was asked for"))
			pending = r
			h.confirmed(netip.Addr{})
			client.OfferPathMarkers(r.ordered)
			if r.path != nil {
				client.Register(time.Now(), r.path.coa)
			} else {
				client.Deregister(time.Now(), r.from.coa)
			}
		case <-h.hurried:
			if pending.path != nil {
				client.Register(time.Now(), pending.path.coa)
			}
		case <-again.C:
			if !lost || pending.done != nil {
				continue
			}
			if p := current(); p != nil {
				client.OfferPathMarkers(false)
				client.Register(time.Now(), p.coa)
			} else {
				lose() // nowhere to ask from yet
			}
		case b := <-h.replies:
			if err := client.HandleReply(time.Now(), b); err != nil {
				h.n.cfg.Log.Warn("registration reply dropped", "err", err)
			}
		case <-timer.C:
			client.OnDeadline(time.Now())
		case <-h.ctx.Done():
			answer(mip4.Registered{}, h.ctx.Err())
			return
		}
	}
}

// expect arms the gate: from the request on, the home agent may deliver by the
// new path while packets of the old one are under way. The old one is that which is
// bound, or one that was asked for, whose answer nobody waited for.
func (h *home) expect(p *path, id uint64) {
	h.mu.Lock()
	bound := h.bound
	h.mu.Unlock()
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	switch {
	case bound == nil, bound == p && (h.newest == nil || h.newest == p) && !h.gate.Armed():
		return // there is no other path
	case h.newest == p && h.armed == id:
		return // the same request again
	}
	h.newest, h.armed = p, id
	h.gate.Arm(time.Now(), id, h.n.cfg.Timers.PathEnd)
}

// move makes p the path of the uplink, and ends the old one with a marker
// behind its last packet.
func (h *home) move(p *path, r mip4.Registered) {
	h.mu.Lock()
	old := h.bound
	if old != nil && old != p && r.PathMarkers {
		h.endMarker(old, r.ID)
	}
	h.bound = p
	if old != nil && old != p {
		h.inherit(p, old)
	}
	h.mu.Unlock()
	if !r.PathMarkers {
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

// settle lets everything through that waited for the old path's end.
func (h *home) settle() {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.Marker(time.Now(), h.armed)
	h.pass()
}

// emptied waits for the marker that ends the path bound before.
func (h *home) emptied() {
	for armed := h.expectEnd(); armed && h.ctx.Err() == nil; armed = h.expectEnd() {
		sleep(h.ctx, 2*time.Millisecond)
	}
}

// expectEnd begins the wait for the end of the path before, and says whether there is any.
func (h *home) expectEnd() bool {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.Expect(time.Now())
	h.watchGate()
	return h.gate.Armed()
}

// fromTUN takes packets of the home address.
func (h *home) fromTUN(src netip.Addr, pkt []byte) bool {
	if src != h.address {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take(h.bound, pkt)
	return true
}

func (h *home) owns(a netip.Addr) bool { return a == h.address }

// departed lets the care-of address speak on the interface: what is on hold is the
// home address.
func (h *home) departed(c *candidate) { h.n.leaveTunnelRule(c) }

// arrived ends the care-of address's way into the tunnel.
func (h *home) arrived(c *candidate) { h.n.guest(c.path.coa, nil) }

// down takes a packet for the home address that came by p.
func (h *home) down(p *path, inner []byte, src netip.Addr) {
	if src != h.agent {
		if !h.n.cfg.Plain || !h.n.isRouter(src) { // whose packets come by that as well
			h.foreign.Add(1)
		}
		return
	}
	if mip4.IsMarkerPacket(inner) {
		m, ok := mip4.ParseMarkerPacket(inner, h.security)
		if !ok || !m.Down {
			h.forged.Add(1)
			return
		}
		h.gateMu.Lock()
		defer h.gateMu.Unlock()
		h.gate.Marker(time.Now(), m.ID)
		h.pass()
		return
	}
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	take := h.gate.Old
	if p == h.newest {
		take = h.gate.New
	}
	if take(time.Now(), inner) {
		h.write(inner)
		return
	}
	h.pass() // a full gate opens
	h.watchGate()
}

// watchGate has the gate looked at when nothing more is waited for. The caller holds gateMu.
func (h *home) watchGate() {
	if d, ok := h.gate.Deadline(); ok {
		h.timer.Reset(time.Until(d))
	}
}

// pass writes what the gate has let go. The caller holds gateMu.
func (h *home) pass() {
	for pkt, ok := h.gate.Next(); ok; pkt, ok = h.gate.Next() {
		h.write(pkt)
		h.gate.Recycle(pkt)
	}
}

func (h *home) gateDeadline() {
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	h.gate.OnDeadline(time.Now())
	h.pass()
	h.watchGate()
}

func (h *home) status(s *Status) {
	s.Home, s.HomeAgent = h.address.String(), h.agent.String()
	s.Dropped["forged marker"], s.Dropped["not from the home agent"] = h.forged.Load(), h.foreign.Load()
	s.Dropped["IP-in-IP not opened"] = h.unopened.Load()
	h.uplink.status(s)
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	downlink := h.gate.Stats()
	s.Downlink = &downlink
}
