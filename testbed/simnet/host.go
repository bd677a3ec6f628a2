package simnet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
)

// poll is how long Yield sleeps: a goroutine that polls lets virtual time go on.
const poll = 10 * time.Microsecond

// machineHost is a machine as one daemon sees it.
type machineHost struct {
	m      *Machine
	role   string
	owner  owner
	closed bool
	socks  map[any]func() // closes it; guarded by World.mu
}

var owners = map[string]owner{
	osnet.OwnerMobileNode:   osnet.Protocol + 1,
	osnet.OwnerAccessRouter: osnet.Protocol + 2,
	osnet.OwnerHomeAgent:    osnet.Protocol + 3,
	osnet.OwnerLab:          osnet.Protocol + 4,
}

// Open is the machine's host.Opener: as osnet.OpenClean it removes what an owner
// of that name has left.
func (m *Machine) Open(_ *slog.Logger, role string) (host.Host, error) {
	o, ok := owners[role]
	if !ok {
		return nil, fmt.Errorf("simnet: unknown owner %q", role)
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, h := range m.hosts {
		if h.owner == o {
			return nil, fmt.Errorf("simnet: %s: owner %q: %w", m.name, role, osnet.ErrOwned)
		}
	}
	m.purge(o)
	h := &machineHost{m: m, role: role, owner: o, socks: map[any]func(){}}
	m.hosts = append(m.hosts, h)
	return h, nil
}

// Kill ends a daemon as a crash does: its sockets and its TUN are gone at once,
// what it says afterwards is heard by nobody, and what it has set in the machine's
// tables stays. The daemon's own goroutines go on until it is closed.
func (m *Machine) Kill(role string) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, h := range slices.Clone(m.hosts) {
		if h.role == role {
			m.w.note(m.name, "KILLED "+role, nil)
			h.leave()
		}
	}
}

// Left are the objects that some owner has on the machine, sockets included: nothing
// when every daemon has ended in good order.
func (m *Machine) Left() []string {
	out := m.Owned()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, i := range m.interfaces {
		if i.tun != nil {
			out = append(out, fmt.Sprintf("%s: TUN %s", m.name, i.dev))
		}
		if n := len(i.raw); n > 0 {
			out = append(out, fmt.Sprintf("%s: %d raw sockets on %s", m.name, n, i.dev))
		}
	}
	for _, s := range m.udp {
		out = append(out, fmt.Sprintf("%s: UDP socket %v", m.name, s.local))
	}
	for _, s := range m.ipip {
		out = append(out, fmt.Sprintf("%s: IP in IP socket %v", m.name, s.local))
	}
	return out
}

// Owned are the entries of the machine's tables that belong to some owner, sorted.
func (m *Machine) Owned() []string {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	var out []string
	add := func(o owner, format string, args ...any) {
		if o != 0 {
			out = append(out, fmt.Sprintf("%s: %s, owner %d", m.name, fmt.Sprintf(format, args...), o))
		}
	}
	for _, a := range m.addresses {
		add(a.owner, "address %v on %s", a.prefix, a.dev)
	}
	for _, r := range m.routes {
		add(r.owner, "route %v", r.Route)
	}
	for _, r := range m.rules {
		add(r.owner, "rule %v", r.Rule)
	}
	for _, i := range m.interfaces {
		for a, n := range i.neighbours {
			add(n.owner, "neighbour %v on %s", a, i.dev)
		}
	}
	slices.Sort(out)
	return out
}

// purge removes all that o has in the tables.
func (m *Machine) purge(o owner) {
	m.rules = slices.DeleteFunc(m.rules, func(r rule) bool { return r.owner == o })
	m.routes = slices.DeleteFunc(m.routes, func(r route) bool { return r.owner == o })
	for _, i := range m.interfaces {
		for a, n := range i.neighbours {
			if n.owner == o {
				i.giveUp(a, n)
			}
		}
	}
	for _, a := range slices.Clone(m.addresses) {
		if a.owner == o {
			m.removeAddress(a.dev, a.prefix)
		}
	}
}

// leave ends the host and closes its sockets; the tables stay as they are.
func (h *machineHost) leave() {
	h.closed = true
	h.m.hosts = slices.DeleteFunc(h.m.hosts, func(o *machineHost) bool { return o == h })
	for _, closeIt := range h.socks {
		closeIt()
	}
	h.socks = nil
	for _, i := range h.m.interfaces {
		for _, w := range i.watchers {
			if w.h == h {
				w.shut()
			}
		}
		i.watchers = slices.DeleteFunc(i.watchers, func(w *watcher) bool { return w.h == h })
	}
}

