package mn

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

// refusedError is a router's answer that it will not do what it was asked for.
type refusedError struct {
	kind   notify.Kind // of the question
	reason string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the router refuses the %s: %s", e.kind, e.reason)
}

// outerKeepalive is that of RFC 3948 section 4, for a NAT on the way.
const outerKeepalive = 20 * time.Second

// agree makes a tunnel with c's router, by way of from, as r asks for it; what comes by
// it goes to c's path, and its keys are kept fresh. Nobody has it yet: the caller puts it
// where it belongs.
func (c *candidate) agree(ctx context.Context, s *session, from *candidate, r *notify.TunnelRequest) (*tunnel.Tunnel, error) {
	n := c.n
	p, err := s.propose()
	if err != nil {
		return nil, err
	}
	defer p.release()
	r.Inner, r.SPI, r.Nonce, r.Numbered, r.Suites = c.address.addr(), p.spi, p.nonce, true, esp.Offer(n.cfg.Suites)
	if n.cfg.Plain && !c.held && near(from.address.addr(), c.net.PAA.Addr()) == from.address.addr() {
		r.Plain = from.address.addr()
	}
	m, err := s.ask(ctx, r, notify.KindTunnelReply, n.cfg.Timers.Tunnel)
	if err != nil {
		return nil, err
	}
	reply := m.(*notify.TunnelReply)
	if reply.Reason != "" {
		return nil, &refusedError{r.Kind(), reply.Reason}
	}
	if err := n.fit(int(reply.MTU)); err != nil {
		return nil, err
	}
	pair, err := p.pair(reply.SPI, reply.Nonce, reply.Suite)
	if err != nil {
		return nil, err
	}
	socket, err := from.outer(reply.Outer)
	if err != nil {
		return nil, err
	}
	cfg := tunnel.TunnelConfig{
		Socket: socket, Peer: netip.AddrPortFrom(reply.Outer, reply.Port), In: pair.In, Out: pair.Out, AllowDst: c.address.addr(),
		Receive: c.received, Numbered: c.path.merges.numbered, Marker: c.marker, Keepalive: outerKeepalive,
		Rekey: n.cfg.Rekey, RekeyDue: c.due, Lifetime: n.cfg.Rekey.Hard(),
	}
	if reply.Plain {
		if err := c.plainly(from, reply, &cfg); err != nil {
			_ = socket.Close()
			return nil, err
		}
	}
	t, err := n.endpoint.Add(cfg)
	if err != nil {
		_ = socket.Close()
		closePlain(cfg.Plain)
		return nil, err
	}
	c.closeWith(t, cfg.Plain)
	c.keepFresh(t, p)
	return t, nil
}

// fit has packets fit a tunnel that takes so many octets, which its router says: for good,
// as a path that becomes wider again is told to nobody.
func (n *Node) fit(mtu int) error {
	n.fitting.Lock()
	defer n.fitting.Unlock()
	before := int(n.narrow.Load())
	header := ipip.HeaderLen
	if n.six() {
		header = ipip.HeaderLen6
	}
	if mtu >= n.cfg.MTU+header || before != 0 && mtu >= before {
		return nil
	}
	n.narrow.Store(int64(mtu))
	return n.home.narrow(mtu)
}

// narrowed is the MTU of routes into the TUN; 0: that of the TUN.
func (n *Node) narrowed() int { return int(n.narrow.Load()) }

// peer is the other end of the outer packets of c's tunnel; the zero Addr: it has none.
func (c *candidate) peer() (a netip.Addr) {
	if t := c.tunnel.Load(); t != nil {
		a = t.Peer().Addr()
	}
	return a
}

// outer opens a socket for outer packets to somebody, from c's address, which has its link.
func (c *candidate) outer(to netip.Addr) (*tunnel.Socket, error) { return c.outerBy("", to) }

// outerBy is outer for packets that leave by an interface whatever the rules say. It
// hears nothing that a router forwards in a tunnel, which comes by the TUN: as another
// router's outer packets do while the one that serves keeps copies.
func (c *candidate) outerBy(device string, to netip.Addr) (*tunnel.Socket, error) {
	udp, err := c.n.net.OpenESP(netip.AddrPortFrom(near(c.address.addr(), to), 0), bind.Options{Device: device, Offload: c.n.cfg.Offload})
	if err != nil {
		return nil, fmt.Errorf("socket for the tunnel: %w", err)
	}
	return c.n.endpoint.Attach(udp)
}

// marker takes a signal out of c's tunnel, in line with the data.
func (c *candidate) marker(m tunnel.Marker, _ tunnel.Origin) {
	if m.Kind == tunnel.Native {
		c.path.merges.over() // what is still missing has not come by this way
		c.path.turn.marked(m.Handover)
		return
	}
	select {
	case c.markers <- m:
	default: // a repeated one that nobody waits for
	}
}
