package par

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/paa/notify"
)

// acquire finds an address for the node that m speaks for, and gives up when it would no longer wait:
//
//	IPv4, IPv6 managed     DHCP --> duplicate address detection --conflict--> declined, another one
//	IPv6, none wanted      the router advertisement: the node forms an address of it and asks again
//	IPv6, one wanted       duplicate address detection; with a conflict the node forms another one
func (r *Router) acquire(ctx context.Context, v *visitor, m *notify.ConfigRequest) *notify.ConfigReply {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Configure)
	defer cancel()
	reply := &notify.ConfigReply{Header: m.Header}
	var err error
	if m.Family == 6 {
		err = r.acquire6(ctx, v, m, reply)
	} else {
		err = r.readyOrLeased(ctx, r.four, v, m, reply)
	}
	var taken *takenError
	switch {
	case errors.As(err, &taken):
		return &notify.ConfigReply{Header: m.Header, Reason: notify.Conflict + taken.Error()}
	case err != nil:
		return &notify.ConfigReply{Header: m.Header, Reason: "no address: " + err.Error()}
	}
	return reply
}

// readyOrLeased gives an address that is ready, else it leases one.
func (r *Router) readyOrLeased(ctx context.Context, s *stack, v *visitor, m *notify.ConfigRequest, reply *notify.ConfigReply) error {
	if given, err := r.ahead(s, v, m, reply); given || err != nil {
		return err
	}
	return r.lease(ctx, s, v, m, reply)
}

// lease leases addresses until one is free, and gives up after DAD.MaxConflicts of them.
func (r *Router) lease(ctx context.Context, s *stack, v *visitor, m *notify.ConfigRequest, reply *notify.ConfigReply) error {
	identity, _ := v.who()
	t, err := r.leases.take(ctx, identity, keyOf(m))
	if err != nil {
		return err
	}
	defer t.done()
	c := s.source.client(m.MAC, m.ClientID, iaid(m.IAID))
	for try := 1; ; try++ {
		span := r.cfg.Recorder.Begin(m.Handover, event.PhaseDHCP, "server", s.source.name())
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, r.cfg.DHCPTimeout)
		l, err := c.acquire(bounded, func(l lease) error { return t.offered(v, m.MAC, l) })
		cancel()
		span.End(err)
		reply.DHCP += time.Since(began)
		if err != nil {
			return err
		}
		if s.pool != nil {
			s.pool.reassigned(l.Addr.Addr())
		}
		err = r.verify(ctx, s, v, m, l.Addr.Addr(), reply)
		var conflict *acd.ConflictError
		switch {
		case errors.As(err, &conflict):
			if err := r.decline(c, l); err != nil {
				r.cfg.Log.Warn("lease not declined", "addr", l.Addr, "err", err)
			}
			t.forget()
			if try == r.cfg.DAD.MaxConflicts {
				return fmt.Errorf("each of %d leased was in use by another host, the last one: %w", try, conflict)
			}
			continue
		case err != nil:
			return r.undetected(err, try-1)
		}
		if err := t.granted(l); err != nil {
			return err
		}
		return r.give(s, v, m, l, t, reply)
	}
}

// verify finds out whether nobody has an address. The node itself may, in a session that it has forgotten.
func (r *Router) verify(ctx context.Context, s *stack, v *visitor, m *notify.ConfigRequest, a netip.Addr, reply *notify.ConfigReply) error {
	old, err := r.supersede(v, a)
	if err != nil {
		return fmt.Errorf("%w: is the DHCP client identifier of this node its own?", err)
	}
	if old != nil {
		old.leave()
	}
	span := r.cfg.Recorder.Begin(m.Handover, event.PhaseDAD, "addr", a.String())
	began := time.Now()
	err = s.proxy.Probe(ctx, a, m.MAC)
	span.End(err)
	reply.DAD += time.Since(began)
	if err != nil {
		return &probeError{err}
	}
	return nil
}

// probeError is what kept duplicate address detection from finding an address free.
type probeError struct{ error }

func (e *probeError) Unwrap() error { return e.error }

// give has v keep a lease, and fills in the reply.
func (r *Router) give(s *stack, v *visitor, m *notify.ConfigRequest, l lease, t *tenure, reply *notify.ConfigReply) error {
	if !v.keep(l, m.MAC, t) {
		return errSessionEnded
	}
	s.grant(reply, l, r.mac)
	return nil
}

var errSessionEnded = errors.New("the session ended")

// grant tells the node what it has been leased.
func (s *stack) grant(reply *notify.ConfigReply, l lease, mac net.HardwareAddr) {
	reply.Addr, reply.Router, reply.RouterMAC = l.Addr, s.router, mac
	reply.ServerID, reply.ServerDUID, reply.Age = l.ServerID, l.ServerDUID, time.Since(l.Start)
	reply.Lifetime, reply.Preferred, reply.T1, reply.T2 = l.Lifetime, l.Preferred, l.T1, l.T2
	if len(l.DNS) > 0 {
		reply.DNS = l.DNS[:min(len(l.DNS), notify.MaxDNS)]
	}
}

