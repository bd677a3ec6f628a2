package topo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// A Topology is a plan in the kernel: one namespace for each node.
type Topology struct {
	Plan   Plan
	joiner Joiner
	spaces map[string]*space.Space
	six    bool // the kernel has IPv6
}

// A Joiner makes links that are no veth pairs. Join makes two Ethernet devices,
// outerIf and innerIf, which are down, or leaves the link to the caller.
type Joiner interface {
	Join(name string, outer *space.Space, outerIf string, inner *space.Space, innerIf string) (made bool, err error)
}

// Build makes the plan's namespaces, named prefix + node, and all in them. j is
// asked for each link that has a name; nil: every link is a veth pair. When it
// fails, or ctx ends, nothing is left but what j made.
func Build(ctx context.Context, prefix string, plan Plan, j Joiner) (*Topology, error) {
	t := &Topology{Plan: plan, joiner: j, spaces: make(map[string]*space.Space)}
	if err := t.build(ctx, prefix); err != nil {
		return nil, errors.Join(fmt.Errorf("topo: %w", err), t.Close())
	}
	return t, nil
}

func (t *Topology) build(ctx context.Context, prefix string) error {
	var err error
	if t.six, err = sixAvailable(); err != nil {
		return err
	}
	processor := t.Plan.Processor
	for i, n := range t.Plan.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := space.Create(prefix + n.Name)
		if err != nil {
			return err
		}
		t.spaces[n.Name] = s
		if err := prepare(s, n); err != nil {
			return err
		}
		if n.Runs != "" {
			if err := s.StayOn(processor); err != nil {
				return err
			}
			processor++
		}
		for j, b := range n.Bridges {
			if err := addBridge(s, b, mac(0xb0+byte(j), byte(i))); err != nil {
				return err
			}
		}
	}
	for i, l := range t.Plan.Links {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.addLink(i, l); err != nil {
			return err
		}
	}
	for _, a := range t.Plan.Addresses {
		if err := t.addAddress(t.spaces[a.Node], a.If, a.Addr); err != nil {
			return err
		}
	}
	for _, r := range t.Plan.Routes {
		if err := t.addRoute(t.spaces[r.Node], r); err != nil {
			return err
		}
	}
	for _, n := range t.Plan.Neighbours {
		if err := t.addNeighbour(n); err != nil {
			return err
		}
	}
	return t.settle(ctx)
}

// Space is the namespace of a node of the plan.
func (t *Topology) Space(node string) *space.Space { return t.spaces[node] }

// Spaces are the namespaces by node.
func (t *Topology) Spaces() map[string]*space.Space { return t.spaces }

// Close removes every namespace, and with it every link and address. The
// processes in them must have ended before.
func (t *Topology) Close() error {
	var errs []error
	for _, s := range t.spaces {
		errs = append(errs, s.Close(), space.Remove(s.Name()))
	}
	t.spaces = nil
	return errors.Join(errs...)
}

