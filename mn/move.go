package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/mn/link"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
)

// move leaves the old link for the new one (§6.3 steps 4 and 5). Between departure
// and arrival nothing is asked that could be asked before, and between link up and the
// first packet nothing is done but sending.
func (n *Node) move(ctx context.Context, id event.HandoverID, old, c *candidate, point string) (event.Outcome, error) {
	if c.port != old.port {
		return n.cross(ctx, id, old, c)
	}
	c.mapping.stop()
	n.bindFirst(ctx, id, old, c)
	d, conn, err := n.ready(ctx, old, c)
	if err != nil {
		if old.port.left(ctx, old.net.Name) {
			return event.Failed, &leftError{fmt.Errorf("the move could not begin: %w", err)}
		}
		n.abandon(id, old, c, packets)
		return event.Failed, fmt.Errorf("the move could not begin: %w", err)
	}
	defer d.done()
	w := n.way(ctx, old, c)
	n.depart(id, c, w)
	if err := n.reach(ctx, id, d); err != nil {
		d.done()
		_ = conn.Close()
		return n.switchBack(ctx, id, old, c, w, point, fmt.Errorf("%s is not left: %w", old.net.Name, err))
	}
	c.session.Load().client.Rebind(conn) // nothing is outstanding: the arrival will be the first from there
	up, err := c.port.switchLink(ctx, id, d)
	if err != nil {
		d.done()
		err = fmt.Errorf("link at %s: %w", d.point, err)
		c.keys.spoiled(d.point)
		switch where, at := c.port.strayed(); at {
		case "":
		case c.net.Name: // at another point of it
			n.cfg.Recorder.Point(id, event.PhaseL2, "elsewhere", "point", where, "why", err)
			c.port.seen = c.port.carrier.look()
			up, err = time.Now(), nil
		case old.net.Name:
			point = where
		default:
			return n.goElsewhere(id, old, c, w, where, at, err)
		}
	}
	if err == nil {
		if err = n.arrive(context.WithoutCancel(ctx), id, c, w, up, d.answer); err == nil {
			var rest sync.WaitGroup
			rest.Go(func() {
				d.going.Wait() // its answer was not waited for
				d.done()
			})
			n.bindBehind(id, c, w)
			n.settleIn(ctx, id, old, c)
			rest.Wait()
			return event.Completed, nil
		}
		d.done()
		err = fmt.Errorf("link at %s: %w", d.point, err)
		switch where, at := c.port.strayed(); at {
		case "", c.net.Name:
		case old.net.Name:
			point = where
		default:
			return n.goElsewhere(id, old, c, w, where, at, err)
		}
	}
	return n.switchBack(ctx, id, old, c, w, point, err)
}

// leftError ends what was begun where the link has gone meanwhile: what stands is left as it is, since the link may be
// where that is of use.
type leftError struct{ err error }

func (e *leftError) Error() string { return e.err.Error() }
func (e *leftError) Unwrap() error { return e.err }

// left says that the link is not at a network any more, or down.
func (p *port) left(ctx context.Context, network string) bool {
	now := p.carrier.look()
	return now.known && !now.Up || p.awayFrom(context.WithoutCancel(ctx), network)
}

// ready readies a move to c's network, and makes a socket for what follows it. It ends
// at the last moment to stay.
func (n *Node) ready(ctx context.Context, old, c *candidate) (*departure, host.UDP, error) {
	target := c.port.target(ctx, c.net)
	c.port.lookFor(ctx, lookBefore, target)
	conn, err := n.udp(c.address.addr(), c.net.PAA.Addr())
	if err != nil {
		return nil, nil, err
	}
	d, err := c.port.departFor(ctx, target)
	if err == nil {
		// An interface that was set down since the preparation has lost what was put there.
		err = firstError(c.physical, ctx.Err, c.session.Load().ended)
		if err == nil && old.port.awayFrom(ctx, old.net.Name) {
			err = errMovedOn
		}
		if err == nil {
			return d, conn, nil
		}
		d.done()
	}
	_ = conn.Close()
	return nil, nil, err
}

// depart holds the uplink and has the router hold the downlink that sends it now, each
// behind a marker in line with the data; then no packet is under way on the link. It ends
// at the router's marker or at the deadline; on a dead link it waits for nobody. c is nil where
// there is no tunnel to its router.
func (n *Node) depart(id event.HandoverID, c *candidate, w way) {
	holder := c
	if w.previous != nil {
		holder = w.previous
	}
	if holder != nil && n.dead.Load() == nil {
		holder.knowsBack()
	}
	if w.previous == nil && w.behind { // nobody holds the downlink
		n.home.pause()
	}
	if holder == nil {
		return
	}
	// Else what is forwarded would go by its tunnel, to where the node was; and the home agent may have it after all. First,
	// since its answer comes to the address here, for which the previous router holds what comes from then on.
	if w.told && c != nil {
		c.markEnd(id, firstDeparture, c.path.hold)
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseDepart, "holds", holder.net.Name)
	if n.dead.Load() != nil {
		if err := holder.path.hold(tunnel.Marker{Kind: tunnel.Depart, Handover: id, Seq: firstDeparture}); err != nil {
			n.cfg.Log.Warn("uplink not held", "paa", holder.net.PAA, "err", err)
		}
		span.EndOutcome(event.Failed, "the link is dead: the router is not waited for")
	} else if sent, ok := holder.markEnd(id, firstDeparture, holder.path.hold); ok {
		span.End(nil, "markers", sent)
	} else {
		span.EndOutcome(event.Failed, "no marker from the router: what is still under way is lost", "markers", sent)
	}
	if c != nil {
		n.home.departed(c)
	}
}

