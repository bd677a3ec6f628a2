package par

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/dhcp4"
	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/par/neigh"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
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
	v.configuring, v.handover, v.mac = true, m.Handover, m.MAC
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
	client := r.client(m.MAC, m.ClientID)
	for try := 1; ; try++ {
		span := r.cfg.Recorder.Begin(m.Handover, event.PhaseDHCP, "server", r.cfg.DHCPServer.String())
		began := time.Now()
		// To its end even if the node goes away meanwhile: a lease that the server has
		// granted and nobody has heard of could not be given back.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.DHCPTimeout)
		lease, err := client.Acquire(bounded)
		cancel()
		span.End(err)
		reply.DHCP += time.Since(began)
		if err != nil {
			reply.Reason = "no address: " + err.Error()
			return reply
		}
		if v.ctx.Err() != nil {
			r.abandon(lease, m.MAC)
			reply.Reason = "the session ended"
			return reply
		}
		if err := r.supersede(v, lease.Addr.Addr()); err != nil {
			// Not given back: the lease is that of the other one.
			reply.Reason = "no address: " + err.Error() + ": is the DHCP client identifier of this node its own?"
			return reply
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
			if try == r.cfg.DAD.MaxConflicts {
				reply.Reason = fmt.Sprintf("no address: each of %d leased was in use by another host, the last one: %v", try, conflict)
				return reply
			}
			continue
		case err != nil:
			r.release(lease, m.MAC)
			reply.Reason = r.undetected(err, try-1)
			return reply
		}
		if !v.keep(lease) {
			r.abandon(lease, m.MAC)
			reply.Reason = "the session ended"
			return reply
		}
		reply.Addr, reply.Router, reply.RouterMAC = lease.Addr, r.cfg.Address, r.mac
		reply.DNS, reply.ServerID, reply.Age = lease.DNS[:min(len(lease.DNS), 4)], lease.ServerID, time.Since(lease.Start)
		reply.Lifetime, reply.T1, reply.T2 = lease.Lifetime, lease.T1, lease.T2
		return reply
	}
}

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

// keep stores the lease, unless the visitor went away meanwhile.
func (v *visitor) keep(l dhcp4.Lease) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.lease = &l
	return true
}

// supersede ends an older session of the same node, which is at v's with address
// a: DHCP gives an address to one client only, so whoever held it before was this
// node under a session it has forgotten, as after a crash. A client identifier
// can be claimed by anybody: what AAA says decides, and somebody else's session
// stays.
func (r *Router) supersede(v *visitor, a netip.Addr) error {
	old := r.holder(a, v)
	if old == nil {
		return nil
	}
	v.mu.Lock()
	identity := v.identity
	v.mu.Unlock()
	old.mu.Lock()
	if old.identity != identity {
		old.mu.Unlock()
		return fmt.Errorf("%s is in use in the session of another node", a)
	}
	old.dropTunnel("the node began again")
	old.lease = nil // it lives on under the new session
	old.mu.Unlock()
	if err := r.sessions.Terminate(old.sid); err != nil {
		r.cfg.Log.Warn("superseded session not terminated", "sid", old.sid, "err", err)
	}
	return nil
}

// holder is the visitor other than v that has the address a, if there is one.
func (r *Router) holder(a netip.Addr, v *visitor) *visitor {
	for _, o := range r.visitors() { // r.mu is taken within visitor.mu, never the other way
		if o != v && o.address() == a {
			return o
		}
	}
	return nil
}

// abandon releases a lease that came too late for its session, unless the node
// has it under a newer one.
func (r *Router) abandon(l dhcp4.Lease, mac net.HardwareAddr) {
	if r.holder(l.Addr.Addr(), nil) == nil {
		r.release(l, mac)
	}
}

func (r *Router) release(l dhcp4.Lease, mac net.HardwareAddr) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := r.client(mac, l.ClientID).Release(ctx, l, r.cfg.Address); err != nil {
		r.cfg.Log.Warn("lease not released", "addr", l.Addr, "err", err)
	}
}

// createTunnel makes the router's end of the tunnel and everything that stands
// in the kernel until the node has arrived.
func (v *visitor) createTunnel(m *notify.TunnelRequest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	span := v.r.cfg.Recorder.Begin(m.Handover, event.PhaseTunnel, "inner", m.Inner.String())
	err := v.acceptable(m)
	var reply *notify.TunnelReply
	if err == nil {
		if reply, err = v.openTunnel(m); err != nil {
			v.dropTunnel(err.Error())
		}
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
	case v.lease == nil:
		return errors.New("no address was configured in this session: ask for one first")
	case v.lease.Addr.Addr() != m.Inner:
		return fmt.Errorf("inner address %s is not the one leased, %s", m.Inner, v.lease.Addr.Addr())
	case v.tunnel != nil:
		return errors.New("there is a tunnel already: delete it first")
	case v.delivery.Mode() == flow.Released && time.Since(v.lease.Start) > v.lease.Lifetime:
		return fmt.Errorf("the lease of %s has expired: begin again with another session", m.Inner)
	}
	return nil
}

func (v *visitor) openTunnel(m *notify.TunnelRequest) (*notify.TunnelReply, error) {
	r := v.r
	nonce := make([]byte, 32)
	if _, err := io.ReadFull(r.cfg.Rand, nonce); err != nil {
		return nil, err
	}
	spi, err := r.endpoint.AllocateSPI(r.cfg.Rand)
	if err != nil {
		return nil, err
	}
	defer r.endpoint.ReleaseSPI(spi) // a tunnel keeps its own
	k := keys.DeriveESP(v.keys.MNAR.Bytes(), m.Nonce, nonce, spi, m.SPI, r.cfg.Cipher/8+esp.SaltLen)
	defer k.Clear()
	in, err := esp.NewInbound(spi, k.ToRouter, esp.DefaultWindow)
	if err != nil {
		return nil, err
	}
	out, err := esp.NewOutbound(m.SPI, k.ToNode)
	if err != nil {
		return nil, err
	}
	v.handover = m.Handover
	if v.tunnel, err = r.endpoint.Add(tunnel.TunnelConfig{
		Socket: r.socket, FollowPeer: true, In: in, Out: out, AllowSrc: m.Inner, Receive: r.up, Marker: v.marker,
	}); err != nil {
		return nil, err
	}
	v.deliverAnew()
	if !v.apply(flow.Create) {
		return nil, errors.New("delivery mode")
	}
	r.capture(m.Inner, v)
	if err := r.proxy.Set(m.Inner, neigh.Policy{IgnoreMAC: v.mac, AnswerProbes: true}); err != nil {
		return nil, err
	}
	if err := r.host.SetNeighbour(r.cfg.Access, m.Inner, v.mac, true); err != nil {
		return nil, err
	}
	if err := r.host.SetRoute(v.hostRoute()); err != nil {
		return nil, err
	}
	t := v.tunnel
	v.unused = time.AfterFunc(r.cfg.Unused, func() { v.deleteTunnel(t, "nobody arrived through it in "+r.cfg.Unused.String()) })
	return &notify.TunnelReply{
		Header: m.Header, Outer: r.cfg.Address, Port: r.cfg.Port, SPI: spi, Nonce: nonce,
		Cipher: uint16(r.cfg.Cipher), MTU: uint16(r.cfg.MTU),
	}, nil
}
