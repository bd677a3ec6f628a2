package mn

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/paa/pana"
)

// carriedTo goes on at a network to which somebody else has moved the link, firmware
// or another program: at once with what stands of it, else it attaches at once.
func (n *Node) carriedTo(ctx context.Context, old *candidate, network Network, point string, up time.Time) error {
	old.keeper.endProbe()
	n.away.Store(true)
	n.setState("attaching to " + network.Name)
	n.seesTo(network.Name)
	defer n.seesTo("")
	n.endJobs()
	st := n.takeStand(atOnce(), network.Name)
	if st != nil && !st.usable() { // its session ends when there is another
		unfit := st
		defer func() { n.dismiss(old, unfit) }()
		st = nil
	}
	if st == nil {
		id, err := event.NewHandoverID(n.cfg.Rand)
		if err != nil {
			return err
		}
		st = &stand{id: id, net: network.Name}
	}
	if st.span == nil {
		st.span = n.cfg.Recorder.Begin(st.id, event.PhaseHandover, "from", old.net.Name, "to", network.Name, "prepared", st.depth != decision.None, "planned", false, "stands", st.depth.String())
	}
	if st.depth < decision.Tunnel {
		depth := st.depth
		if err := n.follows(ctx, old, st, network); err != nil {
			return err
		}
		n.movedWith(depth)
		return nil
	}
	n.cfg.Recorder.Point(st.id, event.PhaseL2, "moved without us", "point", point)
	if st.c.port != old.port { // the link that served is lost, and this one is not needed before
		if err := n.bring(ctx, st.id, st.c.port, network); err != nil {
			n.giveUp(old, st.c)
			n.setState("lost")
			st.span.EndOutcome(event.Failed, err.Error())
			n.inVain(st, err.Error())
			return err
		}
		up = time.Now()
	}
	err := n.arrived(ctx, old, st, up)
	if err == nil {
		st.span.EndOutcome(event.Completed, "", "planned", false)
		n.movedWith(st.depth)
		n.movedOn(network.Name)
		return nil
	}
	n.cfg.Log.Warn("what was prepared is of no use", "network", network.Name, "err", err)
	n.giveUp(old, st.c)
	err = n.follows(ctx, old, &stand{id: st.id, net: st.net, span: st.span}, network)
	st.span = nil
	n.inVain(st, "of no use on arrival")
	return err
}

// dismiss gives back what was of no use where the link has gone, if the node serves from there now; else nobody can be told.
func (n *Node) dismiss(old *candidate, st *stand) {
	n.mu.Lock()
	there := n.serving != old
	n.mu.Unlock()
	if st.c == nil || st.c.session.Load().ended() != nil || !there {
		n.forgetStand(old, st, "given up: "+st.spent())
		return
	}
	n.leaveStand(st, "given back: "+st.spent())
}

// arrived is the end of a move that the node did not make: no departure was told, and
// what was sent into the dead link is lost. All that is left to do is to send.
func (n *Node) arrived(ctx context.Context, old *candidate, st *stand, up time.Time) error {
	c, s := st.c, st.c.session.Load()
	if err := s.ended(); err != nil {
		return fmt.Errorf("its session has ended: %w", err)
	}
	conn, err := n.udp(c.address.addr(), c.net.PAA.Addr())
	if err != nil {
		return err
	}
	if err := c.physical(); err != nil { // as good as nothing to do, unless the interface was set down
		_ = conn.Close()
		return err
	}
	c.mapping.cancelled() // it may wait for an answer that cannot come: what it asked is asked again from here
	w := n.lostWay(old, c)
	n.home.departed(c)
	s.client.Rebind(conn)
	if err := n.arrive(ctx, st.id, c, w, up, nil); err != nil {
		w.close()
		return err
	}
	c.mapping.stop()
	n.bindBehind(st.id, c, w)
	n.settleIn(ctx, st.id, old, c)
	return nil
}

// underWay bounds how long the uplink waits for what a link that was cut still carries.
const underWay = 500 * time.Millisecond

// lostWay is how packets come to c where the old link is gone, and nobody could be told:
// no marker ends what is under way. One way to c's router takes no longer than there and back.
func (n *Node) lostWay(old, c *candidate) (w way) {
	old.endPassage()
	c.endPassage()
	if w.behind = !n.home.isBound(c.path); !w.behind {
		n.home.pause()
		w.clear = old.port.carrier.look().lost.Add(min(c.rtt(), underWay))
	}
	by := n.carrierOf(old)
	if !w.behind || !by.holds() {
		return w
	}
	by.endPassage()
	socket, err := c.outerBy(c.port.name, by.peer())
	if err != nil {
		n.cfg.Log.Warn("no socket at the new address", "err", err)
		return w
	}
	w.previous, w.socket = by, socket
	return w
}

