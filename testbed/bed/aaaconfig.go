package bed

import (
	"fmt"
	"net/netip"
	"strings"

	"openmpa/testbed/topo"
)

// configOperators is what an access router's configuration says of the servers it asks.
func (b *Bed) configOperators(n topo.Network) string {
	servers := b.opt.asked()
	if b.opt.OwnAAA == n.Name {
		servers = []aaaServer{ownServer}
	}
	orders := netip.AddrPortFrom(n.Outer, ordersPort)
	return fmt.Sprintf("aaa: [{%s}]\n", b.configOperator(routerIdentity(n), visitedRealm, "ar-"+n.Name, fmt.Sprintf("orders: %q, ", orders), servers))
}

// configOperator is an operator as whoever asks its servers has it in its configuration.
func (b *Bed) configOperator(identity, realm, nas, orders string, servers []aaaServer) string {
	f := b.transportFiles(identity)
	files := fmt.Sprintf("ca: %s, certificate: %s, key: %s", f.CA, f.Certificate, f.Key)
	list := func(one func(s aaaServer) string) string {
		all := make([]string, 0, len(servers))
		for _, s := range servers {
			all = append(all, one(s))
		}
		return strings.Join(all, ", ")
	}
	secured := b.opt.over(TransportDiameterTLS)
	switch b.opt.transport() {
	case TransportRadSec:
		return fmt.Sprintf("radsec: {nas-identifier: %s, servers: [%s], %s}", nas, list(func(s aaaServer) string {
			return fmt.Sprintf("{address: %q, name: %s}", s.at(radsecPort), s.identity)
		}), files)
	case TransportDiameter, TransportDiameterTLS:
		text := fmt.Sprintf("identity: %s, realm: %s, watchdog: 6s, peers: [%s]", identity, realm, list(func(s aaaServer) string {
			return fmt.Sprintf("{address: %q, identity: %s, tls: %v}", s.at(b.opt.diameterPort()), s.identity, secured)
		}))
		if secured {
			text += ", " + files
		}
		return fmt.Sprintf("diameter: {%s}", text)
	default:
		return fmt.Sprintf("radius: {nas-identifier: %s, %sservers: [%s]}", nas, orders, list(func(s aaaServer) string {
			return fmt.Sprintf("{address: %q, secret-file: %s}", s.at(aaaPort), radiusSecret)
		}))
	}
}

// diameterPort is where Diameter is spoken.
func (o Options) diameterPort() uint16 {
	if o.over(TransportDiameterTLS) {
		return diameterTLSPort
	}
	return diameterPort
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
