package main

import (
	"fmt"
	"strconv"

	"openmpa/testbed/bed"
	"openmpa/testbed/scenario"
)

// family is which Internet protocol a lab speaks, and which mobility protocol with it.
type family struct {
	IP        int    `name:"ip" enum:"4,6" default:"4" help:"The family of the node's addresses, at home and away: 4 or 6."`
	MMP       string `name:"mmp" enum:"auto,mip4,mip6" default:"auto" help:"The mobility protocol: mip4 with --ip 4, mip6 with --ip 6."`
	Capture   string `type:"path" placeholder:"FILE" help:"For Wireshark: what routers and authentication servers say to one another, and with --ip 6 the messages of neighbour discovery, DHCPv6 and mobility."`
	Addresses string `enum:"auto,slaac,dhcp" default:"auto" help:"With --ip 6, how nodes get an address: they form one (slaac), or DHCPv6 gives it, as with --dhcp kea."`
}

// into checks the flags and puts them into the options; dhcp is the DHCP server that was asked for.
func (f family) into(o *scenario.Options, dhcp string) error {
	own := map[int]string{4: "mip4", 6: "mip6"}[f.IP]
	switch {
	case f.MMP != "auto" && f.MMP != own:
		return fmt.Errorf("--mmp %s: with --ip %d it is %s: the home address is of the family of the others", f.MMP, f.IP, own)
	case f.Addresses != "auto" && f.IP != 6:
		return fmt.Errorf("--addresses is for --ip 6; with IPv4 it is DHCP")
	case f.Addresses == bed.AddressesSLAAC && dhcp == bed.DHCPKea:
		return fmt.Errorf("--addresses %s has no DHCP server: expected no --dhcp %s", f.Addresses, dhcp)
	}
	o.IP, o.Addresses, o.Capture = f.IP, f.Addresses, f.Capture
	if f.Addresses == "auto" {
		o.Addresses = ""
		if f.IP == 6 && dhcp == bed.DHCPKea {
			o.Addresses = bed.AddressesDHCP
		}
	}
	return nil
}

// record is what was taken, for the results.
func (f family) record(m map[string]string, o scenario.Options) {
	m["ip"], m["mmp"] = strconv.Itoa(o.IP), map[int]string{4: "mip4", 6: "mip6"}[o.IP]
	if o.IP == 6 {
		m["addresses"] = bed.AddressesSLAAC
		if o.Addresses != "" {
			m["addresses"] = o.Addresses
		}
	}
}
