package mn

import (
	"context"
	"fmt"
	"net/netip"

	"openmpa/internal/event"
)

// attach makes a candidate of the network whose link the node is on, with
// nothing prepared: address, authentication, binding. It is the first
// attachment, and the whole of a handover without MPA.
func (n *Node) attach(ctx context.Context, id event.HandoverID, network Network) (c *candidate, err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseAttach, "network", network.Name)
	defer func() { span.End(err) }()
	if c, err = n.newCandidate(network); err != nil {
		return nil, err
	}
	made := c
	defer func() {
		if err != nil {
			made.leave(nil)
			if made.address != nil {
				made.release(made.address.addr())
			}
			n.drop(made)
		}
	}()
	if err = c.acquire(ctx, id); err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	if err = n.arp.SendGratuitous(c.address.addr()); err != nil {
		return nil, err
	}
	if err = c.authenticate(ctx, id, c.address.addr(), false); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	if c.path, err = n.home.newPath(c.address.addr()); err != nil {
		return nil, err
	}
	if err = c.path.native(); err != nil {
		return nil, err
	}
	if err = n.bind(ctx, id, c, false); err != nil {
		return nil, err
	}
	return c, nil
}

// bind registers c's care-of address at the home agent; ordered says that the
// path bound so far is alive.
func (n *Node) bind(ctx context.Context, id event.HandoverID, c *candidate, ordered bool) error {
	span := n.cfg.Recorder.Begin(id, event.PhaseBind, "care_of", c.path.coa.String())
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Bind)
	defer cancel()
	c.bindTried = true
	r, err := n.home.bind(ctx, c.path, ordered)
	// The home agent's own record has the same path identification.
	span.End(err, "path", fmt.Sprintf("%016x", r.ID), "tries", r.Tries, "rtt_ms", float64(r.RTT)/1e6)
	if err != nil {
		return fmt.Errorf("binding update: %w", err)
	}
	return nil
}

// takeLeave ends what the node has with the router it left: the session, the
// lease, everything in the kernel. from is where the node is now.
func (n *Node) takeLeave(id event.HandoverID, old *candidate, from netip.Addr) {
	span := n.cfg.Recorder.Begin(id, event.PhaseCleanup, "network", old.net.Name)
	conn, err := n.udp(from)
	if err != nil {
		conn = nil // the session will then end with its lifetime
	}
	old.leave(conn)
	old.release(from)
	n.drop(old)
	span.End(err)
}
