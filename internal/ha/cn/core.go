package cn

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

// World is what the core acts on. It is called with a lock held: it must not call the core.
type World interface {
	// Out gives a whole IPv6 packet to the kernel: to be delivered, or sent. pkt is not kept.
	Out(pkt []byte) error
	// Bound has what the host sends to a home address come to the core. It may be called
	// again for one that is bound.
	Bound(home netip.Addr) error
	// Unbound ends it. It reports trouble by itself.
	Unbound(home netip.Addr)
	// Wake says that Deadline may be earlier than it was. It must not block.
	Wake()
}

// What is counted.
const (
	ctrFormat = iota
	ctrOther
	ctrSignals
	ctrOwnError
	ctrTooBig
	ctrUpIn
	ctrUpOptimised
	ctrUpUnbound
	ctrUpError
	ctrDownIn
	ctrDownOptimised
	ctrDownBig
	ctrDownError
)

// counterNames are those of status.
var counterNames = []string{
	ctrFormat:        "dropped_format",
	ctrOther:         "dropped_other",
	ctrSignals:       "signals",
	ctrOwnError:      "own_dropped_error",
	ctrTooBig:        "too_big_told",
	ctrUpIn:          "up_in",        // for the host
	ctrUpOptimised:   "up_optimised", // of those, with a Home Address option
	ctrUpUnbound:     "up_dropped_not_bound",
	ctrUpError:       "up_dropped_error",
	ctrDownIn:        "down_in",        // from the host, to a home address that is bound
	ctrDownOptimised: "down_optimised", // of those, with a routing header
	ctrDownBig:       "down_dropped_too_big",
	ctrDownError:     "down_dropped_error",
}

// Core is a correspondent without sockets. Its methods may be called concurrently.
type Core struct {
	// fixed after NewCore
	address  netip.Addr
	mtu      int // octets of a packet that leaves
	world    World
	counters *path.Counters // atomic

	mu    sync.Mutex
	peer  *mip6.Correspondent
	buf   []byte // of the packet that is being made
	bound map[netip.Addr]bool
}

// NewCore returns a correspondent without bindings. mtu is what its link carries, in octets.
func NewCore(cfg mip6.CorrespondentConfig, mtu int, w World) (*Core, error) {
	peer, err := mip6.NewCorrespondent(cfg)
	if err != nil {
		return nil, err
	}
	return &Core{
		address: cfg.Address, mtu: mtu, world: w, counters: path.NewCounters(counterNames),
		peer: peer, bound: make(map[netip.Addr]bool),
	}, nil
}

// Handle takes a packet that the kernel has routed into the TUN: for the address, or from this
// host. It is not kept. The changes are for the timeline; the error says why nothing came of a
// mobility message.
func (c *Core) Handle(now time.Time, pkt []byte) ([]mip6.Changed, error) {
	_, dst, _, total, err := ipip.ParseIPv6(pkt)
	if err != nil {
		c.counters.Add(ctrFormat)
		return nil, nil
	}
	pkt = pkt[:total]
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case dst == c.address:
		return c.up(now, pkt)
	case dst.IsMulticast(): // what the kernel says to its neighbours on any link
		c.counters.Add(ctrOther)
	default:
		c.down(pkt)
	}
	return nil, nil
}

// up takes a packet for the address. c.mu is held.
func (c *Core) up(now time.Time, pkt []byte) ([]mip6.Changed, error) {
	p, err := mip6.ParsePacket(pkt)
	if err != nil {
		c.counters.Add(ctrFormat)
		return nil, nil
	}
	if p.Proto == mip6.Protocol {
		c.counters.Add(ctrSignals)
		err := c.peer.HandlePacket(now, pkt)
		return c.poll(), err
	}
	c.counters.Add(ctrUpIn)
	if !p.Home.IsValid() && p.Proto == protoICMPv6 && c.tooBig(pkt, &p) {
		return nil, nil
	}
	if c.buf, err = c.peer.AppendIncoming(now, c.buf[:0], pkt); err != nil {
		c.counters.Add(ctrUpUnbound)
		c.poll() // the binding error
		return nil, nil
	}
	if p.Home.IsValid() {
		c.counters.Add(ctrUpOptimised)
	}
	if c.world.Out(c.buf) != nil {
		c.counters.Add(ctrUpError)
	}
	return nil, nil
}

