package simnet

import (
	"net/netip"
	"slices"

	"openmpa/internal/osnet"
)

const (
	tableMain    = 254
	priorityMain = 32766
)

// owner is an osnet protocol number; nobody's and the kernel's are 0.
type owner uint8

type address struct {
	dev           string
	prefix        netip.Prefix
	owner         owner
	noPrefixRoute bool
}

type route struct {
	osnet.Route
	owner  owner
	kernel bool // goes with its address
}

type rule struct {
	osnet.Rule
	owner owner
}

// addAddress adds a and its connected route.
func (m *Machine) addAddress(a address) {
	m.addresses = append(m.addresses, a)
	if a.noPrefixRoute || a.prefix.IsSingleIP() {
		return
	}
	m.routes = append(m.routes, route{
		Route:  osnet.Route{Dst: a.prefix.Masked(), Dev: a.dev, Src: a.prefix.Addr(), Table: tableMain},
		kernel: true,
	})
}

func (m *Machine) removeAddress(dev string, p netip.Prefix) {
	m.addresses = slices.DeleteFunc(m.addresses, func(a address) bool { return a.dev == dev && a.prefix == p })
	m.routes = slices.DeleteFunc(m.routes, func(r route) bool { return r.kernel && r.Dev == dev && r.Src == p.Addr() })
}

// removeInterface takes a TUN away, with all that refers to it but rules.
func (m *Machine) removeInterface(i *Interface) {
	m.interfaces = slices.DeleteFunc(m.interfaces, func(o *Interface) bool { return o == i })
	m.addresses = slices.DeleteFunc(m.addresses, func(a address) bool { return a.dev == i.dev })
	m.routes = slices.DeleteFunc(m.routes, func(r route) bool { return r.Dev == i.dev })
}

func (m *Machine) isLocal(a netip.Addr) bool {
	return slices.ContainsFunc(m.addresses, func(o address) bool { return o.prefix.Addr() == a })
}

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isBroadcast says whether a is everybody's on the link of i.
func (m *Machine) isBroadcast(i *Interface, a netip.Addr) bool {
	if a == everybody {
		return true
	}
	for _, o := range m.addresses {
		if o.dev != i.dev || o.prefix.Bits() > 30 || !o.prefix.Contains(a) {
			continue
		}
		b, host := a.As4(), true
		for k := o.prefix.Bits(); k < 32; k++ {
			host = host && b[k/8]&(0x80>>(k%8)) != 0
		}
		if host {
			return true
		}
	}
	return false
}

// flow is what routing asks about a packet.
type flow struct {
	src, dst netip.Addr
	iif      string // "": the machine's own packet
	oif      string // a socket bound to a device
	sport    uint16 // of UDP
}

func (r *rule) matches(f flow) bool {
	return (!r.From.IsValid() || r.From.Contains(f.src)) && (!r.To.IsValid() || r.To.Contains(f.dst)) &&
		(r.IIF == "" || r.IIF == f.iif) && (r.OIF == "" || r.OIF == f.oif) && (r.UDPFrom == 0 || r.UDPFrom == f.sport)
}

// lookup finds the way of a packet that is not for this machine: the interface,
// the next hop and the preferred source.
func (m *Machine) lookup(f flow) (i *Interface, via, src netip.Addr, ok bool) {
	ask := func(table int) bool {
		best := -1
		for k := range m.routes {
			r := &m.routes[k]
			if r.Table != table || !r.Dst.Contains(f.dst) || f.oif != "" && r.Dev != f.oif {
				continue
			}
			if best < 0 || r.Dst.Bits() > m.routes[best].Dst.Bits() ||
				r.Dst.Bits() == m.routes[best].Dst.Bits() && r.Metric < m.routes[best].Metric {
				best = k
			}
		}
		if best < 0 {
			return false
		}
		r := &m.routes[best]
		if i = m.find(r.Dev); i == nil {
			return false
		}
		if via = r.Via; !via.IsValid() {
			via = f.dst
		}
		if src = r.Src; !src.IsValid() {
			src = m.addressOn(i, via)
		}
		return true
	}
	main := false
	for k := range m.rules { // in order
		r := &m.rules[k]
		if r.Priority > priorityMain && !main {
			if main = true; ask(tableMain) {
				return i, via, src, true
			}
		}
		if r.matches(f) && ask(r.Table) {
			return i, via, src, true
		}
	}
	if !main && ask(tableMain) {
		return i, via, src, true
	}
	return nil, via, src, false
}

// addressOn is the address with which to speak on i to peer.
func (m *Machine) addressOn(i *Interface, peer netip.Addr) netip.Addr {
	var first netip.Addr
	for _, a := range m.addresses {
		if a.dev != i.dev {
			continue
		}
		if a.prefix.Contains(peer) {
			return a.prefix.Addr()
		}
		if !first.IsValid() {
			first = a.prefix.Addr()
		}
	}
	if !first.IsValid() {
		return netip.IPv4Unspecified()
	}
	return first
}

func (m *Machine) addRule(r rule) {
	m.rules = append(m.rules, r)
	slices.SortStableFunc(m.rules, func(a, b rule) int { return a.Priority - b.Priority })
}
