package osnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Link describes an interface at one moment.
type Link struct {
	Name    string
	Index   int
	MAC     net.HardwareAddr // nil if the link has none (TUN)
	MTU     int              // octets
	Up      bool             // administratively up
	Carrier bool             // up, lower layer up and running: packets can pass
	Changes uint32           // of the carrier, as the kernel counts them
	Addrs   []netip.Prefix   // IPv4 and IPv6, address with prefix length
}

const (
	sizeofIfInfomsg   = 16
	iflaCarrierChange = 35 // IFLA_CARRIER_CHANGES
	iflaExtMask       = 29 // IFLA_EXT_MASK
	extSkipStats      = 8  // RTEXT_FILTER_SKIP_STATS
)

// linkInfo is what one RTM_NEWLINK says.
type linkInfo struct {
	name     string
	index    int
	mac      net.HardwareAddr
	mtu      int
	flags    uint32
	changes  uint32   // carrier changes since the link was made
	counted  bool     // changes was in the message
	counters Counters // only where they were asked for
}

func (l linkInfo) carrier() bool {
	const need = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_RUNNING
	return l.flags&need == need
}

func parseLink(b []byte) (linkInfo, bool) {
	if len(b) < sizeofIfInfomsg {
		return linkInfo{}, false
	}
	l := linkInfo{index: int(int32(u32(b[4:]))), flags: u32(b[8:])}
	attrs(b[sizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.name = unix.ByteSliceToString(v)
		case unix.IFLA_ADDRESS:
			l.mac = slices.Clone(v)
		case unix.IFLA_MTU:
			l.mtu = int(u32(v))
		case iflaCarrierChange:
			l.changes, l.counted = u32(v), true
		case unix.IFLA_STATS64:
			if len(v) >= 32 { // struct rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes, ...
				l.counters = Counters{Received: binary.NativeEndian.Uint64(v), Sent: binary.NativeEndian.Uint64(v[8:]), Octets: binary.NativeEndian.Uint64(v[24:])}
			}
		}
	})
	return l, true
}

// linkRequest is the body of RTM_GETLINK by name, for an answer without counters.
func linkRequest(name string) message {
	return linkCountersRequest(name).u32(iflaExtMask, extSkipStats)
}

// linkCountersRequest is linkRequest for an answer with counters.
func linkCountersRequest(name string) message {
	return make(message, sizeofIfInfomsg).text(unix.IFLA_IFNAME, name)
}

func checkName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface name %q: expected 1 to %d characters", name, unix.IFNAMSIZ-1)
	}
	return nil
}

// link asks for one interface. Its errors, as those of all unexported methods, have no package prefix.
func (n *Net) link(name string) (linkInfo, error) { return n.askLink(name, linkRequest) }

func (n *Net) askLink(name string, request func(name string) message) (linkInfo, error) {
	if err := checkName(name); err != nil {
		return linkInfo{}, err
	}
	msgs, err := n.change.exec(unix.RTM_GETLINK, 0, request(name), unix.RTM_NEWLINK)
	if err == nil && len(msgs) == 0 {
		err = unix.ENODEV
	}
	if err != nil {
		if errors.Is(err, unix.ENODEV) {
			return linkInfo{}, fmt.Errorf("no interface %q in this network namespace: check the name with ip link: %w", name, err)
		}
		return linkInfo{}, fmt.Errorf("interface %q: %w", name, hint(err))
	}
	l, ok := parseLink(msgs[0])
	if !ok {
		return linkInfo{}, fmt.Errorf("interface %q: the kernel's answer is cut short", name)
	}
	return l, nil
}

// LinkByName returns the interface's state and addresses. It dumps addresses: not for the fast path.
func (n *Net) LinkByName(name string) (Link, error) {
	l, err := n.link(name)
	if err != nil {
		return Link{}, fmt.Errorf("osnet: %w", err)
	}
	addrs, err := n.listAddresses()
	if err != nil {
		return Link{}, fmt.Errorf("osnet: %w", err)
	}
	out := Link{Name: l.name, Index: l.index, MAC: l.mac, MTU: l.mtu, Up: l.flags&unix.IFF_UP != 0, Carrier: l.carrier(), Changes: l.changes}
	for _, a := range addrs {
		if a.index == l.index {
			out.Addrs = append(out.Addrs, a.prefix)
		}
	}
	return out, nil
}

