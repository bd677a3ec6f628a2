package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/event"
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

// Handover begins to move the node to the network of that name.
func (n *Node) Handover(name string) (*Handover, error) {
	if !n.busy.CompareAndSwap(false, true) {
		return nil, ErrBusy
	}
	h := &Handover{done: make(chan struct{})}
	n.mu.Lock()
	old := n.serving
	n.mu.Unlock()
	var err error
	if h.ID, err = event.NewHandoverID(n.cfg.Rand); err == nil && old == nil {
		err = errors.New("attached nowhere: nothing to hand over from")
	}
	if err != nil {
		n.busy.Store(false)
		return nil, fmt.Errorf("mn: %w", err)
	}
	ctx, cancel := context.WithCancel(n.ctx)
	h.cancel = cancel
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		cancel()
		n.busy.Store(false)
		return nil, errors.New("mn: the node is shutting down")
	}
	n.current = h
	n.wg.Go(func() {
		defer close(h.done)
		defer cancel()
		span := n.cfg.Recorder.Begin(h.ID, event.PhaseHandover, "from", old.net.Name, "to", name, "prepared", n.cfg.Prepare)
		n.setState("handover to " + name)
		h.outcome, h.err = n.handover(ctx, h.ID, old, name)
		n.settled()
		reason := ""
		if h.err != nil {
			reason = h.err.Error()
		}
		n.busy.Store(false) // before the record: who reads it may ask for the next
		span.EndOutcome(h.outcome, reason)
	})
	return h, nil
}

func (n *Node) handover(ctx context.Context, id event.HandoverID, old *candidate, name string) (event.Outcome, error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseDiscovery, "by", "configuration")
	network, err := n.network(name)
	if err == nil && name == old.net.Name {
		err = fmt.Errorf("already at %s", name)
	}
	span.End(err)
	if err != nil {
		return event.Failed, fmt.Errorf("discovery: %w", err)
	}
	point, err := n.link.Current(ctx)
	if err != nil {
		return event.Failed, fmt.Errorf("discovery: %w", err)
	}
	if !n.cfg.Prepare {
		return n.breakBeforeMake(ctx, id, old, network, point)
	}
	c, err := n.prepare(ctx, id, old, network)
	if err != nil {
		return event.Failed, err
	}
	return n.move(ctx, id, old, c, point)
}

// move leaves the old link for the new one (§6.3 steps 4 and 5). Between link
// up and the first packet nothing is done but sending.
func (n *Node) move(ctx context.Context, id event.HandoverID, old, c *candidate, point string) (event.Outcome, error) {
	target := c.net.Points[0]
	conn, err := n.udp(c.address.addr())
	if err == nil {
		if err = firstError(c.physical, ctx.Err, c.session.Load().ended); err != nil { // the last moment to stay
			_ = conn.Close()
		}
	}
	if err != nil {
		n.abandon(ctx, id, old, c, true)
		return event.Failed, fmt.Errorf("the new link could not be prepared: %w", err)
	}
	n.depart(id, c)
	c.session.Load().client.Rebind(conn) // nothing is outstanding: the arrival will be the first from there
	up, err := n.switchLink(ctx, id, target)
	if err == nil {
		if err = n.arrive(id, c, up); err == nil {
			n.settleIn(ctx, id, old, c)
			return event.Completed, nil
		}
	}
	return n.switchBack(ctx, id, old, c, point, fmt.Errorf("link at %s: %w", target, err))
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
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.LinkUp)
	defer cancel()
	for len(n.links) > 0 { // what happened before the move
		<-n.links
	}
	n.away.Store(true)
	attached := make(chan error, 1)
	go func() { attached <- n.link.Attach(ctx, point) }()
	down, done := false, false
	for {
		select {
		case s, ok := <-n.links:
			if !ok {
				return time.Time{}, errors.New("nobody watches the link any more")
			}
			if s.Up && (down || done || s.Missed) {
				return s.At, nil
			}
			down = down || !s.Up
		case err := <-attached:
			if err != nil {
				return time.Time{}, err
			}
			if done = true; down {
				continue
			}
			// The link may not have gone down at all.
			if l, err := n.net.LinkByName(n.cfg.Interface); err == nil && l.Carrier {
				return time.Now(), nil
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return time.Time{}, ctx.Err()
			}
			return time.Time{}, fmt.Errorf("no link in %s", n.cfg.Timers.LinkUp)
		}
	}
}

// arrive is what happens between link up and the first packet delivered.
func (n *Node) arrive(id event.HandoverID, c *candidate, up time.Time) (err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseArrival)
	ack, err := c.session.Load().send(&notify.Arrival{Header: notify.Header{Handover: id}}, pana.NotifyOptions{Activate: true, Urgent: true})
	c.session.Load().flush() // ahead of the queue, which keeps the processor busy
	if e := c.path.arrive(); e != nil {
		n.cfg.Log.Error("uplink", "err", e)
	}
	ready := time.Since(up)
	// The frames sent so far have told the bridges; this is for the neighbours.
	if e := n.arp.SendGratuitous(c.address.addr()); e != nil {
		n.cfg.Log.Warn("gratuitous ARP not sent", "err", e)
	}
	if err == nil {
		select {
		case err = <-ack:
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
	s, reported := c.session.Load(), n.awaitReport(id)
	n.serve(c)
	var renewal sync.WaitGroup
	defer renewal.Wait()
	renewal.Go(func() { _ = c.renew(ctx, id) })
	n.takeLeave(id, old, c.address.addr())
	select {
	case <-reported:
	case <-s.closed: // it cannot come any more
		n.unawaited(id)
	case <-time.After(n.cfg.Timers.Settle):
		n.cfg.Log.Warn("no report from the router", "network", c.net.Name)
		n.unawaited(id)
	}
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
		n.abandon(ctx, id, old, c, false)
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
	n.abandon(ctx, id, old, c, err == nil)
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
	_, err := n.switchLink(ctx, id, network.Points[0])
	if err != nil {
		err = fmt.Errorf("link at %s: %w", network.Points[0], err)
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
	if e := n.arp.SendGratuitous(old.address.addr()); e != nil {
		n.cfg.Log.Warn("gratuitous ARP not sent", "err", e)
	}
	return nil
}