// follows is unplanned with its record.
func (n *Node) follows(ctx context.Context, old *candidate, st *stand, network Network) error {
	err := n.unplanned(ctx, old, st, network)
	if err != nil {
		n.setState("lost")
		err = &attachError{network.Name, err}
		st.span.EndOutcome(event.Failed, err.Error())
		n.inVain(st, err.Error())
		return err
	}
	st.span.EndOutcome(event.Completed, "")
	return nil
}

// unplanned is a handover after the fact, with less than a tunnel there: st is what stands of the network. Until the
// binding has moved, what comes by the router that has it is sent on to here.
func (n *Node) unplanned(ctx context.Context, old *candidate, st *stand, network Network) error {
	n.home.pause()
	via := n.carrierOf(old)
	n.stoodStill()
	for _, other := range n.stoodWhere(func(st *stand) bool { return st.c != nil }) { // the node may be at one of them
		n.forgetRest(old, other.c)
	}
	c, err := n.makeUp(ctx, st, network, via)
	if err != nil {
		via.passing.stop()
		n.hinders(old, via, network.Name)
		return err
	}
	n.landed(st.id, old, c, via)
	return nil
}

// hinders gives up the stand of via, whose router was to send on to a network where nothing has come of it, the second
// time: it may be in the way. The first time what comes for it may be wanted by the next attempt.
func (n *Node) hinders(old, via *candidate, network string) {
	again := false
	n.stoodWhere(func(st *stand) bool {
		if st.c == via {
			again, st.tried = st.tried, true
		}
		return false
	})
	if again {
		n.forgetStand(old, n.takeStand(atOnce(), via.net.Name), "given up: the link has moved on to "+network)
	}
}

// movedOn gives back what a person has asked for, or the node has departed for: it is at another network now.
func (n *Node) movedOn(network string) {
	for _, st := range n.stoodWhere(func(st *stand) bool { return st.wished && st.want == decision.None }) {
		n.leaveStand(n.takeStand(atOnce(), st.net), "given back: the link has moved on to "+network)
	}
}

// returned goes on at the network that serves, where the link is up again: it was lost,
// or has changed its point. Nothing is authenticated again; its router is asked whether
// it is the one. The home agent is told only if it may have another address.
func (n *Node) returned(ctx context.Context, c *candidate, point string) error {
	n.away.Store(false)
	if err := c.physical(); err != nil { // one that was set down has lost its routes, and the entry of the router
		n.cfg.Log.Error("the link was not set up again", "addr", c.address.addr(), "err", err)
	}
	n.comeBack(event.HandoverID{}, c)
	departed := n.stoodWhere(func(st *stand) bool { return st.departed })
	back := func(st *stand) bool { return st.depth >= decision.Tunnel && (st.departed || st.c.passing != nil) }
	for _, st := range n.stoodWhere(back) {
		n.seeTo(st, func(next *candidate) { n.returnStand(st.id, next, c) })
	}
	n.proceed(c)
	for _, st := range departed { // its move has failed
		if st = n.takeStand(atOnce(), st.net); st == nil || st.c == nil { // it was given back since
			continue
		}
		n.abandon(st.id, c, st.c, ifSo(st.c.forwards(ctx)))
		n.inVain(st, "given back: not arrived at")
	}
	n.cfg.Recorder.Point(event.HandoverID{}, event.PhaseL2, "up again", "point", point, "network", c.net.Name)
	if s := c.session.Load(); s != nil {
		s.knock()
	}
	if !n.home.isBound(n.carrierOf(c).path) {
		if err := n.bind(ctx, event.HandoverID{}, c, false); err != nil {
			return err
		}
	}
	n.setState("attached")
	return nil
}

// knock asks the router whether it is there, and knows the session: one that does not
// answer ends it.
func (s *session) knock() {
	_ = s.client.Post(func(now time.Time, p *pana.PaC) {
		if _, err := p.Notify(now, nil, pana.NotifyOptions{}); err != nil {
			s.n.cfg.Log.Debug("router not asked", "paa", s.net.PAA, "err", err)
		}
	})
}