// Close implements host.Host. Sockets belong to who opened them and stay.
func (h *machineHost) Close() error {
	h.m.w.mu.Lock()
	defer h.m.w.mu.Unlock()
	if h.closed {
		return nil
	}
	h.m.purge(h.owner)
	h.socks = nil
	h.leave()
	return nil
}

// closing closes one of the host's sockets.
func (h *machineHost) closing(s interface{ shut() }) error {
	h.m.w.mu.Lock()
	defer h.m.w.mu.Unlock()
	s.shut()
	delete(h.socks, s)
	return nil
}

// Yield implements host.Host.
func (h *machineHost) Yield() { time.Sleep(poll) }

// Settle implements host.Host: a machine is done with a packet at once.
func (h *machineHost) Settle() {}

// change runs fn with the network's lock, unless the host is closed.
func (h *machineHost) change(fn func() error) error {
	h.m.w.mu.Lock()
	defer h.m.w.mu.Unlock()
	if h.closed {
		return osnet.ErrClosed
	}
	return fn()
}

func (m *Machine) device(dev string) (*Interface, error) {
	if i := m.find(dev); i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("simnet: %s has no interface %q: %w", m.name, dev, unix.ENODEV)
}

// LinkByName implements host.Tables.
func (h *machineHost) LinkByName(name string) (l osnet.Link, err error) {
	err = h.change(func() error {
		i, err := h.m.device(name)
		if err != nil {
			return err
		}
		l = osnet.Link{Name: name, Index: i.index, MTU: i.mtu, Up: !i.down, Carrier: i.isUp || i.tun != nil}
		if i.tun == nil {
			l.MAC = i.mac.HardwareAddr()
		}
		for _, a := range h.m.addresses {
			if a.dev == name {
				l.Addrs = append(l.Addrs, a.prefix)
			}
		}
		return nil
	})
	return l, err
}

// SetUp implements host.Tables.
func (h *machineHost) SetUp(dev string, up bool) error {
	return h.change(func() error {
		i, err := h.m.device(dev)
		if err != nil || i.down == !up {
			return err
		}
		h.m.w.note(h.m.name, fmt.Sprintf("%s up %v", dev, up), nil)
		if i.down = !up; i.down {
			h.m.routes = slices.DeleteFunc(h.m.routes, func(r route) bool { return r.Dev == dev })
			for a, n := range i.neighbours {
				i.giveUp(a, n)
			}
		}
		i.carrier(nil)
		return nil
	})
}

// ARPIgnore implements host.Tables.
func (h *machineHost) ARPIgnore(dev string) (mode int, err error) {
	err = h.change(func() error {
		i, err := h.m.device(dev)
		if err == nil && i.strict {
			mode = 1
		}
		return err
	})
	return mode, err
}

// SetARPIgnore implements host.Tables.
func (h *machineHost) SetARPIgnore(dev string, mode int) error {
	return h.change(func() error {
		i, err := h.m.device(dev)
		if err == nil {
			i.strict = mode > 0
		}
		return err
	})
}

// Counters implements host.Tables.
func (h *machineHost) Counters(name string) (c osnet.Counters, err error) {
	err = h.change(func() error {
		i, err := h.m.device(name)
		if err == nil {
			c = i.counters
		}
		return err
	})
	return c, err
}

