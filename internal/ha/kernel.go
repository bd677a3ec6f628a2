package ha

import (
	"net/netip"

	"openmpa/internal/osnet"
	"openmpa/tunnel/ipip"
)

var _ World = (*Agent)(nil)

// To implements World.
func (a *Agent) To(careOf netip.Addr, inner []byte) error {
	return a.ipip.Send(careOf, inner, ipip.TOS(inner))
}

// From implements World.
func (a *Agent) From(inner []byte) error {
	_, err := a.tun.Write(inner)
	return err
}

// route brings what is sent to a home address into the TUN. What this host sends itself
// carries the home agent's address, which the mobile node knows.
func (a *Agent) route(home netip.Addr) osnet.Route {
	return osnet.Route{Dst: netip.PrefixFrom(home, 32), Dev: a.tun.Name(), Src: a.cfg.Core.Address}
}

// Bound implements World.
func (a *Agent) Bound(home netip.Addr) error {
	if err := a.host.SetRoute(a.route(home)); err != nil {
		return err
	}
	if a.home != nil {
		a.home.add(home)
	}
	return nil
}

// Unbound implements World.
func (a *Agent) Unbound(home netip.Addr) {
	if a.home != nil {
		a.home.remove(home)
	}
	if err := a.host.DelRoute(a.route(home)); err != nil {
		a.cfg.Log.Warn("the route of a home address stays until the end", "home_address", home, "err", err)
	}
}

// Wake implements World.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
