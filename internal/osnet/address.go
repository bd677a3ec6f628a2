package osnet

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// AddrOptions are the less common properties of an address.
type AddrOptions struct {
	NoPrefixRoute bool // do not let the kernel make the route of the address's subnet
	// Optimistic has an IPv6 address usable while the kernel still detects duplicates of it (RFC 4429): for one that was probed
	// before. Needs the sysctl net.ipv6.conf.DEV.optimistic_dad, without which the kernel takes no notice of it.
	Optimistic bool
	// NoDAD has the kernel take an IPv6 address without detecting duplicates of it: somebody else does that, or the interface has
	// no neighbours. It is usable at once.
	NoDAD bool
}

const (
	sizeofIfAddrmsg = 8
	ifaProto        = 11 // IFA_PROTO, Linux 5.18
)

type addressInfo struct {
	index  int
	prefix netip.Prefix
	flags  uint32
	proto  uint8
}

func addressMessage(index int, p netip.Prefix, scope uint8) message {
	m := make(message, 4, 64)
	m[0], m[1], m[3] = family(p.Addr()), uint8(p.Bits()), scope
	m = append(m, 0, 0, 0, 0)
	putU32(m[4:], uint32(index))
	return m.addr(unix.IFA_LOCAL, p.Addr()).addr(unix.IFA_ADDRESS, p.Addr())
}

func parseAddress(b []byte) (addressInfo, bool) {
	if len(b) < sizeofIfAddrmsg {
		return addressInfo{}, false
	}
	a := addressInfo{index: int(u32(b[4:])), flags: uint32(b[2])}
	var local, address netip.Addr
	attrs(b[sizeofIfAddrmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(v)
		case unix.IFA_FLAGS:
			a.flags = u32(v)
		case ifaProto:
			a.proto = u8(v)
		}
	})
	if !local.IsValid() { // IPv6 has only IFA_ADDRESS
		local = address
	}
	a.prefix = netip.PrefixFrom(local, int(b[1]))
	return a, local.IsValid()
}

