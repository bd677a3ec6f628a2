package mn

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/tunnel"
)

// What the node has in the network that it has left is kept for a return, for Timers.Hold (RFC 6252 appendix C.1 and
// C.2): the session with its router, the address, and the keys of its access points. It becomes what is prepared, and a move
// back is one to what is prepared:
//
//	serving --left for another--> held: a session that speaks from where the node is, the address on the TUN
//	   ^                            | a tunnel to here, anew: nothing of the place before is in it
//	   +------- move, arrival ------+--> given back: in its time, with the session, or for room
//
// At its router the node passes no more until it departs to there, or arrives, sealed.

// retain keeps what the node has in the network of old, which it has left for that of now, or takes leave
// of it where it is of no use. The caller has the turn.
func (n *Node) retain(id event.HandoverID, old, now *candidate) {
	defer n.parted()
	if err := n.retainable(old, now); err != nil {
		n.cfg.Log.Debug("nothing is kept for a return", "network", old.net.Name, "why", err)
		n.takeLeave(id, old, now)
		return
	}
	prepared, err := event.NewHandoverID(n.cfg.Rand) // of the move back, if there is one
	if err != nil {
		n.takeLeave(id, old, now)
		return
	}
	until := time.Now().Add(n.cfg.Timers.Hold)
	span := n.cfg.Recorder.Begin(id, event.PhaseCleanup, "network", old.net.Name, "held_s", n.cfg.Timers.Hold.Seconds())
	c, err := old.leftBehind(now)
	span.End(err)
	if err != nil {
		n.takeLeave(id, c, now)
		return
	}
	n.putStand(&stand{id: prepared, net: c.net.Name, c: c, held: true, depth: decision.Configure, until: until})
}

// parted says that what is kept of the network that was left is in the set.
func (n *Node) parted() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ladder.left = ""
	poke(n.ladder.wake)
}

// retainable says why nothing of old can be kept, if so. It makes room where there is none.
func (n *Node) retainable(old, now *candidate) error {
	s := old.session.Load()
	n.mu.Lock()
	closing, most, full := n.closing, n.dispensable(), len(n.stands) >= mostStanding
	n.mu.Unlock()
	switch {
	case n.cfg.Timers.Hold <= 0 || !n.cfg.Prepare:
		return fmt.Errorf("the configuration says so")
	case closing:
		return errEnding
	case s == nil:
		return errClosedSession
	case s.ended() != nil:
		return s.ended()
	case old.voided.Load() != nil:
		return *old.voided.Load()
	case old.net.PAA == now.net.PAA || old.address.addr() == now.address.addr():
		return fmt.Errorf("%s and %s have one router", old.net.Name, now.net.Name)
	case time.Until(old.address.lease.Load().expires()) < leastHold:
		return fmt.Errorf("the lease of %v ends", old.address.addr())
	case full && most == nil:
		return fmt.Errorf("%d networks are prepared", mostStanding)
	case full:
		if st := n.takeStand(atOnce(), most.net); st != nil {
			n.leaveStand(st, "given back for the network that was left last")
		}
	}
	return nil
}

// leastHold is less than it takes to be back anywhere.
const leastHold = time.Second

// leftBehind is old as what is kept of it: its path and tunnel, which are of the place before, have ended, and the session
// speaks from the address of now. It is returned with an error, too, to be taken leave of.
func (old *candidate) leftBehind(now *candidate) (*candidate, error) {
	n := old.n
	old.keeper.stop()
	old.passing.stop()
	old.leaveTunnel()
	n.guest(old.path.coa, nil)
	old.path.close()
	c := &candidate{
		n: n, net: old.net, port: old.port, slot: old.slot, address: old.address, held: true, rekeyed: old.rekeyed,
		stale: make(chan struct{}, 1), markers: make(chan tunnel.Marker, 4), standbyDue: make(chan struct{}, 1),
	}
	s := old.session.Load()
	c.session.Store(s)
	moved := s.takeAlong(now.address.addr())
	c.keys = old.keys.handOver(c)
	old.session.Store(nil)
	if moved != nil {
		return c, moved
	}
	if c.port != now.port { // its link may be up: the kernel would answer there
		if err := c.leavePhysical(); err != nil {
			return c, err
		}
	}
	if err := c.virtual(); err != nil {
		return c, err
	}
	s.knock() // RFC 5191 section 5.6
	return c, nil
}

// readdress has all that stands go on from where now is, to which the node has moved: sessions (RFC 5191 section 5.6) and
// tunnels. The caller has the turn.
func (n *Node) readdress(now *candidate) {
	for _, st := range n.stoodStill() {
		n.seeTo(st, func(c *candidate) {
			if err := c.followTo(st.id, now); err != nil {
				n.cfg.Log.Warn("what is prepared does not know where the node is", "network", st.net, "err", err)
			}
		})
	}
	poke(n.ladder.wake)
}

// seeTo does something with what there is of st, if there is anything and nothing goes on with it; nothing else goes on
// with it meanwhile.
func (n *Node) seeTo(st *stand, do func(c *candidate)) {
	j := &job{cancel: func() {}, done: make(chan struct{})}
	n.mu.Lock()
	mine := n.stands[st.net] == st && st.job == nil && st.c != nil && st.c.session.Load() != nil
	if mine {
		st.job = j
	}
	n.mu.Unlock()
	if !mine {
		return
	}
	do(st.c)
	n.mu.Lock()
	st.job = nil
	n.mu.Unlock()
	close(j.done)
}

// followTo has c go on from where at is.
func (c *candidate) followTo(id event.HandoverID, at *candidate) error {
	if c.tunnel.Load() == nil || c.path == nil {
		c.speakFrom(at)
		c.session.Load().knock()
		return nil
	}
	socket, err := at.outer(c.peer())
	if err != nil {
		return err
	}
	return c.goOn(id, at, socket)
}

// stillThere asks c's router through the tunnel whether both are there, which is known of what was just prepared. What stands
// for long may have lost its router, or that all it knew.
func (c *candidate) stillThere(ctx context.Context) bool {
	s := c.session.Load()
	if s == nil || s.ended() != nil || c.tunnel.Load() == nil {
		return false
	}
	id, err := event.NewHandoverID(c.n.cfg.Rand) // tells the answer from others
	if err != nil {
		return false
	}
	c.endPassage()
	p := c.pass(id, nil)
	defer c.endPassage()
	return p.alive(ctx, max(c.n.cfg.Timers.Depart, 5*c.rtt()))
}
