package bed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"openmpa/testbed/dhcpd"
	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
	"openmpa/testbed/topo"
)

// tunName6 is the home agent's device for Mobile IPv6.
const tunName6 = "mpa6"

// six reports whether the node has IPv6 addresses.
func (o Options) six() bool { return o.IP == 6 }

// formed reports whether the node forms its addresses itself.
func (o Options) formed() bool { return o.six() && o.Addresses != AddressesDHCP }

// at is an address of the plan in the family of the lab.
func (o Options) at(a netip.Addr) netip.Addr {
	if o.six() {
		return topo.Six(a)
	}
	return a
}

// IP is the family of the node's addresses, 4 or 6.
func (b *Bed) IP() int {
	if b.opt.six() {
		return 6
	}
	return 4
}

// Leased reports whether the node's addresses are leased ones.
func (b *Bed) Leased() bool { return !b.opt.formed() }

// innerMTU is that of what is between the node and its home agent, in octets, so that the packets of a tunnel about it fit a link.
func (o Options) innerMTU() int {
	if o.six() {
		return 1320
	}
	return 1400
}

// open is where everybody may send at an enforcement point.
func (o Options) open() string {
	a := o.at(topo.Correspondent)
	return strconv.Quote(netip.PrefixFrom(a, a.BitLen()).String())
}

// checkSix is what only one of the families has.
func (o Options) checkSix() error {
	switch {
	case o.IP != 0 && o.IP != 4 && o.IP != 6:
		return fmt.Errorf("bed: there is no IPv%d: expected 4 or 6", o.IP)
	case o.Addresses != "" && o.Addresses != AddressesSLAAC && o.Addresses != AddressesDHCP:
		return fmt.Errorf("bed: nobody gets addresses by %q: expected %s or %s", o.Addresses, AddressesSLAAC, AddressesDHCP)
	case !o.six() && o.Route:
		return errors.New("bed: route optimisation is for IPv6")
	case !o.six():
		return nil
	case o.NAT, o.VPN, o.Agent == AgentDHCP:
		return errors.New("bed: translators, the VPN and a PAA that DHCP names are for IPv4: expected none of them with IPv6")
	}
	_, err := (peers.Radvd{}).Program()
	return err
}

// dhcpPools6 are the twins of the pools of IPv4.
func (o Options) dhcpPools6() (pools []dhcpd.Pool) {
	if o.formed() {
		return nil
	}
	for _, n := range o.networks() {
		pools = append(pools, dhcpd.Pool{
			Network: n.Name, Interface: n.DHCPIf, Server: topo.Six(n.DHCP), Prefix: topo.SixPrefix(n.Prefix),
			Low: topo.Six(n.PoolLo), High: topo.Six(n.PoolHi), Router: topo.Six(n.Address), DNS: topo.Six(topo.DNS),
		})
	}
	return pools
}

// advertise starts what advertises the access routers.
func (b *Bed) advertise(ctx context.Context) error {
	if !b.opt.six() {
		return nil
	}
	for _, n := range b.opt.networks() {
		r := peers.Radvd{
			Dir: b.Run.Path, Name: "radvd-" + n.Name, Interface: topo.AccessIf, Prefix: topo.SixPrefix(n.Prefix), DNS: topo.Six(topo.DNS), Managed: !b.opt.formed(),
		}
		command, err := r.Command()
		if err != nil {
			return err
		}
		if err := b.run(ctx, proc.Spec{Name: r.Name, Space: b.Top.Space(n.Router), Command: command, Answers: r.Answers}); err != nil {
			return err
		}
	}
	return nil
}

// configHA6 is the home agent's.
func (b *Bed) configHA6() string {
	return fmt.Sprintf(`node: ha
control: %s
state: ha.db
lifetime: 600s
ipv6:
  address: "%v"
  home: {interface: home0, prefix: "%v"}
  tunnel: {device: %s, mtu: %d}
  nodes: [{home-address: "%v", spi: %d, key-file: mn-ha.key}]
`, b.Run.File("ha.sock"), topo.HomeAgent6, topo.HomePrefix6, tunName6, b.opt.innerMTU(), topo.Six(topo.HomeAddress), homeSPI)
}

// mayRoute lets the correspondent's kernel hand packets to the daemon that does route optimisation.
func (b *Bed) mayRoute() error {
	if !b.opt.Route {
		return nil
	}
	return b.Top.Space(topo.CN).Sysctl("net/ipv6/conf/all/forwarding", "1")
}

// configCN is the correspondent's, where it does route optimisation.
func (b *Bed) configCN() string {
	return fmt.Sprintf(`node: cn
control: %s
state: cn.db
correspondent: {address: "%v", interface: core, tunnel: {device: mpac, mtu: %d}}
`, b.Run.File("cn.sock"), topo.Correspondent6, b.opt.innerMTU())
}

// mobility6 is the mobile node's.
func (b *Bed) mobility6() string {
	var more string
	if b.opt.Route {
		more = fmt.Sprintf(", correspondents: [\"%v/128\"]", topo.Correspondent6)
	}
	return fmt.Sprintf("  mip6: {home-address: \"%v\", home-agent: \"%v\", spi: %d, key-file: mn-ha.key, lifetime: 600s%s}",
		topo.Six(topo.HomeAddress), topo.HomeAgent6, homeSPI, more+b.opt.several())
}

// several is what the mobile node's mobility has of several care-of addresses, of either family.
func (o Options) several() string {
	switch {
	case !o.Several:
		return ""
	case o.Further > 0:
		return fmt.Sprintf(", several: true, beside: [%s]", topo.Third.Name)
	}
	return ", several: true"
}

// dad6 are the timers of duplicate address detection with IPv6; empty: those of RFC 4862.
func (o Options) dad6() string {
	if o.DAD == DADStandard {
		return ""
	}
	return "dad: {delay: 20ms, transmits: 1, retrans: 100ms}"
}

// configMN6 is what the mobile node has of IPv6 beside its mobility.
func (b *Bed) configMN6() string {
	if !b.opt.six() {
		return ""
	}
	return fmt.Sprintf("family: 6\nipv6: {%s}\n", b.opt.dad6())
}

// configAR6 is an access router's.
func (b *Bed) configAR6(n topo.Network) string {
	if !b.opt.six() {
		return ""
	}
	addresses := "addresses: slaac"
	if !b.opt.formed() {
		addresses = fmt.Sprintf("addresses: dhcp, dhcp: \"%v\"", topo.Six(n.DHCP))
	}
	if dad := b.opt.dad6(); dad != "" {
		addresses += ", " + dad
	}
	return fmt.Sprintf("ipv6: {address: \"%v/64\", %s}\n", topo.Six(n.Address), addresses)
}
