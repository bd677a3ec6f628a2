package mn

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/internal/wpactrl"
	"openmpa/mn/discover"
	"openmpa/mn/link"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// The networks that the node may attach to: those of the configuration, and what sources of package discover add to them.
// The configuration is always right: another PAA for a network of its own, or another place for a point of its own, is shown
// as a contradiction, and not used. Whoever is learned of has to authenticate as anybody else.

// Network is one that the node may attach to.
type Network struct {
	Name   string
	PAA    netip.AddrPort        // of its access router; without an address: the one that DHCP or DNS names there, or that another source knows
	Points []string              // of attachment, in order of preference
	About  neighbourhood.Network // what else is known of it; its name, PAA and points need not be in there

	who []neighbourhood.Agent // whose identities are insisted on
}

// Discovery is how the node learns of networks, besides Config.Networks. The zero value is: not at all.
type Discovery struct {
	Router  bool              // the serving router is asked
	DNS     bool              // the domains of the present link are asked for authentication agents,
	Domains []string          // and these
	Air     bool              // what scans have seen of points that are known;
	Unknown bool              // points that nobody has named are of the network whose SSID they have
	Locator discover.Locator  // where the node is; nil: nobody tells
	Aliases map[string]string // names of points by their BSSIDs, in lower case with colons
	Sources []discover.Source // and these
}

// model is what n says as a statement.
func (n Network) model() neighbourhood.Network {
	m := n.About
	m.Name = n.Name
	if n.PAA.Addr().IsValid() {
		m.Agents = append([]neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: n.PAA}}, m.Agents...)
	}
	m.Points = nil
	for _, name := range n.Points {
		p := neighbourhood.Point{Name: name}
		if i := slices.IndexFunc(n.About.Points, func(o neighbourhood.Point) bool { return o.Name == name }); i >= 0 {
			p = n.About.Points[i]
		}
		m.Points = append(m.Points, p)
	}
	return m
}

// openDiscovery makes what finds out about networks.
func (n *Node) openDiscovery() {
	cfg := discover.Config{
		Aliases: n.cfg.Discovery.Aliases, Sources: slices.Clone(n.cfg.Discovery.Sources), Locator: n.cfg.Discovery.Locator,
		State: n.cfg.State, Log: n.cfg.Log,
	}
	if n.cfg.Discovery.Router {
		cfg.Sources = append(cfg.Sources, discover.Router{Asker: &asker{n: n}, Log: n.cfg.Log})
	}
	if n.cfg.Discovery.DNS || len(n.cfg.Discovery.Domains) > 0 {
		cfg.Sources = append(cfg.Sources, discover.DNS{Namer: namer{n}, Log: n.cfg.Log})
	}
	if scanner, ok := n.scanning().link.(link.Scanner); ok && n.cfg.Discovery.Air {
		cfg.Sources = append(cfg.Sources, n.air(scanner))
	}
	for _, net := range n.cfg.Networks {
		cfg.Networks = append(cfg.Networks, net.model())
	}
	n.discovery = discover.New(cfg)
	n.renewPlaces()
}

// air is the source that says what a link has seen.
func (n *Node) air(scanner link.Scanner) discover.Air {
	sights := func(ask func(context.Context) ([]link.Sighting, error)) func(context.Context) ([]discover.Sight, error) {
		return func(ctx context.Context) (out []discover.Sight, err error) {
			seen, err := ask(ctx)
			for _, g := range seen {
				out = append(out, discover.Sight{Point: g.Point, SSID: g.SSID, Freq: g.Freq, Signal: g.Signal, Age: g.Age})
			}
			return out, err
		}
	}
	return discover.Air{
		Seen: sights(scanner.Seen), Reported: sights(scanner.Reported), Unknown: n.cfg.Discovery.Unknown, Log: n.cfg.Log,
		Known: func() []neighbourhood.Known { return n.discovery.Known() },
		Present: func(ctx context.Context) (point, network string) {
			if point, err := scanner.Current(ctx); err == nil && point != "" {
				if net, err := n.networkOf(point); err == nil {
					return point, net.Name
				}
			}
			return "", ""
		},
	}
}

// lookAround runs what finds out about networks, until the node closes.
func (n *Node) lookAround(ctx context.Context) {
	changes, stop := n.discovery.Watch()
	defer stop()
	n.wg.Go(func() { n.discovery.Run(ctx) })
	for {
		n.renewPlaces()
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
	}
}

// places are the networks that the node may attach to at present. The caller must not change them.
func (n *Node) places() []Network { return *n.nets.Load() }

// renewPlaces puts together what the configuration says, and what is known besides.
func (n *Node) renewPlaces() {
	known := n.discovery.Known()
	out, taken := make([]Network, 0, len(known)), map[string]bool{}
	for _, net := range n.cfg.Networks {
		for _, p := range net.Points {
			taken[p] = true
		}
	}
	for _, net := range n.cfg.Networks {
		if i := slices.IndexFunc(known, func(k neighbourhood.Known) bool { return k.Name == net.Name }); i >= 0 {
			net.who = net.About.Agents // what others say of its identities could keep the node out
			net = net.with(known[i].Network, taken, n.six())
		}
		out = append(out, net)
	}
	for _, k := range known {
		if slices.ContainsFunc(out, func(o Network) bool { return o.Name == k.Name }) {
			continue
		}
		if net := (Network{Name: k.Name, who: k.Agents}).with(k.Network, taken, n.six()); net.PAA.Addr().IsValid() && len(net.Points) > 0 {
			out = append(out, net)
		}
	}
	n.nets.Store(&out)
	n.teach(out)
}

