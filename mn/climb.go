package mn

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// climb takes st as deep as it is wanted, but for the binding, in the background; since is a look at the carrier from
// before the link was known to be at old, which serves. The others go on meanwhile, whatever becomes of it.
func (n *Node) climb(old *candidate, st *stand, since sight) {
	ctx, cancel := context.WithCancel(n.ctx)
	j := &job{cancel: cancel, done: make(chan struct{})}
	n.mu.Lock()
	if n.closing || n.away.Load() || n.serving != old || n.stands[st.net] != st || st.job != nil {
		n.mu.Unlock()
		cancel()
		return
	}
	st.job = j
	from, to := st.depth, min(st.goal(), decision.Tunnel)
	n.mu.Unlock()
	n.wg.Go(func() {
		defer poke(n.ladder.wake)
		defer close(j.done)
		defer cancel()
		at, stop := old.port.whileAt(ctx, old.net.Name, since)
		span := n.cfg.Recorder.Begin(st.id, event.PhasePrepare, "network", st.net, "from", from.String(), "to", to.String())
		err := n.raise(at, st, old, to)
		failed := err != nil && at.Err() == nil
		if stop(); failed {
			n.cfg.Log.Info("not prepared as deep as wanted", "network", st.net, "to", to, "err", err)
		}
		span.End(err, "depth", st.depth.String())
		n.mu.Lock()
		defer n.mu.Unlock()
		st.job = nil
		n.rested(st.net, failed, err == nil)
		if st.depth == decision.None && n.stands[st.net] == st {
			delete(n.stands, st.net)
		}
	})
}

// rested notes that an attempt at a network has failed, which rests then, or that one has not. The caller holds n.mu.
func (n *Node) rested(network string, failed, ok bool) {
	if ok {
		delete(n.ladder.rests, network)
	}
	if !failed {
		return
	}
	r := n.ladder.rests[network]
	r.pause = min(max(2*r.pause, retryFirst), retryMost)
	r.until = time.Now().Add(r.pause)
	if len(n.ladder.rests) >= mostRests {
		for name, other := range n.ladder.rests {
			if time.Now().After(other.until) {
				delete(n.ladder.rests, name)
			}
		}
	}
	n.ladder.rests[network] = r
}

// mostRests is from how many on those are forgotten that are over.
const mostRests = 64

// raise takes st to a depth, but not further than the tunnel, by way of old. What it has reached stays where it
// fails, if it is of use.
func (n *Node) raise(ctx context.Context, st *stand, old *candidate, to decision.Depth) error {
	for d := st.depth + 1; d <= min(to, decision.Tunnel); d++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		began := time.Now()
		err := n.step(ctx, st, old, d, to)
		if ctx.Err() == nil { // else it is not for that
			n.measured(st.net, d, time.Since(began), err == nil)
		}
		if err != nil {
			return err
		}
		n.reached(st, d)
	}
	return nil
}

// step takes st from the depth before to d.
func (n *Node) step(ctx context.Context, st *stand, old *candidate, d, to decision.Depth) (err error) {
	c := st.c
	switch d {
	case decision.Authenticate:
		if c, err = n.preauthenticate(ctx, st, old); err != nil {
			return fmt.Errorf("authentication at %s: %w", st.net, err)
		}
		n.mu.Lock()
		st.c = c
		n.mu.Unlock()
		c.keepMapping()
		if to == d {
			c.keepKeys(st.id)
		}
	case decision.Configure:
		if err = c.configure(ctx, st.id, func() { c.keepKeys(st.id) }); err != nil {
			return fmt.Errorf("configuration by %s: %w", st.net, err)
		}
	case decision.Tunnel:
		if err = c.openTunnel(ctx, st.id, old); err != nil {
			c.deleteTunnel(st.id)
			return fmt.Errorf("tunnel to %s: %w", st.net, err)
		}
		if err := c.tunnel.Load().Refresh(); err != nil { // by which the router learns where this end is
			n.cfg.Log.Debug("nothing sent through the tunnel", "paa", c.net.PAA, "err", err)
		}
	}
	return nil
}

