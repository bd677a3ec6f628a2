package mn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
)

// A move between two interfaces (§7.6.2):
//
//	the other one is set up, and attached       the old link carries everything, by the tunnel
//	the next router answers there               a link that leads nowhere costs nothing
//	departure: markers behind the last packets  both ends hold; nothing is in the tunnel
//	arrival by the other one                    what was held, in order
//	leave of the old router                     the old one is set down, if it was set up for a move
//
// There is no time without a link: packets wait for the markers and the arrival, which
// is as long as one way there and back by each.

// bring has an interface that does not serve set up, and attached to a network. What
// serves is not disturbed.
func (n *Node) bring(ctx context.Context, id event.HandoverID, p *port, network Network) (err error) {
	fresh, err := p.raise()
	if err != nil {
		return err
	}
	if w, e := p.linkedTo(ctx); e == nil && w.network.Name == network.Name && w.since.known {
		p.seen = w.since
		return nil
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseAttach, "interface", p.name, "raised", fresh)
	defer func() { span.End(err) }()
	within := p.linkWithin()
	if fresh {
		within = max(within, n.cfg.Timers.LinkAuth)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var failed error
	for tried := false; ; {
		since := p.carrier.look()
		_, at, e := p.here(ctx)
		switch there := e == nil && at.Name == network.Name; {
		case there && since.Up:
			p.seen = since
			return nil
		case !there && !tried:
			tried = true
			if failed = p.attachTo(ctx, id, network); failed == nil || !fresh {
				return failed
			}
		}
		// One that was just set up may attach by itself.
		select {
		case <-since.changed:
		case <-ctx.Done():
			if failed == nil {
				failed = fmt.Errorf("no link on %s in %s", p.name, within)
			}
			return failed
		}
	}
}

// attachTo attaches the interface to a network's best point.
func (p *port) attachTo(ctx context.Context, id event.HandoverID, network Network) error {
	target := p.target(ctx, network)
	p.lookFor(ctx, lookBefore, target)
	d, err := p.departFor(ctx, target)
	if err != nil {
		return fmt.Errorf("link at %s: %w", target, err)
	}
	defer d.done()
	if _, err = p.switchLink(ctx, id, d); err != nil {
		return fmt.Errorf("link at %s: %w", target, err)
	}
	return nil
}

// cross moves to a candidate that is reached by another interface.
func (n *Node) cross(ctx context.Context, id event.HandoverID, old, c *candidate) (event.Outcome, error) {
	err := n.bring(ctx, id, c.port, c.net)
	c.mapping.stop()
	if err == nil {
		err = c.reach(ctx)
	}
	if err == nil && old.port.carrier.look().Up {
		n.bindFirst(ctx, id, old, c)
	}
	var conn host.UDP
	if err == nil {
		conn, err = n.readyToCross(ctx, c)
	}
	if err != nil {
		c.keys.spoiled(c.port.target(n.ctx, c.net))
		n.abandon(id, old, c, packets)
		return event.Failed, fmt.Errorf("the move to %s could not begin: %w", c.port.name, err)
	}
	var w way
	if old.port.carrier.look().Up {
		w = n.way(ctx, old, c)
		n.depart(id, c, w)
	} else {
		w = n.lostWay(old, c)
		n.home.departed(c) // nobody would answer
	}
	c.session.Load().client.Rebind(conn)
	if err := n.arrive(context.WithoutCancel(ctx), id, c, w, time.Now(), nil); err != nil {
		span := n.cfg.Recorder.Begin(id, event.PhaseSwitchBack, "interface", old.port.name)
		n.cfg.Log.Warn("switching back", "interface", old.port.name, "why", err)
		span.End(n.goBack(id, old, c, w))
		return event.SwitchedBack, err
	}
	n.bindBehind(id, c, w)
	n.settleIn(ctx, id, old, c)
	return event.Completed, nil
}

// reach makes sure that c's router is behind c's interface (§7.6.3), with a question
// that tells nobody anything: the old link is there still, and so is the time.
func (c *candidate) reach(ctx context.Context) error {
	router := c.address.router()
	by, err := c.port.ip.find(ctx, router)
	silent := (*silentError)(nil)
	switch mac := c.address.routerMAC.Load(); {
	case errors.As(err, &silent):
		return fmt.Errorf("its router %s does not answer there: is %s at network %s?", router, c.port.name, c.net.Name)
	case err != nil:
		return err
	case mac != nil && !bytes.Equal(by, *mac):
		return fmt.Errorf("%s answers as %s there, and %s said that it is %s: is %s at network %s?", by, router, c.net.PAA.Addr(), *mac, c.port.name, c.net.Name)
	}
	return nil
}

// readyToCross puts c's address on its interface, and makes a socket for what follows.
// It ends at the last moment to stay.
func (n *Node) readyToCross(ctx context.Context, c *candidate) (host.UDP, error) {
	conn, err := n.udp(c.address.addr(), c.net.PAA.Addr())
	if err != nil {
		return nil, err
	}
	if err := firstError(c.physical, ctx.Err, c.session.Load().ended); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
