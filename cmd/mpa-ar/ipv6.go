package main

import (
	"net/netip"

	"openmpa/internal/config"
	"openmpa/paa/pana"
	"openmpa/par"
)

// ipv6Config is what the file says of IPv6; a file that says nothing has none.
type ipv6Config struct {
	Address   config.Prefix `yaml:"address"`
	Addresses string        `yaml:"addresses"`
	DHCP      config.Addr   `yaml:"dhcp"`
	DAD       config.DAD6   `yaml:"dad"`
}

// How nodes get addresses.
const (
	slaac = "slaac"
	dhcp  = "dhcp"
)

func (c *ipv6Config) check() error {
	if c == nil {
		return nil
	}
	a := c.Address.Addr()
	switch {
	case !a.Is6() || a.Is4In6() || a.IsLinkLocalUnicast() || a.IsMulticast() || c.Address.Bits() != 64:
		return config.Errorf("ipv6.address", "expected the router's IPv6 address on the access link, not the link-local one, as 2001:db8:2::1/64")
	case c.Addresses != "" && c.Addresses != slaac && c.Addresses != dhcp:
		return config.Errorf("ipv6.addresses", "%q: expected slaac (nodes form them) or dhcp (of a DHCPv6 server)", c.Addresses)
	case c.Addresses == dhcp && !c.DHCP.IsValid():
		return config.Errorf("ipv6.dhcp", "missing: the address of the DHCPv6 server")
	case c.DHCP.IsValid() && (!c.DHCP.Is6() || c.DHCP.IsLinkLocalUnicast() || c.DHCP.IsMulticast()):
		return config.Errorf("ipv6.dhcp", "expected an IPv6 address of the DHCPv6 server that is not link-local")
	}
	return config.At("ipv6.dad", c.DAD.Timers().Check())
}

// router is what par needs of it; nil: no IPv6.
func (c *ipv6Config) router() *par.IPv6 {
	if c == nil {
		return nil
	}
	return &par.IPv6{Address: c.Address.Addr(), Server: c.DHCP, Managed: c.Addresses == dhcp, DAD: c.DAD.Timers()}
}

func (c configuration) listen6() netip.AddrPort {
	if c.IPv6 == nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(c.IPv6.Address.Addr(), pana.Port)
}
