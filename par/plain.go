package par

import (
	"fmt"

	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
)

// openPlain has packets of nodes that ask for it go by IP in IP (RFC 2003).
func (r *Router) openPlain(at *stack) error {
	s, err := r.host.OpenIPIP(at.address, bind.Options{})
	if err != nil {
		return err
	}
	if at.plain, err = r.endpoint.AttachPlain(s); err != nil {
		return err
	}
	r.cfg.Log.Warn("IP-in-IP is allowed: packets of a node that asks for it are neither encrypted nor authenticated; " +
		"who can send from the node's outer address can speak as the node, and they pass no address translator; markers stay in ESP beside them")
	return nil
}

// plainly adds to the configuration of a tunnel what IP in IP needs, where the node asks
// for it, it is allowed, and the node is where it says: nothing translates its address,
// and it is not on the access link, whose addresses have host routes into the TUN.
// The caller holds mu.
func (v *visitor) plainly(m *notify.TunnelRequest, outer *stack, cfg *tunnel.TunnelConfig) bool {
	if !m.Plain.IsValid() || outer.plain == nil {
		return false
	}
	refuse := func(format string, args ...any) bool {
		v.r.cfg.Log.Info("no IP-in-IP", "sid", v.sid, "err", fmt.Sprintf(format, args...))
		return false
	}
	if at := v.peer.Addr().Unmap(); at != m.Plain {
		return refuse("the node says it is at %v, and is seen at %v: an address translator is between", m.Plain, at)
	}
	if m.Plain.Is4() != m.Inner.Is4() {
		return refuse("of %v by packets of %v: it carries its own family only", m.Inner, m.Plain)
	}
	if v.r.onLink(m.Plain) { // its host route, or that of another visitor, would bring it into the TUN again
		return refuse("the node is at %v, on the access link %v itself", m.Plain, v.r.Prefixes())
	}
	cfg.Plain, cfg.PlainPeer, cfg.PlainInner = outer.plain, m.Plain, m.Inner
	v.r.cfg.Log.Info("packets go by IP-in-IP, unprotected", "sid", v.sid, "addr", m.Inner, "outer", m.Plain)
	return true
}
