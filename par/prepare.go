package par

import (
	"errors"
	"fmt"
	"net"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/par/neigh"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// configure answers a ConfigRequest when DHCP and duplicate address detection
// have said what they have to say (RFC 6252 §7.3.1, Appendix A).
func (v *visitor) configure(m *notify.ConfigRequest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.configuring || v.closed {
		return
	}
	if why := v.configurable(m); why != "" {
		v.r.cfg.Log.Warn("no address", "sid", v.sid, "err", why)
		v.r.send(v.sid, &notify.ConfigReply{Header: m.Header, Reason: why})
		return
	}
	v.configuring, v.handover, v.mac, v.client = true, m.Handover, m.MAC, keyOf(m)
	v.r.wg.Go(func() {
		reply := v.r.acquire(v.ctx, v, m)
		v.mu.Lock()
		v.configuring = false
		v.mu.Unlock()
		v.r.send(v.sid, reply)
	})
}

// configurable says why there is no address for m, if so. A session has one: two
// leases would be one too many to give back.
func (v *visitor) configurable(m *notify.ConfigRequest) string {
	switch {
	case m.Handover.IsZero():
		return "the request names no handover"
	case v.lease != nil:
		return fmt.Sprintf("this session has been given %s: end it to be given another address", v.lease.Addr.Addr())
	}
	return ""
}

// keep takes the lease over, unless the visitor went away meanwhile.
func (v *visitor) keep(l lease, mac net.HardwareAddr, t *tenure) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.lease, v.mac, v.tenure = &l, mac, t
	if t != nil {
		t.hold(v)
	}
	return true
}

// createTunnel makes the router's end of the tunnel and everything that stands
// in the kernel until the node has arrived; for one that is served, what stands by.
func (v *visitor) createTunnel(m *notify.TunnelRequest) {
	var err error
	if m.Serving || m.Held {
		err = v.standing(m)
	}
	v.lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	span := v.r.cfg.Recorder.Begin(m.Handover, event.PhaseTunnel, "inner", m.Inner.String())
	if err == nil {
		err = v.acceptable(m)
	}
	var reply *notify.TunnelReply
	if err == nil {
		reply, err = v.openTunnel(m)
	}
	span.End(err)
	if err != nil {
		v.r.cfg.Log.Warn("no tunnel", "sid", v.sid, "err", err)
		reply = &notify.TunnelReply{Header: m.Header, Reason: err.Error()}
	}
	v.r.send(v.sid, reply)
}

// acceptable says why there is no tunnel for m, if so; what stands stays.
func (v *visitor) acceptable(m *notify.TunnelRequest) error {
	switch {
	case m.Handover.IsZero():
		return errors.New("the request names no handover")
	case m.Serving:
		return v.servable(m)
	case m.Held:
		return v.holdable(m)
	case v.lease == nil:
		return errors.New("no address was configured in this session: ask for one first")
	case v.lease.Addr.Addr() != m.Inner:
		return fmt.Errorf("inner address %s is not the one leased, %s", m.Inner, v.lease.Addr.Addr())
	case v.tunnel != nil:
		return errors.New("there is a tunnel already: delete it first")
	case v.group.Mode() == flow.Released && v.expired(time.Now()):
		return fmt.Errorf("the lease of %s has expired: begin again with another session", m.Inner)
	}
	return nil
}

// expired says whether the lease is over. How long an address that its node has formed is good for, the link's router
// says anew with each advertisement (RFC 4862 section 5.5.3). The caller holds mu.
func (v *visitor) expired(now time.Time) bool {
	if v.tenure == nil {
		if ra, ok, _ := v.r.adverts.best(now, v.r.six); ok && ra.Holds(v.lease.Addr.Addr()) {
			return false
		}
	}
	return now.Sub(v.lease.Start) > v.lease.Lifetime
}

// openTunnel puts a tunnel in the place of what stands by. One that cannot be had leaves
// that; one for which the kernel cannot be made ready takes all with it.
func (v *visitor) openTunnel(m *notify.TunnelRequest) (*notify.TunnelReply, error) {
	r := v.r
	a, err := v.associate(m.Suites, m.SPI, m.Nonce)
	if err != nil {
		return nil, err
	}
	defer a.release()
	outer := r.stack(v.peer.Addr().Unmap())
	if outer == nil {
		return nil, fmt.Errorf("the node speaks from %s, and tunnels go over IPv4 only here: configure ipv6", v.peer.Addr())
	}
	cfg := tunnel.TunnelConfig{
		Socket: outer.socket, FollowPeer: true, Moved: v.movedTo, In: a.pair.In, Out: a.pair.Out, AllowSrc: m.Inner, Receive: r.up, Marker: v.marker,
		Rekey: r.cfg.Rekey, RekeyDue: v.successorDue, Lifetime: r.cfg.Rekey.Hard(),
		Unsent: v.unsent.add,
	}
	plain := v.plainly(m, outer, &cfg)
	t, err := r.endpoint.Add(cfg)
	if err != nil {
		return nil, err
	}
	if v.inner.IsValid() && v.inner != m.Inner {
		v.dropTunnel("the node has another address: " + m.Inner.String())
	}
	v.retire() // of a node that has forgotten it
	v.tunnel, v.inner, v.numbered, v.unreached, v.stray = t, m.Inner, m.Numbered, false, strayed{}
	switch {
	case m.Serving:
		err = v.serve(m)
	case m.Held:
		err = v.hold(m)
	default:
		err = v.stand(m)
	}
	if err != nil {
		v.dropTunnel(err.Error())
		return nil, err
	}
	return &notify.TunnelReply{
		Header: m.Header, Outer: outer.address, Port: r.cfg.Port, SPI: a.spi, Nonce: a.nonce,
		Suite: uint8(a.suite), MTU: uint16(r.cfg.MTU), Plain: plain,
	}, nil
}

// stand begins the delivery through the tunnel, and has the kernel ready for the node's
// arrival. The caller holds mu.
func (v *visitor) stand(m *notify.TunnelRequest) error {
	r := v.r
	v.handover, v.standby, v.here, v.served, v.held = m.Handover, m.Standby, false, false, m.Held
	v.deliverAnew()
	if !v.apply(flow.Create) {
		return errors.New("delivery mode")
	}
	r.capture(m.Inner, v)
	if err := r.stack(m.Inner).proxy.Set(m.Inner, neigh.Policy{IgnoreMAC: v.mac, AnswerProbes: true}); err != nil {
		return err
	}
	v.defended = false // the tunnel's end ends it
	v.announce()
	if err := v.pin(true); err != nil {
		return err
	}
	if err := r.host.SetRoute(v.hostRoute()); err != nil {
		return err
	}
	v.reached(stagePrepared)
	v.expectUse()
	return nil
}
