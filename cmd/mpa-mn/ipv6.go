package main

import (
	"net/netip"

	"openmpa/internal/acd/nd"
	"openmpa/internal/config"
	"openmpa/tunnel/ipip"
)

// ipv6Config is what there is about care-of addresses of IPv6 only.
type ipv6Config struct {
	Identifier config.Addr `yaml:"identifier"`
	DAD        config.DAD6 `yaml:"dad"`
}

// leastMTU is that of a link of IPv6 (RFC 8200 section 5), with the header of the tunnel to
// the home agent.
const leastMTU = 1280 + ipip.HeaderLen6

// checkFamily checks what depends on the family of the care-of addresses.
func (c configuration) checkFamily() error {
	switch {
	case c.Family != 0 && c.Family != 4 && c.Family != 6:
		return config.Errorf("family", "%d: expected 4 or 6, of care-of addresses", c.Family)
	case c.Mobility.is6() != (c.Family == 6) && len(c.Mobility.Hook.Command) == 0:
		return config.Errorf("family", "%d: expected that of the home address", c.Family)
	case c.Family == 6 && c.Tunnel.MTU < leastMTU:
		return config.Errorf("tunnel.mtu", "%d: expected at least %d for IPv6", c.Tunnel.MTU, leastMTU)
	case c.IPv6.Identifier.IsValid() && !c.identifies():
		return config.Errorf("ipv6.identifier", "%v: expected the low 64 bits of an address that no other node of the networks has, such as ::1234:5678:9abc:def0", c.IPv6.Identifier)
	}
	return config.At("ipv6.dad", c.IPv6.DAD.Timers().Check())
}

var low = netip.MustParsePrefix("::/64")

// identifies says whether ipv6.identifier is one.
func (c configuration) identifies() bool {
	return low.Contains(c.IPv6.Identifier) && !c.identifier().Reserved()
}

// identifier is that of addresses the node forms; zero: there is none.
func (c configuration) identifier() (id nd.IID) {
	if c.IPv6.Identifier.IsValid() {
		a := c.IPv6.Identifier.As16()
		copy(id[:], a[8:])
	}
	return id
}
