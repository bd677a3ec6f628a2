package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/link"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
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
		point, err = n.link.Current(ctx)
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
			n.abandon(id, old, k.c, true)
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

// move leaves the old link for the new one (§6.3 steps 4 and 5). Between link
// up and the first packet nothing is done but sending.
func (n *Node) move(ctx context.Context, id event.HandoverID, old, c *candidate, point string) (event.Outcome, error) {
	c.mapping.stop()
	target := n.target(ctx, c.net)
	n.lookFor(ctx, lookBefore, target)
	conn, err := n.udp(c.address.addr())
	if err == nil {
		if err = firstError(ctx.Err, c.session.Load().ended); err != nil { // the last moment to stay
			_ = conn.Close()
		}
	}
	if err == nil && n.awayFrom(ctx, old.net.Name) {
		_ = conn.Close()
		err = errMovedOn
	}
	if err != nil {
		n.abandon(id, old, c, true)
		return event.Failed, fmt.Errorf("the move could not begin: %w", err)
	}
	n.depart(id, c)
	c.session.Load().client.Rebind(conn) // nothing is outstanding: the arrival will be the first from there
	up, err := n.switchLink(ctx, id, target)
	if err != nil {
		err = fmt.Errorf("link at %s: %w", target, err)
		c.keys.spoiled(target)
		switch where, at := n.strayed(); at {
		case "":
		case c.net.Name: // at another point of it
			n.cfg.Recorder.Point(id, event.PhaseL2, "elsewhere", "point", where, "why", err)
			up, err = time.Now(), nil
		case old.net.Name:
			point = where
		default:
			n.giveUp(old, c)
			n.setState("lost")
			return event.Failed, fmt.Errorf("%w; it is at %s now, of %s", err, where, at)
		}
	}
	if err == nil {
		if err = n.arrive(context.WithoutCancel(ctx), id, c, up); err == nil {
			n.settleIn(ctx, id, old, c)
			return event.Completed, nil
		}
		err = fmt.Errorf("link at %s: %w", target, err)
	}
	return n.switchBack(ctx, id, old, c, point, err)
}

// strayed is where the link really is after a move that failed, if it is up and
// somebody can say.
func (n *Node) strayed() (point, network string) {
	if l, err := n.net.LinkByName(n.cfg.Interface); err != nil || !l.Carrier {
		return "", ""
	}
	point, at, err := n.here(n.ctx)
	if err != nil {
		return "", ""
	}
	return point, at.Name
}

// depart holds the uplink and has the router hold the downlink, each behind a
// marker in line with the data; then no packet is in the tunnel. It ends at the
// router's marker or at the deadline.
func (n *Node) depart(id event.HandoverID, c *candidate) {
	span := n.cfg.Recorder.Begin(id, event.PhaseDepart)
	sent, ok := c.markEnd(id, firstDeparture, c.path.hold)
	if ok {
		span.End(nil, "markers", sent)
	} else {
		span.EndOutcome(event.Failed, "no marker from the router: what is still in the tunnel is lost", "markers", sent)
	}
	n.home.departed(c)
}

// Numbers of the first marker of a departure, and of one that ends a tunnel for good.
const (
	firstDeparture = 1
	firstEnd       = 1 << 16
)

// markEnd sends markers, numbered from first, behind what is in c's tunnel until the
// router's comes, or there is no time left for it. It returns how many it sent, and
// whether the tunnel is empty.
func (c *candidate) markEnd(id event.HandoverID, first uint32, send func(tunnel.Marker) error) (sent uint32, ok bool) {
	n, rtt := c.n, c.session.Load().rtt()
	deadline := time.NewTimer(max(n.cfg.Timers.Depart, 5*rtt))
	defer deadline.Stop()
	again := max(20*time.Millisecond, 3*rtt)
	for {
		if err := send(tunnel.Marker{Kind: tunnel.Depart, Handover: id, Seq: first + sent}); err != nil {
			n.cfg.Log.Warn("marker not sent", "paa", c.net.PAA, "err", err)
		}
		sent++
		retry := time.NewTimer(again)
	wait:
		for {
			select {
			case m := <-c.markers:
				if m.Kind != tunnel.Departed || m.Handover != id || m.Seq < first {
					continue
				}
				retry.Stop()
				return sent, true
			case <-retry.C:
				break wait
			case <-deadline.C:
				retry.Stop()
				return sent, false
			}
		}
	}
}

// leaveTunnelRule lets the care-of address speak on the interface.
func (n *Node) leaveTunnelRule(c *candidate) {
	if err := n.net.DelRule(c.virtualRule()); err != nil {
		n.cfg.Log.Error("rule of the tunnel", "err", err)
	}
}

// switchLink leaves for a point of attachment and returns when the link came up there.
func (n *Node) switchLink(ctx context.Context, id event.HandoverID, point string) (up time.Time, err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseL2, "point", point)
	defer func() { span.End(err) }()
	within := n.cfg.Timers.LinkUp
	if _, ok := n.link.(link.Keyer); ok {
		within = max(within, n.cfg.Timers.LinkAuth)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	before := n.carrier.look()
	n.away.Store(true)
	attached := make(chan error, 1)
	go func() { attached <- n.link.Attach(ctx, point) }()
	done := false
	for now := before; ; {
		select {
		case <-now.changed:
			if now = n.carrier.look(); now.ended {
				return time.Time{}, errNobodyWatches
			}
			if now.Up && now.ups > before.ups && (done || now.downs > before.downs && !n.mayStray(ctx, point)) {
				n.seen = now.ups
				return now.At, nil
			}
		case err := <-attached:
			if err != nil {
				return time.Time{}, err
			}
			done = true
			if now = n.carrier.look(); !now.Up {
				continue
			}
			// The link may not have gone down at all, or nobody has told yet.
			if l, err := n.net.LinkByName(n.cfg.Interface); err == nil && l.Carrier {
				n.seen = now.ups
				return time.Now(), nil
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return time.Time{}, ctx.Err()
			}
			return time.Time{}, fmt.Errorf("no link in %s", within)
		}
	}
}

