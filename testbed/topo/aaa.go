package topo

import (
	"fmt"
	"net/netip"
)

// The nodes that labs have with more than one authentication server.
const (
	Visited = "visited" // authentication server of the visited networks' operator
	Spare   = "spare"   // twin of the server that the routers ask
)

// Their addresses and links.
var (
	VisitedServer = netip.MustParseAddr("10.0.7.1")
	SpareServer   = netip.MustParseAddr("10.0.8.1")
)

// Names of their links with the core.
const (
	LinkVisited = "core-visited"
	LinkSpare   = "core-spare"
)

// WithAAA adds one of those nodes to a plan.
func WithAAA(p Plan, name string) Plan {
	n := Node{Name: name, Role: "authentication, visited"}
	link, addr := LinkVisited, VisitedServer
	if name == Spare {
		n.Role, link, addr = "authentication, spare", LinkSpare, SpareServer
	}
	p.Nodes = append(p.Nodes, n)
	p.toCore(link, name, fmt.Sprintf("to-%s", name), netip.PrefixFrom(addr, 30), netip.PrefixFrom(addr.Next(), 30))
	return p
}
