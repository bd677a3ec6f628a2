package par

import (
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/paa/notify"
	"openmpa/tunnel/flow"
)

// standing says why a node that says it is served here gets no tunnel to stand by, as far
// as other sessions are concerned.
func (v *visitor) standing(m *notify.TunnelRequest) error {
	if err := v.r.foreign(v, wpactrl.MAC(m.MAC)); err != nil {
		return err
	}
	if v.r.holder(m.Inner, v) != nil {
		return fmt.Errorf("%s is in use in another session", m.Inner)
	}
	return nil
}

// servable says why the router does not serve the node at m.Inner, if so. The caller
// holds mu.
func (v *visitor) servable(m *notify.TunnelRequest) error {
	switch {
	case v.lease != nil && v.lease.Addr.Addr() != m.Inner:
		return fmt.Errorf("inner address %s is not the one leased, %s", m.Inner, v.lease.Addr.Addr())
	case v.lease == nil && (v.peer.Addr().Unmap() != m.Inner || !v.r.onLink(m.Inner)):
		return fmt.Errorf("inner address %s is neither leased in this session nor the one of %v from which it came, %s", m.Inner, v.r.Prefixes(), v.peer.Addr())
	}
	if mode := v.group.Mode(); mode == flow.Released || mode == flow.Direct {
		return nil
	}
	return fmt.Errorf("the node is not served on the link at the moment (%v): ask again when it is", v.group.Mode())
}

// serve begins the delivery by the kernel. The caller holds mu.
func (v *visitor) serve(m *notify.TunnelRequest) error {
	if v.group.Mode() == flow.Released {
		v.deliverAnew()
	}
	if !v.apply(flow.Serve) {
		return errors.New("delivery mode")
	}
	v.undefend()
	v.mac, v.standby, v.here, v.served, v.held, v.appeared = m.MAC, true, true, true, false, time.Now()
	v.reached(stageArrived)
	v.r.capture(m.Inner, v)
	return nil
}

// outerWithin is how long a Deliver waits for what the node has sent through the tunnel just
// before: the two come by different sockets.
const outerWithin = 50 * time.Millisecond

// deliver answers a Deliver when it is done.
func (v *visitor) deliver(m *notify.Deliver) {
	v.lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.ask = m
	if m.How == notify.Unguard || v.tunnel == nil || v.led() {
		v.answerAsk()
		return
	}
	time.AfterFunc(outerWithin, func() {
		v.lock()
		defer v.mu.Unlock()
		if !v.closed && v.ask == m {
			v.answerAsk()
		}
	})
}

// led says whether the tunnel leads to where the node is, as far as is known: on the link it has
// an address of the link. The caller holds mu.
func (v *visitor) led() bool {
	peer := v.tunnel.Peer()
	return peer.IsValid() && (!v.here || v.r.onLink(peer.Addr()))
}

// ledNow does what waits for the tunnel to lead to where the node is, if it does now.
func (v *visitor) ledNow() {
	v.lock()
	defer v.mu.Unlock()
	if !v.closed && v.ask != nil && (v.tunnel == nil || v.led()) {
		v.answerAsk()
	}
}

// answerAsk does what the node has asked for last, if it can be done, and answers. The caller holds mu.
func (v *visitor) answerAsk() {
	m := v.ask
	v.ask = nil
	reply := &notify.DeliverReply{Header: m.Header, How: m.How}
	if err := v.deliverable(m); err != nil {
		reply.Reason = err.Error()
	} else if err := v.do(m); err != nil {
		reply.Reason = err.Error()
	}
	if reply.Reason != "" {
		v.r.cfg.Log.Warn("not delivered as the node asks", "sid", v.sid, "how", m.How, "err", reply.Reason)
	}
	v.r.send(v.sid, reply)
}

// deliverable says why packets cannot go through the tunnel as m asks, if so. The caller
// holds mu.
func (v *visitor) deliverable(m *notify.Deliver) error {
	switch {
	case v.tunnel == nil:
		return errors.New("there is no tunnel: ask for one, with serving if you are on this link")
	case m.How == notify.Unguard:
		return nil
	case !v.numbered:
		return errors.New("the tunnel was made for packets without numbers: make it anew, numbered")
	case !v.tunnel.Peer().IsValid():
		return errors.New("nothing has come through the tunnel yet, so its other end is not known: send something")
	case !v.led():
		return fmt.Errorf("the tunnel leads to %s, and the node is on this link: send something through it from here", v.tunnel.Peer())
	case m.How == notify.Both && !v.r.bicasts:
		return errors.New("no class of traffic is sent to both places here")
	case m.How == notify.Both && (m.Outer.Addr().Is4() != v.tunnel.Peer().Addr().Is4() || v.r.own(m.Outer.Addr())):
		return fmt.Errorf("%s is not where a node can listen", m.Outer)
	}
	return nil
}

// do does what m asks. The caller holds mu.
func (v *visitor) do(m *notify.Deliver) error {
	switch m.How {
	case notify.Guard:
		if err := v.through(flow.Guard); err != nil {
			return err
		}
		v.guarded = true
	case notify.Unguard:
		v.guarded = false
		v.queuedGone()
		if err := v.group.Apply(time.Now(), flow.Unguard); err != nil {
			return err
		}
		v.r.wg.Go(v.flush)
		if v.here && v.group.Mode() == flow.Tunnel {
			v.gen++
			gen := v.gen
			v.r.wg.Go(func() { v.unguarded(gen, m.Handover) })
		}
	case notify.Both:
		if err := v.through(flow.Both); err != nil {
			return err
		}
		v.outer = m.Outer
		v.expectUse() // it moves soon
	}
	return nil
}

// through applies an event by which what the kernel delivers goes through the tunnel.
// The caller holds mu.
func (v *visitor) through(e flow.Event) error {
	captured := v.native()
	if err := v.capture(); err != nil {
		return fmt.Errorf("the kernel delivers on: %w", err)
	}
	v.queuedGone()
	err := v.group.Apply(time.Now(), e)
	if err == nil && captured {
		v.undrain(event.Cancelled, "the node wants its packets through the tunnel")
		v.r.wg.Go(v.flush)
	}
	return err
}

// pauseNative is the pause after which packets go natively that went through the tunnel:
// the node's user space, which puts those in order, takes less.
const pauseNative = 3 * time.Millisecond

// unguarded delivers by the kernel again, to a node that is on the link, in the next pause;
// id is of what the node said.
func (v *visitor) unguarded(gen uint64, id event.HandoverID) {
	deadline := time.Now().Add(flipWithin)
	for {
		now := time.Now()
		rest := pauseNative - v.pausedFor(now)
		if rest <= 0 || now.After(deadline) {
			break
		}
		select {
		case <-v.ctx.Done():
			return
		case <-time.After(rest):
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.gen != gen || v.group.Mode() != flow.Tunnel || !v.apply(flow.Arrival) {
		return
	}
	v.natively(v.tunnel.Peer(), id)
	v.came()
	v.drainAnd(func(event.HandoverID) {})
}
