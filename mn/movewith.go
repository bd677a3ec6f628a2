package mn

import (
	"context"
	"errors"
	"fmt"

	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/mn/link"
)

// moveWith moves to st's network with less than a tunnel there: what is missing is done behind the link. The router
// that sends what comes holds it from the departure on, and forwards it to the new address when there is one. Where
// that comes to nothing the node returns to where it was.
//
//	stands          behind the link
//	none            lease, duplicate detection; authentication; binding
//	authenticate    lease, duplicate detection; arrival in the session; binding
//	configure       arrival in the session; binding
func (n *Node) moveWith(ctx context.Context, old *candidate, st *stand, network Network, point string) (event.Outcome, error) {
	old.keeper.endProbe()
	p := n.portOf(network)
	if p != old.port {
		return n.crossWith(ctx, old, st, network, p)
	}
	target := p.target(ctx, network)
	p.lookFor(ctx, lookBefore, target)
	d, err := p.departFor(ctx, target)
	if err != nil {
		n.putBack(st)
		return event.Failed, fmt.Errorf("the move could not begin: %w", err)
	}
	defer d.done()
	via := n.carrierOf(old)
	w := way{behind: true}
	if via.holds() {
		old.endPassage()
		via.endPassage()
		w.previous = via
	}
	n.depart(st.id, nil, w)
	if err = n.reach(ctx, st.id, d); err == nil {
		_, err = p.switchLink(ctx, st.id, d)
		d.done()
	}
	if err != nil {
		err = fmt.Errorf("link at %s: %w", target, err)
	}
	where, at := p.strayed()
	switch {
	case at == network.Name: // maybe at another point of it
		p.seen = p.carrier.look()
		err = nil
	case at != "" && at != old.net.Name:
		n.putBack(st)
		return n.goElsewhere(st.id, old, nil, w, where, at, errors.Join(err, fmt.Errorf("no link at %s", target)))
	case at != "":
		err, point = errors.Join(err, fmt.Errorf("it is at %s", where)), where
	}
	if err != nil {
		n.putBack(st)
		return n.returnFrom(ctx, st.id, old, w, point, err)
	}
	c, err := n.makeUp(context.WithoutCancel(ctx), st, network, via)
	if err != nil {
		err = fmt.Errorf("attach to %s: %w", network.Name, err)
		if where, at = p.strayed(); at != "" && at != network.Name && at != old.net.Name {
			return n.goElsewhere(st.id, old, nil, w, where, at, err)
		}
		return n.returnFrom(ctx, st.id, old, w, point, err)
	}
	n.landed(st.id, old, c, via)
	return event.Completed, nil
}

// makeUp does what is missing of st at the link of its network. On an error nothing of it is left.
func (n *Node) makeUp(ctx context.Context, st *stand, network Network, via *candidate) (*candidate, error) {
	if st.c == nil {
		return n.anew(ctx, st.id, network, via)
	}
	return n.attach(ctx, st.id, network, st.c, via, false)
}

// landed has c serve in the place of old, when what via's router has sent on has come.
func (n *Node) landed(id event.HandoverID, old, c, via *candidate) {
	n.away.Store(false)
	n.serve(c)
	n.undouble(c)
	if via == old {
		via.empty(id)
	} else if via.passing.stop(); via.passing.came() { // its tunnel stays
		n.home.emptied()
	}
	n.movedOn(c.net.Name)
	n.readdress(c)
	n.retain(id, old, c)
}

// undouble gives up what stands with c's address, of another network with the same router: what comes would come
// twice. Its session has ended with c's.
func (n *Node) undouble(c *candidate) {
	same := func(st *stand) bool { return st.depth >= decision.Configure && st.c.address.addr() == c.address.addr() }
	for _, st := range n.stoodWhere(same) {
		n.forgetStand(c, n.takeStand(atOnce(), st.net), "given up: the node has its address at "+c.net.Name)
	}
}

// putBack puts what is in st, which was taken for a move that did not come about, where it was, if it is of use still.
// st itself stays the caller's.
func (n *Node) putBack(st *stand) {
	if st.c == nil {
		return
	}
	kept := *st
	st.back = true
	if kept.until.IsZero() {
		kept.until = n.keptUntil(kept.c)
	}
	if !kept.usable() {
		n.leaveStand(&kept, "given back: "+kept.spent())
		return
	}
	if id, err := event.NewHandoverID(n.cfg.Rand); err == nil { // the next attempt is another handover
		kept.id = id
	}
	n.putStand(&kept)
}

// returnFrom goes back to old, from a move that w was the way of, and why not.
func (n *Node) returnFrom(ctx context.Context, id event.HandoverID, old *candidate, w way, point string, why error) (event.Outcome, error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseSwitchBack, "point", point)
	n.cfg.Log.Warn("switching back", "point", point, "why", why)
	if err := n.linkBack(ctx, id, old, point); err != nil {
		span.End(err)
		why = fmt.Errorf("%w; and the way back failed too: %w", why, err)
		if where, at := old.port.strayed(); at != "" && at != old.net.Name {
			return n.goElsewhere(id, old, nil, w, where, at, why)
		}
		n.setState("lost")
		return event.Failed, why
	}
	n.backAt(id, old, w)
	var err error
	if !n.home.isBound(n.carrierOf(old).path) { // it may have moved
		if err = n.bind(context.WithoutCancel(ctx), id, old, false); err != nil {
			n.home.fallBack(old.path)
		}
	}
	span.End(err)
	return event.SwitchedBack, why
}

// backAt goes on at the link of old, where the node is again: what was held there comes first, and what another router
// held is sent on to here.
func (n *Node) backAt(id event.HandoverID, old *candidate, w way) {
	n.comeBack(id, old)
	if w.previous != nil && w.previous != old {
		n.carryOn(id, w.previous, old)
	}
	if _, keyed := old.port.link.(link.Keyer); keyed { // see arrive
		old.knowsBack()
	}
	n.proceed(old)
}

// crossWith is moveWith by another interface, beside the link that serves, which carries everything until the binding
// has moved.
func (n *Node) crossWith(ctx context.Context, old *candidate, st *stand, network Network, p *port) (event.Outcome, error) {
	err := n.bring(ctx, st.id, p, network)
	if err != nil {
		n.putBack(st)
		return event.Failed, err
	}
	c, err := n.attach(ctx, st.id, network, st.c, nil, true)
	if err == nil {
		n.home.emptied() // what is under way on the old link still comes by it
		n.serve(c)
		n.readdress(c)
		n.retain(st.id, old, c)
		return event.Completed, nil
	}
	if !n.home.isBound(n.carrierOf(old).path) { // it may have moved
		if e := n.bind(context.WithoutCancel(ctx), st.id, old, false); e != nil {
			n.home.fallBack(old.path)
		}
	}
	return event.Failed, fmt.Errorf("attach to %s: %w", network.Name, err)
}