// preauthenticate makes a candidate of st's network, with a session.
func (n *Node) preauthenticate(ctx context.Context, st *stand, old *candidate) (*candidate, error) {
	network, err := n.network(st.net)
	if err != nil {
		return nil, err
	}
	c, err := n.newCandidate(ctx, network)
	if err != nil {
		return nil, err
	}
	if !c.net.PAA.Addr().IsValid() {
		err = fmt.Errorf("the PAA of %s is not known before the node has been there, where DHCP names it: give paa of that network", st.net)
	} else {
		err = c.authenticate(ctx, st.id, old.address.addr(), true)
	}
	if err != nil {
		n.drop(c)
		return nil, err
	}
	return c, nil
}

// deleteTunnel ends c's tunnel, at its router, too, and what there is of its path. The address stays.
func (c *candidate) deleteTunnel(id event.HandoverID) {
	c.passing.stop() // it speaks by the path
	c.leaveTunnel()
	if c.path != nil {
		c.n.guest(c.path.coa, nil)
		c.path.close()
		c.setPath(nil)
	}
	if _, err := c.session.Load().send(&notify.TunnelDelete{Header: notify.Header{Handover: id}}, pana.NotifyOptions{}); err != nil {
		c.n.cfg.Log.Debug("the router is not told of the end of a tunnel", "paa", c.net.PAA, "err", err)
	}
}

// relinquish gives st back, or what is too much of it. It has no part in the binding.
func (n *Node) relinquish(st *stand) {
	n.mu.Lock()
	if n.closing || n.away.Load() || n.stands[st.net] != st || st.job != nil || st.c == nil || st.c.bindTried || n.isSpread(st) {
		n.mu.Unlock()
		return
	}
	j := &job{cancel: func() {}, done: make(chan struct{})}
	st.job = j
	why, room, over := st.spent(), st.held && len(n.stands) >= mostStanding, !time.Now().Before(st.until)
	part := why == "" && st.goal() > decision.None && !room
	if part {
		st.depth = decision.Configure
	}
	n.mu.Unlock()
	defer poke(n.ladder.wake)
	defer close(j.done)
	if part {
		st.c.deleteTunnel(st.id)
		n.mu.Lock()
		defer n.mu.Unlock()
		st.job = nil
		return
	}
	switch {
	case room && why == "":
		why = "room is needed"
	case why == "":
		why = "not wanted any more"
	case over:
		why = "not used in its time"
		if st.wished {
			why = fmt.Sprintf("not used in %v", n.cfg.Timers.Prepared)
		}
	}
	n.leaveStand(st, "given back: "+why)
	n.mu.Lock()
	defer n.mu.Unlock()
	st.c, st.depth, st.job = nil, decision.None, nil
	if n.stands[st.net] == st {
		delete(n.stands, st.net)
	}
}

// rebind moves the binding to where it is wanted. It says no where somebody has the turn.
func (n *Node) rebind(ctx context.Context) bool {
	if !n.tryTurn() {
		return false
	}
	defer n.endTurn()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	old := n.serving
	from, to := n.misbound()
	if n.closing || old == nil || n.away.Load() {
		n.mu.Unlock()
		return true // whoever ends that tells
	}
	n.ladder.busy = cancel
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ladder.busy = nil
	}()
	since := old.port.carrier.look()
	if old.port.awayFrom(ctx, old.net.Name) {
		return true
	}
	ctx, stop := old.port.whileAt(ctx, old.net.Name, since)
	defer stop()
	switch {
	case to != nil:
		began := time.Now()
		err := n.bindAhead(ctx, to.id, old, to.c)
		if ctx.Err() == nil {
			n.measured(to.net, decision.Bind, time.Since(began), err == nil)
		}
		n.mu.Lock()
		n.rested(to.net, err != nil && ctx.Err() == nil, err == nil)
		n.mu.Unlock()
		if err != nil {
			n.cfg.Log.Info("not bound ahead", "network", to.net, "err", err)
			break
		}
		n.reached(to, decision.Bind)
	case from != nil:
		n.bringBack(ctx, from.id, old, from.c, packets)
		n.lowered(from)
	}
	n.reconsider()
	poke(n.ladder.wake)
	return true
}

// lowered notes that the binding is not at st any more.
func (n *Node) lowered(st *stand) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st.depth = min(st.depth, decision.Tunnel)
}

// preempt ends what goes on with the binding in the background, for whoever wants the turn.
func (n *Node) preempt() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ladder.busy != nil {
		n.ladder.busy()
	}
}
