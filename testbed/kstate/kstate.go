package kstate

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// A State is what the kernel held in one namespace, a line for each thing.
type State []string

// Options say what to leave out.
type Options struct {
	// IgnoreLinkState leaves out whether links are up: for the namespace of
	// the points of attachment, where links come and go by design.
	IgnoreLinkState bool
	// SkipSettings leaves out the settings below /proc/sys: for the
	// namespace the lab was started in, which others use too.
	SkipSettings bool
}

// Take reads the state of a namespace.
func Take(s *space.Space, opt Options) (State, error) {
	var st State
	add := func(format string, args ...any) { st = append(st, fmt.Sprintf(format, args...)) }
	for _, read := range []func(*space.Space, Options, func(string, ...any)) error{
		links, routes, rules, neighbours, filters, ipsec, settings,
	} {
		if err := read(s, opt, add); err != nil {
			return nil, fmt.Errorf("kstate: %s: %w", s.Name(), err)
		}
	}
	sort.Strings(st)
	return st, nil
}

// Diff tells what differs, a line each: "left behind: ..." for what is in
// after only, "missing: ..." for what is in before only.
func Diff(before, after State) []string {
	count := make(map[string]int)
	for _, l := range after {
		count[l]++
	}
	for _, l := range before {
		count[l]--
	}
	var lines []string
	for l, n := range count {
		for ; n > 0; n-- {
			lines = append(lines, "left behind: "+l)
		}
		for ; n < 0; n++ {
			lines = append(lines, "missing: "+l)
		}
	}
	sort.Strings(lines)
	return lines
}

// retry repeats a dump that the kernel says was overtaken by a change.
func retry[T any](dump func() (T, error)) (v T, err error) {
	for range 10 {
		v, err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return v, err
		}
	}
	return v, err
}