// leaveTunnelRule lets the care-of address speak on the interface.
func (n *Node) leaveTunnelRule(c *candidate) {
	if err := n.net.DelRule(c.virtualRule()); err != nil {
		n.cfg.Log.Error("rule of the tunnel", "err", err)
	}
}

// arrive is what happens between link up and the first packet delivered. answer is the
// adapter's, if it may still say that the link is elsewhere.
func (n *Node) arrive(ctx context.Context, id event.HandoverID, c *candidate, w way, up time.Time, answer <-chan error) (err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseArrival)
	m := &notify.Arrival{Header: notify.Header{Handover: id}, Receipts: c.path.merges.land(n.guardedBy(c))}
	if c.bindTried { // else nothing waits behind what the previous router has
		m.Previous = w.peer()
	}
	if c.extra != nil {
		c.path.turn.land(id)
	}
	if c.beside() { // else it is there
		if err := c.neighbour(); err != nil {
			n.cfg.Log.Error("the router's neighbour entry", "err", err)
		}
	}
	c.arriving = true
	ack, err := c.session.Load().send(m, pana.NotifyOptions{Activate: true, Urgent: true})
	c.session.Load().flush() // ahead of the queue, which keeps the processor busy
	var ready time.Duration
	open := sync.OnceFunc(func() {
		w.forward(id, c)
		if e := c.path.arrive(); e != nil {
			n.cfg.Log.Error("uplink", "err", e)
		}
		ready = time.Since(up)
	})
	// The last message of the 4-way handshake is ours: the access point lets frames pass a moment after it, and drops
	// what is there before. That the router answers says that it does.
	_, opensLater := c.port.link.(link.Keyer)
	// Nor is anything forwarded to a router that may send it by the tunnel, to where the node was.
	opensLater = opensLater || time.Now().Before(w.clear) || w.previous != nil && !w.told
	if !opensLater && answer == nil {
		open()
	}
	n.announce(c) // the frames sent so far have told the bridges; this is for the neighbours
	if err == nil {
		may := open
		if opensLater {
			may = func() {}
		}
		err = c.acknowledgedArrival(ctx, ack, answer, may)
	}
	c.arriving = err != nil
	if err == nil {
		if sleep(ctx, time.Until(w.clear)); time.Now().Before(w.clear) {
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		open()
	}
	span.End(err, "uplink_ready_ms", float64(ready)/1e6)
	return err
}

// acknowledgedArrival waits until the router has the arrival. The link may have come up
// elsewhere: the adapter may say so yet, or where it is, if this takes long. open is
// called when the adapter has said that it is here, or nothing in answerWithin.
func (c *candidate) acknowledgedArrival(ctx context.Context, ack, answer <-chan error, open func()) error {
	n := c.n
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	elsewhere := make(chan error, 2) // why, of the looks that find it so
	find := func(why error) {
		looking.Go(func() {
			if c.port.awayFrom(ctx, c.net.Name) {
				elsewhere <- why
			}
		})
	}
	unsure := time.NewTimer(answerWithin)
	defer unsure.Stop()
	limit, look := time.NewTimer(n.cfg.Timers.Arrive), time.NewTimer(max(lookAfter, 4*c.rtt()))
	defer limit.Stop()
	defer look.Stop()
	for {
		select {
		case err := <-ack:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-answer:
			if answer = nil; err == nil {
				open()
				continue
			}
			unsure.Stop() // where it is then only the router can say
			find(err)
		case <-unsure.C:
			open()
		case <-look.C:
			find(errMovedOn)
		case err := <-elsewhere:
			return err
		case <-limit.C:
			return fmt.Errorf("%s did not acknowledge the arrival in %s", c.net.PAA, n.cfg.Timers.Arrive)
		}
	}
}

// answerWithin is how long what was kept on the way up waits for the word of an adapter
// that has not answered when its link is up.
const answerWithin = 20 * time.Millisecond

// lookAfter is how long an arrival may be unacknowledged, on a short path, before the
// link is looked at.
const lookAfter = 50 * time.Millisecond

