package cn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/ha/onlink"
	"openmpa/internal/host"
	"openmpa/internal/inet"
	"openmpa/internal/osnet"
	"openmpa/mn/mobility/mip6"
	"openmpa/par/neigh"
	"openmpa/tunnel/tun"
)

// Defaults of Config.
const (
	DefaultDevice = "mpac"
	DefaultMTU    = 1500
)

// Routing of what is the host's own: the address behind the TUN, home addresses in front of it.
const (
	localPriority = 7171
	localTable    = 7171
	homePriority  = 7172
	homeTable     = 7172
)

// Config of a correspondent. Zero fields but Core and Host take defaults.
type Config struct {
	Core mip6.CorrespondentConfig
	Host host.IPv6 // the machine, which its opener closes
	// Interface is that on whose link the address is answered for. Empty: it must be routed here.
	Interface string

	Device string // TUN
	MTU    int    // octets of a packet on the host's link, at least 1304

	Recorder *event.Recorder
	Log      *slog.Logger
}

// Check completes the defaults and says what is wrong, or nil.
func (c *Config) Check() error {
	if c.Device == "" {
		c.Device = DefaultDevice
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if least := inet.MinMTU6 + mip6.Overhead; c.MTU < least {
		return fmt.Errorf("cn: a link of %d octets does not carry IPv6 with a routing header: at least %d", c.MTU, least)
	}
	return c.Core.Check()
}

// Agent is a running correspondent. Make one with Open.
type Agent struct {
	// fixed after Open
	cfg   Config
	core  *Core
	host  host.IPv6
	tun   host.TUN
	link  *onlink.Link // nil without an interface
	wake  chan struct{}
	start time.Time
	undo  []func() error // of what was done in the kernel

	badSignals ha.Throttle
}

var _ World = (*Agent)(nil)

// Open opens everything, and checks the kernel's settings. Run must follow, or Close.
func Open(cfg Config) (a *Agent, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	a = &Agent{cfg: cfg, host: cfg.Host, wake: make(chan struct{}, 1), start: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cn: %w", err), a.Close())
		}
	}()
	if a.tun, err = a.host.OpenTUN(tun.Config{Name: cfg.Device, MTU: cfg.MTU}); err != nil {
		return a, err
	}
	if a.core, err = NewCore(cfg.Core, cfg.MTU, a); err != nil {
		return a, err
	}
	if err = a.host.SetSysctl("net/ipv6/conf/"+a.tun.Name()+"/disable_ipv6", "0"); err != nil {
		return a, fmt.Errorf("this kernel has no IPv6: %w", err)
	}
	devices := []string{a.tun.Name()}
	if cfg.Interface != "" {
		devices = append(devices, cfg.Interface)
	}
	if err = a.host.CheckRouter6(devices...); err != nil {
		return a, fmt.Errorf("this host cannot be a correspondent as it is set up: %w", err)
	}
	if err = a.route(); err != nil {
		return a, err
	}
	if cfg.Interface == "" {
		return a, nil
	}
	if a.link, err = onlink.Open(a.host, cfg.Interface, cfg.Core.Address, cfg.Log); err != nil {
		return a, err
	}
	return a, a.link.Add(cfg.Core.Address)
}

// route makes the address one of this host that is reached through the TUN.
func (a *Agent) route() error {
	dev, address := a.tun.Name(), netip.PrefixFrom(a.cfg.Core.Address, 128)
	rules := []osnet.Rule{
		{Priority: localPriority, IIF: dev, To: address, Table: localTable},
		{Priority: homePriority, IIF: "lo", To: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Table: homeTable},
	}
	for _, r := range rules {
		if err := a.host.AddRule(r); err != nil {
			return err
		}
		a.undo = append(a.undo, func() error { return a.host.DelRule(r) })
	}
	if err := a.host.AddAddress(dev, address, osnet.AddrOptions{NoPrefixRoute: true, NoDAD: true}); err != nil {
		return err
	}
	a.undo = append(a.undo, func() error { return a.host.DelAddress(dev, address) })
	for _, r := range []osnet.Route{{Dst: address, Dev: dev}, {Dst: address, Dev: dev, Table: localTable, Local: true}} {
		if err := a.host.SetRoute(r); err != nil {
			return err
		}
		a.undo = append(a.undo, func() error { return a.host.DelRoute(r) })
	}
	return a.host.NotLocal(dev, a.cfg.Core.Address)
}

// homeRoute brings what this host sends to a home address into the TUN.
func (a *Agent) homeRoute(home netip.Addr) osnet.Route {
	return osnet.Route{Dst: netip.PrefixFrom(home, 128), Dev: a.tun.Name(), Table: homeTable, Src: a.cfg.Core.Address}
}

// Out implements World.
func (a *Agent) Out(pkt []byte) error {
	_, err := a.tun.Write(pkt)
	return err
}

