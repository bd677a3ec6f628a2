package mn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/osnet"
	"openmpa/tunnel/ipip"
)

// What an advertisement looks like in the tunnel: a packet to the care-of address that no
// router has forwarded.
const (
	protoICMPv6     = 58
	typeAdvertised  = 134
	hopLimitOnLink  = 255
	offsetHopLimit  = 7
	offsetNextProto = 6
)

// received takes a packet without a number out of c's tunnel. What its router says of its
// link is not the kernel's.
func (c *candidate) received(pkt []byte) {
	if advertises(pkt) {
		c.advertised(pkt[ipip.HeaderLen6:])
		return
	}
	c.path.merges.plain(pkt)
}

// advertises says whether a packet that came by a tunnel is a router's advertisement: pkt is
// a sane packet of its length.
func advertises(pkt []byte) bool {
	return pkt[0]>>4 == 6 && pkt[offsetNextProto] == protoICMPv6 && pkt[offsetHopLimit] == hopLimitOnLink &&
		len(pkt) > ipip.HeaderLen6 && pkt[ipip.HeaderLen6] == typeAdvertised && binary.BigEndian.Uint16(pkt[8:])&0xffc0 == 0xfe80
}

// errRenumbered says that a link that was prepared for has other prefixes.
var errRenumbered = errors.New("its router does not advertise the prefix of the address any more")

// advertised takes what c's router says of its link while the node is elsewhere: how long the
// address lasts, or that it is of no use any more (RFC 6252 section 7.3.2).
func (c *candidate) advertised(icmp []byte) {
	log := c.n.cfg.Log
	ra, err := osnet.ParseRouterAdvert(icmp)
	if err != nil {
		log.Warn("advertisement dropped", "paa", c.net.PAA, "err", err)
		return
	}
	l := c.address.lease.Load()
	if !l.formed() {
		return // its server says how long it lasts
	}
	if !ra.Holds(l.Six.Addr) {
		err := fmt.Errorf("%s: %w", l.addr(), errRenumbered)
		c.voided.Store(&err)
		log.Warn("what is prepared is of no use", "network", c.net.Name, "err", err)
		return
	}
	six := l.Six.refreshed(ra, time.Now(), true)
	c.address.lease.Store(&lease{Six: &six})
	log.Debug("the router advertises its link", "network", c.net.Name, "addr", six.Addr, "until", six.Expires())
}
