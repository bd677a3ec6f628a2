package topo

import (
	"fmt"
	"net/netip"
)

// Further are networks that only some labs have: c, where the mobile node turns up when nobody expects it, and those
// among which it wanders.
var Further = []Network{further("c", 3, 6), further("d", 4, 9), further("e", 5, 10)}

// Third is the first of them.
var Third = Further[0]

// further is a network with the access link 10.NET.0.0 and the link with the core 10.0.CORE.0.
func further(name string, net, core byte) Network {
	access := func(host byte) netip.Addr { return netip.AddrFrom4([4]byte{10, net, 0, host}) }
	return Network{
		Name: name, Router: "r" + name, Prefix: netip.PrefixFrom(access(0), 24),
		Address: access(1), DHCP: access(3), DHCPIf: "lan" + name, PoolLo: access(100), PoolHi: access(199),
		Points: []string{"poa-" + name + "1"}, Link: "core-" + name,
		Outer: netip.AddrFrom4([4]byte{10, 0, core, 1}),
	}
}

// WithFurther adds the first n of those networks to a plan.
func WithFurther(p Plan, n int) Plan {
	for _, net := range Further[:n] {
		p.Nodes = append(p.Nodes, Node{
			Name: net.Router, Role: "access router " + net.Name, Runs: "mpa-ar", Forward: true, Bridges: []string{AccessIf},
		})
		for i := range p.Nodes {
			if n := &p.Nodes[i]; n.Name == Air {
				n.Bridges = append(n.Bridges, net.Points...)
			}
		}
		p.access(net)
		p.toCore(net.Link, net.Router, fmt.Sprintf("to-%s", net.Router), netip.PrefixFrom(net.Outer, 30), netip.PrefixFrom(net.Outer.Next(), 30))
		p.Routes = append(p.Routes, Route{Core, net.Prefix, net.Outer})
	}
	return p
}
