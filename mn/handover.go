package mn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
)

// Handover is one move under way.
type Handover struct {
	ID      event.HandoverID
	done    chan struct{}
	cancel  context.CancelFunc
	outcome event.Outcome
	err     error
}

// Wait returns the outcome. An error means that the handover failed or switched
// back; the connection then is what it was before. When ctx ends first, the
// handover is cancelled, as far as it still can be.
func (h *Handover) Wait(ctx context.Context) (event.Outcome, error) {
	select {
	case <-ctx.Done():
		h.cancel()
		<-h.done
	case <-h.done:
	}
	return h.outcome, h.err
}

// Handover begins to move the node to the network of that name. Where that is prepared,
// only the move is left.
func (n *Node) Handover(name string) (*Handover, error) { return n.begin(name, true) }

// begin begins a preparation, and the move after it if that is asked for.
func (n *Node) begin(name string, move bool) (*Handover, error) {
	if !n.takeTurn() {
		return nil, ErrBusy
	}
	h := &Handover{done: make(chan struct{})}
	n.mu.Lock()
	old, k := n.serving, n.kept
	n.mu.Unlock()
	var err error
	switch {
	case old == nil:
		err = errors.New("attached nowhere: nothing to hand over from")
	case !move && !n.cfg.Prepare:
		err = errors.New("the configuration says to break before make (prepare: false)")
	case k.usable(name):
		h.ID = k.id
	default:
		k = nil
		h.ID, err = event.NewHandoverID(n.cfg.Rand)
	}
	if err != nil {
		n.endTurn()
		return nil, fmt.Errorf("mn: %w", err)
	}
	ctx, cancel := context.WithCancel(n.ctx)
	h.cancel = cancel
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		cancel()
		n.endTurn()
		return nil, errEnding
	}
	n.current = h
	before := n.state
	n.wg.Go(func() {
		defer close(h.done)
		defer cancel()
		var span *event.Span
		if k == nil {
			span = n.cfg.Recorder.Begin(h.ID, event.PhaseHandover, "from", old.net.Name, "to", name, "prepared", n.cfg.Prepare)
		} else {
			span = n.takeKept().span
		}
		if move {
			n.setState("handover to " + name)
			h.outcome, h.err = n.handover(ctx, h.ID, old, k, name)
		} else {
			n.setState("preparing " + name)
			h.outcome, h.err = n.prepareAndKeep(ctx, h.ID, old, k, name, span)
		}
		n.settled(before, h.outcome)
		n.rest()
		reason := ""
		if h.err != nil {
			reason = h.err.Error()
		}
		n.endTurn() // before the record: who reads it may ask for the next
		if h.outcome != event.OK {
			span.EndOutcome(h.outcome, reason)
		}
	})
	return h, nil
}

// turnWithin is how long a handover waits for the turn while there is no other: the
// node looks where its link is, which is a moment's work unless it attaches.
const turnWithin = 300 * time.Millisecond

// takeTurn takes the turn, unless a handover has it, or somebody for long.
func (n *Node) takeTurn() bool {
	n.mu.Lock()
	h := n.current
	n.mu.Unlock()
	within := turnWithin
	if h != nil {
		select {
		case <-h.done:
		default:
			within = 0
		}
	}
	if n.tryTurn() {
		return true
	}
	select {
	case n.turn <- struct{}{}:
		return true
	case <-time.After(within):
		return false
	}
}

// settled is the state after a handover: after one that failed it is that of before,
// unless the connection was lost.
func (n *Node) settled(before string, outcome event.Outcome) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.state == "lost":
	case outcome == event.Failed || outcome == event.OK:
		n.state = before
	default:
		n.state = "attached"
	}
}

