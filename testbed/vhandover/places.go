package vhandover

import (
	"net/netip"
	"slices"

	"openmpa/testbed/topo"
)

// networks are the lab's, and one where a link may come up instead.
var networks = append(slices.Clone(topo.Networks), topo.Third)

// network finds one of them by its name.
func network(name string) topo.Network {
	return networks[slices.IndexFunc(networks, func(n topo.Network) bool { return n.Name == name })]
}

// another is where a plan goes from a network: a and b in turn.
func another(from string) topo.Network {
	if from == "a" {
		return network("b")
	}
	return network("a")
}

// via is where the core reaches each router.
var via = map[string]netip.Addr{
	topo.RB: netip.MustParseAddr("10.0.1.1"),
	topo.RA: netip.MustParseAddr("10.0.2.1"),
	topo.RC: netip.MustParseAddr("10.0.6.1"),
}
