package par

import (
	"context"
	"errors"
	"fmt"
	"net"

	"openmpa/internal/dhcp4"
	"openmpa/par/neigh"
)

// openFour has the router serve IPv4.
func (r *Router) openFour() (err error) {
	s := r.four
	if err = r.attach(s); err != nil {
		return err
	}
	listener := neigh.Config{Timers: r.cfg.DAD, Rand: r.cfg.Rand, Log: r.cfg.Log}
	if r.cfg.Gate != nil {
		listener.Heard = r.neighbourFrom
	}
	if s.pool != nil {
		listener.Conflict = s.pool.conflict
	}
	arp, err := neigh.Listen(r.host, r.cfg.Access, listener)
	if err != nil {
		return err
	}
	s.proxy = arp
	relay, err := dhcp4.OpenRelay(dhcp4.RelayConfig{
		Sockets: r.host, Giaddr: s.address, Server: r.cfg.DHCPServer, CircuitID: r.cfg.Access, Log: r.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.source = &dhcpv4{r, relay}
	return nil
}

// dhcpv4 is a source of IPv4 addresses.
type dhcpv4 struct {
	r     *Router
	relay *dhcp4.Relay
}

func (d *dhcpv4) name() string { return d.r.cfg.DHCPServer.String() }

func (d *dhcpv4) Close() error { return d.relay.Close() }

func (d *dhcpv4) client(mac net.HardwareAddr, id []byte, _ [4]byte) client {
	return client4{&dhcp4.Client{MAC: mac, ClientID: id, Relay: d.relay, Subnet: d.r.four.prefix, Rand: d.r.cfg.Rand}}
}

type client4 struct{ *dhcp4.Client }

func (c client4) acquire(ctx context.Context, offered func(lease) error) (lease, error) {
	c.Offered = func(l dhcp4.Lease) error { return offered(from4(l)) }
	l, err := c.Acquire(ctx)
	return from4(l), err
}

func (c client4) renew(ctx context.Context, l lease) (lease, error) {
	l4, err := c.Renew(ctx, l.to4())
	if errors.As(err, new(*dhcp4.NAKError)) {
		err = fmt.Errorf("%w: %w", errWithdrawn, err)
	}
	return from4(l4), err
}

func (c client4) decline(ctx context.Context, l lease) error { return c.Decline(ctx, l.to4()) }

func (c client4) giveBack(ctx context.Context, l lease) error { return c.GiveBack(ctx, l.to4()) }
