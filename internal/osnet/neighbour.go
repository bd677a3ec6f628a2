package osnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const sizeofNdMsg = 12

// usable are the states in which a neighbour's link-layer address may be used.
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_STALE |
	netlink.NUD_DELAY | netlink.NUD_PROBE

type neighbourInfo struct {
	index int
	addr  netip.Addr
	mac   net.HardwareAddr
	state uint16
	flags uint8
	proto uint8
	fam   uint8
}

func neighbourMessage(index int, a netip.Addr, state uint16, flags uint8) message {
	m := make(message, sizeofNdMsg, 64)
	m[0] = family(a)
	putU32(m[4:], uint32(index))
	m[8], m[9] = nativeU16(state)
	m[10] = flags
	return m.addr(netlink.NDA_DST, a)
}

func parseNeighbour(b []byte) (neighbourInfo, bool) {
	if len(b) < sizeofNdMsg {
		return neighbourInfo{}, false
	}
	i := neighbourInfo{fam: b[0], index: int(u32(b[4:])), state: u16(b[8:]), flags: b[10]}
	attrs(b[sizeofNdMsg:], func(typ uint16, v []byte) {
		switch typ {
		case netlink.NDA_DST:
			i.addr, _ = netip.AddrFromSlice(v)
		case netlink.NDA_LLADDR:
			i.mac = slices.Clone(v)
		case netlink.NDA_PROTOCOL:
			i.proto = u8(v)
		}
	})
	return i, i.addr.IsValid()
}

// neighbour reads one entry: one request. found is false if there is none.
func (n *Net) neighbour(index int, a netip.Addr) (i neighbourInfo, found bool, err error) {
	msgs, err := n.change.exec(unix.RTM_GETNEIGH, 0, neighbourMessage(index, a, 0, 0), unix.RTM_NEWNEIGH)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return neighbourInfo{}, false, nil
		}
		return neighbourInfo{}, false, err
	}
	if len(msgs) == 0 {
		return neighbourInfo{}, false, nil
	}
	i, found = parseNeighbour(msgs[0])
	return i, found, nil
}

// foreign reports whether somebody else fixed this entry; what the kernel learned by itself is nobody's.
func (n *Net) foreignNeighbour(dev string, i neighbourInfo) error {
	if i.proto == n.proto || i.state&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
		return nil
	}
	return &ForeignError{
		fmt.Sprintf("permanent neighbour %s lladdr %s on %s", i.addr, i.mac, dev), i.proto,
		fmt.Sprintf("ip neigh del %s dev %s", i.addr, dev),
	}
}

// SetNeighbour enters addr's link-layer address. A permanent entry stays until deleted, also without carrier; the other kind
// is reachable now, is verified by the kernel later, and goes with the carrier. A learned entry is overwritten, a stranger's
// permanent one is a *ForeignError (unless equal: then it is enough). One request when there is no entry or it is ours.
func (n *Net) SetNeighbour(dev string, addr netip.Addr, mac net.HardwareAddr, permanent bool) error {
	if !addr.IsValid() || len(mac) == 0 || len(mac) > 32 {
		return fmt.Errorf("osnet: set neighbour %s lladdr %q on %s: address or link-layer address missing", addr, mac, dev)
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	mac = slices.Clone(mac)
	key := neighbourKey(dev, addr)
	state := uint16(netlink.NUD_REACHABLE)
	if permanent {
		state = netlink.NUD_PERMANENT
	}
	set := func(flags int) error {
		return n.withIndex(dev, func(index int) error {
			m := neighbourMessage(index, addr, state, 0).attr(netlink.NDA_LLADDR, mac).u8(netlink.NDA_PROTOCOL, n.proto)
			return n.change.do(unix.RTM_NEWNEIGH, flags, m)
		})
	}
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if n.owns(key) {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	err := set(flags)
	if errors.Is(err, unix.EEXIST) {
		i, found, ferr := n.neighbour(n.index[dev], addr)
		if ferr != nil {
			return fmt.Errorf("osnet: set neighbour %s on %s: %w", addr, dev, hint(ferr))
		}
		if found {
			if ferr := n.foreignNeighbour(dev, i); ferr != nil {
				if slices.Equal(i.mac, mac) && permanent {
					return nil
				}
				return ferr
			}
		}
		err = set(unix.NLM_F_CREATE | unix.NLM_F_REPLACE)
	}
	if err != nil {
		return fmt.Errorf("osnet: set neighbour %s lladdr %s on %s: %w", addr, mac, dev, hint(err))
	}
	n.record(key, func() error { return n.deleteNeighbour(dev, addr) })
	return nil
}

// HoldNeighbour has packets for addr wait in the kernel until SetNeighbour or DelNeighbour. The kernel asks nobody for its
// link-layer address, and does not give up; what comes beyond the length of the queue drops what waits longest: see
// RaiseQueue. An answer that somebody gives unasked is taken, so addr is to be one that nobody can guess. An entry that is
// there already is an error.
func (n *Net) HoldNeighbour(dev string, addr netip.Addr) error {
	if !addr.IsValid() {
		return fmt.Errorf("osnet: hold neighbour on %s: expected an address, came none", dev)
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	err := n.withIndex(dev, func(index int) error {
		m := neighbourMessage(index, addr, netlink.NUD_INCOMPLETE, 0).u8(netlink.NDA_PROTOCOL, n.proto)
		return n.change.do(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m)
	})
	if err != nil {
		return fmt.Errorf("osnet: hold neighbour %s on %s: %w", addr, dev, hint(err))
	}
	n.record(neighbourKey(dev, addr), func() error { return n.deleteNeighbour(dev, addr) })
	return nil
}

func neighbourKey(dev string, addr netip.Addr) string {
	return "neighbour " + dev + " " + addr.String()
}

// DelNeighbour removes the entry, also one the kernel learned by itself; a stranger's permanent entry is a *ForeignError. One
// request if this Net made it.
func (n *Net) DelNeighbour(dev string, addr netip.Addr) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if known, err := n.remove(neighbourKey(dev, addr)); known {
		return err
	}
	index, err := n.ifindex(dev)
	if err != nil {
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return fmt.Errorf("osnet: delete neighbour %s on %s: %w", addr, dev, err)
	}
	i, found, err := n.neighbour(index, addr)
	switch {
	case err != nil && gone(err), err == nil && !found:
		return nil
	case err != nil:
		return fmt.Errorf("osnet: delete neighbour %s on %s: %w", addr, dev, hint(err))
	}
	if err := n.foreignNeighbour(dev, i); err != nil {
		return err
	}
	return n.deleteNeighbour(dev, addr)
}

func (n *Net) deleteNeighbour(dev string, addr netip.Addr) error {
	err := n.withIndex(dev, func(index int) error {
		return n.change.do(unix.RTM_DELNEIGH, 0, neighbourMessage(index, addr, 0, 0))
	})
	if err != nil && !gone(err) {
		return fmt.Errorf("osnet: delete neighbour %s on %s: %w", addr, dev, hint(err))
	}
	return nil
}

func (n *Net) listNeighbours() ([]neighbourInfo, error) {
	msgs, err := n.dump.list(unix.RTM_GETNEIGH, make(message, sizeofNdMsg), unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var out []neighbourInfo
	for _, b := range msgs {
		if i, ok := parseNeighbour(b); ok && (i.fam == unix.AF_INET || i.fam == unix.AF_INET6) {
			out = append(out, i)
		}
	}
	return out, nil
}