// prepare sets what every namespace of the lab has in common, before any
// link is in it.
func prepare(s *space.Space, n Node) error {
	values := map[string]string{
		"net/ipv6/conf/all/disable_ipv6":     "0",
		"net/ipv6/conf/default/disable_ipv6": "0",
		"net/ipv4/conf/all/rp_filter":        "0",
		"net/ipv4/conf/default/rp_filter":    "0",
		"net/ipv4/ip_forward":                "0",
		// A lab bridge is an access point: what crosses it is no business
		// of a packet filter.
		"net/bridge/bridge-nf-call-iptables":  "0",
		"net/bridge/bridge-nf-call-ip6tables": "0",
		"net/bridge/bridge-nf-call-arptables": "0",
	}
	if n.Name != MN { // which is as it comes: what its kernel does about advertisements and duplicates is its daemon's business
		values["net/ipv6/conf/all/accept_ra"] = "0"
		values["net/ipv6/conf/default/accept_ra"] = "0"
		values["net/ipv6/conf/all/accept_dad"] = "0"
		values["net/ipv6/conf/default/accept_dad"] = "0"
	}
	if n.Forward {
		values["net/ipv4/ip_forward"] = "1"
		values["net/ipv6/conf/all/forwarding"] = "1"
		values["net/ipv6/conf/default/forwarding"] = "1"
		values["net/ipv4/conf/all/send_redirects"] = "0"
		values["net/ipv4/conf/default/send_redirects"] = "0"
	}
	if n.Name == DHCP {
		// One server on two links: answer for the address of the link only.
		values["net/ipv4/conf/all/arp_ignore"] = "1"
		values["net/ipv4/conf/all/arp_announce"] = "2"
	}
	err := s.Do(func() error {
		for path, v := range values {
			err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(v), 0o644)
			// The kernel may be without IPv6 or bridge filters.
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: sysctl %s=%s: %w", n.Name, path, v, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return setUp(s, "lo")
}

func addBridge(s *space.Space, name string, addr net.HardwareAddr) error {
	no := false
	la := netlink.NewLinkAttrs()
	la.Name = name
	la.HardwareAddr = addr // fixed, or it would change as ports come and go
	err := s.Netlink().LinkAdd(&netlink.Bridge{LinkAttrs: la, MulticastSnooping: &no})
	if err != nil {
		return fmt.Errorf("%s: bridge %s: %w", s.Name(), name, err)
	}
	return setUp(s, name)
}

// addLink makes the link number i of the plan.
func (t *Topology) addLink(i int, l Link) error {
	a, b := t.spaces[l.A.Node], t.spaces[l.B.Node]
	if a == nil || b == nil {
		return fmt.Errorf("link %s-%s: no such node", l.A.Node, l.B.Node)
	}
	made := false
	if t.joiner != nil && l.Name != "" {
		var err error
		if made, err = t.joiner.Join(l.Name, a, l.A.If, b, l.B.If); err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	if made {
		for n, e := range []End{l.A, l.B} {
			if err := setMAC(t.spaces[e.Node], e.If, linkMAC(i, n)); err != nil {
				return err
			}
		}
	} else if err := addVeth(a, b, i, l); err != nil {
		return err
	}
	for _, e := range []End{l.A, l.B} {
		s := t.spaces[e.Node]
		if e.Bridge != "" {
			if err := join(s, e.If, e.Bridge); err != nil {
				return err
			}
		}
		if e.Addr.IsValid() {
			if err := t.addAddress(s, e.If, e.Addr); err != nil {
				return err
			}
		}
	}
	if l.Idle {
		return nil
	}
	if err := setUp(a, l.A.If); err != nil || l.Down {
		return err
	}
	return setUp(b, l.B.If)
}

// addVeth makes the veth pair number i of the plan. The indexes of its ends
// differ: the kernel takes a change of carrier for urgent only on a device
// whose peer has another index than itself, and otherwise tells of it up to
// a second later, which would be measured as somebody else's delay.
func addVeth(a, b *space.Space, i int, l Link) error {
	la := netlink.NewLinkAttrs()
	la.Name = l.A.If
	la.Index = 100 + i
	la.HardwareAddr = linkMAC(i, 0)
	err := a.Netlink().LinkAdd(&netlink.Veth{
		LinkAttrs: la, PeerName: l.B.If, PeerHardwareAddr: linkMAC(i, 1),
		PeerNamespace: netlink.NsFd(b.FD()),
	})
	if err != nil {
		return fmt.Errorf("link %s/%s to %s/%s: %w", l.A.Node, l.A.If, l.B.Node, l.B.If, err)
	}
	far, err := b.Netlink().LinkByName(l.B.If)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", b.Name(), l.B.If, err)
	}
	if far.Attrs().Index == la.Index {
		return fmt.Errorf("link %s/%s to %s/%s: both ends have index %d", l.A.Node, l.A.If, l.B.Node, l.B.If, la.Index)
	}
	return errors.Join(checksumsInSoftware(a, l.A.If), checksumsInSoftware(b, l.B.If))
}

// linkMAC is the address of an end (0: A, 1: B) of link i.
func linkMAC(i, end int) net.HardwareAddr {
	return mac(0xa0+byte(end), byte(i)) //nolint:gosec // few links
}

func setMAC(s *space.Space, ifname string, addr net.HardwareAddr) error {
	l, err := s.Netlink().LinkByName(ifname)
	if err == nil {
		err = s.Netlink().LinkSetHardwareAddr(l, addr)
	}
	if err != nil {
		return fmt.Errorf("%s: address %v of %s: %w", s.Name(), addr, ifname, err)
	}
	return nil
}

func mac(kind, n byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, 'm', 'p', 'a', kind, n}
}

func setUp(s *space.Space, ifname string) error {
	l, err := s.Netlink().LinkByName(ifname)
	if err == nil {
		err = s.Netlink().LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("%s: %s up: %w", s.Name(), ifname, err)
	}
	return nil
}

func join(s *space.Space, ifname, bridge string) error {
	l, err := s.Netlink().LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.Name(), ifname, err)
	}
	b, err := s.Netlink().LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.Name(), bridge, err)
	}
	if err := s.Netlink().LinkSetMaster(l, b); err != nil {
		return fmt.Errorf("%s: %s joins %s: %w", s.Name(), ifname, bridge, err)
	}
	return nil
}

