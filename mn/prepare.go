package mn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/paa/notify"
)

// prepare takes st to a depth: session, address, tunnel, binding (RFC 6252 §6.3 steps 1 to 3), and with
// that what the kernel needs at the new link. On an error nothing of it is left.
func (n *Node) prepare(ctx context.Context, old *candidate, st *stand, to decision.Depth) (err error) {
	network, err := n.network(st.net)
	if err != nil {
		return err
	}
	span := n.cfg.Recorder.Begin(st.id, event.PhasePrepare, "network", st.net, "from", st.depth.String())
	defer func() { span.End(err, "depth", st.depth.String()) }()
	since := old.port.carrier.look()
	if old.port.awayFrom(ctx, old.net.Name) {
		err = fmt.Errorf("the link is not at %s", old.net.Name)
		n.putBack(st)
		return err
	}
	ctx, stop := old.port.whileAt(ctx, old.net.Name, since)
	defer stop()
	var looking sync.WaitGroup
	looking.Go(func() { n.portOf(network).lookFor(ctx, lookWithin, network.Points...) })
	defer looking.Wait()
	defer func() {
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if st.c != nil {
			if old.port.left(ctx, old.net.Name) {
				n.putBack(st)
				return
			}
			has := perhaps
			if ctx.Err() != nil {
				has = packets
			}
			n.abandon(st.id, old, st.c, has)
		}
		n.inVain(st, err.Error())
	}()
	if err = n.raise(ctx, st, old, to); err != nil || to < decision.Bind {
		return err
	}
	c := st.c
	n.prepareBeside(ctx, st.id, old, c)
	if st.depth < decision.Bind {
		began := time.Now()
		err = n.bindAhead(ctx, st.id, old, c)
		if ctx.Err() == nil {
			n.measured(st.net, decision.Bind, time.Since(began), err == nil)
		}
		if err != nil {
			return err
		}
		n.reached(st, decision.Bind)
	}
	if c.port == old.port { // else the link there is up, or the interface is down: there is time in the move
		if err = c.physical(); err != nil {
			return fmt.Errorf("the new link could not be prepared: %w", err)
		}
	}
	c.keys.await(ctx) // as a rule they came long before
	return ctx.Err()
}

// prepareBeside prepares further networks, up to the binding, which is c's.
func (n *Node) prepareBeside(ctx context.Context, id event.HandoverID, old, c *candidate) {
	for _, name := range n.cfg.Beside {
		if !n.cfg.Several || ctx.Err() != nil || name == c.net.Name || name == old.net.Name {
			continue
		}
		r, err := n.prepareOne(ctx, id, old, name)
		if err != nil {
			n.cfg.Log.Warn("not prepared beside the next network", "network", name, "err", err)
			continue
		}
		c.rest = append(c.rest, r)
	}
}

// prepareOne is prepare, without the binding and without what only a move there needs.
func (n *Node) prepareOne(ctx context.Context, id event.HandoverID, old *candidate, name string) (*candidate, error) {
	st := n.takeStand(ctx, name)
	if st != nil && !st.usable() {
		n.leaveStand(st, "given back: "+st.spent())
		st = nil
	}
	if st == nil {
		st = &stand{id: id, net: name}
	}
	if err := n.raise(ctx, st, old, decision.Tunnel); err != nil {
		if st.c != nil {
			n.abandon(id, old, st.c, nothing)
		}
		return nil, err
	}
	return st.c, nil
}

// leaveRest takes back what was prepared beside c, from at, where the node is: nothing is to come by
// it that does not come by another path.
func (n *Node) leaveRest(id event.HandoverID, at, c *candidate) {
	for _, r := range c.rest {
		n.abandon(id, at, r, nothing)
	}
	c.rest = nil
}

// forgetRest is leaveRest without a word to the routers.
func (n *Node) forgetRest(old, c *candidate) {
	for _, r := range c.rest {
		n.giveUp(old, r)
	}
	if c.rest = nil; c.path != nil {
		c.path.beside = nil
	}
}

// configure has the router lease an address (§7.3.1) and puts it on the TUN.
// meanwhile is called when the router has been asked.
func (c *candidate) configure(ctx context.Context, id event.HandoverID, meanwhile func()) (err error) {
	n := c.n
	span := n.cfg.Recorder.Begin(id, event.PhaseConf, "by", c.net.PAA.String())
	defer func() { span.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Configure)
	defer cancel()
	r := c.port.ip.request(notify.Header{Handover: id})
	c.asking = true
	for questions := 1; ; questions++ {
		a, err := c.session.Load().pose(r, notify.KindConfigReply)
		if err != nil {
			return err
		}
		meanwhile()
		meanwhile = func() {}
		m, err := a.wait(ctx, n.cfg.Timers.Configure)
		if err != nil {
			return err
		}
		reply := m.(*notify.ConfigReply)
		if reply.Reason != "" {
			c.asking = false
		}
		l, err := c.port.ip.configured(c.net.Name, reply, r)
		switch {
		case err != nil:
			return err
		case l != nil:
			if err = c.configured(*l, reply); err == nil {
				c.asking = false
			}
			return err
		case questions == maxQuestions:
			return fmt.Errorf("each of %d addresses was in use by another host there", retries+1)
		}
	}
}

// maxQuestions bounds how often a router is asked about one address: what its link is like,
// and whether an address can be had, for each address that may be in use.
const maxQuestions = 2 * (retries + 1)