// Prime implements host.Tables.
func (h *machineHost) Prime(names ...string) error {
	return h.change(func() error {
		for _, name := range names {
			if _, err := h.m.device(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddAddress implements host.Tables.
func (h *machineHost) AddAddress(dev string, p netip.Prefix, opt osnet.AddrOptions) error {
	return h.change(func() error {
		if _, err := h.m.device(dev); err != nil {
			return err
		}
		for _, a := range h.m.addresses {
			if a.dev == dev && a.prefix == p {
				return nil
			}
		}
		h.m.w.note(h.m.name, fmt.Sprintf("address %v on %s", p, dev), nil)
		h.m.addAddress(address{dev: dev, prefix: p, owner: h.owner, noPrefixRoute: opt.NoPrefixRoute})
		return nil
	})
}

// DelAddress implements host.Tables.
func (h *machineHost) DelAddress(dev string, p netip.Prefix) error {
	return h.change(func() error {
		for _, a := range h.m.addresses {
			if a.dev != dev || a.prefix != p {
				continue
			}
			if a.owner != h.owner {
				return &osnet.ForeignError{Object: fmt.Sprintf("address %v on %s", p, dev), Protocol: uint8(a.owner)}
			}
			h.m.w.note(h.m.name, fmt.Sprintf("no address %v on %s", p, dev), nil)
			h.m.removeAddress(dev, p)
			return nil
		}
		return nil
	})
}

func normal(r osnet.Route) osnet.Route {
	if !r.Dst.IsValid() {
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	r.Dst = r.Dst.Masked()
	if r.Table == 0 {
		r.Table = tableMain
	}
	return r
}

// SetRoute implements host.Tables.
func (h *machineHost) SetRoute(r osnet.Route) error {
	r = normal(r)
	return h.change(func() error {
		if i, err := h.m.device(r.Dev); err != nil {
			return err
		} else if i.down {
			return fmt.Errorf("simnet: route %v: %w", r, unix.ENETDOWN)
		}
		k := h.m.place(r)
		switch {
		case k < 0:
			h.m.routes = append(h.m.routes, route{Route: r, owner: h.owner})
		case h.m.routes[k].owner == h.owner:
			h.m.routes[k].Route = r
		case h.m.routes[k].Dev != r.Dev || h.m.routes[k].Via != r.Via:
			return &osnet.ForeignError{Object: "route " + h.m.routes[k].Route.String(), Protocol: uint8(h.m.routes[k].owner)}
		}
		h.m.w.note(h.m.name, "route "+r.String(), nil)
		return nil
	})
}

// place is where the route with r's destination, table and metric is.
func (m *Machine) place(r osnet.Route) int {
	return slices.IndexFunc(m.routes, func(o route) bool { return o.Dst == r.Dst && o.Table == r.Table && o.Metric == r.Metric })
}

// DelRoute implements host.Tables.
func (h *machineHost) DelRoute(r osnet.Route) error {
	r = normal(r)
	return h.change(func() error {
		if k := h.m.place(r); k >= 0 && h.m.routes[k].owner == h.owner {
			h.m.w.note(h.m.name, "no route "+r.String(), nil)
			h.m.routes = slices.Delete(h.m.routes, k, k+1)
		}
		return nil
	})
}

// AddRule implements host.Tables.
func (h *machineHost) AddRule(r osnet.Rule) error {
	return h.change(func() error {
		if !slices.ContainsFunc(h.m.rules, func(o rule) bool { return o.Rule == r }) {
			h.m.w.note(h.m.name, "rule "+r.String(), nil)
			h.m.addRule(rule{r, h.owner})
		}
		return nil
	})
}

// DelRule implements host.Tables.
func (h *machineHost) DelRule(r osnet.Rule) error {
	return h.change(func() error {
		h.m.rules = slices.DeleteFunc(h.m.rules, func(o rule) bool { return o.Rule == r && o.owner == h.owner })
		return nil
	})
}

// SetSysctl implements host.Tables: there is nothing to set.
func (h *machineHost) SetSysctl(string, string) error { return h.change(func() error { return nil }) }

// AcceptLocal implements host.Tables: a simulated machine does so anyway.
func (h *machineHost) AcceptLocal(string) error { return h.change(func() error { return nil }) }

// CheckRouter implements host.Tables.
func (h *machineHost) CheckRouter(string, string) error {
	return h.change(func() error {
		if !h.m.forward {
			return fmt.Errorf("simnet: %s does not forward", h.m.name)
		}
		return nil
	})
}

// watcher is one reader of an interface's carrier.
type watcher struct {
	h   *machineHost
	out chan osnet.LinkState

	once sync.Once
}

func (w *watcher) tell(s osnet.LinkState) {
	select {
	case w.out <- s:
	default: // as the kernel's queue: the oldest go
		select {
		case <-w.out:
		default:
		}
		s.Missed = true
		w.out <- s
	}
}

func (w *watcher) shut() { w.once.Do(func() { close(w.out) }) }

// WatchLink implements host.Tables.
func (h *machineHost) WatchLink(ctx context.Context, dev string) (<-chan osnet.LinkState, error) {
	w := &watcher{h: h, out: make(chan osnet.LinkState, 32)}
	err := h.change(func() error {
		i, err := h.m.device(dev)
		if err != nil {
			return err
		}
		w.tell(osnet.LinkState{Up: i.isUp, At: time.Now()})
		i.watchers = append(i.watchers, w)
		context.AfterFunc(ctx, func() {
			h.m.w.mu.Lock()
			defer h.m.w.mu.Unlock()
			i.watchers = slices.DeleteFunc(i.watchers, func(o *watcher) bool { return o == w })
			w.shut()
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w.out, nil
}
