package par

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/dhcp4"
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
	v.configuring, v.handover, v.mac, v.client = true, m.Handover, m.MAC, clientKey(m)
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

// acquire leases addresses until one is free, and gives up after
// DAD.MaxConflicts of them, or when the node would no longer wait.
func (r *Router) acquire(ctx context.Context, v *visitor, m *notify.ConfigRequest) *notify.ConfigReply {
	reply := &notify.ConfigReply{Header: m.Header}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Configure)
	defer cancel()
	if r.ahead(v, m, reply) {
		return reply
	}
	identity, _ := v.who()
	t, err := r.leases.take(ctx, identity, clientKey(m))
	if err != nil {
		reply.Reason = "no address: " + err.Error()
		return reply
	}
	defer t.done()
	client := r.client(m.MAC, m.ClientID)
	client.Offered = func(l dhcp4.Lease) error { return t.offered(v, m.MAC, l) }
	for try := 1; ; try++ {
		span := r.cfg.Recorder.Begin(m.Handover, event.PhaseDHCP, "server", r.cfg.DHCPServer.String())
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, r.cfg.DHCPTimeout)
		lease, err := client.Acquire(bounded)
		cancel()
		span.End(err)
		reply.DHCP += time.Since(began)
		if err != nil {
			reply.Reason = "no address: " + err.Error()
			return reply
		}
		if r.pool != nil {
			r.pool.reassigned(lease.Addr.Addr())
		}
		old, err := r.supersede(v, lease.Addr.Addr())
		if err != nil {
			reply.Reason = "no address: " + err.Error() + ": is the DHCP client identifier of this node its own?"
			return reply
		}
		if old != nil {
			old.leave()
		}
		span = r.cfg.Recorder.Begin(m.Handover, event.PhaseDAD, "addr", lease.Addr.Addr().String())
		began = time.Now()
		err = r.proxy.Probe(ctx, lease.Addr.Addr(), m.MAC)
		span.End(err)
		reply.DAD += time.Since(began)
		var conflict *acd.ConflictError
		switch {
		case errors.As(err, &conflict):
			if err := r.decline(client, lease); err != nil {
				r.cfg.Log.Warn("lease not declined", "addr", lease.Addr, "err", err)
			}
			t.forget()
			if try == r.cfg.DAD.MaxConflicts {
				reply.Reason = fmt.Sprintf("no address: each of %d leased was in use by another host, the last one: %v", try, conflict)
				return reply
			}
			continue
		case err != nil:
			reply.Reason = r.undetected(err, try-1)
			return reply
		}
		if err := t.granted(lease); err != nil {
			reply.Reason = "no address: " + err.Error()
			return reply
		}
		if !v.keep(lease, m.MAC, t) {
			reply.Reason = errSessionEnded.Error()
			return reply
		}
		r.grant(reply, lease)
		return reply
	}
}

// grant tells the node what it has been leased.
func (r *Router) grant(reply *notify.ConfigReply, lease dhcp4.Lease) {
	reply.Addr, reply.Router, reply.RouterMAC = lease.Addr, r.cfg.Address, r.mac
	reply.DNS, reply.ServerID, reply.Age = lease.DNS[:min(len(lease.DNS), 4)], lease.ServerID, time.Since(lease.Start)
	reply.Lifetime, reply.T1, reply.T2 = lease.Lifetime, lease.T1, lease.T2
}

var errSessionEnded = errors.New("the session ended")

// undetected says why duplicate address detection came to no end, after so many
// conflicts.
func (r *Router) undetected(err error, conflicts int) string {
	switch {
	case errors.Is(err, acd.ErrLimited):
		return fmt.Sprintf("no address: %d conflicts on this link: RFC 5227 limits probing to one address in %v; try again after that",
			r.cfg.DAD.MaxConflicts, r.cfg.DAD.RateLimitInterval)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no address: none was found free in %v; %d leased were in use by other hosts", r.cfg.Configure, conflicts)
	}
	return "no address: duplicate address detection: " + err.Error()
}

// decline tells the server that an address is in use, even if the time is up.
func (r *Router) decline(client *dhcp4.Client, l dhcp4.Lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return client.Decline(ctx, l)
}

func (r *Router) client(mac net.HardwareAddr, id []byte) *dhcp4.Client {
	return &dhcp4.Client{MAC: mac, ClientID: id, Relay: r.relay, Subnet: r.prefix, Rand: r.cfg.Rand}
}

// keep takes the lease over, unless the visitor went away meanwhile.
func (v *visitor) keep(l dhcp4.Lease, mac net.HardwareAddr, t *tenure) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.lease, v.mac, v.tenure = &l, mac, t
	t.hold(v)
	return true
}

// createTunnel makes the router's end of the tunnel and everything that stands
// in the kernel until the node has arrived; for one that is served, what stands by.
func (v *visitor) createTunnel(m *notify.TunnelRequest) {
	var err error
	if m.Serving {
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
	case v.lease == nil:
		return errors.New("no address was configured in this session: ask for one first")
	case v.lease.Addr.Addr() != m.Inner:
		return fmt.Errorf("inner address %s is not the one leased, %s", m.Inner, v.lease.Addr.Addr())
	case v.tunnel != nil:
		return errors.New("there is a tunnel already: delete it first")
	case v.group.Mode() == flow.Released && time.Since(v.lease.Start) > v.lease.Lifetime:
		return fmt.Errorf("the lease of %s has expired: begin again with another session", m.Inner)
	}
	return nil
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
	cfg := tunnel.TunnelConfig{
		Socket: r.socket, FollowPeer: true, Moved: v.movedTo, In: a.pair.In, Out: a.pair.Out, AllowSrc: m.Inner, Receive: r.up, Marker: v.marker,
		Rekey: r.cfg.Rekey, RekeyDue: v.successorDue, Lifetime: r.cfg.Rekey.Hard(),
		Unsent: v.unsent.add,
	}
	plain := v.plainly(m, &cfg)
	t, err := r.endpoint.Add(cfg)
	if err != nil {
		return nil, err
	}
	if v.inner.IsValid() && v.inner != m.Inner {
		v.dropTunnel("the node has another address: " + m.Inner.String())
	}
	v.retire() // of a node that has forgotten it
	v.tunnel, v.inner, v.numbered, v.unreached, v.stray = t, m.Inner, m.Numbered, false, strayed{}
	if m.Serving {
		err = v.serve(m)
	} else {
		err = v.stand(m)
	}
	if err != nil {
		v.dropTunnel(err.Error())
		return nil, err
	}
	return &notify.TunnelReply{
		Header: m.Header, Outer: r.cfg.Address, Port: r.cfg.Port, SPI: a.spi, Nonce: a.nonce,
		Suite: uint8(a.suite), MTU: uint16(r.cfg.MTU), Plain: plain,
	}, nil
}

// stand begins the delivery through the tunnel, and has the kernel ready for the node's
// arrival. The caller holds mu.
func (v *visitor) stand(m *notify.TunnelRequest) error {
	r := v.r
	v.handover, v.standby, v.here, v.served = m.Handover, m.Standby, false, false
	v.deliverAnew()
	if !v.apply(flow.Create) {
		return errors.New("delivery mode")
	}
	r.capture(m.Inner, v)
	if err := r.proxy.Set(m.Inner, neigh.Policy{IgnoreMAC: v.mac, AnswerProbes: true}); err != nil {
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
