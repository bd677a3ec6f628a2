package par

import (
	"fmt"
	"net"
	"net/netip"
)

// adopt gives v, a session from the address a itself, the lease of a that an older
// session of the same node, or one of before a restart, has left. It is given back
// with v.
func (r *Router) adopt(v *visitor, a netip.Addr) error {
	old, err := r.supersede(v, a)
	if err != nil {
		return err
	}
	if old != nil {
		defer old.leave()
	}
	key, owner, ok := r.leases.at(a)
	if !ok {
		return nil // whoever came without preparation has leased it itself
	}
	identity, _ := v.who()
	if owner != identity {
		return fmt.Errorf("the lease of %s is another node's", a)
	}
	t, err := r.leases.take(v.ctx, identity, key)
	if err != nil {
		return err
	}
	defer t.done()
	rec, ok := t.unclaimed()
	if !ok {
		return nil // given back just now; the node will hear so when it renews
	}
	mac, err := net.ParseMAC(rec.MAC)
	if err != nil {
		return err
	}
	if v.keep(rec.Lease, mac, t) {
		v.mu.Lock()
		v.reached(stageArrived)
		v.mu.Unlock()
	}
	return nil
}

// supersede ends an older session of the same node, which is at v's with address
// a: DHCP gives an address to one client only, so whoever held it before was this
// node under a session it has forgotten, as after a crash. A client identifier
// can be claimed by anybody: what AAA says decides, and somebody else's session
// stays. The older session's tenure is settled when leave is called, unless it has
// another holder by then.
func (r *Router) supersede(v *visitor, a netip.Addr) (*tenure, error) {
	old := r.holder(a, v)
	if old == nil {
		return nil, nil
	}
	identity, _ := v.who()
	if was, _ := old.who(); was != identity {
		return nil, fmt.Errorf("%s is in use in the session of another node", a)
	}
	return r.succeed(old, v), nil
}

// succeed ends old, which is a session of the same node as v, and returns its tenure.
func (r *Router) succeed(old, v *visitor) *tenure {
	old.lock()
	old.dropTunnel("the node began again")
	old.undefend()
	t := old.tenure
	if t != nil {
		t.pass(old)
	}
	old.lease, old.tenure = nil, nil
	old.superseded = true // for seconds, if nobody answers the PAA any more (RFC 5191 section 9)
	old.pass(false)
	old.mu.Unlock()
	r.links.pass(old, v)
	if err := r.paa().Terminate(old.sid); err != nil {
		r.cfg.Log.Warn("superseded session not terminated", "sid", old.sid, "err", err)
	}
	return t
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
