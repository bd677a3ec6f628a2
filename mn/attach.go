package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// attach makes a candidate of the network whose link the node is on: address, authentication,
// binding. It is the first attachment, and the whole of a handover without MPA. What there is of
// that is c, which then is the result; nil: nothing is prepared. Packets come by the tunnel of
// via meanwhile, if there is one; alive says that they still come by the path bound so far.
func (n *Node) attach(ctx context.Context, id event.HandoverID, network Network, c, via *candidate, alive bool) (_ *candidate, err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseAttach, "network", network.Name, "session", c != nil, "address", c != nil && c.address != nil)
	defer func() { span.End(err) }()
	if c == nil {
		if c, err = n.newCandidate(ctx, network); err != nil {
			return nil, err
		}
	}
	made := c
	defer func() {
		if err != nil {
			n.detach(made)
		}
	}()
	if err = c.settle(ctx, id); err != nil {
		return nil, err
	}
	if err = c.port.ip.announce(c.address.addr()); err != nil {
		return nil, err
	}
	n.carryOn(id, via, c)
	if err = c.enter(ctx, id); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	c.keepKeys(id)
	if err = c.openPath(); err != nil {
		return nil, err
	}
	if err = n.bind(ctx, id, c, alive || via.forwards(ctx)); err != nil {
		return nil, err
	}
	return c, nil
}

// settle puts c's address on its link, where the node is, or gets one there.
func (c *candidate) settle(ctx context.Context, id event.HandoverID) error {
	if c.address != nil {
		return errors.Join(c.leaveVirtual(), firstError(c.physical, c.neighbour))
	}
	if err := c.acquire(ctx, id); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if c.session.Load() != nil {
		return nil // its agent is known
	}
	return c.findAgent(ctx, *c.address.lease.Load())
}

// enter begins c's session at its link, or has the router know that the one there is goes on there (RFC 5873
// section 3).
func (c *candidate) enter(ctx context.Context, id event.HandoverID) error {
	s := c.session.Load()
	if s == nil {
		return c.authenticate(ctx, id, c.address.addr(), false)
	}
	c.mapping.stop()
	err := c.activate(ctx, id, s)
	switch {
	case err == nil:
		c.pokeStandby()
		if !c.address.byRouter.Load() {
			c.entrust(ctx, id, s)
		}
		return nil
	case ctx.Err() != nil:
		return err
	}
	c.n.cfg.Log.Warn("what was authenticated before is of no use: authenticating again", "paa", c.net.PAA, "err", err)
	c.session.Store(nil)
	s.close()
	return c.authenticate(ctx, id, c.address.addr(), false)
}

// activate has the session s go on at c's address, and waits until the router has that.
func (c *candidate) activate(ctx context.Context, id event.HandoverID, s *session) (err error) {
	span := c.n.cfg.Recorder.Begin(id, event.PhaseArrival)
	defer func() { span.End(err) }()
	if err = s.ended(); err != nil {
		return err
	}
	if err = s.takeAlong(c.address.addr()); err != nil {
		return err
	}
	ack, err := s.send(&notify.Arrival{Header: notify.Header{Handover: id}}, pana.NotifyOptions{Activate: true, Urgent: true})
	if err != nil {
		return err
	}
	limit := time.NewTimer(c.n.cfg.Timers.Arrive)
	defer limit.Stop()
	select {
	case err = <-ack:
		return err
	case <-s.closed:
		return s.reason
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-limit.C:
		return fmt.Errorf("%s did not acknowledge the arrival in %s", c.net.PAA, c.n.cfg.Timers.Arrive)
	}
}

// openPath opens the native path from c's address.
func (c *candidate) openPath() error {
	p, err := c.n.home.newPath(c)
	if err != nil {
		return err
	}
	c.setPath(p)
	return p.onLink()
}

// detach ends all that c has, from its own address.
func (n *Node) detach(c *candidate) {
	confirmed := false
	c.keys.end()
	if s := c.session.Swap(nil); s != nil {
		confirmed = s.terminate(context.Background())
	}
	if c.address != nil {
		if !c.address.byRouter.Load() || !confirmed {
			c.releaseHere()
		}
		n.forget(c.net.Name, c.address.addr())
	}
	n.drop(c)
}

// resume makes a candidate of the address that the node had on this link before
// it crashed, or had prepared for it and could not use. Binding and authentication go on at once, so that traffic does where
// the router lets it; that the address still is the node's is found out meanwhile.
// It returns nil without an error when there is no such address.
func (n *Node) resume(ctx context.Context, id event.HandoverID, network Network, via *candidate) (c *candidate, err error) {
	r, ok := n.recall(network.Name)
	if !ok {
		return nil, nil
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseAttach, "network", network.Name, "resumed", r.prefix().String())
	defer func() { span.End(err) }()
	if c, err = n.newCandidate(ctx, network); err != nil {
		return nil, err
	}
	made := c
	defer func() {
		if err != nil { // the address is not given back: the next attempt may have it
			if s := made.session.Swap(nil); s != nil {
				s.terminate(context.Background())
			}
			made.keys.end()
			n.drop(made)
		}
	}()
	c.address = newAddress(r.lease)
	c.address.byRouter.Store(r.ByRouter)
	c.address.resumed = true
	if err = firstError(c.physical, func() error { return c.resolveRouter(ctx) }, func() error { return c.findAgent(ctx, r.lease) }); err != nil {
		n.cfg.Log.Warn("the address of before is not used again", "addr", r.prefix(), "err", err)
		n.drop(c)
		return nil, nil
	}
	if err = firstError(func() error { return c.port.ip.announce(c.address.addr()) }, c.openPath); err != nil {
		return nil, err
	}
	n.carryOn(id, via, c)
	c.keepKeys(id)
	var authentication sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	authentication.Go(func() {
		err := c.authenticate(ctx, id, c.address.addr(), false)
		if err == nil { // what held packets back, a tunnel of before for instance, is gone
			n.home.hurry()
		} // else the keeper tries again
	})
	if err = n.bind(ctx, id, c, via.forwards(ctx)); err != nil {
		cancel()
	}
	authentication.Wait()
	return c, err
}

// bind has packets come to c's care-of address; ordered says that the path bound so
// far is alive.
func (n *Node) bind(ctx context.Context, id event.HandoverID, c *candidate, ordered bool) error {
	span := n.cfg.Recorder.Begin(id, event.PhaseBind, "care_of", c.path.coa.String())
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Bind)
	defer cancel()
	c.bindTried, c.carried = true, true
	n.bindsBeside(c.path)
	at, err := n.home.bind(ctx, id, c.path, ordered)
	span.End(err, at...)
	if err != nil {
		return fmt.Errorf("binding update: %w", err)
	}
	n.boundTo(c)
	return nil
}

// boundTo notes that the binding is to c's address: what stood with it stands without. What a person has asked for
// is of no use so, and is given back.
func (n *Node) boundTo(c *candidate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, st := range n.stands {
		if st.c == nil || st.c == c || !st.c.bindTried {
			continue
		}
		st.c.bindTried, st.depth = false, min(st.depth, decision.Tunnel)
		if st.asked == decision.Bind && c != n.serving {
			st.asked = decision.None
		}
	}
}

// unbind ends the binding when the node closes; c is what serves, if anything does.
func (n *Node) unbind(c *candidate) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var p *path
	if c != nil {
		p = c.path
	}
	if err := n.home.unbind(ctx, p); err != nil {
		n.cfg.Log.Warn("not unbound", "err", err)
	}
}
