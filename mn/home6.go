package mn

import (
	"fmt"
	"net/netip"
	"time"

	"openmpa/internal/host"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

// home6 is what is Mobile IPv6's own (RFC 6275).
type home6 struct {
	h        *home
	net      host.IPv6
	security mip6.Security
	routes   *routes
}

// open6 makes h Mobile IPv6's.
func (h *home) open6(c mip6.ClientConfig) (binder, error) {
	net, ok := h.n.net.(host.IPv6)
	if !ok {
		return nil, fmt.Errorf("home address %v: this machine has no IPv6", c.Home)
	}
	client, err := mip6.NewClient(c)
	if err != nil {
		return nil, err
	}
	if err := net.TakeRouted(c.Home); err != nil { // it is not wrong, but of no use to anybody
		h.n.cfg.Log.Warn("the kernel tells senders that it does not know what this process takes", "err", err)
	}
	m := &home6{h: h, net: net, security: c.Security, routes: newRoutes(c, h.n.cfg.Correspondents, h.n.cfg.Log)}
	h.address, h.agent, h.mip = c.Home, c.HomeAgent, m
	return &binder6{client: client, agent: c.HomeAgent, routes: m.routes}, nil
}

// binder6 is a mip6.Client as a binder, with the bindings at correspondents.
type binder6 struct {
	client *mip6.Client
	agent  netip.Addr
	routes *routes
	events []any // besides the client's
}

func (b *binder6) register(now time.Time, careOf netip.Addr, ordered bool, also ...netip.Addr) {
	b.client.OfferPathMarkers(ordered)
	list := []mip6.CareOf{{Addr: careOf}}
	for i, a := range also {
		list[0].ID = 1
		list = append(list, mip6.CareOf{Addr: a, ID: uint16(i + 2)}) //nolint:gosec // a few
	}
	if err := b.client.Register(now, careOf, list...); err != nil {
		b.events = append(b.events, failed{err: err})
	}
}

func (b *binder6) deregister(now time.Time, from netip.Addr) {
	b.routes.end(now, from)
	b.client.Deregister(now, from)
}

func (b *binder6) handle(now time.Time, m received) error {
	p, err := mip6.ParsePacket(m.data)
	if err == nil && p.Src != b.agent {
		return b.routes.handle(now, p.Src, m)
	}
	return b.client.HandlePacket(now, m.data)
}

func (b *binder6) wanted() <-chan netip.Addr { return b.routes.wanted }

func (b *binder6) want(now time.Time, a netip.Addr) { b.routes.add(now, a) }

func (b *binder6) Deadline() (time.Time, bool) {
	at, ok := b.client.Deadline()
	if r, is := b.routes.deadline(); is && (!ok || r.Before(at)) {
		return r, true
	}
	return at, ok
}

func (b *binder6) OnDeadline(now time.Time) {
	b.client.OnDeadline(now)
	b.routes.onDeadline(now)
}

func (b *binder6) next() (any, bool) {
	if len(b.events) > 0 {
		e := b.events[0]
		b.events = b.events[1:]
		return e, true
	}
	now := time.Now()
	o, ok := b.client.Poll()
	switch o := o.(type) {
	case mip6.Send:
		return signalling{from: sender(o.Packet), data: o.Packet, path: o.Path}, ok
	case mip6.Registered:
		careOf := o.CareOf[0].Addr
		return registered{
			careOf: careOf, id: o.ID, markers: o.PathMarkers, tries: o.Tries, rtt: o.RTT, more: b.routes.registered(now, careOf, o.Expires),
		}, ok
	case mip6.Deregistered:
		b.routes.gone()
		return deregistered{}, ok
	case mip6.Failed:
		return failed{err: o.Err, renewal: o.Renewal}, ok
	case mip6.Expired:
		b.routes.gone()
		return expired{careOf: o.CareOf[0].Addr}, ok
	}
	if s, ok := b.routes.next(now); ok {
		return s, true
	}
	if b.routes.settled(now) {
		return settled{}, true
	}
	return nil, false
}

// sender is the source address of an IPv6 packet that was made here.
func sender(pkt []byte) netip.Addr { return netip.AddrFrom16([16]byte(pkt[8:24])) }

// overhead implements mobileIP.
func (*home6) overhead() int { return ipip.HeaderLen6 }

// endMarker implements mobileIP.
func (m *home6) endMarker(id uint64) ([]byte, error) {
	return mip6.AppendMarkerPacket(nil, mip6.Marker{Home: m.h.address, HomeAgent: m.h.agent, ID: id}, m.security)
}

// isMarker implements mobileIP.
func (*home6) isMarker(pkt []byte) bool { return mip6.IsMarkerPacket(pkt) }

// parseMarker implements mobileIP.
func (m *home6) parseMarker(pkt []byte) (uint64, bool) {
	k, ok := mip6.ParseMarkerPacket(pkt, m.security)
	return k.ID, ok && k.Down && k.Home == m.h.address && k.HomeAgent == m.h.agent
}

// careOf implements mobileIP. Of mobility messages only Home Test Inits come here, which go
// by the home agent (RFC 6275 section 11.6.1).
func (m *home6) careOf(pkt []byte) netip.Addr {
	_, dst, next, _, err := ipip.ParseIPv6(pkt)
	if err != nil || next == mip6.Protocol {
		return netip.Addr{}
	}
	return m.routes.careOf(dst)
}

// late implements mobileIP.
func (m *home6) late(pkt []byte) bool {
	_, dst, _, _, err := ipip.ParseIPv6(pkt)
	return err == nil && m.routes.late(dst)
}

// status implements mobileIP.
func (m *home6) status(s *Status) { s.Routes = m.routes.status() }

// signals implements mobileIP: a mobility message that came inside the tunnel (RFC 6275
// section 11.3.5) is for the machine, and no application.
func (*home6) signals(inner []byte) bool { return inner[6] == mip6.Protocol }