func (n *Net) listAddresses() ([]addressInfo, error) {
	msgs, err := n.dump.list(unix.RTM_GETADDR, make(message, sizeofIfAddrmsg), unix.RTM_NEWADDR)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []addressInfo
	for _, m := range msgs {
		if a, ok := parseAddress(m); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

func (n *Net) findAddress(dev string, p netip.Prefix) (addressInfo, bool, error) {
	index, err := n.ifindex(dev)
	if err != nil {
		return addressInfo{}, false, err
	}
	list, err := n.listAddresses()
	if err != nil {
		return addressInfo{}, false, err
	}
	for _, a := range list {
		if a.index == index && a.prefix == p {
			return a, true, nil
		}
	}
	return addressInfo{}, false, nil
}

// AddAddress puts p (host bits kept: 10.1.0.5/24) on the interface. If a stranger put it there, it is left alone and stays
// at Close. One request when the address is new.
func (n *Net) AddAddress(ifname string, p netip.Prefix, opt AddrOptions) error {
	if !p.IsValid() {
		return fmt.Errorf("osnet: add address on %s: invalid prefix", ifname)
	}
	if err := n.addAddress(ifname, p, opt); err != nil || !p.Addr().Is6() || !opt.NoDAD {
		return err
	}
	return n.awaitLocal(ifname, p.Addr())
}

func (n *Net) addAddress(ifname string, p netip.Prefix, opt AddrOptions) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	what := fmt.Sprintf("add address %s on %s", p, ifname)
	key := "address " + ifname + " " + p.String()

	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if n.owns(key) {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	var options uint32
	if opt.NoPrefixRoute {
		options |= unix.IFA_F_NOPREFIXROUTE
	}
	if opt.Optimistic {
		options |= unix.IFA_F_OPTIMISTIC
	}
	if opt.NoDAD {
		options |= unix.IFA_F_NODAD
	}
	set := func(flags int) error {
		return n.withIndex(ifname, func(index int) error {
			m := addressMessage(index, p, unix.RT_SCOPE_UNIVERSE).u8(ifaProto, n.proto)
			if b, ok := broadcast(p); ok {
				m = m.addr(unix.IFA_BROADCAST, b)
			}
			if options != 0 {
				m = m.u32(unix.IFA_FLAGS, options)
			}
			return n.change.do(unix.RTM_NEWADDR, flags, m)
		})
	}
	err := set(flags)
	if errors.Is(err, unix.EEXIST) {
		a, found, ferr := n.findAddress(ifname, p)
		switch {
		case ferr != nil:
			return fmt.Errorf("osnet: %s: %w", what, ferr)
		case found && a.proto != n.proto:
			n.log.Debug("address is there already and not ours: kept", "interface", ifname, "address", p.String())
			return nil
		}
		err = set(unix.NLM_F_CREATE | unix.NLM_F_REPLACE)
	}
	if err != nil {
		return fmt.Errorf("osnet: %s: %w", what, hint(err))
	}
	n.record(key, func() error { return n.deleteAddress(ifname, p) })
	return nil
}

// localWithin is how long the kernel may take to make an address usable, in steps of localEach.
const (
	localWithin = 2 * time.Second
	localEach   = 200 * time.Microsecond
)

// awaitLocal waits until what is for an IPv6 address of ours comes to this host. The kernel makes that route behind our
// back, some milliseconds after it has answered, and until then routes such packets as those for others. Of an
// interface that is down it makes none. Others may change tables meanwhile.
func (n *Net) awaitLocal(ifname string, a netip.Addr) error {
	for end := time.Now().Add(localWithin); time.Now().Before(end); time.Sleep(localEach) {
		if local, err := n.isLocal(ifname, a); err != nil || local {
			return err
		}
	}
	return fmt.Errorf("osnet: %s on %s is not this host's yet, %v after it was added: is IPv6 enabled there?", a, ifname, localWithin)
}

// isLocal says whether what is for an IPv6 address comes to this host, or the interface that has it is down.
func (n *Net) isLocal(ifname string, a netip.Addr) (bool, error) {
	if err := n.begin(); err != nil {
		return false, err
	}
	defer n.mu.Unlock()
	l, err := n.link(ifname)
	if err != nil {
		return false, err
	}
	if l.flags&unix.IFF_UP == 0 {
		return true, nil
	}
	m := make(message, sizeofRtMsg)
	m[0], m[1] = unix.AF_INET6, uint8(a.BitLen())
	msgs, err := n.dump.exec(unix.RTM_GETROUTE, 0, m.addr(unix.RTA_DST, a).u32(unix.RTA_OIF, uint32(l.index)), unix.RTM_NEWROUTE)
	if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		return false, fmt.Errorf("osnet: route of %s on %s: %w", a, ifname, hint(err))
	}
	return err == nil && len(msgs) == 1 && len(msgs[0]) >= sizeofRtMsg && msgs[0][7] == unix.RTN_LOCAL, nil
}

// DelAddress takes p from the interface: one request. An address that a stranger put there is a *ForeignError, one that
// is not there is no error.
func (n *Net) DelAddress(ifname string, p netip.Prefix) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if known, err := n.remove("address " + ifname + " " + p.String()); known {
		return err
	}
	a, found, err := n.findAddress(ifname, p)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil
	case err != nil:
		return fmt.Errorf("osnet: delete address %s on %s: %w", p, ifname, err)
	case !found:
		return nil
	case a.proto != n.proto:
		return &ForeignError{fmt.Sprintf("address %s on %s", p, ifname), a.proto, fmt.Sprintf("ip address del %s dev %s", p, ifname)}
	}
	return n.deleteAddress(ifname, p)
}

func (n *Net) deleteAddress(ifname string, p netip.Prefix) error {
	err := n.withIndex(ifname, func(index int) error {
		return n.change.do(unix.RTM_DELADDR, 0, addressMessage(index, p, 0))
	})
	if err != nil && !gone(err) {
		return fmt.Errorf("osnet: delete address %s on %s: %w", p, ifname, hint(err))
	}
	return nil
}

// broadcast returns the directed broadcast address of an IPv4 subnet of /30 or larger.
func broadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a), true
}
