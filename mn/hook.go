package mn

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/mn/mobility/hook"
	"openmpa/tunnel/flow"
)

// hooked is the node's end of a protocol that somebody else speaks: an executable
// moves the binding, and what speaks from a care-of address is data. There is no home
// address; packets stay as they are.
//
//	bind      the default route and tableBound lead into the TUN, from the new
//	          address: what the executable makes speak from there goes by the tunnel
//	depart    such packets are kept; only what is for the router itself may leave
//	arrive    they are sent on the link, and those after them, by way of the TUN
//	arrived   the routes change to the link, in order (hookflip.go): the kernel sends itself
type hooked struct {
	uplink
	runner   *hook.Runner
	requests chan hookRequest
	soon     chan string // reason for a call of the bound path
	problem  atomic.Pointer[error]
	fences   fences
}

type hookRequest struct {
	ctx    context.Context
	op     hook.Op
	id     event.HandoverID
	path   *path // nil: what was bound last
	reason string
	done   chan error
}

// tableBound has the bound path as its default route, whatever the main table says.
const tableBound = 7120

// prioritySignalling is that of the rule by which the node speaks to the new router
// while what else comes from the care-of address waits; priorityHeld that of the rule by
// which what was held goes on the link while the rest still waits.
const (
	prioritySignalling = priorityVirtual - 1
	priorityHeld       = priorityVirtual - 2
)

// openHook starts the binding client.
func (n *Node) openHook(ctx context.Context) (*hooked, error) {
	runner, err := hook.New(n.cfg.Hook)
	if err != nil {
		return nil, err
	}
	h := &hooked{
		uplink: uplink{n: n, ctx: ctx, gone: map[string]uint64{}}, runner: runner,
		requests: make(chan hookRequest), soon: make(chan string, 1),
	}
	if n.six() { // whatever interface a socket is bound to, IPv6 wants a route
		if err := n.net.SetRoute(osnet.Route{Dst: single(beyond6), Dev: n.dev.Name()}); err != nil {
			return nil, err
		}
	}
	h.wg.Go(h.run)
	return h, nil
}

func (h *hooked) bind(ctx context.Context, id event.HandoverID, p *path, ordered bool) (at []any, err error) {
	w := p.wire.(*hookWire)
	h.mu.Lock()
	before, had := h.bound, w.had
	h.mu.Unlock()
	reason := reasonAttach
	switch {
	case !p.native():
		reason = reasonHandover
	case had && id != (event.HandoverID{}):
		reason = reasonReturn
	}
	if err := h.route(p); err != nil {
		return nil, err
	}
	w.listen()
	h.confirmed(netip.Addr{})
	began := time.Now()
	if err := h.request(hookRequest{ctx: ctx, op: hook.Bind, id: id, path: p, reason: reason}); err != nil {
		if before != nil {
			err = errors.Join(err, h.routeBack(ctx, p, before))
		}
		return nil, err
	}
	at = []any{"hook_ms", float64(time.Since(began)) / 1e6}
	h.mu.Lock()
	h.bound, h.at, w.had = p, p.coa, true
	h.mu.Unlock()
	if !ordered || p.native() {
		return at, nil
	}
	// The peer has moved when its packets come by the tunnel. Those it sent before
	// are under way on the link that is about to go.
	select {
	case <-w.heard:
		at = append(at, "heard_ms", float64(time.Since(began))/1e6)
		sleep(ctx, overtaken)
	case <-time.After(h.n.cfg.Timers.PathEnd): // it may have nothing to say
	case <-ctx.Done():
	}
	return at, nil
}

// overtaken is how much later than a packet by the tunnel one may come that was sent
// before it, and took the way without.
const overtaken = 20 * time.Millisecond

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// narrow implements mobility: by the next change of routes, since what is bound is in no
// tunnel yet.
func (h *hooked) narrow(int) error { return nil }

func (h *hooked) unbind(ctx context.Context, p *path) error {
	return h.request(hookRequest{ctx: ctx, op: hook.Unbind, path: p, reason: reasonShutdown})
}

