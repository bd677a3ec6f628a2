package mn

import (
	"context"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
)

// While moves go there and back, packets are wanted at the last place as well (RFC 6252 appendix C.1): what is held of it
// is bound beside the serving network, where several may be (Config.Several), so that they come there already when the node is
// back; by the tunnel from there they come here, too, and once to applications. Where the link may be guarded
// (GuardWeak), it is.

// SetBoth says whether packets are wanted at both places. It does not wait, and to say it again costs nothing.
func (n *Node) SetBoth(both bool) {
	if n.both.Swap(both) != both {
		n.reconsider()
		poke(n.ladder.wake)
	}
}

// last is what is held of the network that was left last, if packets are to come there as well; nil: nothing, or they are
// not. The caller holds n.mu.
func (n *Node) last() (last *stand) {
	if !n.both.Load() || !n.cfg.Several || n.oneOnly {
		return nil
	}
	for _, st := range n.stands {
		if st.c != nil && st.c.bindTried {
			return nil // the binding is there
		}
		if st.held && st.job == nil && st.depth == decision.Tunnel && st.spent() == "" && (last == nil || st.until.After(last.until)) {
			last = st
		}
	}
	return last
}

// spreads says whether packets come to another place than they are to, beside the one that serves. The caller holds n.mu.
func (n *Node) spreads() bool {
	last := n.last()
	switch {
	case n.spread == nil:
		return last != nil
	case last == nil:
		return true
	}
	return n.spread != last.c.path
}

// isSpread says whether packets come to st's address as well.
func (n *Node) isSpread(st *stand) bool {
	return st.c != nil && st.c.path != nil && st.c.path == n.spread
}

// respread has packets come to where they are to, beside the network that serves. It says no where somebody has the turn.
func (n *Node) respread(ctx context.Context) bool {
	if !n.tryTurn() {
		return false
	}
	defer n.endTurn()
	n.mu.Lock()
	old, last, due := n.serving, n.last(), n.spreads()
	closing := n.closing
	n.mu.Unlock()
	if closing || !due || old == nil || n.away.Load() || !n.home.isBound(old.path) {
		return true
	}
	id, err := event.NewHandoverID(n.cfg.Rand)
	if err != nil {
		return true
	}
	since := old.port.carrier.look()
	if old.port.awayFrom(ctx, old.net.Name) {
		return true
	}
	ctx, stop := old.port.whileAt(ctx, old.net.Name, since)
	defer stop()
	if old.path.beside = nil; last != nil {
		old.path.beside = []*path{last.c.path}
	}
	err = n.bind(ctx, id, old, true)
	if err == nil || ctx.Err() != nil {
		return true
	}
	n.cfg.Log.Info("packets come to one place only", "err", err)
	if last != nil && denied(err) {
		n.mu.Lock()
		n.oneOnly = true
		n.mu.Unlock()
	}
	old.path.beside = nil
	if err = n.bind(ctx, id, old, true); err != nil {
		n.home.fallBack(old.path)
	}
	return true
}

// bindsBeside notes where packets come besides, as they are asked for.
func (n *Node) bindsBeside(p *path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spread = nil
	if n.serving == nil || n.serving.path != p {
		return
	}
	for _, st := range n.stands {
		if st.depth >= decision.Tunnel && slices.Contains(p.beside, st.c.path) { // else it may be about to get one
			n.spread = st.c.path
		}
	}
}

// againSpread is when to look again at what could not be changed.
const againSpread = 200 * time.Millisecond
