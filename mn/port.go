package mn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/mn/link"
)

// port is an interface towards points of attachment: its link, and what speaks there
// before there is an address.
type port struct {
	n       *Node
	name    string
	mac     net.HardwareAddr
	points  []string
	atMove  bool
	link    link.Adapter
	ip      ip
	carrier *carrier
	reports <-chan osnet.LinkState // of carrier

	// guarded by n.turn
	seen    sight // the link as it was when somebody last saw to it
	changed portRecord
}

// openPort opens one interface of the configuration. What is open after an error is
// closed by close.
func (n *Node) openPort(cfg Interface) (err error) {
	p := &port{n: n, name: cfg.Name, points: cfg.Points, atMove: cfg.AtMove, carrier: newCarrier(), changed: portRecord{Name: cfg.Name}}
	n.ports = append(n.ports, p)
	l, err := n.net.LinkByName(cfg.Name)
	if err != nil {
		return err
	}
	if p.mac = l.MAC; len(p.mac) != 6 {
		return fmt.Errorf("%s has no Ethernet address", cfg.Name)
	}
	if p.link, err = cfg.Link(n.net); err != nil {
		return err
	}
	if p.reports, err = p.link.Watch(n.ctx); err != nil {
		return err
	}
	if err = p.openIP(); err != nil {
		return err
	}
	if err = n.net.Prime(cfg.Name); err != nil || len(n.cfg.Interfaces) == 1 {
		return err
	}
	if err = p.answerStrictly(); err != nil || p.atMove {
		return err
	}
	_, err = p.raise()
	return err
}

// close ends it; its watch ends with the node's context.
func (p *port) close() {
	p.putBack()
	if c, ok := p.link.(io.Closer); ok {
		_ = c.Close()
	}
	if p.ip != nil {
		_ = p.ip.close()
	}
}

// portOf is the interface by which a network is reached: one that was learned by what sees points.
func (n *Node) portOf(network Network) *port {
	for _, p := range n.ports {
		if slices.ContainsFunc(network.Points, func(point string) bool { return slices.Contains(p.points, point) }) {
			return p
		}
	}
	return n.scanning()
}

// servingPort is the interface of the network that serves; of all, the first while
// none does.
func (n *Node) servingPort() *port {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.serving == nil {
		return n.ports[0]
	}
	return n.serving.port
}

// scanning is the interface that sees points before it moves; the first if none does.
func (n *Node) scanning() *port {
	return slices.MaxFunc(n.ports, func(a, b *port) int { return cmp.Compare(a.sight(), b.sight()) })
}

// sight says how sure it is that the interface sees points: not, if its link controller tells, and certainly.
func (p *port) sight() int {
	_, sees := p.link.(link.Scanner)
	_, asks := p.link.(*link.External)
	switch {
	case !sees:
		return 0
	case asks:
		return 1
	}
	return 2
}

// hasOther says whether there is another interface than p that has a link, or may
// have one.
func (n *Node) hasOther(p *port) bool {
	return slices.ContainsFunc(n.ports, func(o *port) bool { return o != p && (o.atMove || o.carrier.look().Up) })
}

// lostFor is how long a link is gone until the node goes on by another interface where
// it has nothing prepared: one that changes its point is back sooner.
const lostFor = time.Second

// linked finds the interface to go on with, and where it is: the one that serves, if it
// has a link; else where another network is prepared, at once; else, after lostFor,
// any other, which is set up if need be. The caller has the turn.
func (n *Node) linked(ctx context.Context, old *candidate) (w whereabouts, err error) {
	p := n.ports[0]
	if old != nil {
		p = old.port
	}
	if w, err = p.linkedTo(ctx); err == nil || len(n.ports) == 1 {
		n.linkless = time.Time{}
		return w, err
	}
	if c := n.foremost(func(c *candidate) bool { return c.port != p }); c != nil {
		return whereabouts{port: c.port, network: c.net, since: c.port.carrier.look()}, nil
	}
	if n.linkless.IsZero() {
		n.linkless = time.Now()
	}
	if time.Since(n.linkless) < lostFor {
		return w, err
	}
	for _, o := range n.ports {
		if w, e := o.linkedTo(ctx); o != p && e == nil {
			n.linkless = time.Time{}
			return w, nil
		}
	}
	for _, network := range n.places() {
		o := n.portOf(network)
		if o == p || !o.atMove {
			continue
		}
		e := n.bring(ctx, event.HandoverID{}, o, network)
		if e == nil {
			w, e = o.linkedTo(ctx)
		}
		if e == nil {
			n.linkless = time.Time{}
			return w, nil
		}
		err = errors.Join(err, e)
	}
	return w, err
}

// whereabouts are where an interface's link is.
type whereabouts struct {
	port    *port
	point   string
	network Network
	since   sight // a look from before that was known
}

// linkedTo finds out where the link is; that it is nowhere, or down, is an error.
func (p *port) linkedTo(ctx context.Context) (w whereabouts, err error) {
	w.port, w.since = p, p.carrier.look()
	if w.point, w.network, err = p.here(ctx); err == nil && w.since.known && !w.since.Up {
		err = fmt.Errorf("%w at %s", errNoLink, w.point)
	}
	return w, err
}

// here is the network of the point where the link is; none is an error.
func (p *port) here(ctx context.Context) (point string, network Network, err error) {
	if point, err = p.link.Current(ctx); err != nil {
		return "", network, err
	}
	if network, err = p.n.networkOf(point); err == nil && p.n.portOf(network) != p {
		err = fmt.Errorf("%s is attached to %q, of network %s, which another interface reaches by the configuration", p.name, point, network.Name)
	}
	return point, network, err
}

// awayFrom reports whether the link is somewhere else than in a network, or nowhere.
// If nobody can say, it is where it was, and so is one whose keys are being made anew.
func (p *port) awayFrom(ctx context.Context, network string) bool {
	ask := p.link.Current
	if r, ok := p.link.(link.Rekeyer); ok {
		ask = r.Associated
	}
	point, err := ask(ctx)
	if err != nil {
		return false
	}
	at, err := p.n.networkOf(point)
	return err != nil || at.Name != network
}

// strayed is where the link really is after a move that failed, if it is up and
// somebody can say.
func (p *port) strayed() (point, network string) {
	if l, err := p.n.net.LinkByName(p.name); err != nil || !l.Carrier {
		return "", ""
	}
	point, at, err := p.here(p.n.ctx)
	if err != nil {
		return "", ""
	}
	return point, at.Name
}
