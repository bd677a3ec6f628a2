package osnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"openmpa/internal/acd/nd"
)

// RouterAdverts reads the router advertisements of one link, those that a daemon on this very host sends there included, which
// an NDConn does not see.
type RouterAdverts struct {
	dev     string
	index   int
	c       *icmp.PacketConn
	p       *ipv6.PacketConn
	closed  atomic.Bool
	dropped atomic.Uint64
}

// OpenRouterAdverts opens the socket in this Net's namespace. Needs CAP_NET_RAW. It is independent of the Net afterwards: the
// caller closes it.
func (n *Net) OpenRouterAdverts(ifname string) (*RouterAdverts, error) {
	fail := func(err error) (*RouterAdverts, error) {
		return nil, fmt.Errorf("osnet: router advertisements on %s: %w", ifname, err)
	}
	l, err := n.link(ifname)
	if err != nil {
		return fail(err)
	}
	r := &RouterAdverts{dev: ifname, index: l.index}
	if err := n.Do(func() (err error) { r.c, err = icmp.ListenPacket("ip6:ipv6-icmp", "::"); return err }); err != nil {
		return fail(err)
	}
	r.p = r.c.IPv6PacketConn()
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(
		r.p.SetICMPFilter(&only),
		r.p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		n.Do(func() error {
			return r.p.JoinGroup(&net.Interface{Index: l.index, Name: ifname}, &net.IPAddr{IP: nd.AllNodes().AsSlice()})
		}),
	)
	if err != nil {
		r.c.Close()
		return fail(err)
	}
	return r, nil
}

// Dropped counts advertisements of the link that were not valid (RFC 4861 section 6.1.2).
func (r *RouterAdverts) Dropped() uint64 { return r.dropped.Load() }

// HeardAdvert is a router advertisement as it was on the link.
type HeardAdvert struct {
	nd.RouterAdvert
	From netip.Addr // the router's link-local address
	Raw  []byte     // the ICMPv6 message
}

// AdvertPacket is a router advertisement, the ICMPv6 message, as an IPv6 packet to one node, for a way other than the link. Its
// hop limit says that no router has forwarded it (RFC 4861 section 6.1.2).
func AdvertPacket(from, to netip.Addr, raw []byte) []byte {
	body := slices.Clone(raw)
	body[2], body[3] = 0, 0
	binary.BigEndian.PutUint16(body[2:], icmp6Sum(from, to, body))
	return appendIPv6(make([]byte, 0, ipv6Header+len(body)), from, to, body)
}

// Solicit asks every router of the link for an advertisement (RFC 4861 section 6.3.7), a daemon on this very host included. An
// answer comes to all nodes, or to this host's link-local address.
func (r *RouterAdverts) Solicit() error {
	b, err := (&icmp.Message{Type: ipv6.ICMPTypeRouterSolicitation, Body: &icmp.RawBody{Data: make([]byte, 4)}}).Marshal(nil) // the kernel fills in the checksum
	if err == nil {
		_, err = r.p.WriteTo(b, &ipv6.ControlMessage{HopLimit: ndHopLimit, IfIndex: r.index}, &net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: strconv.Itoa(r.index)}) // package net remembers names for a while
	}
	if err != nil {
		return fmt.Errorf("osnet: router solicitation on %s: %w", r.dev, hint(err))
	}
	return nil
}

// Next returns the next valid advertisement. It is for one goroutine. After Close it returns
// an error that is net.ErrClosed, after ctx's end ctx's error.
func (r *RouterAdverts) Next(ctx context.Context) (HeardAdvert, error) {
	if err := ctx.Err(); err != nil {
		return HeardAdvert{}, err
	}
	defer interruptible(ctx, r.p)()
	var buf [maxNDPacket + 1]byte
	for {
		k, cm, from, err := r.p.ReadFrom(buf[:])
		switch {
		case err == nil:
		case r.closed.Load():
			return HeardAdvert{}, fmt.Errorf("osnet: router advertisements on %s: %w", r.dev, net.ErrClosed)
		case ctx.Err() != nil:
			return HeardAdvert{}, ctx.Err()
		default:
			return HeardAdvert{}, fmt.Errorf("osnet: router advertisements on %s: %w", r.dev, err)
		}
		if cm == nil || cm.IfIndex != r.index {
			continue
		}
		if a, ok := from.(*net.IPAddr); ok && cm.HopLimit == ndHopLimit {
			router, _ := netip.AddrFromSlice(a.IP)
			if ra, err := ParseRouterAdvert(buf[:k]); err == nil && router.IsLinkLocalUnicast() {
				return HeardAdvert{RouterAdvert: ra, From: router.WithZone(""), Raw: slices.Clone(buf[:k])}, nil
			}
		}
		r.dropped.Add(1)
	}
}

// Close closes the socket and ends a waiting Next. A second Close does nothing.
func (r *RouterAdverts) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	if err := r.c.Close(); err != nil {
		return fmt.Errorf("osnet: close router advertisements on %s: %w", r.dev, err)
	}
	return nil
}
