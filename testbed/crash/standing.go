package crash

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// nodeStatus is what the cell reads of the mobile node's status.
type nodeStatus struct {
	State   string `json:"state"`
	Problem string `json:"problem"`
	Network string `json:"network"`
	Address string `json:"address"` // with the length of the prefix
	Bound   string `json:"bound"`
	Session uint32 `json:"session"`
}

// routerStatus is what it reads of a router's.
type routerStatus struct {
	Visitors []struct {
		SID uint32 `json:"sid"`
	} `json:"visitors"`
}

// agentStatus is what it reads of the home agent's.
type agentStatus struct {
	Bindings []struct {
		HomeAddress netip.Addr `json:"home_address"`
		CareOf      netip.Addr `json:"care_of"`
	} `json:"bindings"`
}

// standing says what is missing for everything to stand, empty when nothing
// is. The network is the one where the node's link is.
func standing(ctx context.Context, b *bed.Bed) (network, missing string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	network = topo.NetworkOf(b.Link.Point())
	if network == "" {
		return "", "the node has no link"
	}
	var node nodeStatus
	if err := b.Client(topo.MN).Status(ctx, &node); err != nil {
		return network, err.Error()
	}
	var router routerStatus
	if err := b.Client(network).Status(ctx, &router); err != nil {
		return network, err.Error()
	}
	var agent agentStatus
	if err := b.Client(topo.HA).Status(ctx, &agent); err != nil {
		return network, err.Error()
	}
	for _, name := range b.Daemons() {
		if err := b.Client(name).Status(ctx, nil); err != nil {
			return network, err.Error()
		}
	}
	return network, whole(network, node, router, agent)
}

// whole compares what the parties say.
func whole(network string, node nodeStatus, router routerStatus, agent agentStatus) string {
	if node.State != "attached" || node.Network != network {
		return strings.TrimSuffix(fmt.Sprintf("the node is %q at network %q, its link at %q: %s", node.State, node.Network, network, node.Problem), ": ")
	}
	known := false
	for _, v := range router.Visitors {
		known = known || v.SID == node.Session
	}
	if !known {
		return fmt.Sprintf("router %s does not know the node's session %#x; it has %v", network, node.Session, router.Visitors)
	}
	address, _, _ := strings.Cut(node.Address, "/")
	for _, x := range agent.Bindings {
		if x.HomeAddress == topo.HomeAddress && x.CareOf.String() == address {
			return ""
		}
	}
	return fmt.Sprintf("the home agent has no binding of the node to %s; it has %v", address, agent.Bindings)
}
