package bed

import (
	"fmt"
	"net/netip"

	"openmpa/testbed/topo"
)

// configOperators is what an access router's configuration says of the servers it asks, the first
// one of them first.
func (b *Bed) configOperators(n topo.Network) string {
	server := netip.AddrPortFrom(topo.AAAServer, aaaPort)
	if b.opt.OwnAAA == n.Name {
		server = netip.AddrPortFrom(topo.AAAServer, aaaOwnPort)
	}
	return fmt.Sprintf("aaa: [{radius: {nas-identifier: ar-%s, servers: [{address: %q, secret-file: %s}]}}]\n", n.Name, server, radiusSecret)
}

// configAAA is the configuration of a server of ours.
func (b *Bed) configAAA(name, state, serverName string, port uint16) string {
	lo, hi := b.opt.tlsVersions()
	return fmt.Sprintf(`node: %s
control: %s
listen: %v:%d
state: %s
server-name: %s
clients: [{prefix: 10.0.0.0/8, secret-file: radius.secret}]
tls: {min-version: "%s", max-version: "%s"}
`, name, b.Run.File(name+".sock"), topo.AAAServer, port, b.Run.File(state), serverName, lo, hi)
}
