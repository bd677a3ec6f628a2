package bed

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"openmpa/testbed/topo"
)

// What the routers speak with authentication servers, see Options.Transport.
const (
	TransportRADIUS      = "radius"
	TransportRadSec      = "radsec"
	TransportDiameter    = "diameter"
	TransportDiameterTLS = "diameter-tls"
)

// Ports of authentication servers.
const (
	aaaPort         = 1812 // and accounting at the next one
	radsecPort      = 2083
	diameterPort    = 3868
	diameterTLSPort = 5868
	ordersPort      = 3799 // of a router
	// behind is how far above them those of mpa-aaa are where it shares its address with a relay.
	behind = 10
	// ownBy is the same of the second server of Options.OwnAAA.
	ownBy = 100
)

// The realms of the mobile node and of the networks it visits, which are names of operators, too.
const (
	homeRealm    = "home.example"
	visitedRealm = "visited.example"
)

// RelayName is the daemon name of a relay that shares the home server's machine.
const RelayName = "relay"

// An aaaServer is an authentication server, or something that passes for one, of the lab.
type aaaServer struct {
	name     string // of the daemon
	node     string
	addr     netip.Addr
	identity string // its DNS name, which a certificate of its own has
	realm    string // of its operator
	above    uint16 // how far its ports are above the usual ones
}

func (s aaaServer) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.addr, port+s.above) }

// The servers there may be.
var (
	homeServer    = aaaServer{name: topo.AAA, node: topo.AAA, addr: topo.AAAServer, identity: ServerName, realm: homeRealm}
	visitedServer = aaaServer{name: topo.Visited, node: topo.Visited, addr: topo.VisitedServer, identity: "aaa.visited.example", realm: visitedRealm}
	relayServer   = aaaServer{name: RelayName, node: topo.AAA, addr: topo.AAAServer, identity: "relay.home.example", realm: homeRealm}
	spareHome     = aaaServer{name: topo.Spare, node: topo.Spare, addr: topo.SpareServer, identity: "aaa2.home.example", realm: homeRealm}
	spareVisited  = aaaServer{name: topo.Spare, node: topo.Spare, addr: topo.SpareServer, identity: "aaa2.visited.example", realm: visitedRealm}
	ownServer     = aaaServer{name: OwnAAAName, node: topo.AAA, addr: topo.AAAServer, identity: ServerName, realm: homeRealm, above: ownBy}
)

// transport is what the routers speak.
func (o Options) transport() string {
	if o.AAA == AAAFreeDiameter {
		return cmp.Or(o.Transport, TransportDiameter)
	}
	return cmp.Or(o.Transport, TransportRADIUS)
}

// over reports whether they speak one of these.
func (o Options) over(transports ...string) bool { return slices.Contains(transports, o.transport()) }

// asked are the servers that the routers ask, in that order.
func (o Options) asked() []aaaServer {
	first, spare := homeServer, spareHome
	switch {
	case o.Roaming:
		first, spare = visitedServer, spareVisited
	case o.AAA == AAAFreeDiameter:
		first = relayServer
	}
	if !o.Spare {
		return []aaaServer{first}
	}
	return []aaaServer{first, spare}
}

// homes are the servers that authenticate, in the order in which who forwards asks them.
func (o Options) homes() []aaaServer {
	first := homeServer
	if o.AAA == AAAFreeDiameter && !o.Roaming {
		first.above = behind
	}
	if o.Spare && !o.Roaming && o.AAA != AAAFreeDiameter {
		return []aaaServer{first, spareHome}
	}
	return []aaaServer{first}
}

// between are those that forward to them.
func (o Options) between() []aaaServer {
	if !o.Roaming && o.AAA != AAAFreeDiameter {
		return nil
	}
	return o.asked()
}

// checkAAA says which choices do not go together, and why.
func (o Options) checkAAA() error {
	known := map[string][]string{
		AAAEmbedded:     {TransportRADIUS, TransportRadSec, TransportDiameter, TransportDiameterTLS},
		AAAFreeRADIUS:   {TransportRADIUS, TransportRadSec},
		AAAFreeDiameter: {TransportDiameter, TransportDiameterTLS},
	}
	aaa := cmp.Or(o.AAA, AAAEmbedded)
	speaks, ok := known[aaa]
	switch {
	case !ok:
		return fmt.Errorf("bed: %q is no authentication server: expected %s, %s or %s", o.AAA, AAAEmbedded, AAAFreeRADIUS, AAAFreeDiameter)
	case !slices.Contains(speaks, o.transport()):
		return fmt.Errorf("bed: %s does not speak %s: expected %s", aaa, o.transport(), strings.Join(speaks, " or "))
	case o.Wifi != nil && (o.Roaming || o.Spare || o.over(TransportDiameter, TransportDiameterTLS, TransportRadSec)):
		return fmt.Errorf("bed: access points ask one server by RADIUS: expected no roaming, spare server or %s with radios", o.transport())
	case o.OwnAAA != "" && (o.Roaming || o.Spare || o.transport() != TransportRADIUS):
		return fmt.Errorf("bed: a router with a server of its own asks it by RADIUS: expected no roaming, spare server or %s beside it", o.transport())
	}
	return nil
}

// startServers starts all of them, those that are asked by others first.
func (b *Bed) startServers(ctx context.Context) error {
	for _, s := range b.opt.homes() {
		if err := b.startHomeServer(ctx, s, AAAGood); err != nil {
			return err
		}
	}
	for _, s := range b.opt.between() {
		if err := b.startBetween(ctx, s); err != nil {
			return err
		}
	}
	if b.opt.OwnAAA != "" {
		return b.OwnAAA(ctx, AAAGood)
	}
	return nil
}

// startHomeServer starts a server that authenticates.
func (b *Bed) startHomeServer(ctx context.Context, s aaaServer, a AAA) error {
	if b.opt.AAA == AAAFreeRADIUS {
		return b.startFreeRADIUS(ctx, s, a)
	}
	return b.start(ctx, s.name, s.node, "mpa-aaa", b.configAAA(s, a))
}

// startBetween starts one that forwards.
func (b *Bed) startBetween(ctx context.Context, s aaaServer) error {
	switch b.opt.AAA {
	case AAAFreeDiameter:
		return b.startFreeDiameter(ctx, s)
	case AAAFreeRADIUS:
		return b.startFreeRADIUSProxy(ctx, s)
	default:
		return b.start(ctx, s.name, s.node, "mpa-aaa", b.configAAA(s, AAAGood))
	}
}
