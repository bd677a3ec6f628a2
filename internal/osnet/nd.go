package osnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
)

// ndFilter lets through router and neighbour solicitations and advertisements that have passed no router. The socket is of the
// datagram kind: offset 0 is the IPv6 header.
var ndFilter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 6, Size: 2}, // next header, hop limit
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6<<8 | ndHopLimit, SkipTrue: 4},
	bpf.LoadAbsolute{Off: ipv6Header, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpLessThan, Val: icmpRouterSolicit, SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: icmpNeighbAdvert, SkipTrue: 1},
	bpf.RetConstant{Val: maxNDPacket},
	bpf.RetConstant{Val: 0},
}

// NDConn reads and writes IPv6 neighbour discovery of one Ethernet interface, also for addresses that this host has not. It
// implements nd.Conn. It sees what others send, to us or to groups that are joined; never its own packets nor the kernel's.
// Reading is for one goroutine, everything else for any number.
type NDConn struct {
	packetConn
	mac     acd.MAC
	index   int
	dropped atomic.Uint64

	mu     sync.Mutex
	member int                // socket whose memberships are the groups joined; -1: closed
	groups map[netip.Addr]int // how often joined
}

var _ nd.Conn = (*NDConn)(nil)

// OpenND opens the neighbour discovery socket of an interface in this Net's namespace. Needs CAP_NET_RAW. It is independent of
// the Net afterwards: the caller closes it.
func (n *Net) OpenND(ifname string) (*NDConn, error) {
	l, err := n.link(ifname)
	if err != nil {
		return nil, fmt.Errorf("osnet: neighbour discovery: %w", err)
	}
	mac, err := acd.MACFrom(l.mac)
	if err != nil {
		return nil, fmt.Errorf("osnet: neighbour discovery on %s: not an Ethernet interface: %w", ifname, err)
	}
	c := &NDConn{mac: mac, index: l.index, member: -1, groups: make(map[netip.Addr]int)}
	err = n.Do(func() (err error) {
		c.member, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = c.listen(n, l, unix.ETH_P_IPV6, ndFilter)
	}
	if err != nil {
		if c.member >= 0 {
			unix.Close(c.member)
		}
		return nil, fmt.Errorf("osnet: neighbour discovery on %s: %w", ifname, err)
	}
	return c, nil
}

// MAC returns the interface's hardware address, a copy.
func (c *NDConn) MAC() net.HardwareAddr { return slices.Clone(c.mac.HardwareAddr()) }

// Dropped counts packets that came through the filter and were not valid.
func (c *NDConn) Dropped() uint64 { return c.dropped.Load() }

// ReadND returns the next valid packet. Errors are those of ARPConn.ReadARP.
func (c *NDConn) ReadND(ctx context.Context) (nd.Packet, error) {
	var buf [maxNDPacket]byte
	for {
		k, from, err := c.readPacketFrom(ctx, buf[:])
		if err != nil {
			return nd.Packet{}, err
		}
		mac, err := acd.MACFrom(from)
		if err == nil {
			var p nd.Packet
			if p, err = parseND(buf[:k], mac); err == nil {
				return p, nil
			}
		}
		c.dropped.Add(1)
	}
}

// WriteND sends p from the interface's hardware address.
func (c *NDConn) WriteND(p nd.Packet) error {
	b, err := appendND(nil, p)
	if err != nil {
		return fmt.Errorf("osnet: write on %s: %w", c.dev, err)
	}
	to := p.To
	if to == (acd.MAC{}) {
		if !p.Dst.IsMulticast() {
			return fmt.Errorf("osnet: write neighbour discovery on %s: no hardware address for %s", c.dev, p.Dst)
		}
		to = nd.GroupMAC(p.Dst)
	}
	return c.writePacket(to.HardwareAddr(), b)
}

// Join has this host receive what is sent to addr's solicited-node group, and tell switches so (RFC 4861 section 7.2.8). As
// often as it is joined it has to be left.
func (c *NDConn) Join(addr netip.Addr) error {
	group := nd.SolicitedNode(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.member < 0 {
		return fmt.Errorf("osnet: join %s on %s: %w", group, c.dev, net.ErrClosed)
	}
	if c.groups[group] == 0 {
		if err := unix.SetsockoptIPv6Mreq(c.member, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, c.request(group)); err != nil {
			if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
				err = fmt.Errorf("%w: is IPv6 enabled on the interface?", err)
			}
			return fmt.Errorf("osnet: join %s on %s: %w", group, c.dev, err)
		}
	}
	c.groups[group]++
	return nil
}

// Leave ends one Join.
func (c *NDConn) Leave(addr netip.Addr) error {
	group := nd.SolicitedNode(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.groups[group] {
	case 0:
		return nil
	case 1:
		delete(c.groups, group)
		err := unix.SetsockoptIPv6Mreq(c.member, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, c.request(group))
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) { // the interface is gone
			return fmt.Errorf("osnet: leave %s on %s: %w", group, c.dev, err)
		}
	default:
		c.groups[group]--
	}
	return nil
}

func (c *NDConn) request(group netip.Addr) *unix.IPv6Mreq {
	return &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(c.index)}
}

// Close leaves every group, closes the sockets and ends a waiting read. A second Close does nothing.
func (c *NDConn) Close() error {
	c.mu.Lock()
	clear(c.groups)
	var err error
	if c.member >= 0 {
		err = unix.Close(c.member)
		c.member = -1
	}
	c.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("osnet: close group socket on %s: %w", c.dev, err)
	}
	return errors.Join(err, c.packetConn.Close())
}