// undetected says why duplicate address detection came to no end, after so many
// conflicts.
func (r *Router) undetected(err error, conflicts int) error {
	var probe *probeError
	switch {
	case errors.Is(err, acd.ErrLimited):
		return fmt.Errorf("%d conflicts on this link: RFC 5227 limits probing to one address in %v; try again after that",
			r.cfg.DAD.MaxConflicts, r.cfg.DAD.RateLimitInterval)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("none was found free in %v; %d leased were in use by other hosts", r.cfg.Configure, conflicts)
	case errors.As(err, &probe):
		return fmt.Errorf("duplicate address detection: %w", err)
	}
	return err
}

// decline tells the server that an address is in use, even if the time is up.
func (r *Router) decline(c client, l lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return c.decline(ctx, l)
}

func iaid(n uint32) (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], n)
	return b
}

// takenError says that an address that a node has formed is another's.
type takenError struct{ why string }

func (e *takenError) Error() string { return e.why }

// acquire6 is acquire for IPv6.
func (r *Router) acquire6(ctx context.Context, v *visitor, m *notify.ConfigRequest, reply *notify.ConfigReply) error {
	s := r.six
	if s == nil {
		return errors.New("this router serves IPv4 only: ask for an address of that, or configure ipv6 here")
	}
	a, err := r.adverts.wait(ctx, s)
	if err != nil {
		return err
	}
	reply.RA, reply.Router, reply.RouterMAC = a.Raw, s.router, r.mac
	if len(a.DNS) > 0 {
		reply.DNS = a.DNS[:min(len(a.DNS), notify.MaxDNS)]
	}
	switch {
	case m.Addr.IsValid():
		return r.formed(ctx, v, m, a, reply)
	case r.managed(a.RouterAdvert):
		return r.readyOrLeased(ctx, s, v, m, reply)
	case len(a.Autonomous()) == 0:
		return fmt.Errorf("the router advertisement of %s names no prefix to form an address of, and no DHCPv6 server is configured here", r.cfg.Access)
	}
	_, err = r.ahead(s, v, m, reply)
	return err
}

// managed says whether nodes have addresses of the DHCPv6 server.
func (r *Router) managed(ra nd.RouterAdvert) bool {
	return r.six.source != nil && (ra.Managed || r.cfg.IPv6.Managed)
}

// formed verifies an address that the node has formed itself.
func (r *Router) formed(ctx context.Context, v *visitor, m *notify.ConfigRequest, ra heardAt, reply *notify.ConfigReply) error {
	l, err := formedLease(ra.RouterAdvert, m.Addr, ra.at)
	if err != nil {
		return err
	}
	if r.own(m.Addr) || r.six.pool != nil && r.six.pool.find(m.Addr) != nil {
		return &takenError{m.Addr.String() + " is this router's"}
	}
	if !r.reserve(m.Addr, v) {
		return &takenError{m.Addr.String() + " is just being verified for another node"}
	}
	defer r.unreserve(m.Addr)
	err = r.verify(ctx, r.six, v, m, m.Addr, reply)
	var conflict *acd.ConflictError
	var probe *probeError
	switch {
	case errors.As(err, &conflict):
		return &takenError{conflict.Error()}
	case err != nil && !errors.As(err, &probe):
		return &takenError{m.Addr.String() + " is in use in the session of another node"}
	case err != nil:
		return r.undetected(err, 0)
	}
	return r.give(r.six, v, m, l, nil, reply)
}

// formedLease is that of an address formed of a prefix that an advertisement has for this.
func formedLease(ra nd.RouterAdvert, a netip.Addr, now time.Time) (lease, error) {
	for _, p := range ra.Autonomous() {
		if !p.Contains(a) {
			continue
		}
		b := a.As16()
		if nd.IID(b[8:]).Reserved() {
			return lease{}, fmt.Errorf("the interface identifier of %s is reserved (RFC 5453)", a)
		}
		for _, info := range ra.Prefixes {
			if info.Prefix == p && info.Autonomous {
				return lease{Addr: netip.PrefixFrom(a, p.Bits()), Start: now, Lifetime: info.Valid, Preferred: info.Preferred}, nil
			}
		}
	}
	return lease{}, fmt.Errorf("%s is of none of the prefixes %v of which addresses are formed here", a, ra.Autonomous())
}

// reserve has nobody else be given an address meanwhile.
func (r *Router) reserve(a netip.Addr, v *visitor) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forming[a] != nil {
		return false
	}
	r.forming[a] = v
	return true
}

func (r *Router) unreserve(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.forming, a)
}
