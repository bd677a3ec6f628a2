package mn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
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

// Handover begins to move the node to the network of that name. What of it stands is used; where it
// is complete, only the move is left.
func (n *Node) Handover(name string) (*Handover, error) { return n.begin(name, errand{}) }

// HandoverNow is Handover without time to prepare any more: the node moves with what stands, and does the
// rest behind the link.
func (n *Node) HandoverNow(name string) (*Handover, error) { return n.begin(name, errand{now: true}) }

// handoverTo implements mover.
func (n *Node) handoverTo(to spot, now bool) (*Handover, error) {
	return n.begin(to.network, errand{now: now, point: to.point})
}

// errand is what a handover is to do.
type errand struct {
	prepare decision.Depth // as far as that, and no move
	now     bool           // a move, with what stands
	point   string         // a move, to that point while it is in sight; empty: to the best
}

// begin begins a preparation, and the move after it if that is asked for.
func (n *Node) begin(name string, what errand) (*Handover, error) {
	if !n.takeTurn() {
		return nil, ErrBusy
	}
	h := &Handover{done: make(chan struct{})}
	n.mu.Lock()
	old, st := n.serving, n.stands[name]
	resumes := st != nil && (st.job != nil || st.usable()) // else there is something of no use
	n.mu.Unlock()
	var err error
	switch {
	case old == nil:
		err = errors.New("attached nowhere: nothing to hand over from")
	case what.prepare != decision.None && !n.cfg.Prepare:
		err = errors.New("the configuration says to break before make (prepare: false)")
	case resumes:
		h.ID = st.id
	default:
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
	n.current, n.wish = h, what.point
	before := n.state
	n.wg.Go(func() {
		defer close(h.done)
		defer cancel()
		n.seesTo(name)
		st, unfit := n.claim(ctx, h.ID, name, what)
		span := st.span
		if st.span = nil; span == nil {
			span = n.cfg.Recorder.Begin(h.ID, event.PhaseHandover, "from", old.net.Name, "to", name, "prepared", n.cfg.Prepare, "stands", st.depth.String())
		}
		if what.prepare != decision.None {
			n.setState("preparing " + name)
			h.outcome, h.err = n.prepareAndKeep(ctx, old, st, what.prepare, span)
		} else {
			n.setState("handover to " + name)
			h.outcome, h.err = n.handover(ctx, old, st, what)
		}
		n.settled(before, h.outcome)
		if unfit != nil {
			n.leaveStand(unfit, "given back: "+unfit.spent())
		}
		n.rest()
		n.seesTo("")
		n.mu.Lock()
		n.wish = ""
		n.mu.Unlock()
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

// claim takes what stands of a network, for a handover there: one with nothing, if nothing does. What goes on with it
// ends before, unless there is no time for that. What is of no use it gives back, or returns as unfit, if there is no
// time for that.
func (n *Node) claim(ctx context.Context, id event.HandoverID, name string, what errand) (st, unfit *stand) {
	if what.now {
		ctx = atOnce()
	}
	st = n.takeStand(ctx, name)
	switch {
	case st.usable() && (what.now || st.depth != decision.Tunnel || st.c.stillThere(ctx)):
		return st, nil
	case st.usable():
		n.leaveStand(st, "given back: its router does not answer through the tunnel")
	case st != nil && what.now:
		unfit = st
	case st != nil:
		n.leaveStand(st, "given back: "+st.spent())
	}
	return &stand{id: id, net: name}, unfit
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
	n.preempt()
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

// prepareAndKeep takes st to a depth, and keeps it, or keeps it longer.
func (n *Node) prepareAndKeep(ctx context.Context, old *candidate, st *stand, to decision.Depth, span *event.Span) (event.Outcome, error) {
	if st.depth < to {
		if _, _, err := n.discover(ctx, st.id, old, st.net); err != nil {
			n.putBack(st)
			return event.Failed, err
		}
		if err := n.prepare(ctx, old, st, to); err != nil {
			return event.Failed, err
		}
	} else { // who waits for the end of it is told
		n.cfg.Recorder.Begin(st.id, event.PhasePrepare, "network", st.net, "from", st.depth.String()).End(nil, "depth", st.depth.String())
	}
	st.span = span
	n.keep(st, to)
	return event.OK, nil
}

func (n *Node) handover(ctx context.Context, old *candidate, st *stand, what errand) (event.Outcome, error) {
	network, point, err := n.discover(ctx, st.id, old, st.net)
	if err != nil {
		n.putBack(st)
		return event.Failed, err
	}
	if !n.cfg.Prepare {
		return n.breakBeforeMake(ctx, st.id, old, network, point)
	}
	if !what.now && st.depth < decision.Bind {
		if err := n.prepare(ctx, old, st, decision.Bind); err != nil {
			return event.Failed, err
		}
	}
	depth := st.depth
	var outcome event.Outcome
	if depth >= decision.Tunnel {
		outcome, err = n.move(ctx, st.id, old, st.c, point)
	} else {
		outcome, err = n.moveWith(ctx, old, st, network, point)
	}
	if left := (*leftError)(nil); errors.As(err, &left) {
		n.putBack(st)
	}
	kept := func(now *stand) bool { return now.c == st.c } // by keepDeparted
	switch {
	case outcome == event.Completed:
		n.movedWith(depth)
		n.movedOn(st.net)
	case !st.back && len(n.stoodWhere(kept)) == 0:
		n.inVain(st, "not moved to: "+err.Error())
	}
	return outcome, err
}

// breakBeforeMake moves with nothing prepared: the same steps, after the link.
// When they fail the node returns to where it was.
func (n *Node) breakBeforeMake(ctx context.Context, id event.HandoverID, old *candidate, network Network, point string) (event.Outcome, error) {
	old.keeper.endProbe()
	p := n.portOf(network)
	if p != old.port {
		return n.crossWith(ctx, old, &stand{id: id, net: network.Name}, network, p)
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
		if c, err = n.attach(ctx, id, network, nil, old, false); err == nil {
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
