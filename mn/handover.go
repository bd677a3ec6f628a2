package mn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/dhcp4"
	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
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

// prepare makes a candidate complete: session, address, tunnel, binding (RFC
// 6252 §6.3 steps 1 to 3). On an error nothing of it is left.
func (n *Node) prepare(ctx context.Context, id event.HandoverID, old *candidate, network Network) (c *candidate, err error) {
	if c, err = n.newCandidate(ctx, network); err != nil {
		return nil, err
	}
	made := c
	defer func() {
		if err != nil {
			n.abandon(ctx, id, old, made, ctx.Err() != nil)
		}
	}()
	if err = c.authenticate(ctx, id, old.address.addr(), true); err != nil {
		return nil, fmt.Errorf("authentication at %s: %w", network.Name, err)
	}
	defer c.keepMapping()()
	if err = c.configure(ctx, id); err != nil {
		return nil, fmt.Errorf("configuration by %s: %w", network.Name, err)
	}
	if err = c.openTunnel(ctx, id, old.address.addr()); err != nil {
		return nil, fmt.Errorf("tunnel to %s: %w", network.Name, err)
	}
	if err = n.bind(ctx, id, c, true); err != nil {
		return nil, err
	}
	return c, nil
}

// configure has the router lease an address (§7.3.1) and puts it on the TUN.
func (c *candidate) configure(ctx context.Context, id event.HandoverID) (err error) {
	n := c.n
	span := n.cfg.Recorder.Begin(id, event.PhaseConf, "by", c.net.PAA.String())
	defer func() { span.End(err) }()
	h := notify.Header{Handover: id}
	m, err := c.session.Load().ask(ctx, &notify.ConfigRequest{Header: h, ClientID: n.cfg.ClientID, MAC: n.mac}, notify.KindConfigReply, n.cfg.Timers.Configure)
	if err != nil {
		return err
	}
	r := m.(*notify.ConfigReply)
	if r.Reason != "" {
		return errors.New(r.Reason)
	}
	if err := n.fits(r); err != nil {
		return err
	}
	c.address = newAddress(dhcp4.Lease{
		Addr: r.Addr, Router: r.Router, DNS: r.DNS, ServerID: r.ServerID, ClientID: n.cfg.ClientID,
		Start: time.Now().Add(-r.Age), Lifetime: r.Lifetime, T1: r.T1, T2: r.T2,
	})
	c.address.routerMAC = r.RouterMAC
	c.address.byRouter.Store(true)
	c.remember(false)
	return c.virtual()
}

// fits says whether the node can have what the router gave beside what it has.
func (n *Node) fits(r *notify.ConfigReply) error {
	n.mu.Lock()
	old := n.serving
	n.mu.Unlock()
	a := r.Addr.Addr()
	switch {
	case a == n.home.address || (*n.guests.Load())[a] != nil || old != nil && a == old.address.addr():
		return fmt.Errorf("the router gave %s, which the node has already", a)
	case old != nil && r.Router == old.address.router():
		return fmt.Errorf("the router there has the address %s, as the one here: number the networks apart", r.Router)
	}
	return nil
}

// openTunnel makes the node's end of the proactive handover tunnel (§7.4).
func (c *candidate) openTunnel(ctx context.Context, id event.HandoverID, from netip.Addr) (err error) {
	n := c.n
	span := n.cfg.Recorder.Begin(id, event.PhaseTunnel, "inner", c.address.addr().String())
	defer func() { span.End(err) }()
	spi, err := n.endpoint.AllocateSPI(n.cfg.Rand)
	if err != nil {
		return err
	}
	defer n.endpoint.ReleaseSPI(spi) // a tunnel keeps its own
	nonce := make([]byte, 32)
	if _, err := io.ReadFull(n.cfg.Rand, nonce); err != nil {
		return err
	}
	h := notify.Header{Handover: id}
	m, err := c.session.Load().ask(ctx, &notify.TunnelRequest{Header: h, Inner: c.address.addr(), SPI: spi, Nonce: nonce}, notify.KindTunnelReply, n.cfg.Timers.Tunnel)
	if err != nil {
		return err
	}
	r := m.(*notify.TunnelReply)
	if r.Reason != "" {
		return errors.New(r.Reason)
	}
	k, err := c.session.Load().espKeys(nonce, r, spi)
	if err != nil {
		return err
	}
	defer k.Clear()
	in, err := esp.NewInbound(spi, k.ToNode, esp.DefaultWindow)
	if err != nil {
		return err
	}
	out, err := esp.NewOutbound(r.SPI, k.ToRouter)
	if err != nil {
		return err
	}
	udp, err := n.net.OpenESP(netip.AddrPortFrom(from, 0), bind.Options{Device: n.cfg.Interface})
	if err != nil {
		return err
	}
	if c.socket, err = n.endpoint.Attach(udp); err != nil {
		return err
	}
	if c.path, err = n.home.newPath(c.address.addr()); err != nil {
		return err
	}
	c.markers = make(chan tunnel.Marker, 4)
	t, err := n.endpoint.Add(tunnel.TunnelConfig{
		Socket: c.socket, Peer: netip.AddrPortFrom(r.Outer, r.Port), In: in, Out: out,
		Receive: c.path.fromTunnel, Marker: c.marker, Keepalive: 20 * time.Second,
	})
	if err != nil {
		return err
	}
	n.guest(c.path.coa, c.path)
	c.tunnel.Store(t)
	return c.path.inTunnel(t)
}

func (c *candidate) marker(m tunnel.Marker) {
	select {
	case c.markers <- m:
	default: // a repeated one that nobody waits for
	}
}

// abandon takes back a preparation that did not come to its end, or was not
// used: the binding, if it has moved, then the tunnel, address and session. alive
// says that c's path still carries packets, as far as is known.
func (n *Node) abandon(ctx context.Context, id event.HandoverID, old, c *candidate, alive bool) {
	if c.bindTried {
		alive = alive && c.session.Load().ended() == nil
		if err := n.bind(context.WithoutCancel(ctx), id, old, alive); err != nil {
			n.cfg.Log.Error("the binding could not be moved back yet", "err", err)
			n.home.fallBack(old.path)
		} else if alive { // the session takes the tunnel along, with what is still in it
			n.home.emptied(n.cfg.Timers.PathEnd)
			c.markEnd(id, firstEnd, c.path.mark)
		}
	}
	n.takeLeave(id, c, old.address.addr()) // with the session the router deletes the tunnel and releases the lease
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
	n.leaveTunnelRule(c)
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
	if err := c.leaveVirtual(); err != nil {
		n.cfg.Log.Error("left on the TUN", "addr", c.address.addr(), "err", err)
	}
	n.guest(c.path.coa, nil)
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
