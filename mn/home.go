package mn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/tunnel/flow"
)

// home is the node's end of Mobile IP: the binding at the home agent, and the packets of
// the home address on the path that is bound.
//
//	homerun.go    the registration machine and its events
//	homegate.go   the downlink: packets of an old path before those of the new one
//	homecopies.go the downlink while several care-of addresses are bound
//	homemove.go   the uplink: which path, and the markers that end one
//	home4.go      what is Mobile IPv4's own, and its wire
//	home6.go      what is Mobile IPv6's own; wire6.go its wire
type home struct {
	uplink
	downlink
	address  netip.Addr
	agent    netip.Addr
	mip      mobileIP
	replies  chan received
	requests chan bindRequest
	hurried  chan struct{} // see hurry

	before *path // bound until now, while peers hear that it is not any more; nil: there is none; guarded by mu

	foreign atomic.Uint64 // IP-in-IP from others than the home agent
	// unopened: IP-in-IP out of a tunnel that was malformed, or carried a congestion mark
	// for a transport without ECN (RFC 6040 section 4.2).
	unopened atomic.Uint64
}

// mobileIP is what each version of Mobile IP does in its own way.
type mobileIP interface {
	// newWire opens the sockets of a path.
	newWire(p *path) (homeWire, error)
	// overhead is what the tunnel to the home agent adds to a packet, in octets.
	overhead() int
	// endMarker makes the packet that ends a path, by the registration id.
	endMarker(id uint64) ([]byte, error)
	// isMarker says that a packet looks like one, and parseMarker returns the id of the
	// home agent's, if it is.
	isMarker(pkt []byte) bool
	parseMarker(pkt []byte) (id uint64, ok bool)
	// signals says that a packet out of the home agent's tunnel is for the registration machine.
	signals(inner []byte) bool
	// careOf is the care-of address from which a packet goes to its receiver without the
	// home agent; invalid: it does not.
	careOf(pkt []byte) netip.Addr
	// late says that its receiver takes it from there also while it hears of another.
	late(pkt []byte) bool
	// status adds what is its own.
	status(s *Status)
}

// homeWire is a path to the home agent: the tunnel for the home address, and registrations.
type homeWire interface {
	wire
	// listen begins to read the sockets.
	listen()
	// signal sends what the registration machine made, from the care-of address.
	signal(b []byte) error
	// fence sends a packet from the care-of address to itself, behind what waits in the
	// native socket: from elsewhere none with that source gets past the kernel.
	fence(id event.HandoverID) error
}

// openHome puts the home address on the TUN and starts the binding client.
func (n *Node) openHome(ctx context.Context) (*home, error) {
	h := &home{
		uplink:   uplink{n: n, ctx: ctx, gone: map[string]uint64{}},
		downlink: downlink{gate: flow.NewGate(n.cfg.Buffer)},
		replies:  make(chan received, 16), requests: make(chan bindRequest), hurried: make(chan struct{}, 1),
	}
	var client binder
	var err error
	if n.six() {
		client, err = h.open6(n.cfg.Home6)
	} else {
		client, err = h.open4(n.cfg.Home)
	}
	if err != nil {
		return nil, err
	}
	if err := n.net.AddAddress(n.dev.Name(), single(h.address), osnet.AddrOptions{NoPrefixRoute: true, NoDAD: true}); err != nil {
		return nil, err
	}
	if err := n.net.SetRoute(h.route(0)); err != nil {
		return nil, err
	}
	// What a router holds while the link is gone is missing until it is let go.
	h.copies.merges.deliver, h.copies.merges.wait = h.copy, n.cfg.Timers.PathEnd
	h.timer = time.AfterFunc(time.Hour, h.gateDeadline)
	h.timer.Stop()
	h.wg.Go(func() { h.run(client) })
	return h, nil
}

// newPath implements mobility.
func (h *home) newPath(c *candidate) (*path, error) {
	p := h.uplink.newPath(c)
	p.always = true
	p.turn.deliver = func(inner []byte) { h.down(p, inner, h.agent) }
	w, err := h.mip.newWire(p)
	if err != nil {
		return nil, fmt.Errorf("path from %s: %w", p.coa, err)
	}
	p.wire, p.turn.mark = w, w.fence
	w.listen()
	return p, nil
}

// readNative takes IP in IP off p's link: what the home agent sends, and the node itself.
func (h *home) readNative(p *path, s host.IPIP, take, fenced func(inner []byte)) {
	buf := make([]byte, 65536)
	for {
		inner, src, err := s.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
		case src == h.agent:
			take(inner)
		case src == p.coa:
			fenced(inner)
		default:
			h.down(p, inner, src)
		}
	}
}

// route has packets of the home address come to the TUN; mtu 0: as large as it takes.
func (h *home) route(mtu int) osnet.Route {
	r := osnet.Route{Dst: anywhereOf(h.address), Dev: h.n.dev.Name(), Src: h.address, MTU: mtu}
	if h.address.Is6() {
		r.Metric = homeMetric
	}
	return r
}

// homeMetric is below that of the default routes which the kernel makes of router
// advertisements.
const homeMetric = 512

// narrow implements mobility.
func (h *home) narrow(mtu int) error {
	overhead := h.mip.overhead()
	if h.n.cfg.Several {
		overhead += overhead + flow.ShimLen
	}
	return h.n.net.SetRoute(h.route(mtu - overhead))
}

// bind registers p's care-of address and makes p the path of the uplink. When the
// old path is alive, markers end it.
func (h *home) bind(ctx context.Context, _ event.HandoverID, p *path, ordered bool) (at []any, err error) {
	result := h.request(ctx, bindRequest{path: p, from: p, ordered: ordered, also: p.beside})
	r := result.registered
	// The home agent's own record has the same path identification.
	return []any{"path", fmt.Sprintf("%016x", r.id), "tries", r.tries, "rtt_ms", float64(r.rtt) / 1e6}, result.err
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

// fromTUN takes packets of the home address.
func (h *home) fromTUN(src netip.Addr, pkt []byte) bool {
	if src != h.address {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.bound
	if h.before != nil && !h.before.closed && h.before.coa == h.mip.careOf(pkt) && h.mip.late(pkt) {
		p = h.before
	}
	h.take(p, pkt)
	return true
}

func (h *home) owns(a netip.Addr) bool { return a == h.address }

// departed lets the care-of address speak on the interface: what is on hold is the
// home address.
func (h *home) departed(c *candidate) { h.n.leaveTunnelRule(c) }

// arrived ends the care-of address's way into the tunnel.
func (h *home) arrived(c *candidate) { h.n.guest(c.path.coa, nil) }

func (h *home) status(s *Status) {
	s.Home, s.HomeAgent = h.address.String(), h.agent.String()
	s.Dropped["forged marker"], s.Dropped["not from the home agent"] = h.forged.Load(), h.foreign.Load()
	s.Dropped["IP-in-IP not opened"] = h.unopened.Load()
	h.uplink.status(s)
	h.mip.status(s)
	h.gateMu.Lock()
	defer h.gateMu.Unlock()
	downlink := h.gate.Stats()
	s.Downlink = &downlink
}