func (h *hooked) fallBack(p *path) {
	h.mu.Lock()
	h.bound = p
	h.mu.Unlock()
	if err := h.route(p); err != nil {
		h.n.cfg.Log.Error("route of the care-of address", "err", err)
	}
	h.call(reasonRetry)
}

// pause implements mobility: what the kernel sends itself, nobody can keep.
func (h *hooked) pause() {
	h.mu.Lock()
	p := h.bound
	h.mu.Unlock()
	if p != nil && !p.native() {
		h.uplink.pause()
	}
}

// proceed implements mobility. An interface that was set down has lost its routes.
func (h *hooked) proceed(c *candidate) error {
	h.mu.Lock()
	p := h.bound
	h.mu.Unlock()
	var err error
	if p != nil {
		err = h.route(p)
	}
	return errors.Join(err, h.uplink.proceed(c))
}

func (h *hooked) hurry() { h.call(reasonSession) }

// call has the executable called for the bound path soon.
func (h *hooked) call(reason string) {
	select {
	case h.soon <- reason:
	default: // it will be
	}
}

// emptied lets the peer learn of the path that is bound now: nobody says when its
// last packet has come by the other.
func (h *hooked) emptied() { sleep(h.ctx, h.n.cfg.Timers.PathEnd) }

func (h *hooked) departed(c *candidate) {
	w := c.path.wire.(*hookWire)
	table := tablePhysical + c.slot
	w.rules = []osnet.Rule{
		{Priority: prioritySignalling, From: single(c.path.coa), To: single(c.net.PAA.Addr()), Table: table},
		{Priority: priorityHeld, From: single(c.path.coa), OIF: c.path.dev, Table: table},
	}
	for _, r := range w.rules {
		if err := h.n.net.AddRule(r); err != nil {
			h.n.cfg.Log.Error("nothing passes what is held", "coa", c.path.coa, "err", err)
		}
	}
}

func (h *hooked) arrived(c *candidate) {
	if err := h.flip(c); err != nil {
		h.n.cfg.Log.Error("route of the care-of address", "err", err)
	}
	h.call(reasonArrived)
}

// native says whether the kernel sends what comes from the care-of address.
func (p *path) native() bool {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	return p.delivery.Mode() == flow.Direct
}

// route makes p's care-of address the source of what has none yet, and p its way.
func (h *hooked) route(p *path) error {
	r := osnet.Route{Dst: anywhereOf(p.coa), Dev: h.n.dev.Name(), Src: p.coa, MTU: h.n.narrowed()}
	if p.native() {
		r.Dev, r.Via, r.OnLink, r.MTU = p.dev, p.at.router(), true, 0
	}
	return h.lead(r)
}

// lead makes r the way of what has no source address yet.
func (h *hooked) lead(r osnet.Route) error {
	main := r
	main.Metric = metricOf(r.Src, 0)
	r.Table = tableBound
	return firstError(func() error { return h.n.net.SetRoute(r) }, func() error { return h.n.net.SetRoute(main) })
}

func (h *hooked) fromTUN(src netip.Addr, pkt []byte) bool {
	if h.fences.crossed(pkt) {
		return true
	}
	p := (*h.n.guests.Load())[src]
	if p == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take(p, pkt)
	return true
}

func (h *hooked) owns(netip.Addr) bool { return false }

func (h *hooked) status(s *Status) {
	h.uplink.status(s)
	s.Hook = h.n.cfg.Hook.Command[0]
	if why := h.problem.Load(); why != nil {
		s.Problem = cmp.Or(s.Problem, "not bound: "+(*why).Error())
	}
}

// request has run make a call, and returns its outcome.
func (h *hooked) request(r hookRequest) error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	r.ctx, r.done = ctx, make(chan error, 1)
	select {
	case h.requests <- r:
		return <-r.done
	case <-ctx.Done():
		return ctx.Err()
	}
}
