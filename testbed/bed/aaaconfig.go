package bed

import (
	"fmt"
	"strings"

	"openmpa/testbed/topo"
)

// configOperators is what an access router's configuration says of the servers it asks.
func (b *Bed) configOperators(n topo.Network) string {
	servers := b.opt.asked()
	if b.opt.OwnAAA == n.Name {
		servers = []aaaServer{ownServer}
	}
	list := make([]string, 0, len(servers))
	for _, s := range servers {
		list = append(list, fmt.Sprintf("{address: %q, secret-file: %s}", s.at(aaaPort), radiusSecret))
	}
	return fmt.Sprintf("aaa: [{radius: {nas-identifier: ar-%s, servers: [%s]}}]\n", n.Name, strings.Join(list, ", "))
}

// configAAA is the configuration of a server of ours.
func (b *Bed) configAAA(s aaaServer, a AAA) string {
	lo, hi := b.opt.tlsVersions()
	state, serverName := a.setup()
	return fmt.Sprintf(`node: %s
control: %s
listen: %v
state: %s
server-name: %s
clients: [{prefix: 10.0.0.0/8, secret-file: radius.secret}]
tls: {min-version: "%s", max-version: "%s"}
`, s.name, b.Run.File(s.name+".sock"), s.at(aaaPort), b.Run.File(state), serverName, lo, hi)
}
