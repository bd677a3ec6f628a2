package topo

import (
	"net/netip"
	"slices"
)

// The nodes of the standard topology.
const (
	MN   = "mn"   // mobile node
	Air  = "air"  // points of attachment
	RB   = "rb"   // access router of network b
	RA   = "ra"   // access router of network a
	DHCP = "dhcp" // DHCP server of both networks
	Core = "core" // the network between
	HA   = "ha"   // home agent
	HL   = "hl"   // a host on the home link
	CN   = "cn"   // correspondent
	AAA  = "aaa"  // authentication server
	RC   = "rc"   // access router of network c, see Further
	Bare = "bare" // host for the bare bridge swap
)

// Addresses that other packages of the lab need.
var (
	HomeAddress   = netip.MustParseAddr("10.9.0.2")
	HomeAgent     = netip.MustParseAddr("10.0.3.1")
	HomePrefix    = netip.MustParsePrefix("10.9.0.0/24")
	Correspondent = netip.MustParseAddr("10.0.4.1")
	AAAServer     = netip.MustParseAddr("10.0.5.1")
	BareAddress   = netip.MustParseAddr("10.2.0.250")
	DNS           = netip.MustParseAddr("10.0.4.53")
)

// A Network is one visited network.
type Network struct {
	Name   string // "a" or "b"
	Router string // node of the access router
	Prefix netip.Prefix
	// Address is the access router's on the access link; PANA and the
	// tunnel end are there.
	Address netip.Addr
	DHCP    netip.Addr // the server's address on the access link
	DHCPIf  string     // the server's interface
	PoolLo  netip.Addr
	PoolHi  netip.Addr
	Points  []string
	Link    string // from the router to the core, by name
	// Outer is the router's address on that link.
	Outer netip.Addr
}

// Networks are the two visited networks, b first: the mobile node starts
// there.
var Networks = []Network{
	{
		Name: "b", Router: RB, Prefix: netip.MustParsePrefix("10.1.0.0/24"),
		Address: netip.MustParseAddr("10.1.0.1"), DHCP: netip.MustParseAddr("10.1.0.3"), DHCPIf: "lanb",
		PoolLo: netip.MustParseAddr("10.1.0.100"), PoolHi: netip.MustParseAddr("10.1.0.199"),
		Points: []string{"poa-b1", "poa-b2"}, Link: "core-b",
		Outer: netip.MustParseAddr("10.0.1.1"),
	},
	{
		Name: "a", Router: RA, Prefix: netip.MustParsePrefix("10.2.0.0/24"),
		Address: netip.MustParseAddr("10.2.0.1"), DHCP: netip.MustParseAddr("10.2.0.3"), DHCPIf: "lana",
		PoolLo: netip.MustParseAddr("10.2.0.100"), PoolHi: netip.MustParseAddr("10.2.0.199"),
		Points: []string{"poa-a1", "poa-a2"}, Link: "core-a",
		Outer: netip.MustParseAddr("10.0.2.1"),
	},
}

