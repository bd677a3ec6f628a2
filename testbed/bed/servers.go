package bed

import (
	"context"
	"net"

	"openmpa/testbed/dhcpd"
	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
	"openmpa/testbed/topo"
)

// Kea is Kea for either family.
type kea interface {
	DHCPServer
	Command() ([]string, error)
	Environment() []string
	Answers(ctx context.Context, p dhcpd.Pool, listen func(*net.UDPAddr) (*net.UDPConn, error)) error
}

func (b *Bed) kea(pools []dhcpd.Pool) kea {
	if b.opt.six() {
		return peers.Kea6{Dir: b.Run.Path, Name: topo.DHCP, Pools: pools, Rapid: true, Lifetime: leaseTime}
	}
	return peers.Kea{Dir: b.Run.Path, Name: topo.DHCP, Pools: pools, Lifetime: leaseTime}
}

// DHCPServer is the DHCP server of a lab, of whatever make.
type DHCPServer interface {
	// Leases are the addresses that are not free now.
	Leases() ([]dhcpd.Lease, error)
	// SetEmpty has a network without a free address, or no longer.
	SetEmpty(network string, empty bool) error
	// Reset frees every address that was declined.
	Reset() error
	// Close ends it, where it is no child of the lab.
	Close() error
}

// embedded is the lab's own server.
type embedded struct{ *dhcpd.Server }

func (e embedded) Leases() ([]dhcpd.Lease, error) { return e.Server.Leases(), nil }

func (e embedded) SetEmpty(network string, empty bool) error {
	e.With(func(t *dhcpd.Table) { t.SetEmpty(network, empty) })
	return nil
}

func (e embedded) Reset() error {
	e.With(func(t *dhcpd.Table) { t.Reset() })
	return nil
}

// dhcpPools are the links the server serves; none where nodes form their own addresses.
func (o Options) dhcpPools() []dhcpd.Pool {
	if o.six() {
		return o.dhcpPools6()
	}
	networks := o.networks()
	pools := make([]dhcpd.Pool, 0, len(networks))
	for _, n := range networks {
		pool := dhcpd.Pool{
			Network: n.Name, Interface: n.DHCPIf, Server: n.DHCP, Prefix: n.Prefix,
			Low: n.PoolLo, High: n.PoolHi, Router: n.Address, DNS: topo.DNS,
		}
		if o.Agent == AgentDHCP {
			pool.PAA = n.Address
		}
		pools = append(pools, pool)
	}
	return pools
}

// serveDHCP starts the lab's own server, with the leases in its file.
func (b *Bed) serveDHCP() error {
	s, err := dhcpd.ServeFile(b.Top.Space(topo.DHCP), b.opt.dhcpPools(), leaseTime, b.Run.File("dhcp.db"))
	if err != nil {
		return err
	}
	b.DHCP = embedded{s}
	return nil
}

// startDHCP starts the server that was asked for.
func (b *Bed) startDHCP(ctx context.Context) error {
	if b.opt.DHCP != DHCPKea || b.opt.formed() {
		return b.serveDHCP()
	}
	pools := b.opt.dhcpPools()
	kea := b.kea(pools)
	command, err := kea.Command()
	if err != nil {
		return err
	}
	b.opt.say("starting Kea")
	b.DHCP = kea
	return b.run(ctx, proc.Spec{
		Name: topo.DHCP, Space: b.Top.Space(topo.DHCP), Command: command, Env: kea.Environment(),
		Answers: func(ctx context.Context) error {
			if b.children[topo.MN] != nil { // started again: routers have the port that answers would come to
				_, err := kea.Leases()
				return err
			}
			for _, p := range pools {
				n, _ := topo.NetworkByName(p.Network)
				if err := kea.Answers(ctx, p, func(a *net.UDPAddr) (*net.UDPConn, error) { return b.udp(n.Router, a) }); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// udp opens a socket on a node.
func (b *Bed) udp(node string, local *net.UDPAddr) (conn *net.UDPConn, err error) {
	err = b.Top.Space(node).Do(func() error {
		conn, err = net.ListenUDP("udp", local)
		return err
	})
	return conn, err
}

// tlsVersions are the lowest and the highest that EAP-TLS may take.
func (o Options) tlsVersions() (lo, hi string) {
	if o.TLS != "" {
		return o.TLS, o.TLS
	}
	return "1.2", "1.3"
}
