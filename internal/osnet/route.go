package osnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Route is one unicast route.
type Route struct {
	Dst    netip.Prefix // destination, 0.0.0.0/0 for the default route
	Via    netip.Addr   // next hop; zero: on link
	Dev    string       // interface
	Table  int          // routing table; 0: main
	Src    netip.Addr   // preferred source address; zero: the kernel's choice
	Metric int          // priority, lower wins
	MTU    int          // octets, locked against path MTU discovery if not 0
	OnLink bool         // Via is on the link although no address's subnet says so
	Local  bool         // leads to this host
}

const (
	sizeofRtMsg = 12
	rtaxLock    = 1
	rtaxMTU     = 2
)

func putU32(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }

func (r Route) normal() (Route, error) {
	if !r.Dst.IsValid() {
		return r, fmt.Errorf("osnet: route on %q: expected a destination, came none: the default route is 0.0.0.0/0", r.Dev)
	}
	r.Dst = r.Dst.Masked()
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Table < 0 || r.Metric < 0 || r.MTU < 0 {
		return r, fmt.Errorf("osnet: route %s: table %d, metric %d and mtu %d must not be negative", r.Dst, r.Table, r.Metric, r.MTU)
	}
	if r.Dev == "" {
		return r, fmt.Errorf("osnet: route %s: no interface given", r.Dst)
	}
	if r.Via.IsValid() && r.Via.Is4() != r.Dst.Addr().Is4() {
		return r, fmt.Errorf("osnet: route %s via %s: families differ", r.Dst, r.Via)
	}
	return r, nil
}

// key names what the kernel takes as the same route: table, destination and metric.
func (r Route) key() string {
	return fmt.Sprintf("route %s table %d metric %d", r.Dst, r.Table, r.Metric)
}

// String writes the route as ip(8) would take it.
func (r Route) String() string {
	s := r.Dst.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	s += " dev " + r.Dev
	if r.Table != 0 && r.Table != unix.RT_TABLE_MAIN {
		s += fmt.Sprintf(" table %d", r.Table)
	}
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}

// routeMessage is the body of a route request with the attributes that name the route.
func (n *Net) routeMessage(r Route, index int) message {
	m := make(message, sizeofRtMsg, 96)
	m[0], m[1] = family(r.Dst.Addr()), uint8(r.Dst.Bits())
	m[4] = unix.RT_TABLE_UNSPEC
	if r.Table < 256 {
		m[4] = uint8(r.Table)
	}
	m[5] = n.proto
	m[6] = unix.RT_SCOPE_UNIVERSE
	if !r.Via.IsValid() && r.Dst.Addr().Is4() {
		m[6] = unix.RT_SCOPE_LINK
	}
	m[7] = unix.RTN_UNICAST
	if r.Local {
		m[7] = unix.RTN_LOCAL
	}
	if r.OnLink {
		putU32(m[8:], unix.RTNH_F_ONLINK)
	}
	m = m.u32(unix.RTA_TABLE, uint32(r.Table)).u32(unix.RTA_OIF, uint32(index))
	if r.Dst.Bits() > 0 {
		m = m.addr(unix.RTA_DST, r.Dst.Addr())
	}
	if r.Via.IsValid() {
		m = m.addr(unix.RTA_GATEWAY, r.Via)
	}
	if r.Metric != 0 {
		m = m.u32(unix.RTA_PRIORITY, uint32(r.Metric))
	}
	return m
}

