package mn

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"strings"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp6"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/paa/notify"
)

// identity6 is what the node is to those who give IPv6 addresses, and what it makes them
// of. It is drawn once, and kept.
type identity6 struct {
	DUID   []byte `json:"duid"`   // of DHCPv6: of its UUID (RFC 8415 section 11.5)
	Secret []byte `json:"secret"` // of stable identifiers (RFC 7217)
}

const keyIdentity = "mn/identity"

// String leaves the secret out.
func (i *identity6) String() string {
	return "DUID " + hex.EncodeToString(i.DUID) + ", secret redacted"
}

// GoString is String.
func (i *identity6) GoString() string { return i.String() }

const (
	duidUUID   = 4 // DUID type
	secretSize = 32
)

// identity returns the node's, which is drawn on its first start.
func (n *Node) identity() (*identity6, error) {
	i, _, err := state.GetJSON[identity6](n.cfg.State, keyIdentity)
	switch {
	case err == nil && len(i.Secret) == secretSize && len(i.DUID) > 2:
	case err != nil && !errors.Is(err, state.ErrNotFound):
		return nil, err
	default:
		b := make([]byte, 16+secretSize)
		if _, err := io.ReadFull(n.cfg.Rand, b); err != nil {
			return nil, err
		}
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a random UUID (RFC 9562 section 5.4)
		i = identity6{DUID: append([]byte{0, duidUUID}, b[:16]...), Secret: b[16:]}
		if _, err := state.PutJSON(n.cfg.State, keyIdentity, i, time.Time{}); err != nil {
			return nil, err
		}
	}
	if len(n.cfg.ClientID) > 0 {
		i.DUID = n.cfg.ClientID
	}
	return &i, nil
}

// iaid names the interface among the node's, by its name, which stays (RFC 8415 section 12).
func (i *ip6) iaid() (id [4]byte) {
	h := fnv.New32a()
	_, _ = io.WriteString(h, i.p.name)
	return [4]byte(h.Sum(nil))
}

// linkLocalOptions are those of a link-local address made of the hardware address, which
// nobody else on a link can have.
var linkLocalOptions = osnet.AddrOptions{NoDAD: true}

// retries is how many addresses formed may be found in use (IDGEN_RETRIES of RFC 7217
// section 7).
const retries = 3

// conflict notes that an address formed in a network is in use: the next one is another.
func (i *ip6) conflict(network string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conflicts[network]++
}

// form makes an address of the first prefix that a router advertises for that: with the
// identifier of the configuration, or, when that is in use, a stable one that tells nobody
// anything (RFC 7217).
func (i *ip6) form(network string, router netip.Addr, ra nd.RouterAdvert) (lease6, error) {
	i.mu.Lock()
	conflicts := i.conflicts[network]
	i.mu.Unlock()
	prefixes := ra.Autonomous()
	if len(prefixes) == 0 {
		return lease6{}, fmt.Errorf("the router %s advertises no prefix of 64 bits to form addresses from, and no DHCPv6 either", router)
	}
	prefix, own := prefixes[0], i.p.n.cfg.Identifier
	var a netip.Addr
	var err error
	switch {
	case own == nd.IID{}:
		a, err = i.stable(network).Addr(prefix, conflicts)
	case conflicts == 0:
		a, err = nd.Form(prefix, own)
	default:
		a, err = i.stable(network).Addr(prefix, conflicts-1)
	}
	l := lease6{Lease: dhcp6.Lease{Addr: a}, OnLink: onLink(ra, a), Router: router}
	return l.refreshed(ra, time.Now(), true), err
}

func (i *ip6) stable(network string) nd.Stable {
	return nd.Stable{Secret: i.id.Secret, Iface: i.p.name, Network: network}
}

func (i *ip6) request(h notify.Header) *notify.ConfigRequest {
	iaid := i.iaid()
	return &notify.ConfigRequest{Header: h, Family: 6, ClientID: i.id.DUID, MAC: i.p.mac, IAID: binary.BigEndian.Uint32(iaid[:])}
}