// Bound implements World.
func (a *Agent) Bound(home netip.Addr) error {
	err := a.host.SetRoute(a.homeRoute(home))
	if err != nil {
		a.cfg.Log.Warn("what is sent to a mobile node goes through its home agent", "home_address", home, "err", err)
	}
	return err
}

// Unbound implements World.
func (a *Agent) Unbound(home netip.Addr) {
	if err := a.host.DelRoute(a.homeRoute(home)); err != nil {
		a.cfg.Log.Warn("the route of a home address stays until the end", "home_address", home, "err", err)
	}
}

// Wake implements World.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

const packetRoom = 1 << 16 // octets

// Run serves until ctx is done, and undoes everything then. A clean end is nil.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(a.packets)
	g.Go(func() error {
		return ha.Timer(ctx, a.wake, a.core.Deadline, func(now time.Time) { a.record(now, a.core.OnDeadline(now)) })
	})
	g.Go(func() error {
		<-ctx.Done()
		return a.Close() // ends the reader
	})
	return g.Wait()
}

// packets reads what the kernel routed into the TUN.
func (a *Agent) packets() error {
	buf := make([]byte, packetRoom)
	for {
		n, err := a.tun.Read(buf)
		if err != nil {
			return ha.Closed(err)
		}
		now := time.Now()
		changes, err := a.core.Handle(now, buf[:n])
		a.record(now, changes)
		if err == nil {
			continue
		}
		if dropped, ok := a.badSignals.Allow(now); ok {
			a.cfg.Log.Warn("mobility message dropped", "err", err, "not_logged_before", dropped)
		}
	}
}

// record puts changes into the timeline.
func (a *Agent) record(now time.Time, changes []mip6.Changed) {
	for _, c := range changes {
		n := ha.Notice{What: ha.NoticeUnbound, Home: c.Home}
		switch {
		case len(c.Bindings) > 0:
			n.What, n.CareOf, n.Lifetime = ha.NoticeBound, c.Bindings[0].Addr, c.Bindings[0].Expires.Sub(now)
		case c.Expired:
			n.What = ha.NoticeExpired
		}
		n.Record(a.cfg.Recorder)
	}
}

// Close undoes everything. Run calls it.
func (a *Agent) Close() error {
	var errs []error
	if a.core != nil {
		a.core.Close()
	}
	if a.link != nil {
		errs = append(errs, a.link.Close())
	}
	for len(a.undo) > 0 {
		last := len(a.undo) - 1
		errs = append(errs, a.undo[last]())
		a.undo = a.undo[:last]
	}
	if a.tun != nil {
		errs = append(errs, a.tun.Close())
	}
	return errors.Join(errs...)
}

// Status is what the control socket shows.
type Status struct {
	Address  netip.Addr        `json:"address"`
	Started  time.Time         `json:"started"`
	Bindings []BindingStatus   `json:"bindings"`
	Updates  UpdateStatus      `json:"updates"`
	Counters map[string]uint64 `json:"counters"`
	Device   ha.DeviceStatus   `json:"tun"`
	Proxy    *neigh.Stats      `json:"neighbour_discovery,omitempty"`
}

// BindingStatus is one binding as status shows it.
type BindingStatus struct {
	HomeAddress netip.Addr `json:"home_address"`
	CareOf      netip.Addr `json:"care_of"`
	Since       time.Time  `json:"since"`
	Expires     time.Time  `json:"expires"`
}

// UpdateStatus counts mobility messages.
type UpdateStatus struct {
	Tests     uint64            `json:"tests"` // answered
	Accepted  uint64            `json:"accepted"`
	Denied    map[string]uint64 `json:"denied,omitempty"` // by status
	Discarded uint64            `json:"discarded"`        // messages that were not answered
}

// Status returns the present state. It may be called by several goroutines at once.
func (a *Agent) Status() Status {
	s := Status{Address: a.cfg.Core.Address, Started: a.start}
	s.Bindings, s.Updates, s.Counters = a.core.Status()
	if d, err := a.tun.Stats(); err == nil { // it fails when the device is closed, at the end
		s.Device = ha.DeviceStatus{Read: d.Read, ReadDropped: d.ReadDropped, Write: d.Write, WriteDropped: d.WriteDropped}
	}
	if a.link != nil {
		p := a.link.Stats()
		s.Proxy = &p
	}
	return s
}

// Status returns the bindings in the order of home addresses, and what is counted.
func (c *Core) Status() (list []BindingStatus, u UpdateStatus, counters map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.peer.Bindings()
	for _, home := range slices.SortedFunc(maps.Keys(all), netip.Addr.Compare) {
		b := all[home]
		list = append(list, BindingStatus{HomeAddress: home, CareOf: b.Addr, Since: b.Since, Expires: b.Expires})
	}
	stats := c.peer.Stats()
	u = UpdateStatus{Tests: stats.Tests, Accepted: stats.Accepted, Denied: mip6.Denials(stats.Denied), Discarded: stats.Discarded}
	counters = make(map[string]uint64)
	c.counters.Report(counters)
	return list, u, counters
}
