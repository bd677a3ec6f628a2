package mn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/dhcp4"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/paa/notify"
)

// ip4 is IPv4 on an interface: addresses from DHCP, ARP.
type ip4 struct {
	p        *port
	arp      host.ARP
	clientID []byte // of DHCP
}

func openIP4(p *port) (ip, error) {
	i := &ip4{p: p, clientID: p.n.cfg.ClientID}
	if i.clientID == nil {
		i.clientID = append([]byte{1}, p.mac...) // RFC 2132 §9.14
	}
	var err error
	if i.arp, err = p.n.net.OpenARP(p.name); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *ip4) close() error { return i.arp.Close() }

func (i *ip4) dhcp() *dhcp4.Client {
	return &dhcp4.Client{Sockets: i.p.n.net, Iface: i.p.name, MAC: i.p.mac, ClientID: i.clientID, Rand: i.p.n.cfg.Rand}
}

func (i *ip4) lease(ctx context.Context, id event.HandoverID, _ string) (lease, error) {
	span := i.p.n.cfg.Recorder.Begin(id, event.PhaseDHCP)
	ctx, done := longer(ctx)
	defer done()
	l, err := i.dhcp().Acquire(ctx)
	span.End(err)
	return lease4(l), err
}

func (i *ip4) decline(ctx context.Context, _ string, l lease) error {
	return i.dhcp().Decline(ctx, *l.Four)
}

func (i *ip4) renew(ctx context.Context, l lease, late bool) (lease, bool, error) {
	ask := i.dhcp().Renew
	if late {
		ask = i.dhcp().Rebind
	}
	renewed, err := ask(ctx, *l.Four)
	nak := (*dhcp4.NAKError)(nil)
	return lease4(renewed), errors.As(err, &nak), err
}

// release sends only when the next hop is known, if it is that of the address itself: the
// address may be taken off the interface next, and no packet may wait for a neighbour then.
func (i *ip4) release(ctx context.Context, l lease, from netip.Addr) error {
	if from == l.addr() {
		next := l.Four.ServerID
		if !l.prefix().Contains(next) {
			next = l.router()
		}
		if _, err := i.p.n.net.Resolve(ctx, i.p.name, next); err != nil {
			return err
		}
	}
	return i.dhcp().Release(ctx, *l.Four, from)
}

func (i *ip4) entrust(notify.Header, lease) *notify.Entrust { return nil }

func (i *ip4) request(h notify.Header) *notify.ConfigRequest {
	return &notify.ConfigRequest{Header: h, ClientID: i.clientID, MAC: i.p.mac}
}

func (i *ip4) configured(_ string, m *notify.ConfigReply, _ *notify.ConfigRequest) (*lease, error) {
	switch {
	case m.Reason != "":
		return nil, errors.New(m.Reason)
	case !m.Addr.Addr().Is4():
		return nil, fmt.Errorf("the router gave %s, asked for was an IPv4 address", m.Addr)
	}
	l := lease4(dhcp4.Lease{
		Addr: m.Addr, Router: m.Router, DNS: m.DNS, ServerID: m.ServerID, ClientID: i.clientID,
		Start: time.Now().Add(-m.Age), Lifetime: m.Lifetime, T1: m.T1, T2: m.T2,
	})
	if len(m.ClientID) > 0 { // verified ahead: the router has leased it under a name of its own
		l.Four.ClientID = m.ClientID
	}
	return &l, nil
}

// probe makes sure that a is nobody else's on the link (RFC 5227 §2.1).
func (i *ip4) probe(ctx context.Context, a netip.Addr) error {
	arp, err := i.p.n.net.OpenARP(i.p.name) // without what has been lying in the other, such as the router's answers while the node was away
	if err != nil {
		return err
	}
	defer arp.Close()
	return acd.Probe(ctx, arp, a, i.p.mac, i.p.n.cfg.DAD, i.p.n.cfg.Rand)
}

func (i *ip4) announce(a netip.Addr) error {
	if err := i.arp.SendGratuitous(a); err != nil {
		return fmt.Errorf("gratuitous ARP: %w", err)
	}
	return nil
}

// reachTimers are for asking whether a neighbour is there: it answers in a
// millisecond, one that is asleep in a beacon or two.
var reachTimers = acd.Timers{
	ProbeNum: 5, ProbeMin: 100 * time.Millisecond, ProbeMax: 100 * time.Millisecond, AnnounceWait: 200 * time.Millisecond,
	AnnounceNum: 1, MaxConflicts: 1,
}

func (i *ip4) find(ctx context.Context, a netip.Addr) (net.HardwareAddr, error) {
	arp, err := i.p.n.net.OpenARP(i.p.name) // without what has been lying in the other
	if err != nil {
		return nil, err
	}
	defer arp.Close()
	return i.p.answered(a, acd.Probe(ctx, arp, a, i.p.mac, reachTimers, i.p.n.cfg.Rand))
}

func (i *ip4) ask(a *address) error {
	mac, err := acd.MACFrom(i.p.mac)
	if err != nil {
		return err
	}
	to := acd.Broadcast()
	if known := a.routerMAC.Load(); known != nil {
		to = *known
	}
	return i.arp.WriteARP(to, acd.Packet{Op: acd.OpRequest, SenderMAC: mac, SenderIP: a.addr(), TargetIP: a.router()})
}
