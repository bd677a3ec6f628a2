package mn

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// farewell is the leave that is being taken of a network, in the background.
type farewell struct {
	done   chan struct{}
	cancel context.CancelFunc
}

// courtesy is how long, besides four round trips, a handover waits for the farewell
// of the old router; farewellWithin is how long a return to its network does. What is not
// said then remains unsaid: a session there ends the one before, and a lease asked for
// is the one before.
const (
	courtesy       = 100 * time.Millisecond
	farewellWithin = 500 * time.Millisecond
)

// await waits for its end, and hastens it.
func (f *farewell) await(ctx context.Context) error {
	timer := time.AfterFunc(farewellWithin, f.cancel)
	defer timer.Stop()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeLeave ends what the node has with a router it does not need any more: in
// the kernel at once; the session and the lease are given back in the background,
// from the address of now, which the node has.
func (n *Node) takeLeave(id event.HandoverID, old, now *candidate) {
	span := n.cfg.Recorder.Begin(id, event.PhaseCleanup, "network", old.net.Name)
	here := now.port.carrier.look()
	old.keeper.stop()
	n.drop(old)
	ctx, cancel := context.WithCancel(context.Background())
	f, told := &farewell{done: make(chan struct{}), cancel: cancel}, make(chan struct{})
	n.mu.Lock()
	n.leaving[old.net.Name] = f
	n.mu.Unlock()
	s := old.session.Swap(nil)
	polite := courtesy
	if s != nil {
		polite += 4 * s.rtt()
	}
	n.farewells.Go(func() {
		defer close(f.done)
		defer cancel()
		if old.address != nil {
			old.remember(true)
		}
		confirmed, err := n.sayGoodbye(ctx, s, now.address.addr())
		span.End(err)
		close(told)
		old.keys.end()
		n.giveBack(ctx, old, confirmed, now)
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.leaving, old.net.Name)
	})
	select {
	case <-told:
	case <-here.changed: // there is something else to see to
	case <-time.After(polite): // it seems to be dead: nothing waits for it but the next move there
	}
}

// sayGoodbye ends a session from the address from; the router has confirmed it, or
// is dead.
func (n *Node) sayGoodbye(ctx context.Context, s *session, from netip.Addr) (confirmed bool, err error) {
	if s == nil {
		return false, nil
	}
	if err := s.takeAlong(from); err != nil {
		s.close()
		return false, err
	}
	return s.terminate(ctx), nil
}

// takeAlong has the session go on from another address.
func (s *session) takeAlong(from netip.Addr) error {
	conn, err := s.n.udp(from, s.net.PAA.Addr())
	if err == nil {
		s.client.Rebind(conn)
	}
	return err
}

// entrust leaves the lease of c, which is on its link, to the router, where nobody else can give it back from
// elsewhere: from then on it is as if the router had leased it.
func (c *candidate) entrust(ctx context.Context, id event.HandoverID, s *session) {
	m := c.port.ip.entrust(notify.Header{Handover: id}, *c.address.lease.Load())
	if m == nil {
		return
	}
	ack, err := s.send(m, pana.NotifyOptions{Urgent: true})
	if err == nil {
		select {
		case err = <-ack:
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(terminateWithin):
			err = errors.New("it does not acknowledge that")
		}
	}
	if err != nil {
		c.n.cfg.Log.Warn("the router does not take the lease over", "paa", s.net.PAA, "addr", m.Addr, "err", err)
		return
	}
	c.address.byRouter.Store(true)
	c.remember(false)
}

// giveBack releases c's lease, from the address of now, unless the router, which leased it, has confirmed the
// end of the session.
func (n *Node) giveBack(ctx context.Context, c *candidate, confirmed bool, now *candidate) {
	if c.address == nil {
		return
	}
	if !c.address.byRouter.Load() || !confirmed {
		now.release(ctx, *c.address.lease.Load())
	}
	n.forget(c.net.Name, c.address.addr())
}