// settleIn makes the new candidate the serving one, and keeps the old for a return or takes leave of it.
func (n *Node) settleIn(ctx context.Context, id event.HandoverID, old, c *candidate) {
	n.home.arrived(c)
	if err := c.leaveVirtual(); err != nil {
		n.cfg.Log.Error("left on the TUN", "addr", c.address.addr(), "err", err)
	}
	n.away.Store(false)
	s, reported := c.session.Load(), n.awaitReport(id)
	n.serve(c)
	var renewal sync.WaitGroup
	defer renewal.Wait()
	renewal.Go(func() { _ = c.renew(ctx, id) })
	n.readdress(c)
	n.retain(id, old, c)
	limit := time.NewTimer(n.cfg.Timers.Settle)
	defer limit.Stop()
	for waiting := true; waiting; {
		carrier := c.port.carrier.look()
		if carrier.ended || carrier.ups != c.port.seen.ups || carrier.downs != c.port.seen.downs {
			break // there is something else to see to
		}
		select {
		case <-reported:
			waiting = false
		case <-s.closed: // it cannot come any more
			waiting = false
		case <-carrier.changed:
		case <-limit.C:
			n.cfg.Log.Warn("no report from the router", "network", c.net.Name)
			waiting = false
		}
	}
	n.unawaited(id)
	c.leaveTunnel()
	c.pokeStandby()
}

// unawaited forgets a report that did not come.
func (n *Node) unawaited(id event.HandoverID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.reports, id)
}

// awaitReport returns a channel that is closed when the router has reported the
// end of the handover.
func (n *Node) awaitReport(id event.HandoverID) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	ch := make(chan struct{})
	for _, e := range n.cfg.Recorder.Events(id) {
		if e.Phase == event.PhaseFlip && e.Kind == event.KindEnd {
			close(ch)
			return ch
		}
	}
	n.reports[id] = ch
	return ch
}

// switchBack returns to the old point of attachment, where everything still
// stands: the tunnel delivers again, then the binding moves back.
func (n *Node) switchBack(ctx context.Context, id event.HandoverID, old, c *candidate, w way, point string, why error) (event.Outcome, error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseSwitchBack, "point", point)
	n.cfg.Log.Warn("switching back", "point", point, "why", why)
	err := n.linkBack(ctx, id, old, point)
	if err != nil {
		span.End(err)
		why = fmt.Errorf("%w; and the way back failed too: %w", why, err)
		switch where, at := old.port.strayed(); at {
		case "", old.net.Name, c.net.Name:
			w.close()
			n.keepDeparted(id, old, c)
			n.setState("lost")
			return event.Failed, why
		default:
			return n.goElsewhere(id, old, c, w, where, at, why)
		}
	}
	span.End(n.goBack(id, old, c, w))
	return event.SwitchedBack, why
}

// goBack goes on at the old link, where the node is, as before the departure for c, which
// it takes back.
func (n *Node) goBack(id event.HandoverID, old, c *candidate, w way) error {
	w.close()
	if w.behind {
		n.backAt(id, old, w)
		n.abandon(id, old, c, nothing)
		return nil
	}
	err := n.reenter(id, old, c)
	n.abandon(id, old, c, ifSo(err == nil))
	return err
}

// reenter goes back into the tunnel to c's router, from the old link.
func (n *Node) reenter(id event.HandoverID, old, c *candidate) error {
	n.dead.Store(nil) // if the old link is so still, that is to be found anew
	conn, err := n.udp(old.address.addr(), c.net.PAA.Addr())
	if err != nil {
		return err
	}
	c.session.Load().client.Rebind(conn)
	if err := n.net.AddRule(c.virtualRule()); err != nil {
		return err
	}
	ack, err := c.session.Load().send(&notify.SwitchBack{Header: notify.Header{Handover: id}}, pana.NotifyOptions{Urgent: true})
	if err = errors.Join(err, c.path.resume()); err != nil {
		return err
	}
	return c.acknowledged(ack, notify.KindSwitchBack)
}

// acknowledged waits until the router has the message, no longer than for the
// markers of a departure: nothing is delivered meanwhile if the router is dead.
// What it still holds when the session ends is lost.
func (c *candidate) acknowledged(ack <-chan error, kind notify.Kind) error {
	s := c.session.Load()
	within := max(c.n.cfg.Timers.Depart, 6*s.rtt())
	select {
	case err := <-ack:
		return err
	case <-s.closed:
		return s.reason
	case <-time.After(within):
		return fmt.Errorf("%s did not acknowledge the %s in %s", c.net.PAA, kind, within)
	}
}

// linkBack returns to the old point of attachment.
func (n *Node) linkBack(ctx context.Context, id event.HandoverID, old *candidate, point string) (err error) {
	ctx = context.WithoutCancel(ctx)
	for range 3 {
		var d *departure
		if d, err = old.port.departFor(ctx, point); err != nil {
			continue
		}
		_, err = old.port.switchLink(ctx, id, d)
		d.done()
		if err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	n.away.Store(false)
	n.announce(old)
	return old.neighbour() // of a router of the same address the other one was entered
}
