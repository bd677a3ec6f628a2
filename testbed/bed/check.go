package bed

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"openmpa/testbed/dhcpd"
	"openmpa/testbed/kstate"
	"openmpa/testbed/topo"
)

// rootName stands for the namespace the lab was started in.
const rootName = "host"

var rootOptions = kstate.Options{SkipSettings: true}

// states reads what the kernel holds in every namespace of the lab.
func (b *Bed) states() (map[string]kstate.State, error) {
	all := make(map[string]kstate.State)
	for node, s := range b.Top.Spaces() {
		st, err := kstate.Take(s, kstate.Options{IgnoreLinkState: node == topo.Air})
		if err != nil {
			return nil, err
		}
		all[node] = st
	}
	return all, nil
}

// Kernel is what the kernel holds in the lab's namespaces now, by node.
func (b *Bed) Kernel() (map[string]kstate.State, error) { return b.states() }

// Left tells what a node's kernel holds now and did not before the daemons started, and the other
// way round.
func (b *Bed) Left(node string) ([]string, error) {
	now, err := kstate.Take(b.Top.Space(node), kstate.Options{IgnoreLinkState: node == topo.Air})
	return kstate.Diff(b.before[node], now), err
}

// compare tells what differs from before the daemons started.
func (b *Bed) compare() error {
	after, err := b.states()
	if err != nil {
		return err
	}
	if after[rootName], err = kstate.Take(b.root, rootOptions); err != nil {
		return err
	}
	var lines []string
	for node, st := range after {
		for _, l := range kstate.Diff(b.before[node], st) {
			word, what, _ := strings.Cut(l, ": ")
			lines = append(lines, fmt.Sprintf("%s: %s: %s", word, node, what))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	sort.Strings(lines)
	return errors.New(strings.Join(lines, "\n"))
}

// Bound are the leases that are bound, in one network or, for "", in all.
func (b *Bed) Bound(network string) (bound []dhcpd.Lease, err error) {
	all, err := b.DHCP.Leases()
	for _, l := range all {
		if l.State == dhcpd.Bound && (network == "" || l.Network == network) {
			bound = append(bound, l)
		}
	}
	return bound, err
}

// leasesGone waits until no lease is bound, as it has to be when the mobile
// node has ended: what it or the routers release may still be on its way.
func (b *Bed) leasesGone() error {
	var left []dhcpd.Lease
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if left, err = b.Bound(""); err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			break
		}
	}
	var errs []error
	for _, l := range left {
		errs = append(errs, fmt.Errorf("left behind: lease: %v", l))
	}
	return errors.Join(errs...)
}