// down takes a packet of this host's. c.mu is held.
func (c *Core) down(pkt []byte) {
	c.counters.Add(ctrDownIn)
	src, dst := netip.AddrFrom16([16]byte(pkt[8:24])), netip.AddrFrom16([16]byte(pkt[24:40]))
	out := pkt
	if _, bound := c.peer.CareOf(dst); bound && src == c.address { // the binding is that address's
		if len(pkt)+mip6.Overhead > c.mtu {
			c.counters.Add(ctrDownBig)
			c.say(inet.AppendTooBig(nil, c.address, src, uint32(c.mtu-mip6.Overhead), pkt)) //nolint:gosec // at least 1280 by Check
			return
		}
		var err error
		if c.buf, err = c.peer.AppendOutgoing(c.buf[:0], pkt); err != nil {
			c.counters.Add(ctrDownError)
			return
		}
		out = c.buf
		c.counters.Add(ctrDownOptimised)
	}
	if c.world.Out(out) != nil {
		c.counters.Add(ctrDownError)
	}
}

const (
	protoICMPv6  = 58
	protoRouting = 43
)

// tooBig translates what a router says of a packet with a routing header (RFC 6275 section
// 9.3.4): to the socket it came from the packet is one without, to the home address. It reports
// whether the message was about such a packet.
func (c *Core) tooBig(pkt []byte, p *mip6.Packet) bool {
	m := p.Payload
	if len(m) < inet.ICMPv6Len+ipip.HeaderLen6+mip6.Overhead || m[0] != inet.ICMPv6TooBig {
		return false
	}
	was := m[inet.ICMPv6Len:]
	if was[6] != protoRouting || was[ipip.HeaderLen6+1] != 2 || was[ipip.HeaderLen6+2] != 2 || netip.AddrFrom16([16]byte(was[8:24])) != c.address {
		return false
	}
	home := netip.AddrFrom16([16]byte(was[ipip.HeaderLen6+8:]))
	careOf, bound := c.peer.CareOf(home)
	mtu := binary.BigEndian.Uint32(m[4:])
	if !inet.ICMPv6(p.Src, p.Dst, m) || !bound || careOf != netip.AddrFrom16([16]byte(was[24:40])) || mtu < inet.MinMTU6 || mtu > 1<<16 {
		c.counters.Add(ctrOther)
		return true
	}
	quote := append([]byte{}, was[:ipip.HeaderLen6]...)
	quote[6] = was[ipip.HeaderLen6]
	h := home.As16()
	copy(quote[24:], h[:])
	size := binary.BigEndian.Uint16(was[4:])
	binary.BigEndian.PutUint16(quote[4:], max(size, mip6.Overhead)-mip6.Overhead)
	c.counters.Add(ctrTooBig)
	c.say(inet.AppendTooBig(nil, p.Src, c.address, mtu-mip6.Overhead, append(quote, was[ipip.HeaderLen6+mip6.Overhead:]...)))
	return true
}

// say gives a packet of the daemon's own to the kernel. c.mu is held.
func (c *Core) say(pkt []byte) {
	if c.world.Out(pkt) != nil {
		c.counters.Add(ctrOwnError)
	}
}

// poll does what the machine asks for. c.mu is held.
func (c *Core) poll() (out []mip6.Changed) {
	for o, ok := c.peer.Poll(); ok; o, ok = c.peer.Poll() {
		switch o := o.(type) {
		case mip6.Send:
			c.say(o.Packet)
		case mip6.Changed:
			c.changed(o)
			out = append(out, o)
		}
	}
	c.world.Wake()
	return out
}

// changed has the packets of a home address come here, or no longer. Where the kernel will not,
// they go through the home agent. c.mu is held.
func (c *Core) changed(o mip6.Changed) {
	switch away := len(o.Bindings) > 0; {
	case away && !c.bound[o.Home]:
		c.bound[o.Home] = c.world.Bound(o.Home) == nil
	case !away:
		if c.bound[o.Home] {
			c.world.Unbound(o.Home)
		}
		delete(c.bound, o.Home)
	}
}

// Deadline returns when OnDeadline must be called.
func (c *Core) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.Deadline()
}

// OnDeadline does what is due at now and returns what changed. Calling it early does nothing.
func (c *Core) OnDeadline(now time.Time) []mip6.Changed {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.OnDeadline(now)
	return c.poll()
}

// Close ends all bindings.
func (c *Core) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for home, bound := range c.bound {
		if bound {
			c.world.Unbound(home)
		}
	}
	clear(c.bound)
}