// configured puts the address that c's router has given on the TUN.
func (c *candidate) configured(l lease, r *notify.ConfigReply) error {
	if err := c.fits(l); err != nil {
		return err
	}
	c.address = newAddress(l)
	c.address.optimistic = l.Six != nil
	c.address.routerMAC.Store(&r.RouterMAC)
	c.address.byRouter.Store(true)
	c.remember(false)
	return c.virtual()
}

// fits says whether the node can have what the router gave beside what it has.
func (c *candidate) fits(l lease) error {
	n := c.n
	n.mu.Lock()
	old := n.serving
	a := l.addr()
	stands := slices.ContainsFunc(n.sorted(), func(st *stand) bool {
		return st.c != c && st.depth >= decision.Configure && st.c.address.addr() == a
	})
	n.mu.Unlock()
	switch {
	case stands || n.home.owns(a) || (*n.guests.Load())[a] != nil || old != nil && a == old.address.addr():
		return fmt.Errorf("the router gave %s, which the node has already", a)
	case !n.six() && old != nil && old.port == c.port && l.router() == old.address.router():
		return fmt.Errorf("the router there has the address %s, as the one here: number the networks apart", l.router())
	}
	return nil
}

// openTunnel makes the node's end of the proactive handover tunnel (§7.4), by way of
// from.
func (c *candidate) openTunnel(ctx context.Context, id event.HandoverID, from *candidate) (err error) {
	span := c.n.cfg.Recorder.Begin(id, event.PhaseTunnel, "inner", c.address.addr().String())
	defer func() { span.End(err) }()
	p, err := c.n.home.newPath(c)
	if err != nil {
		return err
	}
	c.setPath(p)
	c.path.merges.expect(true)
	if id == c.posed { // the answer to that question may come yet, and names other keys
		if id, err = event.NewHandoverID(c.n.cfg.Rand); err != nil {
			return err
		}
	}
	c.posed = id
	r := &notify.TunnelRequest{Header: notify.Header{Handover: id}}
	if c.held {
		r.Held, r.MAC = true, c.port.mac
	}
	t, err := c.agree(ctx, c.session.Load(), from, r)
	if err != nil {
		return err
	}
	c.n.guest(c.path.coa, c.path)
	c.tunnel.Store(t)
	return c.path.inTunnel(t)
}

// carries is what is known of a candidate's path.
type carries int

const (
	nothing carries = iota // it is dead
	perhaps                // the binding could not be moved to it, or it is not known why it failed
	packets                // and it is alive
)

// ifSo is that of a path which is known to be alive, or dead.
func ifSo(alive bool) carries {
	if alive {
		return packets
	}
	return nothing
}

// abandon takes back a preparation that did not come to its end, or was not
// used: the binding, if it has moved, then the tunnel, address and session, when nothing
// comes by it any more. Where the link is at the old network no more, there is nobody to
// speak to.
func (n *Node) abandon(id event.HandoverID, old, c *candidate, has carries) {
	c.mapping.stop()
	since := old.port.carrier.look()
	if old.port.awayFrom(n.ctx, old.net.Name) {
		n.giveUp(old, c)
		return
	}
	ctx, stop := old.port.whileAt(n.ctx, old.net.Name, since)
	defer stop()
	if c.bindTried {
		has = n.bringBack(ctx, id, old, c, has)
	} else if c.carried {
		n.home.emptied()
	}
	if c.vanished.Load() {
		has = nothing
	}
	if c.carried && has != nothing && ctx.Err() == nil && c.tunnel.Load() != nil { // the session takes the tunnel along, with what is still in it
		c.markEnd(id, firstEnd, c.path.mark)
	}
	if errors.Is(context.Cause(ctx), errMovedOn) {
		n.giveUp(old, c)
		return
	}
	n.leaveRest(id, old, c)
	n.takeLeave(id, c, old) // with the session the router deletes the tunnel and releases the lease
}

// bringBack moves the binding from c, whose path is as has says, back to old, and returns what is known of the path
// now. Nothing comes by it any more then.
func (n *Node) bringBack(ctx context.Context, id event.HandoverID, old, c *candidate, has carries) carries {
	if c.session.Load().ended() != nil || c.vanished.Load() {
		has = nothing
	}
	err := n.bind(ctx, id, old, has == packets)
	if err != nil {
		n.cfg.Log.Error("the binding could not be moved back yet", "err", err)
		n.home.fallBack(old.path)
		if has != nothing { // it may be here, which ends when it is there
			n.agreed(ctx, old.path)
		}
	}
	switch has {
	case packets:
		n.home.emptied()
	case perhaps:
		sleep(ctx, n.cfg.Timers.PathEnd)
	}
	c.bindTried = false
	return has
}

// agreed waits until the binding is known to be to p's address, which is being asked for:
// as long as for one at most.
func (n *Node) agreed(ctx context.Context, p *path) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Bind)
	defer cancel()
	for !n.home.isBound(p) && ctx.Err() == nil {
		sleep(ctx, 2*time.Millisecond)
	}
}

// giveUp forgets a candidate without a word to its router, which misses the node
// before long. The record of the address stays: the link may be there already, and
// then it is used again.
func (n *Node) giveUp(old, c *candidate) {
	c.mapping.stop()
	if c.bindTried {
		n.home.fallBack(old.path)
	}
	n.forgetRest(old, c)
	if s := c.session.Swap(nil); s != nil {
		s.close()
	}
	c.keys.end()
	n.drop(c)
}
