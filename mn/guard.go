package mn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/tunnel"
)

// GuardWhen says when the node has a router keep copies of what it sends, so that
// nothing is lost where the link is cut without warning (RFC 6252 §7.6.2). Packets
// then come through the tunnel, with numbers.
type GuardWhen string

// The policies.
const (
	GuardNever  GuardWhen = "never"
	GuardWeak   GuardWhen = "weak" // while moves go there and back, or the decider finds the signal below its level look
	GuardAlways GuardWhen = "always"
	GuardOn     GuardWhen = "on"   // told by a person, until told otherwise
	GuardOff    GuardWhen = "off"  // likewise
	GuardAuto   GuardWhen = "auto" // told: as the configuration says
)

// guarding is who keeps copies, and why. Its fields are guarded by Node.mu.
type guarding struct {
	told GuardWhen      // GuardOn, GuardOff, or empty
	weak bool           // the signal is
	by   *tunnel.Tunnel // in which they come; nil: nobody keeps any
	of   *candidate     // whose it is
	sure bool           // its router has said so; else it may have taken the question, and its answer is lost

	wake chan struct{}
}

// Guard has a router keep copies, or no longer; GuardAuto leaves it to the
// configuration again.
func (n *Node) Guard(how GuardWhen) error {
	switch how {
	case GuardOn, GuardOff:
	case GuardAuto:
		how = ""
	default:
		return fmt.Errorf("mn: guard %q: expected %s, %s or %s", how, GuardOn, GuardOff, GuardAuto)
	}
	n.mu.Lock()
	n.guard.told = how
	n.mu.Unlock()
	n.reconsider()
	return nil
}

// weaken implements mover.
func (n *Node) weaken(weak bool) {
	n.mu.Lock()
	changed := n.guard.weak != weak
	n.guard.weak = weak
	n.mu.Unlock()
	if changed {
		n.reconsider()
	}
}

// reconsider has keepGuard look again.
func (n *Node) reconsider() { poke(n.guard.wake) }

// unguarded notes that c's router keeps no copies any more: the node has come back.
func (n *Node) unguarded(c *candidate) {
	n.mu.Lock()
	if n.guard.of == c {
		n.guard.by, n.guard.of, n.guard.sure = nil, nil, false
	}
	n.mu.Unlock()
	n.reconsider()
}

// guardedBy says whether c's router keeps copies, or may.
func (n *Node) guardedBy(c *candidate) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.guard.of == c
}

// protector is who is to keep copies now: the router of the stand where the
// binding is, else the serving one; nil: nobody.
func (n *Node) protector() (c *candidate, t *tunnel.Tunnel) {
	n.mu.Lock()
	g, serving := n.guard, n.serving
	n.mu.Unlock()
	wanted := n.cfg.Guard == GuardAlways || n.cfg.Guard == GuardWeak && (g.weak || n.both.Load())
	if g.told != "" {
		wanted = g.told == GuardOn
	}
	if !wanted {
		return nil, nil
	}
	if c = n.carrierOf(serving); c == nil {
		return nil, nil
	}
	if t = c.tunnel.Load(); t == nil {
		return nil, nil
	}
	return c, t
}

// moving says that a handover goes on, or the link is elsewhere: what is asked of a
// router now would come between.
func (n *Node) moving() bool {
	n.mu.Lock()
	h := n.current
	n.mu.Unlock()
	if n.away.Load() {
		return true
	}
	if h == nil {
		return false
	}
	select {
	case <-h.done:
		return false
	default:
		return true
	}
}

// keepGuard has the right router keep copies, and no other.
func (n *Node) keepGuard() {
	var (
		again <-chan time.Time
		pause = retryFirst
	)
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.guard.wake:
		case <-again:
		}
		again = nil
		if n.moving() {
			again = time.After(retryFirst)
			continue
		}
		c, t := n.protector()
		n.mu.Lock()
		of, by, sure := n.guard.of, n.guard.by, n.guard.sure
		n.mu.Unlock()
		if by == t && (t == nil || sure) {
			continue
		}
		if of != nil && by != t && of.tunnel.Load() == by {
			if err := of.deliver(n.ctx, notify.Unguard, netip.AddrPort{}); err != nil {
				n.cfg.Log.Info("copies are kept on", "paa", of.net.PAA, "err", err)
			}
			if p := of.pathNow(); p != nil && of.serves() {
				p.merges.expect(false)
			}
		}
		n.mu.Lock()
		n.guard.of, n.guard.by, n.guard.sure = c, t, false
		n.mu.Unlock()
		if t == nil {
			continue
		}
		if p := c.pathNow(); p != nil {
			p.merges.expect(true)
		}
		err := c.deliver(n.ctx, notify.Guard, netip.AddrPort{})
		n.guarded(t, err)
		if err != nil {
			n.cfg.Log.Info("the link is not guarded, trying again", "paa", c.net.PAA, "in", pause, "err", err)
			again = time.After(pause)
			pause = min(2*pause, retryMost)
			continue
		}
		pause = retryFirst
	}
}

// guarded notes what came of asking for copies in t, unless the node has come back meanwhile.
func (n *Node) guarded(t *tunnel.Tunnel, err error) {
	refusal := (*refusedError)(nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.guard.by != t:
	case err == nil:
		n.guard.sure = true
	case errors.As(err, &refusal):
		n.guard.by, n.guard.of = nil, nil
	}
}

// serves says whether c is what serves.
func (c *candidate) serves() bool {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.n.serving == c
}

// deliver tells c's router how to deliver, and waits until it does.
func (c *candidate) deliver(ctx context.Context, how notify.How, outer netip.AddrPort) error {
	s, p := c.session.Load(), c.pathNow()
	switch {
	case s == nil:
		return errClosedSession
	case p == nil:
		return errNoTunnel
	}
	id, err := event.NewHandoverID(c.n.cfg.Rand) // tells this question from others
	if err != nil {
		return err
	}
	switch {
	case how != notify.Unguard:
		p.turn.leave(id)
	case c.serves():
		p.turn.settle(ctx)
		p.turn.land(id)
	}
	if t := c.tunnel.Load(); t != nil {
		_ = t.Refresh() // its router must have heard from this end
	}
	r := &notify.Deliver{Header: notify.Header{Handover: id}, How: how, Outer: outer}
	m, err := s.ask(ctx, r, notify.KindDeliverReply, max(c.n.cfg.Timers.Depart, 5*s.rtt()))
	if err != nil {
		return err
	}
	if reason := m.(*notify.DeliverReply).Reason; reason != "" {
		return &refusedError{r.Kind(), reason}
	}
	return nil
}

// GuardStatus is who keeps copies.
type GuardStatus struct {
	By   string `json:"by"`             // network of the router that does
	Told string `json:"told,omitempty"` // by a person: on or off
}

// status returns it, nil if nobody does, and nobody was told; the caller holds Node.mu.
func (g *guarding) status() *GuardStatus {
	if !g.sure && g.told == "" {
		return nil
	}
	s := &GuardStatus{Told: string(g.told)}
	if g.sure {
		s.By = g.of.net.Name
	}
	return s
}
