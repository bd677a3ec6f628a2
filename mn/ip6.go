package mn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp6"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/paa/notify"
)

// ip6 is IPv6 on an interface: addresses from DHCPv6, or formed from what routers advertise
// (RFC 4862), and neighbour discovery. The kernel keeps out of both.
type ip6 struct {
	p    *port
	host host.IPv6
	nd   host.ND // to send by
	mac  acd.MAC
	own  netip.Addr // link-local
	id   *identity6
	dhcp chan struct{} // taken by whoever has the DHCPv6 client's port

	mu        sync.Mutex
	conflicts map[string]uint8 // of addresses formed, by network: DAD_Counter of RFC 7217
}

func openIP6(p *port) (ip, error) {
	h, ok := p.n.net.(host.IPv6)
	if !ok {
		return nil, errors.New("this machine has no IPv6: expected family 4")
	}
	mac, err := acd.MACFrom(p.mac)
	if err != nil {
		return nil, err
	}
	i := &ip6{p: p, host: h, mac: mac, own: nd.LinkLocal(mac), dhcp: make(chan struct{}, 1), conflicts: map[string]uint8{}}
	if i.id, err = p.n.identity(); err != nil {
		return nil, err
	}
	if err = p.quiet(h); err != nil {
		return nil, err
	}
	if i.nd, err = h.OpenND(p.name); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *ip6) close() error { return i.nd.Close() }

func (i *ip6) timers() nd.Timers {
	if t := i.p.n.cfg.DAD6; t != (nd.Timers{}) {
		return t
	}
	return nd.DefaultTimers()
}

// linkLocal puts the interface's link-local address there, where the kernel has not, and
// returns it with its zone when it can be used.
func (i *ip6) linkLocal(ctx context.Context) (netip.Addr, error) {
	local := i.own.WithZone(i.p.name)
	if err := i.p.n.net.AddAddress(i.p.name, netip.PrefixFrom(i.own, 64), linkLocalOptions); err != nil {
		return local, err
	}
	for {
		conn, err := i.p.n.net.ListenUDP(netip.AddrPortFrom(local, 0))
		switch {
		case err == nil:
			return local, conn.Close()
		case !errors.Is(err, unix.EADDRNOTAVAIL):
			return local, err
		}
		// The kernel itself has just put it there, and looks for duplicates of it.
		if sleep(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return local, fmt.Errorf("%s has no usable link-local address: %w", i.p.name, err)
		}
	}
}

func (i *ip6) lease(ctx context.Context, id event.HandoverID, network string) (lease, error) {
	span := i.p.n.cfg.Recorder.Begin(id, event.PhaseDHCP)
	l, err := i.acquire(ctx, network)
	span.End(err)
	return lease{Six: l}, err
}

func (i *ip6) acquire(ctx context.Context, network string) (*lease6, error) {
	router, ra, err := i.solicit(ctx, func(_ netip.Addr, ra nd.RouterAdvert) bool { return ra.Lifetime > 0 })
	if err != nil {
		return nil, err
	}
	l := &lease6{Router: router}
	switch {
	case ra.Managed:
		err = i.exchange(ctx, func(ctx context.Context, c *dhcp6.Client) (err error) {
			l.Lease, err = c.Acquire(ctx)
			return err
		})
	default:
		*l, err = i.form(network, router, ra)
	}
	l.OnLink = onLink(ra, l.Addr)
	return l, err
}

