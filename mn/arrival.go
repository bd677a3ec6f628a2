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
		return n.unplanned(ctx, id, span, old, k, network)
	}
	n.cfg.Recorder.Point(k.id, event.PhaseL2, "moved without us", "point", point)
	err := n.arrived(ctx, old, k, up)
	if err == nil {
		k.span.EndOutcome(event.Completed, "", "planned", false)
		return nil
	}
	n.cfg.Log.Warn("what was prepared is of no use", "network", network.Name, "err", err)
	n.giveUp(old, k.c)
	return n.unplanned(ctx, k.id, k.span, old, nil, network)
}

// arrived is the end of a move that the node did not make: no departure was told, and
// what was sent into the dead link is lost. All that is left to do is to send.
func (n *Node) arrived(ctx context.Context, old *candidate, k *kept, up time.Time) error {
	c, s := k.c, k.c.session.Load()
	if err := s.ended(); err != nil {
		return fmt.Errorf("its session has ended: %w", err)
	}
	conn, err := n.udp(c.address.addr())
	if err != nil {
		return err
	}
	if err := c.physical(); err != nil { // as good as nothing to do, unless the interface was set down
		_ = conn.Close()
		return err
	}
	c.mapping.cancel() // it may wait for an answer that cannot come: what it asked is asked again from here
	n.home.departed(c)
	s.client.Rebind(conn)
	if err := n.arrive(ctx, k.id, c, up); err != nil {
		return err
	}
	c.mapping.stop()
	n.settleIn(ctx, k.id, old, c)
	return nil
}

// unplanned is a handover after the fact, with nothing prepared there. other is what
// was prepared elsewhere, nil if nothing was.
func (n *Node) unplanned(ctx context.Context, id event.HandoverID, span *event.Span, old *candidate, other *kept, network Network) error {
	c, err := n.anew(ctx, id, network)
	if err != nil {
		if other != nil {
			n.giveUp(old, other.c)
			other.span.EndOutcome(event.Cancelled, "given up: the link has moved on to "+network.Name)
		}
		n.setState("lost")
		err = &attachError{network.Name, err}
		span.EndOutcome(event.Failed, err.Error())
		return err
	}
	n.away.Store(false)
	n.serve(c)
	if other != nil {
		other.c.mapping.stop()
		n.takeLeave(other.id, other.c, c)
		other.span.EndOutcome(event.Cancelled, "given back: the link has moved on to "+network.Name)
	}
	n.takeLeave(id, old, c)
	span.EndOutcome(event.Completed, "")
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
	n.proceed(c)
	n.cfg.Recorder.Point(event.HandoverID{}, event.PhaseL2, "up again", "point", point, "network", c.net.Name)
	if s := c.session.Load(); s != nil {
		s.knock()
	}
	n.mu.Lock()
	prepared := n.kept != nil // the binding is there
	n.mu.Unlock()
	if !prepared && !n.home.isBound(c.path) {
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
