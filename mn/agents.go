package mn

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/mn/discover"
	"openmpa/paa/pana"
)

// elsewhereNow tells whoever finds out about networks that the node is on another link, or in another session.
func (n *Node) elsewhereNow() {
	poke(n.attached)
	poke(n.onLink)
}

// findAgent takes the PAA that the DHCP server names (RFC 5192), where the configuration names
// none, also for preparations from elsewhere; or else who is known from elsewhere, or named by DNS; or else the link's
// router, if it invites the node. Whoever it is has to authenticate.
func (c *candidate) findAgent(ctx context.Context, l lease) error {
	n, paa := c.n, l.paa()
	given := n.configured(c.net.Name)
	port := cmp.Or(given.Port(), c.net.PAA.Port(), pana.Port)
	c.linkSays(l)
	switch {
	case given.Addr().IsValid():
		return nil
	case paa.IsValid():
		c.net.PAA = netip.AddrPortFrom(paa, port)
		n.agents.Store(c.net.Name, paa)
		return nil
	case c.net.PAA.Addr().IsValid(): // leased by the router, or who it is has been learned
		return nil
	}
	named, why := n.namedAgent(ctx, l)
	switch {
	case named.IsValid():
		c.net.PAA = named
		n.agents.Store(c.net.Name, named.Addr())
		return nil
	case n.cfg.Await && !n.six() && l.router().IsValid():
		c.net.PAA, c.awaits = netip.AddrPortFrom(l.router(), port), true
		return nil
	case n.six():
		return fmt.Errorf("nobody names a PANA authentication agent, neither DHCPv6 (option 40) nor DNS (%w): give paa of network %s", why, c.net.Name)
	}
	return fmt.Errorf("the DHCP server %v names no PANA authentication agent (option 136), nor does DNS (%w): give paa of network %s, or pana.await if its router invites nodes", l.Four.ServerID, why, c.net.Name)
}

// linkSays takes what the link's DHCP server has said of its network as what somebody says, whom nobody has authenticated.
func (c *candidate) linkSays(l lease) {
	net := neighbourhood.Network{Name: c.net.Name}
	if p := l.prefix(); p.IsValid() && !p.IsSingleIP() && !l.formed() {
		net.Prefixes = []netip.Prefix{p.Masked()}
	}
	if paa := l.paa(); paa.IsValid() {
		net.Agents = []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: netip.AddrPortFrom(paa, cmp.Or(c.n.configured(c.net.Name).Port(), pana.Port))}}
	}
	if net.Prefixes == nil && net.Agents == nil {
		return
	}
	c.n.discovery.Say(discover.Statement{
		From: neighbourhood.Source{Kind: neighbourhood.Link, Name: "dhcp " + c.net.Name}, Networks: []neighbourhood.Network{net},
		Lifetime: max(time.Until(l.expires()), time.Second),
	})
}

// namer is what a node knows of the name servers of its link.
type namer struct{ n *Node }

// Arrived implements discover.Namer.
func (r namer) Arrived() <-chan struct{} { return r.n.onLink }

// Names implements discover.Namer.
func (r namer) Names() (discover.Resolver, []string) {
	r.n.mu.Lock()
	c := r.n.serving
	r.n.mu.Unlock()
	if c == nil || c.address == nil {
		return discover.Resolver{}, nil
	}
	return r.n.resolver(*c.address.lease.Load())
}

// resolver asks the name servers of a lease, from its address; domains are those to ask for.
func (n *Node) resolver(l lease) (discover.Resolver, []string) {
	servers, domains := l.names()
	if !n.cfg.Discovery.DNS {
		domains = nil
	}
	out := slices.Clone(n.cfg.Discovery.Domains)
	for _, d := range domains {
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return discover.Resolver{Servers: servers, Dial: func(server netip.AddrPort) (net.Conn, error) {
		return n.net.DialUDP("", netip.AddrPortFrom(near(l.addr(), server.Addr()), 0), server)
	}}, out
}

// namedAgent asks DNS for the PAA of the link that a lease is of: an agent whose address is on that link, or is its router; or
// else, of a domain's only network, that one. The error says why there is none.
func (n *Node) namedAgent(ctx context.Context, l lease) (paa netip.AddrPort, err error) {
	r, domains := n.resolver(l)
	if len(domains) == 0 {
		return paa, fmt.Errorf("no domain is known to ask for")
	}
	for _, domain := range domains {
		targets, lookErr := r.Agents(ctx, domain)
		if lookErr != nil {
			err = lookErr
			continue
		}
		for _, t := range targets {
			for _, a := range t.Addrs {
				if a.Addr() == l.router() || l.prefix().Contains(a.Addr()) || len(targets) == 1 && a.Addr().Is6() == n.six() {
					return a, nil
				}
			}
		}
		err = fmt.Errorf("none of the %d agents of %s is on the link", len(targets), domain)
	}
	return paa, err
}
