package crash

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"openmpa/internal/control"
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
	Guard   *struct {
		By string `json:"by"`
	} `json:"guard"`
}

// routerStatus is what it reads of a router's.
type routerStatus struct {
	Visitors []visitorStatus `json:"visitors"`
}

type visitorStatus struct {
	SID  uint32 `json:"sid"`
	Mode string `json:"mode"`
}

// delivers says whether the kernel delivers to the node of a session.
func (r routerStatus) delivers(sid uint32) bool {
	for _, v := range r.Visitors {
		if v.SID == sid {
			return v.Mode == "direct"
		}
	}
	return false
}

// agentStatus is what it reads of the home agent's.
type agentStatus struct {
	Bindings []bindingStatus `json:"bindings"` // of Mobile IPv4
	IPv6     struct {
		Bindings []bindingStatus `json:"bindings"`
	} `json:"ipv6"`
}

type bindingStatus struct {
	HomeAddress netip.Addr `json:"home_address"`
	CareOf      netip.Addr `json:"care_of"`
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

// guarded has a router keep copies as the cell wants it, and waits until it does; or has none, and
// waits until the kernel delivers again.
func (r *cellRun) guarded(ctx context.Context, on bool) error {
	if r.cell.Guard != bed.GuardAlways {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	how := map[bool]string{true: "auto", false: "off"}[on]
	if err := r.bed.Client(topo.MN).Command(ctx, control.CommandGuard, control.GuardArgs{Guard: how}, nil); err != nil {
		return err
	}
	for {
		var node nodeStatus
		var router routerStatus
		err := r.bed.Client(topo.MN).Status(ctx, &node)
		if err == nil && node.Network != "" {
			err = r.bed.Client(node.Network).Status(ctx, &router)
		}
		if err == nil && (node.Guard != nil && node.Guard.By != "") == on && router.delivers(node.Session) != on {
			return nil
		}
		if sleep := bed.Sleep(ctx, look); sleep != nil {
			return fmt.Errorf("crash: copies are not as they should be (guard %s): %w", how, errors.Join(sleep, err))
		}
	}
}

// address is the node's care-of address, by its lease or its own word.
func (r *cellRun) address(ctx context.Context) (network string, a netip.Addr, err error) {
	network = topo.NetworkOf(r.bed.Link.Point())
	if r.bed.Leased() {
		leases, err := r.bed.Bound("")
		if err == nil && (len(leases) != 1 || leases[0].Network != network) {
			err = fmt.Errorf("the node is at network %s, and leased are %v", network, leases)
		} else if err == nil {
			a = leases[0].Addr
		}
		return network, a, err
	}
	var node nodeStatus
	if err := r.bed.Client(topo.MN).Status(ctx, &node); err != nil {
		return network, a, err
	}
	p, err := netip.ParsePrefix(node.Address)
	return network, p.Addr(), err
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
	bindings := slices.Concat(agent.Bindings, agent.IPv6.Bindings)
	for _, x := range bindings {
		if (x.HomeAddress == topo.HomeAddress || x.HomeAddress == topo.Six(topo.HomeAddress)) && x.CareOf.String() == address {
			return ""
		}
	}
	return fmt.Sprintf("the home agent has no binding of the node to %s; it has %v", address, bindings)
}