// SetRoute makes the route, or changes the one of ours with the same destination, table and metric: one request. A stranger's
// route in that place is left alone; if it leads elsewhere that is a *ForeignError.
func (n *Net) SetRoute(r Route) error {
	r, err := r.normal()
	if err != nil {
		return err
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	set := func(flags int) error {
		return n.withIndex(r.Dev, func(index int) error {
			m := n.routeMessage(r, index)
			if r.Src.IsValid() {
				m = m.addr(unix.RTA_PREFSRC, r.Src)
			}
			if r.MTU != 0 {
				var x message
				x = x.u32(rtaxLock, 1<<rtaxMTU).u32(rtaxMTU, uint32(r.MTU))
				m = m.attr(unix.RTA_METRICS, x)
			}
			return n.change.do(unix.RTM_NEWROUTE, flags, m)
		})
	}
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if n.owns(r.key()) {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	err = set(flags)
	if errors.Is(err, unix.EEXIST) {
		same, ferr := n.foreignRoute(r)
		switch {
		case ferr != nil:
			return ferr
		case same:
			return nil
		}
		err = set(unix.NLM_F_CREATE | unix.NLM_F_REPLACE)
	}
	if err != nil {
		return fmt.Errorf("osnet: set route %s: %w", r, hint(err))
	}
	n.record(r.key(), func() error { return n.deleteRoute(r) })
	return nil
}

// foreignRoute looks at what stands where r should be: a stranger's route to the same place (same), a stranger's other
// route (error), or one of ours (neither).
func (n *Net) foreignRoute(r Route) (same bool, err error) {
	index, err := n.ifindex(r.Dev)
	if err != nil {
		return false, fmt.Errorf("osnet: set route %s: %w", r, err)
	}
	list, err := n.listRoutes(family(r.Dst.Addr()))
	if err != nil {
		return false, fmt.Errorf("osnet: set route %s: %w", r, err)
	}
	for _, f := range list {
		if f.dst != r.Dst || f.table != r.Table || f.metric != r.Metric || f.proto == n.proto {
			continue
		}
		if f.index == index && f.via == r.Via && f.typ == unix.RTN_UNICAST {
			return true, nil
		}
		return false, &ForeignError{
			fmt.Sprintf("a route to %s in table %d with metric %d", r.Dst, r.Table, r.Metric), f.proto,
			fmt.Sprintf("ip route del %s table %d metric %d", r.Dst, r.Table, r.Metric),
		}
	}
	return false, nil
}

// DelRoute removes a route this Net made (destination, table and metric name it): one request, nothing for a route it did
// not make.
func (n *Net) DelRoute(r Route) error {
	if r.Dev == "" {
		r.Dev = "-" // does not name the route
	}
	r, err := r.normal()
	if err != nil {
		return err
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	_, err = n.remove(r.key())
	return err
}

func (n *Net) deleteRoute(r Route) error {
	err := n.withIndex(r.Dev, func(index int) error {
		return n.change.do(unix.RTM_DELROUTE, 0, n.routeMessage(r, index))
	})
	if err != nil && !gone(err) {
		return fmt.Errorf("osnet: delete route %s: %w", r, hint(err))
	}
	return nil
}

// NotLocal removes the route by which the kernel keeps what comes for an IPv6 address of ours on
// dev, after AddAddress without duplicate address detection. The kernel makes it once, and does not
// miss it when the address goes.
func (n *Net) NotLocal(dev string, addr netip.Addr) error {
	r := Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Dev: dev, Table: unix.RT_TABLE_LOCAL, Local: true}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	err := n.withIndex(dev, func(index int) error {
		m := n.routeMessage(r, index)
		m[5] = unix.RTPROT_UNSPEC // whoever's it is
		return n.change.do(unix.RTM_DELROUTE, 0, m)
	})
	if err != nil {
		return fmt.Errorf("osnet: delete the kernel's route %s: %w", r, hint(err))
	}
	return nil
}

type routeInfo struct {
	dst    netip.Prefix
	table  int
	metric int
	index  int
	via    netip.Addr
	proto  uint8
	typ    uint8
	raw    []byte // the kernel's message, to delete exactly this one
}

func (n *Net) listRoutes(fam uint8) ([]routeInfo, error) {
	m := make(message, sizeofRtMsg)
	m[0] = fam
	msgs, err := n.dump.list(unix.RTM_GETROUTE, m, unix.RTM_NEWROUTE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []routeInfo
	for _, b := range msgs {
		if len(b) < sizeofRtMsg {
			continue
		}
		r := routeInfo{table: int(b[4]), proto: b[5], typ: b[7], raw: b}
		dst := netip.IPv4Unspecified()
		if b[0] == unix.AF_INET6 {
			dst = netip.IPv6Unspecified()
		}
		attrs(b[sizeofRtMsg:], func(typ uint16, v []byte) {
			switch typ {
			case unix.RTA_DST:
				dst, _ = netip.AddrFromSlice(v)
			case unix.RTA_GATEWAY:
				r.via, _ = netip.AddrFromSlice(v)
			case unix.RTA_OIF:
				r.index = int(u32(v))
			case unix.RTA_PRIORITY:
				r.metric = int(u32(v))
			case unix.RTA_TABLE:
				r.table = int(u32(v))
			}
		})
		r.dst = netip.PrefixFrom(dst, int(b[1]))
		out = append(out, r)
	}
	return out, nil
}