// mayStray reports whether the link that has come up while the adapter still attaches
// to a point is at another one, as wpa_supplicant has it where it finds no way to the
// first.
func (n *Node) mayStray(ctx context.Context, point string) bool {
	if _, ok := n.link.(link.Scanner); !ok {
		return false // the adapter has one way to move the link
	}
	network, err := n.networkOf(point)
	return err == nil && n.awayFrom(ctx, network.Name)
}

// arrive is what happens between link up and the first packet delivered.
func (n *Node) arrive(ctx context.Context, id event.HandoverID, c *candidate, up time.Time) (err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseArrival)
	ack, err := c.session.Load().send(&notify.Arrival{Header: notify.Header{Handover: id}}, pana.NotifyOptions{Activate: true, Urgent: true})
	c.session.Load().flush() // ahead of the queue, which keeps the processor busy
	if e := c.path.arrive(); e != nil {
		n.cfg.Log.Error("uplink", "err", e)
	}
	ready := time.Since(up)
	n.announce(c) // the frames sent so far have told the bridges; this is for the neighbours
	if err == nil {
		select {
		case err = <-ack:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(n.cfg.Timers.Arrive):
			err = fmt.Errorf("%s did not acknowledge the arrival in %s", c.net.PAA, n.cfg.Timers.Arrive)
		}
	}
	span.End(err, "uplink_ready_ms", float64(ready)/1e6)
	return err
}

// settleIn makes the new candidate the serving one and takes leave of the old.
func (n *Node) settleIn(ctx context.Context, id event.HandoverID, old, c *candidate) {
	n.home.arrived(c)
	if err := c.leaveVirtual(); err != nil {
		n.cfg.Log.Error("left on the TUN", "addr", c.address.addr(), "err", err)
	}
	n.away.Store(false)
	s, reported, carrier := c.session.Load(), n.awaitReport(id), n.carrier.look()
	n.serve(c)
	var renewal sync.WaitGroup
	defer renewal.Wait()
	renewal.Go(func() { _ = c.renew(ctx, id) })
	n.takeLeave(id, old, c.address.addr())
	limit := time.NewTimer(n.cfg.Timers.Settle)
	defer limit.Stop()
	for waiting := true; waiting; {
		select {
		case <-reported:
			waiting = false
		case <-s.closed: // it cannot come any more
			waiting = false
		case <-carrier.changed:
			carrier = n.carrier.look()
			waiting = carrier.Up && !carrier.Missed && !carrier.ended // else there is something else to see to
		case <-limit.C:
			n.cfg.Log.Warn("no report from the router", "network", c.net.Name)
			waiting = false
		}
	}
	n.unawaited(id)
	c.leaveTunnel()
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
func (n *Node) switchBack(ctx context.Context, id event.HandoverID, old, c *candidate, point string, why error) (event.Outcome, error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseSwitchBack, "point", point)
	n.cfg.Log.Warn("switching back", "point", point, "why", why)
	err := n.linkBack(ctx, id, old, point)
	if err != nil {
		span.End(err)
		n.abandon(id, old, c, false)
		n.setState("lost")
		return event.Failed, fmt.Errorf("%w; and the way back failed too: %w", why, err)
	}
	conn, err := n.udp(old.address.addr())
	if err == nil {
		c.session.Load().client.Rebind(conn)
		err = n.net.AddRule(c.virtualRule())
	}
	if err == nil {
		var ack <-chan error
		ack, err = c.session.Load().send(&notify.SwitchBack{Header: notify.Header{Handover: id}}, pana.NotifyOptions{Urgent: true})
		err = errors.Join(err, c.path.resume())
		if err == nil {
			err = c.acknowledged(ack, notify.KindSwitchBack)
		}
	}
	n.abandon(id, old, c, err == nil)
	span.End(err)
	return event.SwitchedBack, why
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

// breakBeforeMake moves with nothing prepared: the same steps, after the link.
// When they fail the node returns to where it was.
func (n *Node) breakBeforeMake(ctx context.Context, id event.HandoverID, old *candidate, network Network, point string) (event.Outcome, error) {
	old.keeper.endProbe()
	n.lookFor(ctx, lookWithin, network.Points...)
	target := n.target(ctx, network)
	_, err := n.switchLink(ctx, id, target)
	if err != nil {
		err = fmt.Errorf("link at %s: %w", target, err)
	} else {
		var c *candidate
		if c, err = n.attach(ctx, id, network); err == nil {
			n.away.Store(false)
			n.serve(c)
			n.takeLeave(id, old, c.address.addr())
			return event.Completed, nil
		}
		err = fmt.Errorf("attach to %s: %w", network.Name, err)
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseSwitchBack, "point", point)
	if e := n.linkBack(ctx, id, old, point); e != nil {
		span.End(e)
		n.setState("lost")
		return event.Failed, fmt.Errorf("%w; and the way back failed too: %w", err, e)
	}
	e := n.bind(context.WithoutCancel(ctx), id, old, false) // it may have moved
	if e != nil {
		n.home.fallBack(old.path)
	}
	span.End(e)
	return event.SwitchedBack, err
}

// linkBack returns to the old point of attachment.
func (n *Node) linkBack(ctx context.Context, id event.HandoverID, old *candidate, point string) (err error) {
	for range 3 {
		if _, err = n.switchLink(context.WithoutCancel(ctx), id, point); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	n.away.Store(false)
	n.announce(old)
	return nil
}
