package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
)

// keeper keeps what the serving candidate needs: its lease and its session.
type keeper struct {
	cancel   context.CancelFunc
	endProbe context.CancelFunc // called when the node leaves the link
	wg       sync.WaitGroup
}

// stop ends it and waits until it has. A nil keeper does nothing.
func (k *keeper) stop() {
	if k != nil {
		k.cancel()
		k.wg.Wait()
	}
}

// serve makes c the serving candidate and keeps it.
func (n *Node) serve(c *candidate) {
	ctx, cancel := context.WithCancel(n.ctx)
	probing, endProbe := context.WithCancel(ctx)
	c.keeper = &keeper{cancel: cancel, endProbe: endProbe}
	n.mu.Lock()
	if n.serving != nil {
		n.serving.keeper.cancel() // and waited for when leave is taken of it
		n.ladder.left = n.serving.net.Name
		n.unboundHere()
	}
	n.serving, n.state, c.held = c, "attached", false
	n.mu.Unlock()
	n.dead.Store(nil)
	n.elsewhereNow()
	if n.decider == nil { // which notes moves itself, roams too
		c.keeper.wg.Go(func() { n.noteMove(ctx, c) })
	}
	c.keeper.wg.Go(func() { c.keepSession(ctx) })
	c.keeper.wg.Go(func() { c.keepLease(ctx) })
	c.keeper.wg.Go(func() { c.keepStandby(ctx) })
	c.keeper.wg.Go(func() { c.defend(ctx) })
	if c.address.resumed || c.address.optimistic {
		c.keeper.wg.Go(func() { c.probe(probing) })
	}
}

// keepSession makes another session whenever the one with the router has ended,
// by whomever and for whatever reason: a fresh one, from the care-of address that
// the node has. Address, path and traffic stay as they are.
func (c *candidate) keepSession(ctx context.Context) {
	n, wait := c.n, retryFirst
	for {
		if s := c.session.Load(); s != nil {
			select {
			case <-ctx.Done():
				return
			case <-s.closed:
			}
			c.session.Store(nil)
			s.close()
			n.cfg.Log.Warn("authenticating again: the session has ended", "paa", c.net.PAA, "reason", s.reason)
			c.trouble.Store(&s.reason)
		}
		if !n.away.Load() {
			err := c.authenticate(ctx, event.HandoverID{}, c.address.addr(), false)
			if err == nil {
				wait = retryFirst
				continue
			}
			if ctx.Err() != nil {
				return
			}
			n.cfg.Log.Info("no session, trying again", "paa", c.net.PAA, "in", wait) // the timeline has told why
			c.trouble.Store(&err)
			c.resolveAnew(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMost)
	}
}

// keepLease renews the lease in time (RFC 2131 §4.4.5), and a lease from before
// a crash at once, until ctx ends. When there is none any more the address is
// void.
func (c *candidate) keepLease(ctx context.Context) {
	failed := c.address.resumed
	for first := c.address.resumed; ; first = false {
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-time.After(c.address.lease.Load().untilRenewal(time.Now(), failed)):
			}
		}
		l := c.address.lease.Load()
		if !time.Now().Before(l.expires()) {
			c.void(fmt.Errorf("the lease of %s has expired", l.addr()))
			return
		}
		failed = c.renew(ctx, event.HandoverID{}) != nil
		if c.voided.Load() != nil {
			return
		}
	}
}

// renew extends the lease from the address itself, which disturbs nothing: a
// failure leaves the lease as it is. A NAK voids the address.
func (c *candidate) renew(ctx context.Context, id event.HandoverID) error {
	c.n.dhcpPort <- struct{}{}
	defer func() { <-c.n.dhcpPort }()
	span := c.n.cfg.Recorder.Begin(id, event.PhaseRenew, "addr", c.address.addr().String())
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	old := c.address.lease.Load()
	start, _, t2, _ := old.term()
	l, lost, err := c.port.ip.renew(ctx, *old, time.Now().After(start.Add(t2)))
	span.End(err)
	if lost {
		c.void(err)
	}
	if err != nil {
		c.n.cfg.Log.Warn("lease not renewed", "addr", c.address.addr(), "until", old.expires(), "err", err)
		return err
	}
	c.address.lease.Store(&l)
	c.remember(false)
	return nil
}

// probe looks whether somebody else has got the address meanwhile, which is of before a
// crash (RFC 5227 §2.1), or was prepared from elsewhere (RFC 4429). It is in use while
// that goes on.
func (c *candidate) probe(ctx context.Context) {
	err := c.port.probe(ctx, event.HandoverID{}, c.address.addr())
	if conflict := (*acd.ConflictError)(nil); !errors.As(err, &conflict) {
		return
	}
	c.taken(err)
}

// void says that the address must not be used any more: the node attaches anew.
func (c *candidate) void(err error) {
	c.voided.Store(&err)
	select {
	case c.n.wake <- struct{}{}:
	default:
	}
}

// discard gives up the serving candidate, whose address is void. There is nothing
// to speak to its router from before there is another: the session is ended then.
func (n *Node) discard(c *candidate) {
	for _, st := range n.takeAll() {
		n.forgetStand(c, st, "given up: the address it was prepared from is void")
	}
	n.cfg.Log.Warn("attaching anew", "network", c.net.Name, "addr", c.address.addr(), "reason", *c.voided.Load())
	n.mu.Lock()
	n.serving = nil
	n.mu.Unlock()
	c.keeper.stop()
	if s := c.session.Swap(nil); s != nil {
		n.unended = append(n.unended, s)
	}
	c.keys.end()
	n.drop(c)
	n.forget(c.net.Name, c.address.addr())
}

// endSessions ends those of addresses that are void, from c's, or without a word where c is
// nil. The caller has the turn.
func (n *Node) endSessions(c *candidate) {
	for _, s := range n.unended {
		if c == nil || s.takeAlong(c.address.addr()) != nil {
			s.close()
			continue
		}
		n.farewells.Go(func() { s.terminate(n.ctx) })
	}
	n.unended = nil
}
