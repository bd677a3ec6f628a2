package par

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp6"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/par/neigh"
)

// IPv6 of a router. Its access link has a router advertisement that names the prefix of Address; who sends it is all the same.
type IPv6 struct {
	Address netip.Addr // of the router on the access link: PANA, ESP and the DHCPv6 relay speak from it
	Server  netip.Addr // of DHCPv6; the zero Addr: nodes form their addresses
	Managed bool       // nodes have addresses of Server even where the router advertisement does not say so
	DAD     nd.Timers  // zero: those of RFC 4861 and 4862
}

// openSix has the router serve IPv6.
func (r *Router) openSix() error {
	s := r.six
	kernel, ok := r.host.(host.IPv6)
	if !ok {
		return errors.New("this machine has no IPv6: leave ipv6 out")
	}
	if err := kernel.CheckRouter6(r.cfg.Access, r.dev.Name()); err != nil {
		return err
	}
	if err := r.attach(s); err != nil {
		return err
	}
	conn, err := kernel.OpenND(r.cfg.Access)
	if err != nil {
		return err
	}
	listener := neigh.NDConfig{Source: s.router, Timers: r.cfg.IPv6.DAD, Rand: r.cfg.Rand, Log: r.cfg.Log}
	if r.cfg.Gate != nil {
		listener.Heard = r.neighbourFrom
	}
	if s.pool != nil {
		listener.Conflict = s.pool.conflict
	}
	proxy, err := neigh.NewND(conn, listener)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.proxy = proxy
	if r.cfg.IPv6.Server.IsValid() {
		relay, err := dhcp6.OpenRelay(dhcp6.RelayConfig{
			Sockets: r.host, Link: s.address, Server: r.cfg.IPv6.Server, InterfaceID: r.cfg.Access, Log: r.cfg.Log,
		})
		if err != nil {
			return err
		}
		s.source = &dhcpv6{r, relay}
	}
	heard, err := kernel.OpenRouterAdverts(r.cfg.Access)
	if err != nil {
		return err
	}
	r.adverts = newAdverts(heard)
	return nil
}

// stack6 finds the router's addresses among those of the access link.
func (r *Router) stack6(link osnet.Link) (*stack, error) {
	s := &stack{address: r.cfg.IPv6.Address}
	for _, p := range link.Addrs {
		switch {
		case p.Addr() == s.address:
			s.prefix = p.Masked()
		case p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && !s.router.IsValid():
			s.router = p.Addr()
		}
	}
	switch {
	case !s.prefix.IsValid():
		return nil, fmt.Errorf("%s has no address %s; it has %v: set ipv6.address to one of them", r.cfg.Access, s.address, link.Addrs)
	case !s.router.IsValid():
		return nil, fmt.Errorf("%s has no link-local address; it has %v: nodes need one for their default router", r.cfg.Access, link.Addrs)
	}
	return s, nil
}

// dhcpv6 is a source of IPv6 addresses.
type dhcpv6 struct {
	r     *Router
	relay *dhcp6.Relay
}

func (d *dhcpv6) name() string { return d.r.cfg.IPv6.Server.String() }

func (d *dhcpv6) Close() error { return d.relay.Close() }

func (d *dhcpv6) client(mac net.HardwareAddr, id []byte, iaid [4]byte) client {
	prefix := d.r.six.prefix
	return client6{&dhcp6.Client{MAC: mac, ClientID: id, IAID: iaid, Relay: d.relay, Subnet: prefix, Rapid: true, Rand: d.r.cfg.Rand}, prefix.Bits()}
}

type client6 struct {
	*dhcp6.Client
	bits int
}

// acquire asks for rapid commit, so the server may grant an address with its first answer: what is told before has none.
func (c client6) acquire(ctx context.Context, offered func(lease) error) (lease, error) {
	if err := offered(lease{Addr: nowhere, ClientID: c.ClientID, IAID: c.IAID}); err != nil {
		return lease{}, err
	}
	c.Offered = func(l dhcp6.Lease) error { return offered(from6(l, c.bits)) }
	l, err := c.Acquire(ctx)
	return from6(l, c.bits), err
}

func (c client6) renew(ctx context.Context, l lease) (lease, error) {
	fresh, err := c.Renew(ctx, l.to6())
	if errors.Is(err, dhcp6.ErrWithdrawn) || errors.As(err, new(*dhcp6.StatusError)) {
		err = fmt.Errorf("%w: %w", errWithdrawn, err)
	}
	return from6(fresh, l.Addr.Bits()), err
}

func (c client6) decline(ctx context.Context, l lease) error { return c.Decline(ctx, l.to6()) }

// giveBack learns first what it is, if that is not known: a server gives a client the address that it has (RFC 8415 section 18.3.2).
func (c client6) giveBack(ctx context.Context, l lease) error {
	given := l.to6()
	if given.Addr.IsUnspecified() {
		var err error
		if given, err = c.Acquire(ctx); err != nil {
			return err
		}
	}
	return c.Release(ctx, given)
}
