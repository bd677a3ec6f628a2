package par

import (
	"net"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/par/neigh"
)

// ahead gives v an address that was made ready before, if there is one.
func (r *Router) ahead(s *stack, v *visitor, m *notify.ConfigRequest, reply *notify.ConfigReply) (given bool, err error) {
	if s.pool == nil {
		return false, nil
	}
	identity, _ := v.who()
	one := s.pool.take(identity)
	r.begunAgain(v, keyOf(m), one != nil)
	if one == nil {
		return false, nil
	}
	span := r.cfg.Recorder.Begin(m.Handover, event.PhaseDAD, "addr", one.addr.String(), "ahead_s", time.Since(one.since).Seconds())
	defer func() { span.End(err) }()
	l, err := s.pool.assign(one, v, m)
	if one.t != nil {
		defer one.t.leave()
	}
	if err == nil {
		err = s.proxy.Set(one.addr, neigh.Policy{AnswerProbes: true, IgnoreMAC: m.MAC})
	}
	if err == nil && !v.keepDefended(l, m.MAC, one.t) {
		err = errSessionEnded
	}
	if err != nil {
		s.proxy.Remove(one.addr)
		return false, err
	}
	s.grant(reply, l, r.mac)
	reply.ClientID = l.ClientID
	return true, nil
}

// assign makes the lease of what was taken that of v.
func (p *pool) assign(s *spare, v *visitor, m *notify.ConfigRequest) (l lease, err error) {
	if s.t != nil {
		return s.t.assign(v, m.MAC)
	}
	ra, err := p.r.adverts.wait(v.ctx, p.at)
	if err != nil {
		return l, err
	}
	return formedLease(ra.RouterAdvert, s.addr, time.Now())
}

// begunAgain ends older sessions of the node of v, which it has forgotten, as after a
// crash: with one client identifier a node has one lease. Where v goes on to another address
// under that (not ready), what it had so is to be claimed, and stays.
func (r *Router) begunAgain(v *visitor, client clientKey, ready bool) {
	identity, _ := v.who()
	for _, o := range r.visitors() {
		if o == v || !o.asksAs(identity, client, ready) {
			continue
		}
		if t := r.succeed(o, v); t != nil {
			t.leave()
		}
	}
}

// asksAs says whether v has the lease of a node that is known by that, and whether it is
// to be given back: all says that one which was not ready before is, too.
func (v *visitor) asksAs(identity string, client clientKey, all bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lease != nil && v.identity == identity && v.client == client && (all || v.ready)
}

// keepDefended is keep for an address that was ready, for which the router answers.
func (v *visitor) keepDefended(l lease, mac net.HardwareAddr, t *tenure) bool {
	if !v.keep(l, mac, t) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lease == nil { // gone since
		return false
	}
	v.ready = true
	if v.defended = true; v.here {
		v.undefend()
	}
	return true
}

// undefend ends the defence of an address from before its node had a tunnel. The caller
// holds mu.
func (v *visitor) undefend() {
	if v.defended {
		v.defended = false
		v.r.stack(v.lease.Addr.Addr()).proxy.Remove(v.lease.Addr.Addr())
	}
}