// discover finds the network, and the point to come back to.
func (n *Node) discover(ctx context.Context, id event.HandoverID, old *candidate, name string) (network Network, point string, err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseDiscovery, "by", "configuration")
	network, err = n.network(name)
	if err == nil && name == old.net.Name {
		err = fmt.Errorf("already at %s", name)
	}
	span.End(err)
	if err == nil {
		point, err = old.port.link.Current(ctx)
	}
	if err != nil {
		return network, "", fmt.Errorf("discovery: %w", err)
	}
	return network, point, nil
}

// prepareAndKeep prepares a candidate, or keeps k longer.
func (n *Node) prepareAndKeep(ctx context.Context, id event.HandoverID, old *candidate, k *kept, name string, span *event.Span) (event.Outcome, error) {
	if k != nil {
		n.keep(id, k.c, span)
		return event.OK, nil
	}
	network, _, err := n.discover(ctx, id, old, name)
	if err != nil {
		return event.Failed, err
	}
	n.makeRoom(name)
	c, err := n.prepare(ctx, id, old, network)
	if err != nil {
		return event.Failed, err
	}
	n.keep(id, c, span)
	return event.OK, nil
}

// makeRoom gives back what is kept: there is one binding.
func (n *Node) makeRoom(name string) {
	if k := n.takeKept(); k != nil {
		n.unkeep(k, "given back for a handover to "+name)
	}
}

func (n *Node) handover(ctx context.Context, id event.HandoverID, old *candidate, k *kept, name string) (event.Outcome, error) {
	network, point, err := n.discover(ctx, id, old, name)
	if err != nil {
		if k != nil {
			n.abandon(id, old, k.c, packets)
		}
		return event.Failed, err
	}
	if !n.cfg.Prepare {
		return n.breakBeforeMake(ctx, id, old, network, point)
	}
	if k != nil {
		return n.move(ctx, id, old, k.c, point)
	}
	n.makeRoom(name)
	c, err := n.prepare(ctx, id, old, network)
	if err != nil {
		return event.Failed, err
	}
	return n.move(ctx, id, old, c, point)
}

// breakBeforeMake moves with nothing prepared: the same steps, after the link.
// When they fail the node returns to where it was.
func (n *Node) breakBeforeMake(ctx context.Context, id event.HandoverID, old *candidate, network Network, point string) (event.Outcome, error) {
	old.keeper.endProbe()
	p := n.portOf(network)
	if p != old.port {
		return n.crossUnprepared(ctx, id, old, network, p)
	}
	p.lookFor(ctx, lookWithin, network.Points...)
	target := p.target(ctx, network)
	d, err := p.departFor(ctx, target)
	if err == nil {
		_, err = p.switchLink(ctx, id, d)
		d.done()
		switch where, at := p.strayed(); at {
		case "":
		case network.Name: // maybe at another point of it
			err = nil
		case old.net.Name:
			err, point = errors.Join(err, fmt.Errorf("it is at %s", where)), where
		default:
			return n.goElsewhere(id, old, nil, way{}, where, at, errors.Join(err, fmt.Errorf("no link at %s", target)))
		}
	}
	if err != nil {
		err = fmt.Errorf("link at %s: %w", target, err)
	} else {
		var c *candidate
		if c, err = n.attach(ctx, id, network, old, false); err == nil {
			n.away.Store(false)
			n.serve(c)
			old.empty(id)
			n.takeLeave(id, old, c)
			return event.Completed, nil
		}
		old.passing.stop()
		err = fmt.Errorf("attach to %s: %w", network.Name, err)
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseSwitchBack, "point", point)
	if e := n.linkBack(ctx, id, old, point); e != nil {
		span.End(e)
		n.setState("lost")
		return event.Failed, fmt.Errorf("%w; and the way back failed too: %w", err, e)
	}
	n.comeBack(id, old)
	n.proceed(old)
	e := n.bind(context.WithoutCancel(ctx), id, old, false) // it may have moved
	if e != nil {
		n.home.fallBack(old.path)
	}
	span.End(e)
	return event.SwitchedBack, err
}
