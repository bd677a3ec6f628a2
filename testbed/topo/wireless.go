package topo

import (
	"net/netip"
	"slices"
)

// AP2 is the machine of an access point that is not the router: the point poa-a2.
const AP2 = "apa2"

// AP2Address is its address on the access link of network a.
var AP2Address = netip.MustParseAddr("10.2.0.5")

// AP2Bridge joins its radio with the access link.
const AP2Bridge = "br0"

// WirelessIf is the node's interface where points of attachment are radios.
const WirelessIf = "wlan0"

// An Antenna is the radio of an access point: where it is, and what it joins.
type Antenna struct {
	Point, Node string
	Interface   string
	Bridge      string
	Address     netip.Addr // of the node, on the bridge or elsewhere, as which it asks the authentication server
	Channel     int        // in the 2.4 GHz band
	SSID        string
}

// Antennas are the access points of Wireless.
func Antennas() []Antenna {
	b, a := Networks[0], Networks[1]
	return []Antenna{
		{Point: b.Points[0], Node: RB, Interface: "wlan-b1", Bridge: "lan0", Address: b.Outer, Channel: 1, SSID: "site-b"},
		{Point: b.Points[1], Node: RB, Interface: "wlan-b2", Bridge: "lan0", Address: b.Outer, Channel: 11, SSID: "site-b"},
		{Point: a.Points[0], Node: RA, Interface: "wlan-a1", Bridge: "lan0", Address: a.Outer, Channel: 6, SSID: "site-a"},
		{Point: a.Points[1], Node: AP2, Interface: "wlan-a2", Bridge: AP2Bridge, Address: AP2Address, Channel: 11, SSID: "site-a"},
	}
}

// Wireless is the standard topology with radios for points of attachment: nothing in it can be moved, and the mobile node
// and the access points get their radios later. One access point is a machine of its own.
func Wireless() Plan {
	p := Standard()
	gone := func(node string) bool { return node == Air || node == Bare }
	p.Nodes = slices.DeleteFunc(p.Nodes, func(n Node) bool { return gone(n.Name) })
	p.Links = slices.DeleteFunc(p.Links, func(l Link) bool { return gone(l.A.Node) || gone(l.B.Node) })
	p.Routes = slices.DeleteFunc(p.Routes, func(r Route) bool { return gone(r.Node) })
	p.Neighbours = nil // all of the bare host's
	a := Networks[1]
	p.Nodes = append(p.Nodes, Node{Name: AP2, Role: "access point a2", Runs: "mpa-ar ap-agent", Bridges: []string{AP2Bridge}})
	p.Links = append(p.Links, Link{
		Name: a.Points[1],
		A:    End{Node: AP2, If: "up", Bridge: AP2Bridge},
		B:    End{Node: RA, If: a.Points[1], Bridge: "lan0"},
	})
	p.Addresses = append(p.Addresses, Address{AP2, AP2Bridge, netip.PrefixFrom(AP2Address, a.Prefix.Bits())})
	p.Routes = append(p.Routes, Route{AP2, netip.PrefixFrom(netip.IPv4Unspecified(), 0), a.Address})
	return p
}
