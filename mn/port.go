package mn

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"

	"openmpa/internal/dhcp4"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/mn/link"
)

// port is an interface towards points of attachment: its link, and what speaks there
// before there is an address.
type port struct {
	n        *Node
	name     string
	mac      net.HardwareAddr
	clientID []byte // of DHCP
	link     link.Adapter
	arp      host.ARP
	carrier  *carrier
	reports  <-chan osnet.LinkState // of carrier
	seen     sight                  // guarded by n.turn: the link as it was when somebody last saw to it

	arpReader chan struct{} // taken by whoever reads arp
}

// openPort opens one interface of the configuration. What is open after an error is
// closed by close.
func (n *Node) openPort(cfg Interface) (err error) {
	p := &port{n: n, name: cfg.Name, carrier: newCarrier(), arpReader: make(chan struct{}, 1)}
	n.ports = append(n.ports, p)
	l, err := n.net.LinkByName(cfg.Name)
	if err != nil {
		return err
	}
	if p.mac = l.MAC; len(p.mac) != 6 {
		return fmt.Errorf("%s has no Ethernet address", cfg.Name)
	}
	if p.clientID = n.cfg.ClientID; p.clientID == nil {
		p.clientID = append([]byte{1}, p.mac...) // RFC 2132 §9.14
	}
	if p.link, err = cfg.Link(n.net); err != nil {
		return err
	}
	if p.reports, err = p.link.Watch(n.ctx); err != nil {
		return err
	}
	if p.arp, err = n.net.OpenARP(cfg.Name); err != nil {
		return err
	}
	return n.net.Prime(cfg.Name)
}

// close ends it; its watch ends with the node's context.
func (p *port) close() {
	if c, ok := p.link.(io.Closer); ok {
		_ = c.Close()
	}
	if p.arp != nil {
		_ = p.arp.Close()
	}
}

// portOf is the interface by which a network is reached.
func (n *Node) portOf(network Network) *port {
	for i, p := range n.ports {
		if points := n.cfg.Interfaces[i].Points; len(n.ports) == 1 || slices.ContainsFunc(network.Points, func(point string) bool { return slices.Contains(points, point) }) {
			return p
		}
	}
	return n.ports[0]
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

// here is the network of the point where the link is; none is an error.
func (p *port) here(ctx context.Context) (point string, network Network, err error) {
	if point, err = p.link.Current(ctx); err != nil {
		return "", network, err
	}
	network, err = p.n.networkOf(point)
	return point, network, err
}

// awayFrom reports whether the link is somewhere else than in a network, or nowhere.
// If nobody can say, it is where it was.
func (p *port) awayFrom(ctx context.Context, network string) bool {
	point, err := p.link.Current(ctx)
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

func (p *port) dhcp() *dhcp4.Client {
	return &dhcp4.Client{Sockets: p.n.net, Iface: p.name, MAC: p.mac, ClientID: p.clientID, Rand: p.n.cfg.Rand}
}
