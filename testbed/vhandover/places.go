package vhandover

import (
	"net/netip"
	"slices"

	"openmpa/testbed/topo"
)

// rc is the router of the third network, to which nobody means to go.
const rc = "rc"

// networks are the lab's, and one where a link may come up instead.
var networks = append(slices.Clone(topo.Networks), topo.Network{
	Name: "c", Router: rc, Prefix: netip.MustParsePrefix("10.3.0.0/24"),
	Address: netip.MustParseAddr("10.3.0.1"), DHCP: netip.MustParseAddr("10.3.0.3"), DHCPIf: "lanc",
	PoolLo: netip.MustParseAddr("10.3.0.100"), PoolHi: netip.MustParseAddr("10.3.0.199"),
	Points: []string{"poa-c1"}, Outer: netip.MustParseAddr("10.0.6.1"),
})

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
	rc:      netip.MustParseAddr("10.0.6.1"),
}