// Counters count what came and went by an interface since it was made, whatever it is.
type Counters struct {
	Received, Sent uint64 // packets
	Octets         uint64 // that were sent
}

// Counters reads those of an interface, with one question to the kernel.
func (n *Net) Counters(name string) (Counters, error) {
	l, err := n.askLink(name, linkCountersRequest)
	if err != nil {
		return Counters{}, fmt.Errorf("osnet: %w", err)
	}
	return l.counters, nil
}

// Of inet_devconf in the kernel's include/uapi/linux/ip.h.
const (
	devconfARPIgnore   = 19
	devconfAcceptLocal = 23
)

// AcceptLocal has the kernel take packets that come in by the interface with a source address of this machine. What a router
// writes into its TUN may be of a program on the router itself, as a home agent or a name server; the kernel would drop it
// (RFC 1812 section 5.3.7). For an interface that goes with its daemon: it is not undone. By rtnetlink, since a daemon need not be
// able to write below /proc/sys.
func (n *Net) AcceptLocal(ifname string) error {
	if err := n.configure(ifname, devconfAcceptLocal, 1); err != nil {
		return fmt.Errorf("osnet: take packets with a source of our own on %s: %w", ifname, err)
	}
	return nil
}

// ARPIgnore says which ARP requests the kernel answers on an interface: 0 for every address of this machine, 1 for those of
// that interface only.
func (n *Net) ARPIgnore(ifname string) (mode int, err error) { return n.conf(ifname, "arp_ignore") }

// SetARPIgnore changes what [Net.ARPIgnore] says. It is not undone by Close.
func (n *Net) SetARPIgnore(ifname string, mode int) error {
	if err := n.configure(ifname, devconfARPIgnore, uint32(mode)); err != nil { //nolint:gosec // 0 to 8
		return fmt.Errorf("osnet: answer ARP on %s as arp_ignore=%d has it: %w", ifname, mode, err)
	}
	return nil
}

// configure sets an IPv4 setting of an interface.
func (n *Net) configure(ifname string, setting uint16, value uint32) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	return hint(n.withIndex(ifname, func(index int) error {
		m := make(message, sizeofIfInfomsg)
		putU32(m[4:], uint32(index)) //nolint:gosec // positive
		conf := message{}.attr(unix.IFLA_INET_CONF, message{}.u32(setting, value))
		return n.change.do(unix.RTM_SETLINK, 0, m.attr(unix.IFLA_AF_SPEC, message{}.attr(unix.AF_INET, conf)))
	}))
}

// SetUp sets an interface up or down, as an administrator does: down, it loses its carrier, and the kernel forgets its routes
// and neighbours, not its addresses. It is not undone by Close.
func (n *Net) SetUp(ifname string, up bool) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	err := n.withIndex(ifname, func(index int) error {
		m := make(message, sizeofIfInfomsg)
		putU32(m[4:], uint32(index)) //nolint:gosec // positive
		if up {
			putU32(m[8:], unix.IFF_UP)
		}
		putU32(m[12:], unix.IFF_UP) // what is to change
		return n.change.do(unix.RTM_NEWLINK, 0, m)
	})
	if err != nil {
		return fmt.Errorf("osnet: set %s up (%v): %w", ifname, up, hint(err))
	}
	return nil
}

// Prime resolves interface names ahead of time, so that the first change on each costs one request.
func (n *Net) Prime(names ...string) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	for _, name := range names {
		delete(n.index, name)
		if _, err := n.ifindex(name); err != nil {
			return fmt.Errorf("osnet: %w", err)
		}
	}
	return nil
}

// ifindex returns the remembered index of name, or asks. Caller holds mu.
func (n *Net) ifindex(name string) (int, error) {
	if i, ok := n.index[name]; ok {
		return i, nil
	}
	l, err := n.link(name)
	if err != nil {
		return 0, err
	}
	n.index[name] = l.index
	return l.index, nil
}

// withIndex runs fn with the index of name, once more with a fresh one if the kernel does not know it (the interface
// was made anew). Caller holds mu.
func (n *Net) withIndex(name string, fn func(index int) error) error {
	_, cached := n.index[name]
	index, err := n.ifindex(name)
	if err != nil {
		return err
	}
	err = fn(index)
	if cached && (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)) {
		delete(n.index, name)
		if index, err = n.ifindex(name); err != nil {
			return err
		}
		err = fn(index)
	}
	return err
}
