package mn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/mobility/mip4"
	"openmpa/mn/mobility/mip6"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
)

// way is how packets come to the node around the change of its link.
//
//	hold: next       the binding has moved before; the next router holds, and then
//	                 delivers on its link
//	hold: previous   the binding moves after; the previous router holds, and then
//	                 forwards through the tunnel that stood by, to the new address;
//	                 where another network is bound ahead that is its router
//	both             what the policy of the router that sends wants at both places comes
//	                 there, too
type way struct {
	behind   bool           // the binding is not where the node goes: it moves after the link
	previous *candidate     // who holds; nil: the next one, or nobody where the binding is behind
	told     bool           // the next one, which does not, holds what the previous one forwards until the arrival
	socket   *tunnel.Socket // at the new address, for its tunnel; nil: there is none
	// clear is when what was sent into the next router's tunnel by a link that was cut has
	// come to that router. What goes natively from then on passes none of it.
	clear time.Time
}

// holds says whether c's router, which serves, can hold what comes for the node, and
// forward it: not without a tunnel, and not where the kernel sends the uplink itself.
func (c *candidate) holds() bool {
	s := c.session.Load()
	return s != nil && s.ended() == nil && c.tunnel.Load() != nil && c.path.always
}

// bindAhead moves the binding to c before the link moves, unless the old router is to
// hold: then it is not needed, and so a failure does no harm if that can be.
func (n *Node) bindAhead(ctx context.Context, id event.HandoverID, old, c *candidate) error {
	if n.cfg.Hold == HoldPrevious && old.holds() {
		return nil
	}
	if c.mapping.ended() { // of what was held
		c.keepMapping()
	}
	if n.cfg.Several {
		c.path.beside = []*path{old.path}
		for _, r := range c.rest {
			c.path.beside = append(c.path.beside, r.path)
		}
	}
	carrier := n.carrierOf(old)
	err := n.bind(ctx, id, c, true)
	if len(c.path.beside) > 0 && denied(err) && ctx.Err() == nil {
		n.cfg.Log.Warn("the home agent sends to one address only", "err", err)
		c.path.beside = nil
		err = n.bind(ctx, id, c, true)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err = c.mute(err); !carrier.holds() {
		return err
	}
	n.cfg.Log.Warn("not bound ahead: the router there will hold what comes", "paa", carrier.net.PAA, "err", err)
	n.home.fallBack(carrier.path)
	return nil
}

// denied says that the home agent has answered, and said no.
func denied(err error) bool {
	var four *mip4.CodeError
	var six *mip6.StatusError
	return errors.As(err, &four) || errors.As(err, &six)
}

// mute adds to err, for which nothing came by c's tunnel that was waited for, that nothing
// has come by it at all, if so: PANA has passed, and ESP may not.
func (c *candidate) mute(err error) error {
	t := c.tunnel.Load()
	if t == nil || t.Stats().Received > 0 {
		return err
	}
	return fmt.Errorf("%w; nothing at all has come by the tunnel with %v: does the path let UDP port %d through, both ways?", err, c.net.PAA.Addr(), t.Peer().Port())
}

// bindFirst moves the binding to c at the last moment, where nobody is left to hold what
// comes: the session with the old router has ended since the preparation, which left the
// binding where it was. If that fails the binding moves behind the link.
func (n *Node) bindFirst(ctx context.Context, id event.HandoverID, old, c *candidate) {
	carrier := n.carrierOf(old)
	if n.home.isBound(c.path) || carrier.holds() || n.dead.Load() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(forwardedWithin, 5*c.rtt()))
	defer cancel()
	if err := n.bind(ctx, id, c, true); err != nil {
		n.cfg.Log.Warn("not bound ahead, and nobody holds what comes", "paa", carrier.net.PAA, "err", err)
		n.home.fallBack(carrier.path)
	}
}

// way finds it, as everything else stands: the node is about to depart for c.
func (n *Node) way(ctx context.Context, old, c *candidate) (w way) {
	old.endPassage()
	c.endPassage()
	holder := c
	if w.behind = !n.home.isBound(c.path); w.behind {
		if by := n.carrierOf(old); by.holds() {
			by.endPassage()
			w.previous, w.told, holder = by, n.dead.Load() == nil, by
		}
	}
	socket, err := c.outerBy(c.port.name, holder.peer())
	if err != nil {
		n.cfg.Log.Warn("no socket at the new address", "err", err)
		return w
	}
	both := false
	if n.dead.Load() == nil && !socket.Stats().Local.Addr().IsUnspecified() { // else nobody can be asked, or told where
		holder.path.merges.expect(true)
		err := holder.deliver(ctx, notify.Both, socket.Stats().Local)
		both = err == nil
		if refusal := (*refusedError)(nil); err != nil && !errors.As(err, &refusal) {
			n.cfg.Log.Info("nothing comes to both places", "paa", holder.net.PAA, "err", err)
		}
	}
	switch {
	case w.previous != nil:
		w.socket = socket
	case both:
		c.extra = socket
	default:
		_ = socket.Close()
	}
	return w
}