// with is n with what is known besides. taken are points that are somebody's already.
func (n Network) with(k neighbourhood.Network, taken map[string]bool, six bool) Network {
	n.About = k
	if !n.PAA.Addr().IsValid() {
		if paa := agent(k, six); paa.IsValid() {
			n.PAA = netip.AddrPortFrom(paa.Addr(), cmp.Or(paa.Port(), cmp.Or(n.PAA.Port(), pana.Port)))
		}
	}
	n.Points = slices.Clone(n.Points)
	for _, p := range k.Points {
		if !taken[p.Name] && link.CheckPoint(p.Name) == nil {
			taken[p.Name] = true
			n.Points = append(n.Points, p.Name)
		}
	}
	return n
}

// agent is the PAA of a network, of the family of care-of addresses if there is one.
func agent(k neighbourhood.Network, six bool) (paa netip.AddrPort) {
	for _, a := range k.Agents {
		if a.Role != neighbourhood.PAA || !a.Addr.Addr().IsValid() {
			continue
		}
		if a.Addr.Addr().Is6() == six {
			return a.Addr
		}
		if !paa.IsValid() {
			paa = a.Addr
		}
	}
	return paa
}

// teach tells links where points are that they may not know.
func (n *Node) teach(networks []Network) {
	for _, p := range n.ports {
		learner, ok := p.link.(link.Learner)
		if !ok {
			continue
		}
		places := map[string]link.Place{}
		for _, net := range networks {
			for _, point := range net.About.Points {
				if mac, err := wpactrl.ParseMAC(point.Name); err == nil && n.portOf(net) == p {
					places[point.Name] = link.Place{BSSID: mac, Network: link.AnyNetwork, SSID: point.SSID, Freq: point.Freq}
				}
			}
		}
		learner.Learn(places)
	}
}

func (n *Node) networkOf(point string) (Network, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, net := range n.places() {
		if slices.Contains(net.Points, point) || slices.Contains(n.learned[net.Name], point) {
			return net, nil
		}
	}
	return Network{}, fmt.Errorf("attached to %q, which is a point of attachment of no network in the configuration, nor of one that was learned", point)
}

func (n *Node) network(name string) (Network, error) {
	var names []string
	for _, net := range n.places() {
		if net.Name == name {
			return net, nil
		}
		names = append(names, net.Name)
	}
	return Network{}, fmt.Errorf("no network %q in the configuration, nor learned; of %d there are %q", name, len(names), names[:min(len(names), 8)])
}

// configured is the PAA that the configuration gives for a network; invalid: none.
func (n *Node) configured(network string) netip.AddrPort {
	for _, net := range n.cfg.Networks {
		if net.Name == network {
			return net.PAA
		}
	}
	return netip.AddrPort{}
}

// expected checks what a router calls itself against what is known of its network, where somebody has said that.
func (n Network) expected(names notify.Identities) error {
	for _, a := range n.who {
		is, what := names.AR, "access router"
		switch a.Role {
		case neighbourhood.CA:
			is, what = names.CA, "configuration agent"
		case neighbourhood.AR:
		default:
			continue
		}
		if a.Identity != "" && a.Identity != is {
			return fmt.Errorf("the %s of network %s calls itself %.80q, expected %q", what, n.Name, is, a.Identity)
		}
	}
	return nil
}

// Surroundings are what is known of the networks around.
type Surroundings struct {
	Point   string             `json:"point,omitempty"`   // where the node is
	Follows map[string]float64 `json:"follows,omitempty"` // shares of the moves away from there, by point
	discover.Status
}

// Surroundings returns what is known of the networks around.
func (n *Node) Surroundings(ctx context.Context) Surroundings {
	s := Surroundings{Status: n.discovery.Status()}
	if point, err := n.servingPort().link.Current(ctx); err == nil && point != "" {
		s.Point, s.Follows = point, n.discovery.Follows(point)
	}
	return s
}

// noteMove notes where the node has moved to, for later moves.
func (n *Node) noteMove(ctx context.Context, c *candidate) {
	ctx, cancel := context.WithTimeout(ctx, noteWithin)
	defer cancel()
	point, err := c.port.link.Current(ctx)
	if err != nil || point == "" {
		return
	}
	n.mu.Lock()
	from := n.lastPoint
	n.lastPoint = point
	n.mu.Unlock()
	n.discovery.Moved(from, point, time.Now())
}

// noteWithin is how long the link may take to say where it is.
const noteWithin = 2 * time.Second

// proven notes what has been seen of the network in whose session with its router the node is.
func (n *Node) proven(c *candidate) {
	net := neighbourhood.Network{Name: c.net.Name, Agents: []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: c.net.PAA}}}
	n.mu.Lock()
	for _, point := range n.learned[c.net.Name] {
		net.Points = append(net.Points, neighbourhood.Point{Name: point})
	}
	n.mu.Unlock()
	n.discovery.Proven(net)
}