func links(s *space.Space, opt Options, add func(string, ...any)) error {
	nl := s.Netlink()
	all, err := retry(nl.LinkList)
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	for _, l := range all {
		a := l.Attrs()
		state := ""
		if !opt.IgnoreLinkState {
			state = " down"
			if a.RawFlags&unix.IFF_UP != 0 {
				state = " up"
			}
			if a.Promisc != 0 {
				state += " promiscuous"
			}
		}
		add("link %s %s mtu %d%s", a.Name, l.Type(), a.MTU, state)
	}
	names := names(all)
	addrs, err := retry(func() ([]netlink.Addr, error) { return nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	hardware := make(map[int]net.HardwareAddr, len(all))
	for _, l := range all {
		hardware[l.Attrs().Index] = l.Attrs().HardwareAddr
	}
	for _, a := range addrs {
		if !kernelMade(a, hardware[a.LinkIndex]) {
			add("address %v on %s", a.IPNet, names[a.LinkIndex])
		}
	}
	return nil
}

// kernelMade reports whether the kernel has made an IPv6 address by itself: the link-local one of a hardware address (RFC 4291,
// appendix A), or one from a router advertisement, which alone have temporary ones beside them.
func kernelMade(a netlink.Addr, mac net.HardwareAddr) bool {
	ip := a.IP
	if ip.To4() != nil || len(ip) != net.IPv6len {
		return false
	}
	if a.Flags&unix.IFA_F_MANAGETEMPADDR != 0 {
		return true
	}
	if ip.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_STABLE_PRIVACY != 0 { // of a device without a hardware address
		return true
	}
	return ip.IsLinkLocalUnicast() && len(mac) == 6 &&
		bytes.Equal(ip[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

func names(all []netlink.Link) map[int]string {
	m := make(map[int]string, len(all))
	for _, l := range all {
		m[l.Attrs().Index] = l.Attrs().Name
	}
	return m
}

func routes(s *space.Space, _ Options, add func(string, ...any)) error {
	nl := s.Netlink()
	all, err := retry(nl.LinkList)
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	names := names(all)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := retry(func() ([]netlink.Route, error) {
			return nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return fmt.Errorf("routes: %w", err)
		}
		for _, r := range list {
			dst := "default"
			if r.Dst != nil {
				dst = r.Dst.String()
			}
			if family == netlink.FAMILY_V6 && (r.Type != unix.RTN_UNICAST || r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA) {
				continue // the kernel's own: local and multicast entries, prefixes of addresses, routers that advertise themselves
			}
			line := fmt.Sprintf("route %s type %d table %d protocol %d scope %d", dst, r.Type, r.Table, int(r.Protocol), int(r.Scope))
			if r.Gw != nil {
				line += " via " + r.Gw.String()
			}
			if name := names[r.LinkIndex]; name != "" {
				line += " dev " + name
			}
			if r.Src != nil {
				line += " src " + r.Src.String()
			}
			for _, x := range []struct {
				name  string
				value int
			}{{"metric", r.Priority}, {"mtu", r.MTU}} {
				if x.value != 0 {
					line += fmt.Sprintf(" %s %d", x.name, x.value)
				}
			}
			add("%s", line)
		}
	}
	return nil
}

func rules(s *space.Space, _ Options, add func(string, ...any)) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := retry(func() ([]netlink.Rule, error) { return s.Netlink().RuleList(family) })
		if err != nil {
			if family == netlink.FAMILY_V6 && errors.Is(err, unix.EAFNOSUPPORT) {
				continue
			}
			return fmt.Errorf("rules: %w", err)
		}
		for _, r := range list {
			line := fmt.Sprintf("rule family %d priority %d table %d", family, r.Priority, r.Table)
			if r.Src != nil {
				line += " from " + r.Src.String()
			}
			if r.Dst != nil {
				line += " to " + r.Dst.String()
			}
			if r.IifName != "" {
				line += " iif " + r.IifName
			}
			if r.OifName != "" {
				line += " oif " + r.OifName
			}
			if r.Mark != 0 {
				line += fmt.Sprintf(" mark %#x", r.Mark)
			}
			add("%s", line)
		}
	}
	return nil
}

func neighbours(s *space.Space, _ Options, add func(string, ...any)) error {
	nl := s.Netlink()
	all, err := retry(nl.LinkList)
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	names := names(all)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := retry(func() ([]netlink.Neigh, error) { return nl.NeighList(0, family) })
		if err != nil {
			return fmt.Errorf("neighbours: %w", err)
		}
		for _, n := range list {
			if n.State&unix.NUD_PERMANENT != 0 {
				add("neighbour %v on %s at %v permanent", n.IP, names[n.LinkIndex], n.HardwareAddr)
			}
		}
		proxies, err := retry(func() ([]netlink.Neigh, error) { return nl.NeighProxyList(0, family) })
		if err != nil {
			return fmt.Errorf("proxy neighbours: %w", err)
		}
		for _, n := range proxies {
			add("proxy for %v on %s", n.IP, names[n.LinkIndex])
		}
	}
	return nil
}

// settings reads net/ipv4 and net/ipv6 of the namespace: the files of every interface,
// and whether it forwards.
func settings(s *space.Space, opt Options, add func(string, ...any)) error {
	if opt.SkipSettings {
		return nil
	}
	return s.Do(func() error {
		const base = "/proc/sys/net/"
		four, err := filepath.Glob(base + "ipv4/conf/*/*")
		if err != nil {
			return err
		}
		six, err := filepath.Glob(base + "ipv6/conf/*/*")
		if err != nil {
			return err
		}
		for _, f := range append(append(four, six...), base+"ipv4/ip_forward") {
			b, err := os.ReadFile(f)
			if err != nil || filepath.Base(f) == "stable_secret" { // which the kernel draws for a device without a hardware address
				continue // write-only, or its interface went just now
			}
			add("setting %s = %s", strings.TrimPrefix(f, "/proc/sys/"), strings.TrimSpace(string(b)))
		}
		return nil
	})
}
