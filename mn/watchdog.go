package mn

import (
	"context"
	"errors"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
)

// idleLook is how often the counters are looked at while nothing is sent: a link that
// dies then is noticed that much later.
const idleLook = 250 * time.Millisecond

// watchdog finds out that the link is dead where the carrier does not tell, and has
// the node leave for what is prepared (RFC 6252 §7.6.2). One goroutine runs it.
type watchdog struct {
	n    *Node
	core *decision.Watchdog
	at   *candidate // that it watches the link of
	sent uint64
	idle int // looks in a row in which nothing had been sent
	// due is what was found and is yet to be seen to, at each look until it says that it
	// is done: somebody may have had the turn.
	due func(*candidate) (done bool)
}

// watch runs until the node ends.
func (n *Node) watch(ctx context.Context) {
	w := &watchdog{n: n}
	interval := n.cfg.Watch.Interval()
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		w.look()
		if w.idle > int(time.Second/interval) {
			timer.Reset(max(interval, idleLook))
		} else {
			timer.Reset(interval)
		}
	}
}

// look takes one look at the serving link, while the node is on it.
func (w *watchdog) look() {
	n := w.n
	n.mu.Lock()
	c := n.serving
	n.mu.Unlock()
	if c == nil || n.away.Load() {
		w.at = nil
		return
	}
	if carrier := c.port.carrier.look(); carrier.known && !carrier.Up {
		w.at = nil
		return
	}
	if w.at != c {
		w.at, w.core, w.idle, w.due = c, decision.NewWatchdog(n.cfg.Watch), 0, nil
	}
	counters, err := n.net.Counters(c.port.name)
	if err != nil {
		n.cfg.Log.Debug("the link is not watched", "err", err)
		return
	}
	if w.idle++; counters.Sent != w.sent {
		w.sent, w.idle = counters.Sent, 0
	}
	switch w.core.Step(time.Now(), counters.Received, counters.Octets) {
	case decision.Ask:
		w.ask(c)
	case decision.Dead:
		n.cfg.Recorder.Point(event.HandoverID{}, event.PhaseL2, "dead", "network", c.net.Name, "unanswered", n.cfg.Watch.Asks)
		n.cfg.Log.Warn("the link is dead: its carrier is there, but nothing comes and the router does not answer", "network", c.net.Name)
		w.due = n.leaveDead
	case decision.Alive:
		n.cfg.Recorder.Point(event.HandoverID{}, event.PhaseL2, "alive", "network", c.net.Name)
		w.due = n.revive
	case decision.Nothing:
	}
	if w.due != nil && w.due(c) {
		w.due = nil
	}
}

// ask has the router give a sign of life: its kernel answers, whatever its daemons do.
func (w *watchdog) ask(c *candidate) {
	if err := c.port.ip.ask(c.address); err != nil {
		w.n.cfg.Log.Debug("router not asked for a sign of life", "err", err)
	}
}

// leaveDead keeps the uplink, as where the carrier is gone, and moves to what is prepared.
// Without that the node stays: it might be as dead elsewhere. It is not done while
// somebody else has the turn.
func (n *Node) leaveDead(c *candidate) (done bool) {
	if !n.tryTurn() {
		return false
	}
	n.dead.Store(c)
	n.home.pause()
	to := n.foremost(nil)
	n.endTurn()
	if to == nil {
		return true
	}
	_, err := n.HandoverNow(to.net.Name)
	if err != nil && !errors.Is(err, ErrBusy) {
		n.cfg.Log.Warn("no move away from a dead link", "network", to.net.Name, "err", err)
	}
	return !errors.Is(err, ErrBusy)
}

// revive goes on at a link that was dead, and is not. It is not done while somebody else
// has the turn.
func (n *Node) revive(c *candidate) (done bool) {
	n.dead.CompareAndSwap(c, nil)
	if !n.tryTurn() {
		return false
	}
	defer n.endTurn()
	c.port.stayed(c.net.Name)
	return true
}
