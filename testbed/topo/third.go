package topo

import "net/netip"

// Third is a network that only labs have in which the mobile node turns up where
// nobody expects it.
var Third = Network{
	Name: "c", Router: RC, Prefix: netip.MustParsePrefix("10.3.0.0/24"),
	Address: netip.MustParseAddr("10.3.0.1"), DHCP: netip.MustParseAddr("10.3.0.3"), DHCPIf: "lanc",
	PoolLo: netip.MustParseAddr("10.3.0.100"), PoolHi: netip.MustParseAddr("10.3.0.199"),
	Points: []string{"poa-c1"}, Link: "core-c",
	Outer: netip.MustParseAddr("10.0.6.1"),
}

// WithThird adds that network to a plan.
func WithThird(p Plan) Plan {
	p.Nodes = append(p.Nodes, Node{Name: RC, Role: "access router c", Runs: "mpa-ar", Forward: true, Bridges: []string{AccessIf}})
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.Name == Air {
			n.Bridges = append(n.Bridges, Third.Points...)
		}
	}
	p.access(Third)
	p.toCore(Third.Link, RC, "to-rc", netip.PrefixFrom(Third.Outer, 30), netip.PrefixFrom(Third.Outer.Next(), 30))
	p.Routes = append(p.Routes, Route{Core, Third.Prefix, Third.Outer})
	return p
}