// configured forms an address where the router has described its link only, and has the
// router asked to verify it; and another one where that is in use.
func (i *ip6) configured(network string, m *notify.ConfigReply, r *notify.ConfigRequest) (*lease, error) {
	var ra nd.RouterAdvert
	var err error
	if len(m.RA) > 0 {
		if ra, err = osnet.ParseRouterAdvert(m.RA); err != nil {
			return nil, err
		}
	}
	switch {
	case strings.HasPrefix(m.Reason, notify.Conflict) && r.Addr.IsValid():
		i.conflict(network)
		r.Addr = netip.Addr{}
		return nil, nil // what its link is like is asked again, which is told at once
	case m.Reason != "":
		return nil, errors.New(m.Reason)
	case !m.Addr.IsValid() && r.Addr.IsValid():
		return nil, fmt.Errorf("the router neither verified %s nor refused it", r.Addr)
	case !m.Addr.IsValid():
		l, err := i.form(network, m.Router, ra)
		r.Addr = l.Addr
		return nil, err
	}
	l, err := i.granted(m, ra, r.Addr)
	if err != nil {
		return nil, err
	}
	return &lease{Six: l}, nil
}

// granted is the address that a router has verified; wanted is that which it was asked
// for, if it was for one.
func (i *ip6) granted(m *notify.ConfigReply, ra nd.RouterAdvert, wanted netip.Addr) (*lease6, error) {
	a := m.Addr.Addr()
	if !a.Is6() || wanted.IsValid() && wanted != a {
		return nil, fmt.Errorf("the router gave %s, asked for was %s", m.Addr, wanted)
	}
	l := &lease6{
		Lease: dhcp6.Lease{
			Addr: a, DNS: m.DNS, ServerID: m.ServerDUID, ClientID: i.id.DUID, IAID: i.iaid(),
			Start: time.Now().Add(-m.Age), Preferred: m.Preferred, Valid: m.Lifetime, T1: m.T1, T2: m.T2,
		},
		OnLink: onLink(ra, a), Router: m.Router,
	}
	if len(m.ClientID) > 0 { // verified ahead: the router has leased it under a name of its own
		l.ClientID, l.IAID = m.ClientID, iaidAhead
	}
	if !l.OnLink.IsValid() && len(m.RA) == 0 && !m.Addr.IsSingleIP() {
		l.OnLink = m.Addr.Masked()
	}
	if len(l.ServerID) == 0 {
		*l = l.lasting(l.Start, l.Preferred, l.Valid)
	}
	return l, nil
}

// iaidAhead is that of leases that a router has before anybody asks for them: one for each
// client identifier.
var iaidAhead = [4]byte{0, 0, 0, 1}

// solicitInterval is RTR_SOLICITATION_INTERVAL (RFC 4861 section 10).
const solicitInterval = 4 * time.Second

var allRouters = netip.MustParseAddr("ff02::2")

// solicit asks the routers of the link what they advertise, until one says what is wanted.
func (i *ip6) solicit(ctx context.Context, wanted func(netip.Addr, nd.RouterAdvert) bool) (netip.Addr, nd.RouterAdvert, error) {
	conn, err := i.host.OpenND(i.p.name)
	if err != nil {
		return netip.Addr{}, nd.RouterAdvert{}, err
	}
	defer conn.Close()
	question := nd.Packet{Src: netip.IPv6Unspecified(), Dst: allRouters, Msg: nd.RouterSolicit{}}
	now, cancel := context.WithCancel(ctx)
	cancel() // it is not waited for: the answer goes to all then
	if _, err := i.linkLocal(now); err == nil {
		question.Src, question.Msg = i.own, nd.RouterSolicit{MAC: i.mac}
	}
	for {
		if err := i.nd.WriteND(question); err != nil {
			return netip.Addr{}, nd.RouterAdvert{}, err
		}
		router, ra, err := hear(ctx, conn, wanted)
		switch {
		case err == nil:
			return router, ra, nil
		case ctx.Err() != nil:
			return router, ra, fmt.Errorf("no router advertises itself on %s: %w: is one there, with radvd for instance?", i.p.name, context.Cause(ctx))
		case !errors.Is(err, context.DeadlineExceeded):
			return router, ra, err
		}
	}
}

// hear waits for an advertisement that is wanted, as long as is to be waited before routers are asked again.
func hear(ctx context.Context, conn host.ND, wanted func(netip.Addr, nd.RouterAdvert) bool) (netip.Addr, nd.RouterAdvert, error) {
	ctx, cancel := context.WithTimeout(ctx, solicitInterval)
	defer cancel()
	for {
		p, err := conn.ReadND(ctx)
		if err != nil {
			return netip.Addr{}, nd.RouterAdvert{}, err
		}
		if ra, ok := p.Msg.(nd.RouterAdvert); ok && wanted(p.Src, ra) {
			return p.Src, ra, nil
		}
	}
}
