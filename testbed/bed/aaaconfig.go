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
state: %s
server-name: %s
radius: {listen: "%v", clients: [{prefix: 10.0.0.0/8, secret-file: radius.secret}]}
tls: {min-version: "%s", max-version: "%s"}
%s`, s.name, b.Run.File(s.name+".sock"), b.Run.File(state), serverName, s.at(aaaPort), lo, hi, b.configFronts(s))
}

// configFronts is by what it is asked beside RADIUS.
func (b *Bed) configFronts(s aaaServer) string {
	f := b.transportFiles(s.identity)
	files := fmt.Sprintf("ca: %s, certificate: %s, key: %s", f.CA, f.Certificate, f.Key)
	switch b.opt.transport() {
	case TransportDiameter:
		return fmt.Sprintf("diameter: {identity: %s, realm: %s, watchdog: 6s, listen: %q, peers: [%s]}\n",
			s.identity, s.realm, s.at(diameterPort), b.configPeers("tls: false, from: [10.0.0.0/8]"))
	case TransportDiameterTLS:
		return fmt.Sprintf("diameter: {identity: %s, realm: %s, watchdog: 6s, listen-tls: %q, peers: [%s], %s}\n",
			s.identity, s.realm, s.at(diameterTLSPort), b.configPeers("tls: true"), files)
	default:
		return ""
	}
}

// configPeers are those that ask it by Diameter.
func (b *Bed) configPeers(how string) string {
	between := b.opt.between()
	if len(between) == 0 {
		return fmt.Sprintf("{identity: \"*.%s\", %s}", visitedRealm, how)
	}
	list := make([]string, 0, len(between))
	for _, s := range between {
		list = append(list, fmt.Sprintf("{identity: %s, realms: [%s], %s}", s.identity, visitedRealm, how))
	}
	return strings.Join(list, ", ")
}