// addAddress adds an IPv4 address and its twin, which needs no duplicate address detection.
func (t *Topology) addAddress(s *space.Space, ifname string, addr netip.Prefix) error {
	l, err := s.Netlink().LinkByName(ifname)
	if err == nil {
		err = s.Netlink().AddrAdd(l, &netlink.Addr{IPNet: ipNet(addr)})
	}
	if err == nil && t.six {
		err = s.Netlink().AddrAdd(l, &netlink.Addr{IPNet: ipNet(SixPrefix(addr)), Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		return fmt.Errorf("%s: address %v, or its twin, on %s: %w", s.Name(), addr, ifname, err)
	}
	return nil
}

// addRoute adds an IPv4 route and its twin.
func (t *Topology) addRoute(s *space.Space, r Route) error {
	add := func(dst netip.Prefix, via netip.Addr) error {
		return s.Netlink().RouteAdd(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice(), Protocol: unix.RTPROT_STATIC})
	}
	err := add(r.Dst, r.Via)
	if err == nil && t.six {
		err = add(SixPrefix(r.Dst).Masked(), Six(r.Via))
	}
	if err != nil {
		return fmt.Errorf("%s: route %v via %v, or its twin: %w", s.Name(), r.Dst, r.Via, err)
	}
	return nil
}

// addNeighbour adds an IPv4 neighbour and its twin.
func (t *Topology) addNeighbour(n Neighbour) error {
	s := t.spaces[n.Node]
	of, err := t.spaces[n.Of].Netlink().LinkByName(n.OfIf)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", n.Of, n.OfIf, err)
	}
	l, err := s.Netlink().LinkByName(n.If)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", n.Node, n.If, err)
	}
	addrs := []netip.Addr{n.Addr}
	if t.six {
		addrs = append(addrs, Six(n.Addr))
	}
	for _, a := range addrs {
		err = s.Netlink().NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, IP: a.AsSlice(), HardwareAddr: of.Attrs().HardwareAddr, State: unix.NUD_PERMANENT,
		})
		if err != nil {
			return fmt.Errorf("%s: neighbour %v on %s: %w", n.Node, a, n.If, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// settle waits until every link that is up at both ends works, and every address of an interface that is up is its host's.
func (t *Topology) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, errors.New("it takes too long"))
	defer cancel()
	addresses := slices.Clone(t.Plan.Addresses)
	for _, l := range t.Plan.Links {
		for _, e := range []End{l.A, l.B} {
			if e.Addr.IsValid() {
				addresses = append(addresses, Address{e.Node, e.If, e.Addr})
			}
			if l.Down {
				continue
			}
			if err := await(ctx, func() (bool, error) { return t.works(e) }); err != nil {
				return fmt.Errorf("%s: %s does not come up: %w", e.Node, e.If, err)
			}
		}
	}
	for _, a := range addresses {
		if !t.six {
			break
		}
		if err := await(ctx, func() (bool, error) { return t.isLocal(a) }); err != nil {
			return fmt.Errorf("%s: %v on %s is not this host's: %w", a.Node, Six(a.Addr.Addr()), a.If, err)
		}
	}
	return nil
}

const settleWithin = 20 * time.Second // for what takes milliseconds

// await asks again and again until it is so.
func await(ctx context.Context, so func() (bool, error)) error {
	for {
		if is, err := so(); is || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (t *Topology) works(e End) (bool, error) {
	l, err := t.spaces[e.Node].Netlink().LinkByName(e.If)
	if err != nil {
		return false, err
	}
	// A TAP device has no idea of its own whether it works.
	st := l.Attrs().OperState
	return st == netlink.OperUp || st == netlink.OperUnknown && l.Type() == "tuntap", nil
}

// isLocal reports whether what is for the twin of an address comes to its host: the kernel makes that route some time after it
// has taken the address. Of an interface that is down it makes none.
func (t *Topology) isLocal(a Address) (bool, error) {
	nl := t.spaces[a.Node].Netlink()
	l, err := nl.LinkByName(a.If)
	if err != nil {
		return false, err
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		return true, nil
	}
	routes, err := nl.RouteGet(Six(a.Addr.Addr()).AsSlice())
	if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		return false, err
	}
	return len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL, nil
}
