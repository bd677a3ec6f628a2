package mn

import (
	"context"
	"errors"
	"fmt"

	"openmpa/internal/event"
	"openmpa/mn/link"
)

// errRoamed: a roam has come to something else.
var errRoamed = errors.New("the link is elsewhere")

// roam implements mover: the link goes to another point of the network that serves. As in a move the uplink waits, and
// the router that sends what comes holds it, where a tunnel with it stands by. Where that comes to nothing the node returns to
// the point where it was.
func (n *Node) roam(ctx context.Context, point string) (id event.HandoverID, err error) {
	if !n.tryTurn() {
		return id, ErrBusy
	}
	defer n.endTurn()
	defer n.rest()
	n.mu.Lock()
	old, closing := n.serving, n.closing
	n.mu.Unlock()
	if closing || old == nil {
		return id, errEnding
	}
	if id, err = event.NewHandoverID(n.cfg.Rand); err != nil {
		return id, err
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseL2, "point", point, "roam", true)
	err = n.roamTo(ctx, id, old, point)
	span.End(err)
	return id, err
}

func (n *Node) roamTo(ctx context.Context, id event.HandoverID, old *candidate, point string) error {
	p := old.port
	from, at, err := p.here(ctx)
	if err == nil && at.Name != old.net.Name {
		err = errMovedOn
	}
	if err != nil {
		return err
	}
	d, err := p.departFor(ctx, point)
	if err != nil {
		return err
	}
	defer d.done()
	old.keeper.endProbe()
	via, w := n.carrierOf(old), way{behind: true}
	if via.holds() {
		old.endPassage()
		via.endPassage()
		w.previous = via
	}
	n.depart(id, nil, w)
	back := false
	if err = n.reach(ctx, id, d); err == nil {
		_, err = p.switchLink(context.WithoutCancel(ctx), id, d)
		// What waits goes at once, and where the link is is seen behind that: but at an access point that may drop what comes
		// at first, and where no router's word says that it does not any more.
		_, keyed := p.link.(link.Keyer)
		back = err == nil && (!keyed || w.previous == old)
	}
	if back {
		n.isBack(id, old, w)
		d.going.Wait()
	}
	d.done()
	switch where, at := p.strayed(); {
	case at == old.net.Name && where != point: // it is there, and not where it was to go
		point, err = where, errors.Join(err, fmt.Errorf("%w: at %s", errRoamed, where))
	case at != "" && at != old.net.Name:
		n.home.pause()
		_, err = n.goElsewhere(id, old, nil, w, where, at, errors.Join(err, errRoamed))
		return err
	case err != nil:
		_, err = n.returnFrom(ctx, id, old, w, from, err)
		return err
	}
	if !back {
		n.isBack(id, old, w)
	}
	n.cfg.Recorder.Point(id, event.PhaseL2, "up again", "point", point, "network", old.net.Name)
	if s := old.session.Load(); s != nil {
		s.knock()
	}
	return err
}

// isBack goes on at the link of old, which has come up, at the same point or another.
func (n *Node) isBack(id event.HandoverID, old *candidate, w way) {
	p := old.port
	p.seen = p.carrier.look()
	n.away.Store(false)
	if e := old.neighbour(); e != nil {
		n.cfg.Log.Warn("neighbour", "err", e)
	}
	n.backAt(id, old, w)
}
