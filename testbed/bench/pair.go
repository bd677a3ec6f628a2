package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"openmpa/testbed/impair"
	"openmpa/testbed/rundir"
	"openmpa/testbed/space"
)

// A pair is two namespaces and the veth pair between them, with everything that the
// kernel leaves to a device switched on, as it comes.
//
//	[left] link 10.77.0.1 -------- 10.77.0.2 link [right]
type pair struct {
	run         *rundir.Dir
	left, right side
	long        *impair.Set // the link, where it is a long one
}

type side struct {
	*space.Space
	addr netip.Addr // of the link
}

const (
	linkName = "link"
	// queueLen is how many packets wait in front of each interface.
	queueLen = 4096
)

// subnet is the network of a subject; zero is that of the bare link.
func subnet(i int) (left, right netip.Addr) {
	return netip.AddrFrom4([4]byte{10, 77, byte(i), 1}), netip.AddrFrom4([4]byte{10, 77, byte(i), 2})
}

func newPair(say func(string, ...any)) (*pair, error) { return newPairAt(0, say) }

// nothingMeasured is of no frame on the link, which is only to be long.
var nothingMeasured = impair.Traffic{Home: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Down: 100, Up: 200, Probe: 300}

// newPairAt is newPair with so much time from one to the other and back.
func newPairAt(rtt time.Duration, say func(string, ...any)) (p *pair, err error) {
	way := impair.Params{Delay: rtt / 2}
	links := map[string]impair.Both{linkName: {Out: way, In: way}}
	if rtt == 0 {
		links = nil
	}
	p = &pair{}
	if p.long, err = impair.NewSet(links, nothingMeasured, nil); err != nil {
		return nil, err
	}
	p.left.addr, p.right.addr = subnet(0)
	if p.run, err = rundir.Open(); err != nil {
		return nil, err
	}
	for _, line := range p.run.Swept {
		say("removed what a dead lab left: %s", line)
	}
	if err := p.build(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *pair) build() (err error) {
	if p.left.Space, err = space.Create(p.run.NamePrefix() + "left"); err != nil {
		return err
	}
	if p.right.Space, err = space.Create(p.run.NamePrefix() + "right"); err != nil {
		return err
	}
	for _, s := range []side{p.left, p.right} {
		if err := errors.Join(s.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"), s.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")); err != nil {
			return err
		}
		lo, err := s.Netlink().LinkByName("lo")
		if err == nil {
			err = s.Netlink().LinkSetUp(lo)
		}
		if err != nil {
			return fmt.Errorf("bench: lo in %s: %w", s.Name(), err)
		}
	}
	if long, err := p.long.Join(linkName, p.right.Space, linkName, p.left.Space, linkName); long || err != nil {
		if err != nil {
			return err
		}
		return errors.Join(p.left.up(linkName, p.left.addr, p.right.addr, 1500), p.right.up(linkName, p.right.addr, p.left.addr, 1500))
	}
	nl := p.left.Netlink()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: linkName, MTU: 1500},
		PeerName:  linkName, PeerNamespace: netlink.NsFd(p.right.FD()),
	}
	if err := nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("bench: veth pair: %w", err)
	}
	return errors.Join(p.left.up(linkName, p.left.addr, p.right.addr, 1500), p.right.up(linkName, p.right.addr, p.left.addr, 1500))
}

// up gives an interface its address and its MTU, and sets it up.
func (s side) up(dev string, local, peer netip.Addr, mtu int) error {
	nl := s.Netlink()
	link, err := nl.LinkByName(dev)
	if err == nil {
		err = errors.Join(
			nl.LinkSetMTU(link, mtu),
			nl.LinkSetTxQLen(link, queueLen),
			nl.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(local.AsSlice()), Peer: netlink.NewIPNet(peer.AsSlice())}),
			nl.LinkSetUp(link),
		)
	}
	if err != nil {
		return fmt.Errorf("bench: %s in %s: %w", dev, s.Name(), err)
	}
	return nil
}

// close removes everything; the processes must have ended.
func (p *pair) close() error {
	errs := []error{p.long.Close()}
	for _, s := range []side{p.left, p.right} {
		if s.Space != nil {
			errs = append(errs, s.Close(), space.Remove(s.Name()))
		}
	}
	return errors.Join(append(errs, p.run.Close())...)
}