// exchange is one with a DHCPv6 server of the link.
func (i *ip6) exchange(ctx context.Context, with func(context.Context, *dhcp6.Client) error) error {
	ctx, done := longer(ctx)
	defer done()
	select {
	case i.dhcp <- struct{}{}:
		defer func() { <-i.dhcp }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	local, err := i.linkLocal(ctx)
	if err != nil {
		return err
	}
	return with(ctx, &dhcp6.Client{
		Sockets: i.p.n.net, Local: local, MAC: i.p.mac, ClientID: i.id.DUID, IAID: i.iaid(), Rapid: true, Rand: i.p.n.cfg.Rand,
	})
}

func (i *ip6) decline(ctx context.Context, network string, l lease) error {
	if l.formed() {
		i.conflict(network)
		return nil
	}
	return i.exchange(ctx, func(ctx context.Context, c *dhcp6.Client) error { return c.Decline(ctx, l.Six.Lease) })
}

// Status codes of RFC 8415 section 21.13.
const (
	statusNoBinding = 3
	statusNotOnLink = 4
)

// renew looks, for an address that was formed, whether its router still advertises its
// prefix: after a move that is the comparison with what was prepared, and nothing is
// acquired again.
func (i *ip6) renew(ctx context.Context, l lease, late bool) (lease, bool, error) {
	if l.formed() {
		return i.compare(ctx, *l.Six)
	}
	six := *l.Six
	err := i.exchange(ctx, func(ctx context.Context, c *dhcp6.Client) (err error) {
		ask := c.Renew
		if late {
			ask = c.Rebind
		}
		six.Lease, err = ask(ctx, l.Six.Lease)
		return err
	})
	status := (*dhcp6.StatusError)(nil)
	lost := errors.Is(err, dhcp6.ErrWithdrawn) || errors.As(err, &status) && (status.Code == statusNoBinding || status.Code == statusNotOnLink)
	return lease{Six: &six}, lost, err
}

func (i *ip6) compare(ctx context.Context, l lease6) (lease, bool, error) {
	_, ra, err := i.solicit(ctx, func(router netip.Addr, ra nd.RouterAdvert) bool {
		return router == l.Router || ra.Holds(l.Addr)
	})
	if err != nil {
		return lease{}, false, err
	}
	if !ra.Holds(l.Addr) {
		return lease{}, true, fmt.Errorf("the router %s advertises no prefix of %s here", l.Router, l.Addr)
	}
	l = l.refreshed(ra, time.Now(), false)
	return lease{Six: &l}, false, nil
}

// errElsewhere says that an address can be given back on its own link only.
var errElsewhere = errors.New("a lease of DHCPv6 is given back on its own link only: it ends with its lifetime")

func (i *ip6) release(ctx context.Context, l lease, from netip.Addr) error {
	switch {
	case l.formed(): // it is nobody's to take back
		return nil
	case from != l.addr():
		return errElsewhere
	}
	return i.exchange(ctx, func(ctx context.Context, c *dhcp6.Client) error { return c.Release(ctx, l.Six.Lease) })
}

func (i *ip6) entrust(h notify.Header, l lease) *notify.Entrust {
	if l.formed() {
		return nil
	}
	six := l.Six
	return &notify.Entrust{
		Header: h, Addr: six.Addr, ClientID: six.ClientID, IAID: binary.BigEndian.Uint32(six.IAID[:]), ServerDUID: six.ServerID, MAC: i.p.mac,
	}
}

// probe detects duplicates of a on the link (RFC 4862 §5.4), with a nonce (RFC 7527). It
// may be in use meanwhile, if it was probed before, by the router (RFC 4429).
func (i *ip6) probe(ctx context.Context, a netip.Addr) error { return i.detect(ctx, a, i.timers()) }

func (i *ip6) detect(ctx context.Context, a netip.Addr, t nd.Timers) error {
	conn, err := i.host.OpenND(i.p.name)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Join(a); err != nil { // the kernel may not have it yet
		return err
	}
	m, err := nd.New(nd.Config{Addr: a, Own: []net.HardwareAddr{i.p.mac}, Timers: t, Rand: i.p.n.cfg.Rand})
	if err != nil {
		return err
	}
	return nd.Run(ctx, conn, m, nil)
}

func (i *ip6) announce(a netip.Addr) error {
	if err := i.nd.WriteND(nd.Announce(a, a, i.mac)); err != nil {
		return fmt.Errorf("neighbour advertisement: %w", err)
	}
	return nil
}

// reachTimers6 are as reachTimers.
var reachTimers6 = nd.Timers{Transmits: 5, Retrans: 100 * time.Millisecond, LoopTransmits: 1}

func (i *ip6) find(ctx context.Context, a netip.Addr) (net.HardwareAddr, error) {
	return i.p.answered(a, i.detect(ctx, a, reachTimers6))
}

func (i *ip6) ask(a *address) error {
	pkt := nd.Packet{Src: a.addr(), Dst: nd.SolicitedNode(a.router()), Msg: nd.Solicit{Target: a.router(), MAC: i.mac}}
	if known := a.routerMAC.Load(); known != nil {
		to, err := acd.MACFrom(*known)
		if err != nil {
			return err
		}
		pkt.Dst, pkt.To = a.router(), to
	}
	return i.nd.WriteND(pkt)
}
