package vhandover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"openmpa/par"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/topo"
)

// disagreement says what the parties see differently; "" when they agree.
func (b *bed) disagreement() string {
	s := b.node.node.Status()
	prefix, err := netip.ParsePrefix(s.Address)
	if s.State != "attached" || s.Problem != "" || err != nil {
		return fmt.Sprintf("the node is %s at %q: %s", s.State, s.Address, s.Problem)
	}
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if s.Bound != prefix.Addr().String() {
		add("the node's uplink goes from %s, its address is %s", s.Bound, prefix)
	}
	for name, r := range b.routers {
		visitors := r.router.Status().Visitors
		switch {
		case name != s.Network && len(visitors) > 0:
			add("%s still has %+v, the node is at %s", r.network.Router, visitors, s.Network)
		case name == s.Network && len(visitors) != 1:
			add("%s has %d visitors, expected the node: %+v", r.network.Router, len(visitors), visitors)
		case name == s.Network && visitors[0].SID != s.Session:
			add("%s has session %d, the node %d", r.network.Router, visitors[0].SID, s.Session)
		case name == s.Network && visitors[0].Mode != "direct" && visitors[0].Mode != "released" && !(visitors[0].Mode == "copy" && s.Guard != nil && s.Guard.By == name):
			add("%s delivers to the node by %s", r.network.Router, visitors[0].Mode)
		}
	}
	if at := b.bindings(); len(at) != 1 || at[0] != prefix.Addr() {
		add("the home agent has %v, the node is at %s", at, prefix)
	}
	if own := b.machines[topo.MN].Owned(); len(own) != b.own {
		add("the node has %d objects on its machine, and had %d when it was attached first: %q", len(own), b.own, own)
	}
	for _, l := range b.nodeLeases() {
		if l.Addr != prefix.Addr() {
			add("the DHCP server has %v", l)
		}
	}
	return strings.Join(wrong, "; ")
}

// bindings are the care-of addresses at the home agent.
func (b *bed) bindings() (at []netip.Addr) {
	for _, s := range b.home.agent.Status().Bindings {
		if s.Bound {
			at = append(at, *s.CareOf)
		}
	}
	return at
}

// remains says what is left of a node that has gone.
func (b *bed) remains() string {
	var wrong []string
	for _, r := range b.routers {
		if v := r.router.Status().Visitors; len(v) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s has %+v", r.network.Router, v))
		}
	}
	for name, base := range b.base {
		if now := b.machines[name].Owned(); !slices.Equal(now, base) {
			wrong = append(wrong, fmt.Sprintf("%s has %q, and had %q before the node came", name, now, base))
		}
	}
	if at := b.bindings(); len(at) > 0 {
		wrong = append(wrong, fmt.Sprintf("the home agent has a binding to %v", at))
	}
	for _, l := range b.nodeLeases() {
		wrong = append(wrong, fmt.Sprintf("the DHCP server has %v", l))
	}
	return strings.Join(wrong, "; ")
}

// nodeLeases are those that no router has ready for whoever comes.
func (b *bed) nodeLeases() []dhcpd.Lease {
	var ready []par.AheadAddress
	for _, r := range b.routers {
		if a := r.router.Status().Ahead; a != nil {
			ready = append(ready, a.Addresses...)
		}
	}
	return slices.DeleteFunc(b.dhcp.leases(), func(l dhcpd.Lease) bool {
		return l.State == dhcpd.Declined || slices.ContainsFunc(ready, func(a par.AheadAddress) bool { return a.Address.Addr() == l.Addr })
	})
}

// again is how many packets each router says it gave out a second time.
func (b *bed) again() map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range b.routers {
		out[r.network.Router] = r.router.Status().Again
	}
	return out
}

// swallowed is what each machine's daemons say they have dropped.
func (b *bed) swallowed() map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range b.routers {
		s := r.router.Status()
		n := s.Stray + sum(s.Dropped)
		for _, v := range s.Visitors {
			n += sum(v.Dropped)
		}
		out[r.network.Router] = n
	}
	node := b.node.node.Status()
	out[topo.MN] = sum(node.Dropped) + sum(node.Downlink.Dropped)
	for _, m := range node.Merged {
		out[topo.MN] += sum(m.Dropped)
	}
	if node.Uplink != nil {
		out[topo.MN] += sum(node.Uplink.Dropped)
	}
	home := b.home.agent.Status()
	for name, n := range home.Counters {
		if strings.Contains(name, "_dropped_") && !strings.HasPrefix(name, "requests_") {
			out[topo.HA] += n
		}
	}
	for _, s := range home.Bindings {
		out[topo.HA] += sum(s.Gate.Dropped)
	}
	return out
}

func sum[K comparable](m map[K]uint64) (n uint64) {
	for _, k := range m {
		n += k
	}
	return n
}