// NetworkByName finds "a" or "b", or one of Further.
func NetworkByName(name string) (Network, bool) {
	for _, n := range slices.Concat(Networks, Further) {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// NetworkOf is the name of the network that has a point of attachment, empty for none.
func NetworkOf(point string) string {
	for _, n := range slices.Concat(Networks, Further) {
		if slices.Contains(n.Points, point) {
			return n.Name
		}
	}
	return ""
}

// Other names the network that is not name.
func Other(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

// A Node is one namespace.
type Node struct {
	Name    string
	Role    string // for the picture
	Runs    string // the daemon of ours on it, if any
	Forward bool   // it is a router
	Bridges []string
}

// An End is one end of a link.
type End struct {
	Node, If string
	Addr     netip.Prefix // zero: none
	Bridge   string       // bridge of the node which the end joins
}

// A Link joins two nodes; A is further from the core than B. Down leaves the end
// B down: somebody attaches it later, and the link has no name. Idle leaves the end A
// down, too.
type Link struct {
	Name string
	A, B End
	Down bool
	Idle bool
}

// An Address belongs to an interface that is no end of a link, such as a
// bridge.
type Address struct {
	Node, If string
	Addr     netip.Prefix
}

// A Route is a static route.
type Route struct {
	Node string
	Dst  netip.Prefix // zero bits: default
	Via  netip.Addr
}

// A Neighbour is a permanent neighbour entry: what Node knows of the
// address Addr of the interface OfIf of the node Of.
type Neighbour struct {
	Node, If string
	Addr     netip.Addr
	Of, OfIf string
}

// A Plan is a topology.
type Plan struct {
	Nodes      []Node
	Links      []Link
	Addresses  []Address
	Routes     []Route
	Neighbours []Neighbour
	// Processor is the number of the one that the first node with a daemon stays on, the second on the next.
	Processor int
}

// LinkNames are the names of the links that have one.
func (p Plan) LinkNames() []string {
	var names []string
	for _, l := range p.Links {
		if l.Name != "" {
			names = append(names, l.Name)
		}
	}
	return names
}

// LinkAAA is the name of the authentication server's link.
const LinkAAA = "core-aaa"

// The interfaces in "air" that package linkctl moves, and the interfaces at
// the other end.
const (
	MNPort   = "to-mn"
	BarePort = "to-bare"
	MNIf     = "eth0"
)

// The same of the second interface of a mobile node with two.
const (
	SecondPort = "to-mn2"
	SecondIf   = "eth1"
)

// WithSecond adds a second interface of the mobile node towards the points of
// attachment to a plan. It is down.
func WithSecond(p Plan) Plan {
	p.Links = append(p.Links, Link{A: End{Node: MN, If: SecondIf}, B: End{Node: Air, If: SecondPort}, Down: true, Idle: true})
	return p
}

// AccessIf is an access router's interface towards its points of attachment.
const AccessIf = "lan0"

// Standard is the lab's topology.
func Standard() Plan {
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	plan := Plan{
		Nodes: []Node{
			{Name: MN, Role: "mobile node", Runs: "mpa-mn"},
			{Name: Air, Role: "points of attachment"},
			{Name: RB, Role: "access router b", Runs: "mpa-ar", Forward: true, Bridges: []string{AccessIf}},
			{Name: RA, Role: "access router a", Runs: "mpa-ar", Forward: true, Bridges: []string{AccessIf}},
			{Name: DHCP, Role: "DHCP server"},
			{Name: Core, Role: "core", Forward: true},
			{Name: HA, Role: "home agent", Runs: "mpa-ha", Forward: true},
			{Name: HL, Role: "host on the home link"},
			{Name: CN, Role: "correspondent"},
			{Name: AAA, Role: "authentication", Runs: "mpa-aaa"},
			{Name: Bare, Role: "host with a static address"},
		},
		Links: []Link{
			{A: End{Node: MN, If: MNIf}, B: End{Node: Air, If: MNPort}, Down: true},
			{
				A: End{Node: Bare, If: "eth0", Addr: netip.PrefixFrom(BareAddress, 24)},
				B: End{Node: Air, If: BarePort}, Down: true,
			},
		},
	}
	for i := range plan.Nodes {
		if plan.Nodes[i].Name == Air {
			for _, n := range Networks {
				plan.Nodes[i].Bridges = append(plan.Nodes[i].Bridges, n.Points...)
			}
		}
	}
	for _, n := range Networks {
		plan.access(n)
	}
	for _, c := range []struct{ name, node, core, near, far string }{
		{Networks[0].Link, RB, "to-rb", "10.0.1.1/30", "10.0.1.2/30"},
		{Networks[1].Link, RA, "to-ra", "10.0.2.1/30", "10.0.2.2/30"},
		{"core-ha", HA, "to-ha", "10.0.3.1/30", "10.0.3.2/30"},
		{"core-cn", CN, "to-cn", "10.0.4.1/30", "10.0.4.2/30"},
		{LinkAAA, AAA, "to-aaa", "10.0.5.1/30", "10.0.5.2/30"},
	} {
		plan.toCore(c.name, c.node, c.core, p(c.near), p(c.far))
	}
	plan.Links = append(plan.Links, Link{
		Name: "home",
		A:    End{Node: HL, If: "eth0", Addr: p("10.9.0.9/24")},
		B:    End{Node: HA, If: "home0", Addr: p("10.9.0.1/24")},
	})
	plan.Routes = append(plan.Routes,
		Route{Core, Networks[0].Prefix, Networks[0].Outer},
		Route{Core, Networks[1].Prefix, Networks[1].Outer},
		Route{Core, HomePrefix, HomeAgent},
		Route{HL, def(), a("10.9.0.1")},
		Route{DHCP, def(), a("10.1.0.1")},
		Route{Bare, def(), a("10.2.0.1")},
	)
	// The kernel forgets its neighbours with the carrier, and an ARP request
	// that is lost in the gap is repeated after a second. That second is not
	// what the bare host is there to show.
	plan.Neighbours = []Neighbour{
		{Bare, "eth0", a("10.2.0.1"), RA, AccessIf},
		{RA, AccessIf, BareAddress, Bare, "eth0"},
	}
	return plan
}

// def is where everything goes that has no better route.
func def() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

// access adds a network's points of attachment and its DHCP server's link.
func (p *Plan) access(n Network) {
	p.Addresses = append(p.Addresses, Address{n.Router, AccessIf, netip.PrefixFrom(n.Address, 24)})
	for _, point := range n.Points {
		p.Links = append(p.Links, Link{
			Name: point,
			A:    End{Node: Air, If: "up-" + point[len("poa-"):], Bridge: point},
			B:    End{Node: n.Router, If: point, Bridge: AccessIf},
		})
	}
	p.Links = append(p.Links, Link{
		Name: "dhcp-" + n.Name,
		A:    End{Node: DHCP, If: n.DHCPIf, Addr: netip.PrefixFrom(n.DHCP, 24)},
		B:    End{Node: n.Router, If: "dhcp", Bridge: AccessIf},
	})
}

// toCore joins a node to the core, by which it reaches everything.
func (p *Plan) toCore(name, node, port string, near, far netip.Prefix) {
	p.Links = append(p.Links, Link{
		Name: name,
		A:    End{Node: node, If: "core", Addr: near},
		B:    End{Node: Core, If: port, Addr: far},
	})
	p.Routes = append(p.Routes, Route{node, def(), far.Addr()})
}
