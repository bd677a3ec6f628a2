package par

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"openmpa/internal/osnet"
	"openmpa/paa/pana"
	"openmpa/par/neigh"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
)

// stack is what differs between the families on the access link. All else is the same for
// visitors of either: an address says whose it is.
type stack struct {
	address netip.Addr     // of the router: PANA, ESP and the relay speak from it
	router  netip.Addr     // as nodes know it; IPv6: its link-local address
	prefix  netip.Prefix   // of the link
	proxy   proxy          //
	source  source         // of addresses; nil: nodes form them
	socket  *tunnel.Socket // of ESP whose outer packets are of this family
	plain   *tunnel.Plain  // nil: packets go by ESP only
	pool    *pool          // nil: no addresses are kept ready
}

// proxy answers for absent visitors, and finds out who has an address: a neigh.Proxy or neigh.NDProxy.
type proxy interface {
	Set(addr netip.Addr, pol neigh.Policy) error
	Remove(addr netip.Addr)
	Announce(addr netip.Addr) error
	Probe(ctx context.Context, addr netip.Addr, visitor net.HardwareAddr) error
	DefendOrProbe(ctx context.Context, addr netip.Addr, pol neigh.Policy) error
	Present(ctx context.Context, router, addr netip.Addr, visitor net.HardwareAddr) (bool, error)
	Stats() neigh.Stats
	Close() error
}

// source is a DHCP server.
type source interface {
	// client speaks with it for a node. iaid is IPv6's.
	client(mac net.HardwareAddr, id []byte, iaid [4]byte) client
	name() string // for people
	Close() error
}

// client leases for one node.
type client interface {
	// acquire leases an address. offered is told what the server may grant from then on; an error of its ends acquire.
	acquire(ctx context.Context, offered func(lease) error) (lease, error)
	// renew asks for more time; errWithdrawn: the server has said that there is no such lease.
	renew(ctx context.Context, l lease) (lease, error)
	// decline says that the address is in use by somebody else.
	decline(ctx context.Context, l lease) error
	// giveBack returns nil when the server has the address back.
	giveBack(ctx context.Context, l lease) error
}

var errWithdrawn = errors.New("the server has withdrawn the lease")

// stack is the one of an address's family; nil: the router does not serve it.
func (r *Router) stack(a netip.Addr) *stack {
	if a.Is6() && !a.Is4In6() {
		return r.six
	}
	return r.four
}

// stacks are those that are served.
func (r *Router) stacks() []*stack {
	all := []*stack{r.four}
	if r.six != nil {
		all = append(all, r.six)
	}
	return all
}

// onLink says whether a is of a prefix of the access link.
func (r *Router) onLink(a netip.Addr) bool {
	s := r.stack(a)
	return s != nil && s.prefix.Contains(a)
}

// own says whether a is the router's on the access link.
func (r *Router) own(a netip.Addr) bool {
	s := r.stack(a)
	return s != nil && (s.address == a || s.router == a)
}

// attach has the kernel treat packets of the stack's family as the data path needs it, and opens its sockets.
func (r *Router) attach(s *stack) error {
	from := netip.PrefixFrom(s.address, s.address.BitLen())
	for _, step := range []func() error{
		func() error {
			return r.host.SetRoute(osnet.Route{Dst: s.prefix, Dev: r.cfg.Access, Table: table})
		},
		func() error {
			return r.host.AddRule(osnet.Rule{Priority: rulePriority, IIF: r.dev.Name(), To: s.prefix, Table: table})
		},
		func() error { // PANA with a care-of address is with a node on the access link: no tunnel is for it
			return r.host.AddRule(osnet.Rule{Priority: rulePriority, From: from, UDPFrom: pana.Port, Table: table})
		},
		func() error { // as is ESP: what is for a node there, and goes through its tunnel, would come into the TUN again
			return r.host.AddRule(osnet.Rule{Priority: rulePriority, From: from, UDPFrom: r.cfg.Port, Table: table})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	udp, err := r.host.OpenESP(netip.AddrPortFrom(s.address, r.cfg.Port), bind.Options{Offload: r.cfg.Offload})
	if err != nil {
		return err
	}
	if s.socket, err = r.endpoint.Attach(udp); err != nil {
		return err
	}
	if r.cfg.Plain {
		return r.openPlain(s)
	}
	return nil
}

// detach closes what the stack has opened, but for what is the endpoint's.
func (s *stack) detach() {
	if s == nil {
		return
	}
	if s.source != nil {
		_ = s.source.Close()
	}
	if s.proxy != nil {
		_ = s.proxy.Close()
	}
}
