package mn

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/pana"
)

// carriedTo goes on at a network to which somebody else has moved the link, firmware
// or another program: at once with what is prepared, else it attaches at once.
func (n *Node) carriedTo(ctx context.Context, old *candidate, network Network, point string, up time.Time) error {
	old.keeper.endProbe()
	n.away.Store(true)
	n.setState("attaching to " + network.Name)
	k := n.takeKept()
	if k == nil || k.c.net.Name != network.Name {
		id, err := event.NewHandoverID(n.cfg.Rand)
		if err != nil {
			return err
		}
		span := n.cfg.Recorder.Begin(id, event.PhaseHandover, "from", old.net.Name, "to", network.Name, "prepared", false, "planned", false)
		err = n.follows(ctx, id, span, old, k.candidate(), network)
		switch {
		case k == nil:
		case err == nil:
			k.span.EndOutcome(event.Cancelled, "given back: the link has moved on to "+network.Name)
		case k.usable(k.c.net.Name) && !k.tried: // what comes for it may be wanted by the next attempt
			k.tried = true
			n.keepOn(k)
		default:
			n.giveUp(old, k.c)
			k.span.EndOutcome(event.Cancelled, "given up: the link has moved on to "+network.Name)
		}
		return err
	}
	n.cfg.Recorder.Point(k.id, event.PhaseL2, "moved without us", "point", point)
	if k.c.port != old.port { // the link that served is lost, and this one is not needed before
		if err := n.bring(ctx, k.id, k.c.port, network); err != nil {
			n.giveUp(old, k.c)
			n.setState("lost")
			k.span.EndOutcome(event.Failed, err.Error())
			return err
		}
		up = time.Now()
	}
	err := n.arrived(ctx, old, k, up)
	if err == nil {
		k.span.EndOutcome(event.Completed, "", "planned", false)
		return nil
	}
	n.cfg.Log.Warn("what was prepared is of no use", "network", network.Name, "err", err)
	n.giveUp(old, k.c)
	return n.follows(ctx, k.id, k.span, old, nil, network)
}

// arrived is the end of a move that the node did not make: no departure was told, and
// what was sent into the dead link is lost. All that is left to do is to send.
func (n *Node) arrived(ctx context.Context, old *candidate, k *kept, up time.Time) error {
	c, s := k.c, k.c.session.Load()
	if err := s.ended(); err != nil {
		return fmt.Errorf("its session has ended: %w", err)
	}
	conn, err := n.udp(c.address.addr(), c.net.PAA.Addr())
	if err != nil {
		return err
	}
	if err := c.physical(); err != nil { // as good as nothing to do, unless the interface was set down
		_ = conn.Close()
		return err
	}
	c.mapping.cancel() // it may wait for an answer that cannot come: what it asked is asked again from here
	w := n.lostWay(old, c)
	n.home.departed(c)
	s.client.Rebind(conn)
	if err := n.arrive(ctx, k.id, c, w, up, nil); err != nil {
		w.close()
		return err
	}
	c.mapping.stop()
	n.bindBehind(k.id, c, w)
	n.settleIn(ctx, k.id, old, c)
	return nil
}

// underWay bounds how long the uplink waits for what a link that was cut still carries.
const underWay = 500 * time.Millisecond

// lostWay is how packets come to c where the old link is gone, and nobody could be told:
// no marker ends what is under way. One way to c's router takes no longer than there and back.
func (n *Node) lostWay(old, c *candidate) (w way) {
	old.endPassage()
	c.endPassage()
	if w.behind = !n.home.isBound(c.path); !w.behind {
		n.home.pause()
		w.clear = old.port.carrier.look().lost.Add(min(c.rtt(), underWay))
	}
	if !w.behind || !old.holds() {
		return w
	}
	socket, err := c.outerBy(c.port.name, old.peer())
	if err != nil {
		n.cfg.Log.Warn("no socket at the new address", "err", err)
		return w
	}
	w.previous, w.socket = old, socket
	return w
}

// follows is unplanned with its record.
func (n *Node) follows(ctx context.Context, id event.HandoverID, span *event.Span, old, other *candidate, network Network) error {
	err := n.unplanned(ctx, id, old, other, network)
	if err != nil {
		n.setState("lost")
		err = &attachError{network.Name, err}
		span.EndOutcome(event.Failed, err.Error())
		return err
	}
	span.EndOutcome(event.Completed, "")
	return nil
}

// unplanned is a handover after the fact, with nothing prepared there. other is what
// was prepared elsewhere, nil if nothing was. Until the binding has moved, what comes by
// the router that has it is sent on to here.
func (n *Node) unplanned(ctx context.Context, id event.HandoverID, old, other *candidate, network Network) error {
	n.home.pause()
	via := old
	if other != nil {
		n.forgetRest(old, other) // the node may be at one of those
		if other.mapping.cancelled(); n.home.isBound(other.path) {
			via = other
		}
	}
	c, err := n.anew(ctx, id, network, via)
	if err != nil {
		via.passing.stop()
		return err
	}
	n.away.Store(false)
	n.serve(c)
	via.empty(id)
	if other != nil {
		other.mapping.stop()
		n.takeLeave(id, other, c)
	}
	n.takeLeave(id, old, c)
	return nil
}

// returned goes on at the network that serves, where the link is up again: it was lost,
// or has changed its point. Nothing is authenticated again; its router is asked whether
// it is the one. The home agent is told only if it may have another address.
func (n *Node) returned(ctx context.Context, c *candidate, point string) error {
	n.away.Store(false)
	if err := c.physical(); err != nil { // one that was set down has lost its routes, and the entry of the router
		n.cfg.Log.Error("the link was not set up again", "addr", c.address.addr(), "err", err)
	}
	n.mu.Lock()
	k := n.kept
	n.mu.Unlock()
	n.comeBack(event.HandoverID{}, c)
	if k != nil && (k.departed || k.c.passing != nil) {
		n.returnKept(k, c)
	}
	n.proceed(c)
	if k != nil && k.departed { // its move has failed
		n.takeKept()
		n.abandon(k.id, c, k.c, ifSo(k.c.forwards(ctx)))
		k = nil
	}
	n.cfg.Recorder.Point(event.HandoverID{}, event.PhaseL2, "up again", "point", point, "network", c.net.Name)
	if s := c.session.Load(); s != nil {
		s.knock()
	}
	if (k == nil || !n.home.isBound(k.c.path)) && !n.home.isBound(c.path) {
		if err := n.bind(ctx, event.HandoverID{}, c, false); err != nil {
			return err
		}
	}
	n.setState("attached")
	return nil
}

// knock asks the router whether it is there, and knows the session: one that does not
// answer ends it.
func (s *session) knock() {
	_ = s.client.Post(func(now time.Time, p *pana.PaC) {
		if _, err := p.Notify(now, nil, pana.NotifyOptions{}); err != nil {
			s.n.cfg.Log.Debug("router not asked", "paa", s.net.PAA, "err", err)
		}
	})
}
