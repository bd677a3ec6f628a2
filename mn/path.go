package mn

import (
	"errors"
	"net/netip"
	"time"

	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// path is the way of the node's packets from one care-of address: native, or inside
// the tunnel to the router of the network the address belongs to.
type path struct {
	up   *uplink
	at   *address
	dev  string     // the interface of at, where it is native
	coa  netip.Addr // of at
	wire wire
	// always: packets come by the TUN in every mode, so that none overtakes another
	// where drain ends.
	always bool
	merges merges // of what comes by the tunnel
	turn   turn   // of that and what comes natively, where the wire takes both
	// beside are those whose care-of addresses are bound with this one, for whoever has the turn.
	beside []*path

	// guarded by up.mu
	delivery *flow.Delivery
	tunnel   *tunnel.Tunnel // nil: none
	closed   bool
	buf      []byte
}

// wire is what packets look like on a path, which its mobility protocol knows.
type wire interface {
	// inner appends to buf the packet that carries pkt through the tunnel.
	inner(buf, pkt []byte) ([]byte, error)
	// toLink sends pkt natively.
	toLink(pkt []byte) error
	// fromTunnel takes what came through the tunnel.
	fromTunnel(pkt []byte)
	close() error
}

// newPath makes a path, whose wire is to be set.
func (u *uplink) newPath(c *candidate) *path {
	p := &path{up: u, at: c.address, dev: c.port.name, coa: c.address.addr(), delivery: flow.NewDelivery(u.n.cfg.Buffer), buf: make([]byte, 0, 65536)}
	p.turn.limits = u.n.cfg.Buffer
	p.merges.deliver = func(pkt []byte) { p.wire.fromTunnel(pkt) }
	return p
}

func (p *path) close() {
	p.up.mu.Lock()
	p.closed = true
	if p.up.bound == p {
		p.up.bound = nil
	}
	if p.tunnel != nil {
		p.tunnel.Close()
		p.tunnel = nil
	}
	p.delivery.Release(time.Now(), flow.ReasonReleased)
	for why, n := range p.delivery.Stats().Dropped {
		p.up.gone["uplink of a path before: "+string(why)] += n
	}
	p.up.mu.Unlock()
	p.merges.close()
	p.turn.open()
	p.up.mu.Lock()
	for _, s := range p.merges.stats() {
		for why, n := range s.Dropped {
			p.up.gone["downlink of a path before: "+string(why)] += n
		}
	}
	p.up.gone[comesAgain] += p.merges.doubled()
	p.up.mu.Unlock()
	_ = p.wire.close()
}

// send sends one packet of an application where the mode says. The caller holds
// up.mu and keeps pkt.
func (p *path) send(pkt []byte, to flow.Dest) {
	var err error
	switch to {
	case flow.ToTunnel:
		if p.tunnel == nil {
			err = errNoTunnel
			break
		}
		if p.buf, err = p.wire.inner(p.buf[:0], pkt); err == nil {
			err = p.tunnel.Queue(p.buf)
		}
	case flow.ToLink:
		err = p.wire.toLink(pkt)
	}
	if err != nil {
		p.delivery.Failed(to)
		p.up.n.cfg.Log.Debug("uplink", "coa", p.coa, "err", err)
	}
}

var errNoTunnel = errors.New("the tunnel is gone")

// sendAsIs sends a packet of the care-of address itself through the tunnel.
func (p *path) sendAsIs(pkt []byte) {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	if p.tunnel == nil {
		p.up.n.stray.Add(1)
		return
	}
	if err := p.tunnel.Queue(pkt); err != nil {
		p.up.errors.Add(1)
	}
}

// flush sends what waited and may go. The caller holds up.mu.
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

// become applies events to the delivery mode. The caller holds up.mu.
func (p *path) become(events ...flow.Event) error {
	for _, e := range events {
		if err := p.delivery.Apply(time.Now(), e); err != nil {
			return err
		}
	}
	return nil
}

// onLink makes a path that never was in a tunnel.
func (p *path) onLink() error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	return p.become(flow.Create, flow.Arrival, flow.Flip)
}

// inTunnel puts the path into t.
func (p *path) inTunnel(t *tunnel.Tunnel) error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	p.tunnel = t
	return p.become(flow.Create)
}

// besides gives a path that is native a tunnel, which nothing goes by yet.
func (p *path) besides(t *tunnel.Tunnel) {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	p.tunnel = t
}

// hold keeps the uplink from here on and says so through the tunnel, behind the
// last packet. Called again it only says so again.
func (p *path) hold(m tunnel.Marker) error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	if err := p.pause(); err != nil {
		return err
	}
	if p.tunnel == nil {
		return errNoTunnel
	}
	return p.tunnel.SendMarker(m)
}

// pause keeps the uplink from here on, unless the kernel sends it. The caller holds
// up.mu.
func (p *path) pause() error {
	if m := p.delivery.Mode(); m != flow.Tunnel && (m != flow.Direct || !p.always) {
		return nil
	}
	return p.become(flow.Disable)
}

// goOn sends what was kept, and what comes, on the link: of a path that is there. The
// caller holds up.mu.
func (p *path) goOn() error {
	if m := p.delivery.Mode(); m != flow.Hold && m != flow.Tunnel {
		return nil
	}
	return p.land()
}

// land is arrive; the caller holds up.mu.
func (p *path) land() error {
	if err := p.become(flow.Arrival); err != nil {
		return err
	}
	p.flush()
	if !p.always {
		return nil
	}
	return p.become(flow.Flip)
}

// mark sends a marker behind the last packet in the tunnel.
func (p *path) mark(m tunnel.Marker) error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	if p.tunnel == nil {
		return errNoTunnel
	}
	return p.tunnel.SendMarker(m)
}

// arrive sends what was held, on the link, and everything after it.
func (p *path) arrive() error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	return p.land()
}

// resume sends what was held through the tunnel, and what comes; what the kernel sends
// itself it goes on to send.
func (p *path) resume() error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	return p.reenter()
}

// reenter is resume; the caller holds up.mu.
func (p *path) reenter() error {
	if m := p.delivery.Mode(); m == flow.Tunnel || m == flow.Released || m == flow.Direct && !p.always || p.tunnel == nil {
		return nil
	}
	if err := p.become(flow.SwitchBack); err != nil {
		return err
	}
	p.flush()
	return nil
}

// inside says whether the path is in its tunnel.
func (p *path) inside() bool {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	return p.delivery.Mode() == flow.Tunnel
}

// leaveTunnel takes the path out of its tunnel.
func (p *path) leaveTunnel() {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	if p.tunnel != nil {
		p.tunnel.Close()
		p.tunnel = nil
	}
}
