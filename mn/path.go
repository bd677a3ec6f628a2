package mn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/host"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// path is the way between the home agent and one care-of address: native, or
// inside the tunnel to the router of the network the address belongs to.
type path struct {
	home *home
	coa  netip.Addr
	ipip host.IPIP // native
	udp  host.UDP  // registrations from this care-of address

	// guarded by home.mu
	delivery *flow.Delivery
	tunnel   *tunnel.Tunnel // nil: none
	closed   bool
	buf      []byte
}

// newPath opens the sockets of a path; the care-of address must be on the node.
// It delivers nothing yet.
func (h *home) newPath(coa netip.Addr) (p *path, err error) {
	p = &path{home: h, coa: coa, delivery: flow.NewDelivery(h.n.cfg.Buffer), buf: make([]byte, 0, 65536)}
	if p.ipip, err = h.n.net.OpenIPIP(coa, bind.Options{}); err != nil {
		return nil, fmt.Errorf("path from %s: %w", coa, err)
	}
	if p.udp, err = h.n.udp(coa); err != nil {
		return nil, errors.Join(err, p.ipip.Close())
	}
	h.wg.Go(p.readNative)
	h.wg.Go(p.readReplies)
	return p, nil
}

func (p *path) close() {
	p.home.mu.Lock()
	p.closed = true
	if p.home.bound == p {
		p.home.bound = nil
	}
	if p.tunnel != nil {
		p.tunnel.Close()
		p.tunnel = nil
	}
	p.delivery.Release(time.Now(), flow.ReasonReleased)
	for why, n := range p.delivery.Stats().Dropped {
		p.home.gone["uplink of a path before: "+string(why)] += n
	}
	p.home.mu.Unlock()
	_ = p.ipip.Close()
	_ = p.udp.Close()
}

// readNative takes IP-in-IP off the link.
func (p *path) readNative() {
	buf := make([]byte, 65536)
	for {
		inner, src, err := p.ipip.Read(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p.home.down(p, inner, src)
	}
}

func (p *path) readReplies() {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if from.Addr() != p.home.agent {
			continue
		}
		reply := append([]byte(nil), buf[:n]...)
		select {
		case p.home.replies <- reply:
		case <-p.home.ctx.Done():
			return
		}
	}
}

// fromTunnel takes what came through the tunnel: IP-in-IP for the home address,
// or a packet for the care-of address itself.
func (p *path) fromTunnel(pkt []byte) {
	src, dst, proto, _, _, err := ipip.ParseIPv4(pkt)
	if err == nil && proto == ipip.Protocol && dst == p.coa {
		if inner, _, _, err := ipip.Decapsulate(pkt); err == nil {
			p.home.down(p, inner, src)
		}
		return
	}
	p.home.write(pkt)
}

// send sends one packet of the home address where the mode says. The caller
// holds home.mu and keeps pkt.
func (p *path) send(pkt []byte, to flow.Dest) {
	var err error
	switch to {
	case flow.ToTunnel:
		p.buf, err = ipip.Encapsulate(p.buf[:0], ipip.Header{Src: p.coa, Dst: p.home.agent, TTL: ipip.DefaultTTL}, pkt)
		if err == nil {
			err = p.tunnel.Send(p.buf)
		}
	case flow.ToLink:
		err = p.ipip.Send(p.home.agent, pkt, ipip.TOS(pkt))
	}
	if err != nil {
		p.delivery.Failed(to)
		p.home.n.cfg.Log.Debug("uplink", "coa", p.coa, "err", err)
	}
}

// flush sends what waited and may go. The caller holds home.mu.
func (p *path) flush() {
	for {
		pkt, to, ok := p.delivery.Next(time.Now())
		if !ok {
			return
		}
		p.send(pkt, to)
		p.delivery.Recycle(pkt)
	}
}

// become applies events to the delivery mode. The caller holds home.mu.
func (p *path) become(events ...flow.Event) error {
	for _, e := range events {
		if err := p.delivery.Apply(time.Now(), e); err != nil {
			return err
		}
	}
	return nil
}

// native makes a path that never was in a tunnel.
func (p *path) native() error {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	return p.become(flow.Create, flow.Arrival, flow.Flip)
}

// inTunnel puts the path into t.
func (p *path) inTunnel(t *tunnel.Tunnel) error {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	p.tunnel = t
	return p.become(flow.Create)
}

// hold keeps the uplink from here on and says so through the tunnel, behind the
// last packet. Called again it only says so again.
func (p *path) hold(m tunnel.Marker) error {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if p.delivery.Mode() == flow.Tunnel {
		if err := p.become(flow.Disable); err != nil {
			return err
		}
	}
	return p.tunnel.SendMarker(m)
}

// mark sends a marker behind the last packet in the tunnel.
func (p *path) mark(m tunnel.Marker) error {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	return p.tunnel.SendMarker(m)
}

// arrive sends what was held, on the link, and everything after it.
func (p *path) arrive() error {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if err := p.become(flow.Arrival); err != nil {
		return err
	}
	p.flush()
	return p.become(flow.Flip) // nothing of the uplink is ever on its way through a TUN: no fence
}

// resume sends what was held through the tunnel again.
func (p *path) resume() error {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if m := p.delivery.Mode(); m != flow.Hold && m != flow.Direct || p.tunnel == nil {
		return nil
	}
	if err := p.become(flow.SwitchBack); err != nil {
		return err
	}
	p.flush()
	return nil
}

// leaveTunnel takes the path out of its tunnel.
func (p *path) leaveTunnel() {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if p.tunnel != nil {
		p.tunnel.Close()
		p.tunnel = nil
	}
}

// endMarkerAgain is when the marker that ends a path is sent again: it may be lost,
// and what waits for it at the home agent would wait long.
var endMarkerAgain = []time.Duration{20 * time.Millisecond, 60 * time.Millisecond}

// endMarker is the last packet of a path that is no longer bound. The caller holds
// home.mu.
func (p *path) endMarker(id uint64) {
	m := mip4.Marker{HomeAddress: p.home.address, HomeAgent: p.home.agent, ID: id}
	pkt, err := mip4.AppendMarkerPacket(nil, m, p.home.security)
	if err != nil {
		p.home.n.cfg.Log.Error("path-end marker", "err", err)
		return
	}
	to := flow.ToLink
	if m := p.delivery.Mode(); m == flow.Tunnel || m == flow.Hold {
		to = flow.ToTunnel
	}
	p.send(pkt, to)
	for _, d := range endMarkerAgain {
		time.AfterFunc(d, func() {
			p.home.mu.Lock()
			defer p.home.mu.Unlock()
			if !p.closed && p.home.bound != p && (to == flow.ToLink || p.tunnel != nil) {
				p.send(pkt, to)
			}
		})
	}
}
