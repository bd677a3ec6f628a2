package mn

import (
	"fmt"
	"time"

	"openmpa/internal/event"
)

// kept is a complete candidate that waits for its move. Its handover has begun with
// the preparation, and goes on with the move.
type kept struct {
	id    event.HandoverID
	c     *candidate
	span  *event.Span // of the whole handover
	until time.Time   // then it is given back
	taken chan struct{}
	// departed: the node has told its router to hold, and the link did not get there.
	departed bool
	// tried: an attachment elsewhere has failed, for which it was kept; it may be in the way.
	tried bool
}

// keep keeps a candidate until it is used, its session ends, or its time is over. The
// caller has the turn.
func (n *Node) keep(id event.HandoverID, c *candidate, span *event.Span) {
	until := time.Now().Add(n.cfg.Timers.Prepared)
	if l := c.address.lease.Load(); l.expires().Before(until) { // its router renews nothing
		until = l.expires()
	}
	n.keepOn(&kept{id: id, c: c, span: span, until: until})
}

// keepOn keeps k until it is used, its session ends, or its time is over.
func (n *Node) keepOn(k *kept) {
	defer n.reconsider()
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := make(chan struct{}) // k may be kept again before this watch has seen that it was taken
	k.taken = taken
	n.kept = k
	s := k.c.session.Load() // whoever takes k may end it before the watch begins
	n.wg.Go(func() { n.watchKept(k, s, taken) })
}

// keepDeparted keeps c, for which the node has departed and where it has not arrived:
// the link may still come up there, or elsewhere.
func (n *Node) keepDeparted(id event.HandoverID, old, c *candidate) {
	if c.session.Load().ended() != nil {
		n.giveUp(old, c)
		return
	}
	n.keep(id, c, nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept.departed = true
}

// returnKept has packets for what is kept come through its tunnel to c again, which is
// where it was prepared from: the node has departed for it, or was elsewhere.
func (n *Node) returnKept(k *kept, c *candidate) {
	n.announce(c)
	if err := n.net.AddRule(k.c.virtualRule()); err != nil {
		n.cfg.Log.Error("rule of the tunnel", "err", err)
	}
	n.carryOn(k.id, k.c, c)
}

// candidate is nil where nothing is kept.
func (k *kept) candidate() *candidate {
	if k == nil {
		return nil
	}
	return k.c
}

// usable says that a move may still begin.
func (k *kept) usable(network string) bool {
	return k != nil && k.c.net.Name == network && k.c.session.Load().ended() == nil && k.c.voided.Load() == nil && time.Now().Before(k.until)
}

// takeKept takes what is kept, nil if nothing is. The caller has the turn.
func (n *Node) takeKept() *kept {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.kept
	if k != nil {
		n.kept = nil
		close(k.taken)
	}
	return k
}

// watchKept gives k back when it is of no more use, its session s ended for instance. Without a link at the serving network
// nothing can be given back in order: then it may still be what the node arrives at.
func (n *Node) watchKept(k *kept, s *session, taken <-chan struct{}) {
	timer := time.NewTimer(time.Until(k.until))
	defer timer.Stop()
	why := fmt.Sprintf("given back: not used in %v", n.cfg.Timers.Prepared)
	select {
	case <-taken:
		return
	case <-n.ctx.Done():
		return
	case <-s.closed:
		why = "given back: the session with its router has ended: " + s.reason.Error()
	case <-timer.C:
	}
	for {
		p := n.servingPort()
		since := p.carrier.look()
		select {
		case n.turn <- struct{}{}:
		case <-taken:
			return
		case <-n.ctx.Done():
			return
		}
		n.mu.Lock()
		mine := n.kept == k
		n.mu.Unlock()
		if done := !mine || since.Up && !p.awayFrom(n.ctx, n.servingNetwork()); done {
			if mine {
				n.unkeep(n.takeKept(), why)
			}
			n.endTurn()
			return
		}
		n.endTurn()
		select {
		case <-since.changed:
		case <-taken:
			return
		case <-n.ctx.Done():
			return
		}
	}
}

// unkeep gives a kept candidate back: the binding first, in order, so that nothing is
// lost. The caller has the turn, and has taken k.
func (n *Node) unkeep(k *kept, why string) {
	n.mu.Lock()
	old := n.serving
	n.mu.Unlock()
	n.abandon(k.id, old, k.c, packets)
	n.reconsider()
	k.span.EndOutcome(event.Cancelled, why)
}

// servingNetwork is the name of the network that serves, empty if none does.
func (n *Node) servingNetwork() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.serving == nil {
		return ""
	}
	return n.serving.net.Name
}

// Prepare makes a candidate of the network of that name complete and keeps it: a
// [Node.Handover] there is the move only, and so is an arrival of the link without us. It
// is given back after Timers.Prepared, with the end of its session, and when another
// network is prepared; asked for again it is kept that long from then on. The outcome
// is event.OK or event.Failed.
func (n *Node) Prepare(network string) (*Handover, error) { return n.begin(network, false) }

// PreparedStatus is what waits for its move.
type PreparedStatus struct {
	Handover event.HandoverID `json:"handover"`
	Network  string           `json:"network"`
	Address  string           `json:"address"` // care-of
	Left     float64          `json:"left_s"`  // until it is given back, seconds
	Rekeyed  uint64           `json:"rekeyed"` // times its tunnel has had other keys
}

// status of k; the caller holds n.mu.
func (k *kept) status() *PreparedStatus {
	if k == nil {
		return nil
	}
	var rekeyed uint64
	if t := k.c.tunnel.Load(); t != nil {
		rekeyed = t.Stats().Rekeys
	}
	return &PreparedStatus{
		Rekeyed: rekeyed, Handover: k.id, Network: k.c.net.Name, Address: k.c.address.prefix().String(),
		Left: max(0, time.Until(k.until).Round(100*time.Millisecond).Seconds()),
	}
}
