package bed

import (
	"fmt"
	"net/netip"
	"slices"
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
	forwards := ""
	if b.forwards(s) {
		state, serverName = s.name+"-state", s.identity // those of its own nodes, which are none
		orders := netip.AddrPortFrom(s.addr, ordersPort)
		forwards = fmt.Sprintf("realms: [%s]\naaa: [{name: home, realms: [%s], %s}]\n", s.realm, homeRealm,
			b.configOperator(s.identity, s.realm, s.name, fmt.Sprintf("orders: %q, operator-name: %s, ", orders, s.realm), b.opt.homes()))
	}
	return fmt.Sprintf(`node: %s
control: %s
state: %s
server-name: %s
radius: {listen: "%v", clients: [{prefix: 10.0.0.0/8, secret-file: %s, orders: "0.0.0.0:%d"}]}
tls: {min-version: "%s", max-version: "%s"}
books: %s
%s%s%s`, s.name, b.Run.File(s.name+".sock"), b.Run.File(state), serverName, s.at(aaaPort), radiusSecret, ordersPort, lo, hi, b.Books(s.name),
		b.configUsers(), b.configFronts(s), forwards)
}

// Books is the file of the accounting records that a server of ours has been told, a JSON object a line.
func (b *Bed) Books(daemon string) string { return b.Run.File(daemon + "-books.json") }

// forwards reports whether a server forwards to the home servers.
func (b *Bed) forwards(s aaaServer) bool {
	return slices.ContainsFunc(b.opt.between(), func(x aaaServer) bool { return x.name == s.name })
}

// configFronts is by what it is asked beside RADIUS.
func (b *Bed) configFronts(s aaaServer) string {
	f := b.transportFiles(s.identity)
	files := fmt.Sprintf("ca: %s, certificate: %s, key: %s", f.CA, f.Certificate, f.Key)
	switch b.opt.transport() {
	case TransportRadSec:
		return fmt.Sprintf("radsec: {listen: %q, clients: [%s], %s}\n", s.at(radsecPort), strings.Join(b.clientsOf(s), ", "), files)
	case TransportDiameter:
		return fmt.Sprintf("diameter: {identity: %s, realm: %s, watchdog: 6s, listen: %q, peers: [%s]}\n",
			s.identity, s.realm, s.at(diameterPort), b.configPeers(s, "tls: false, from: [10.0.0.0/8]"))
	case TransportDiameterTLS:
		return fmt.Sprintf("diameter: {identity: %s, realm: %s, watchdog: 6s, listen-tls: %q, peers: [%s], %s}\n",
			s.identity, s.realm, s.at(diameterTLSPort), b.configPeers(s, "tls: true"), files)
	default:
		return ""
	}
}

// clientsOf are the names of those that ask a server: the routers, or who forwards for them.
func (b *Bed) clientsOf(s aaaServer) (names []string) {
	if between := b.opt.between(); len(between) > 0 && !b.forwards(s) {
		for _, x := range between {
			names = append(names, x.identity)
		}
		return names
	}
	for _, n := range b.opt.networks() {
		names = append(names, routerIdentity(n))
	}
	return names
}

// configPeers are they as those that ask by Diameter; who forwards speaks for the routers.
func (b *Bed) configPeers(s aaaServer, how string) string {
	var list []string
	for _, name := range b.clientsOf(s) {
		realms := ""
		if !b.forwards(s) && len(b.opt.between()) > 0 {
			realms = fmt.Sprintf("realms: [%s], ", visitedRealm)
		}
		list = append(list, fmt.Sprintf("{identity: %s, %s%s}", name, realms, how))
	}
	return strings.Join(list, ", ")
}
