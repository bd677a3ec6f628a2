package nd

import (
	"net/netip"
	"time"

	"openmpa/internal/acd"
)

// Packet is a neighbour discovery message with what matters of the headers before it.
type Packet struct {
	From acd.MAC    // Ethernet source; whoever sends it fills it in
	To   acd.MAC    // Ethernet destination of a packet to be sent; zero: that of the group Dst
	Src  netip.Addr // IPv6; unspecified in a probe
	Dst  netip.Addr // IPv6
	Msg  Message
}

// Message is a Solicit, Advert, RouterSolicit or RouterAdvert.
type Message interface{ message() }

// Nonce is the value of a nonce option (RFC 3971 section 5.3.2), 6 octets or 8 more and so on; empty: no such option.
type Nonce string

// nonceLen is the length of the nonces we send, octets.
const nonceLen = 6

// Solicit is a neighbour solicitation (RFC 4861 section 4.3).
type Solicit struct {
	Target netip.Addr
	MAC    acd.MAC // source link-layer address option; zero: none
	Nonce  Nonce
}

// Advert is a neighbour advertisement (RFC 4861 section 4.4).
type Advert struct {
	Target    netip.Addr
	MAC       acd.MAC // target link-layer address option; zero: none
	Router    bool    // the sender is a router
	Solicited bool    // answers a solicitation by the destination
	Override  bool    // replaces a cached link-layer address
}

// RouterSolicit is a router solicitation (RFC 4861 section 4.1).
type RouterSolicit struct {
	MAC acd.MAC // source link-layer address option; zero: none
}

// RouterAdvert is a router advertisement (RFC 4861 section 4.2), as far as a node's configuration needs it.
type RouterAdvert struct {
	HopLimit  uint8         // of packets sent; 0: not said
	Managed   bool          // addresses by DHCPv6
	Other     bool          // other configuration by DHCPv6
	Lifetime  time.Duration // of the router as a default router, seconds; 0: it is none
	Reachable time.Duration // milliseconds; 0: not said
	Retrans   time.Duration // milliseconds between solicitations; 0: not said
	MAC       acd.MAC       // of the router; zero: not said
	MTU       uint32        // octets; 0: not said
	Prefixes  []PrefixInfo  // at most MaxPrefixes
	DNS       []netip.Addr  // recursive servers (RFC 8106) with a lifetime, at most MaxDNS
}

// Bounds of a router advertisement; what comes beyond them is left out.
const (
	MaxPrefixes = 16
	MaxDNS      = 8
)

// PrefixInfo is a prefix information option (RFC 4861 section 4.6.2).
type PrefixInfo struct {
	Prefix     netip.Prefix  // masked
	OnLink     bool          // L
	Autonomous bool          // A: addresses may be formed from it
	Valid      time.Duration // Infinite: for ever
	Preferred  time.Duration // at most Valid
}

// Infinite is the lifetime of all ones, which does not end.
const Infinite = time.Duration(0xffffffff) * time.Second

func (Solicit) message()       {}
func (Advert) message()        {}
func (RouterSolicit) message() {}
func (RouterAdvert) message()  {}

// AllNodes is the group of every node of the link (RFC 4291 section 2.7.1).
func AllNodes() netip.Addr { return netip.IPv6LinkLocalAllNodes() }

// SolicitedNode returns the group in which a is asked for (RFC 4291 section 2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	from := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: from[13], 14: from[14], 15: from[15]})
}

// GroupMAC returns the Ethernet address of an IPv6 group (RFC 2464 section 7).
func GroupMAC(group netip.Addr) acd.MAC {
	b := group.As16()
	return acd.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// Probe returns the solicitation by which addr is probed (RFC 4862 section 5.4.2).
func Probe(addr netip.Addr, nonce Nonce) Packet {
	return Packet{Src: netip.IPv6Unspecified(), Dst: SolicitedNode(addr), Msg: Solicit{Target: addr, Nonce: nonce}}
}

// Announce returns the unsolicited advertisement that addr is at mac, which replaces what neighbours have cached (RFC 4861
// section 7.2.6). src is an address of the sender.
func Announce(src, addr netip.Addr, mac acd.MAC) Packet {
	return Packet{Src: src, Dst: AllNodes(), Msg: Advert{Target: addr, MAC: mac, Override: true}}
}

// Unicast reports whether a can be the address of one node, as the target of a solicitation must be.
func Unicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}