// peer is where the previous router's end of the tunnel is, if it forwards.
func (w way) peer() (a netip.AddrPort) {
	if w.previous != nil {
		if t := w.previous.tunnel.Load(); t != nil {
			a = t.Peer()
		}
	}
	return a
}

// forward has the previous router, if it holds, forward to c, where the node is now.
func (w way) forward(id event.HandoverID, c *candidate) {
	if w.previous == nil || w.socket == nil {
		return
	}
	if err := w.previous.goOn(id, c, w.socket); err != nil {
		c.n.cfg.Log.Error("the previous router does not forward", "paa", w.previous.net.PAA, "err", err)
	}
}

// close gives up what was not used.
func (w way) close() {
	if w.socket == nil {
		return
	}
	if t := w.previous.tunnel.Load(); t == nil || t.Socket() != w.socket {
		_ = w.socket.Close()
	}
}

// forwardedWithin is how long the binding waits for what the previous router held,
// which has the order of packets both ways. How far away that router is from here nobody
// has measured: longer than twice around the world.
const forwardedWithin = time.Second

// bindTries is how often a binding is asked for that packets do not wait for.
const bindTries = 3

// bindBehind moves the binding to c, where the node is, if it is not there: when what the
// previous router held has come. The next one holds its own until then.
func (n *Node) bindBehind(id event.HandoverID, c *candidate, w way) {
	defer n.leaveRest(id, c, c)
	if !w.behind {
		n.bindOne(id, c)
		return
	}
	c.path.beside = nil
	ctx, stop := c.port.whileAt(n.ctx, c.net.Name, c.port.seen)
	defer stop()
	forwarded := w.previous != nil && w.previous.passing.alive(ctx, max(forwardedWithin, 5*w.previous.rtt()))
	if c.bindTried { // it waits
		if _, err := c.session.Load().send(&notify.Follow{Header: notify.Header{Handover: id}}, pana.NotifyOptions{Urgent: true}); err != nil {
			n.cfg.Log.Warn("the next router is not told to go on", "paa", c.net.PAA, "err", err)
		}
	}
	var err error
	for range bindTries {
		if err = n.bind(ctx, id, c, forwarded); err == nil || ctx.Err() != nil {
			break
		}
		forwarded = w.previous != nil && w.previous.passing.came()
	}
	if err != nil {
		n.cfg.Log.Error("the binding could not be moved yet", "err", err)
		n.home.fallBack(c.path)
	}
	switch {
	case w.previous == nil:
	case w.previous.serves() || n.stood(w.previous.net.Name) == nil:
		w.previous.empty(id)
	default: // its tunnel stays
		if w.previous.passing.stop(); w.previous.passing.came() {
			n.home.emptied()
		}
	}
}

// bindOne ends the copies for other care-of addresses: the node is where c is. What fails here the
// home agent ends by itself before long.
func (n *Node) bindOne(id event.HandoverID, c *candidate) {
	if len(c.path.beside) == 0 {
		return
	}
	c.path.beside = nil
	ctx, stop := c.port.whileAt(n.ctx, c.net.Name, c.port.seen)
	defer stop()
	if err := n.bind(ctx, id, c, true); err != nil {
		n.cfg.Log.Warn("copies are not ended yet", "err", err)
	}
}

// goElsewhere goes on at a third network, where the link has come up after the departure
// for c: with what stands of it. What comes for c's address, or is held at the old network, is sent on from
// there. c is nil where there was no tunnel to its router.
func (n *Node) goElsewhere(id event.HandoverID, old, c *candidate, w way, point, name string, why error) (event.Outcome, error) {
	w.close()
	why = fmt.Errorf("%w; it is at %s now, of %s", why, point, name)
	p := old.port
	if c != nil {
		p = c.port
		n.keepDeparted(id, old, c)
	}
	since := p.carrier.look()
	ctx, stop := p.whileAt(n.ctx, name, since)
	defer stop()
	network, err := n.network(name)
	if err == nil {
		err = n.carriedTo(ctx, old, network, point, since.At)
	}
	if err != nil {
		n.setState("lost")
		return event.Failed, fmt.Errorf("%w, and the node could not attach there yet: %w", why, err)
	}
	return event.Failed, fmt.Errorf("%w, and the node goes on there", why)
}
