package ha6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/ha/onlink"
	"openmpa/internal/ha/path"
	"openmpa/internal/host"
	"openmpa/internal/inet"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip6"
	"openmpa/par/neigh"
	"openmpa/tunnel/ipip"
	"openmpa/tunnel/tun"
)

// DefaultDevice is the TUN's name.
const DefaultDevice = "mpa6"

// DefaultMTU is what a router's tunnel about IPv6 carries, 1408 octets, without the headers of a
// packet in another, numbered as a copy is: 2 * 40 and 8.
const DefaultMTU = 1320

// The rule that brings answers to a mobile node that is at home past its own binding.
const (
	homePriority = 7170
	homeTable    = 7170
)

// signalQueue is how many messages wait for the disk.
const signalQueue = 256

// Config of a home agent. Zero fields but Core and Host take defaults.
type Config struct {
	Core CoreConfig
	Host host.IPv6 // the machine, which its opener closes
	// HomeInterface is the interface of the home link, where addresses are probed and answered
	// for. Empty: the home network is a virtual one, nothing is probed or answered.
	HomeInterface string

	Device string // TUN
	MTU    int    // octets of an inner packet, at least 1280; 0: DefaultMTU

	// State keeps the bindings over a crash; nil: they are not kept.
	State    state.Store
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
	if c.State == nil {
		c.State = state.NewMemory()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MTU < inet.MinMTU6 {
		return fmt.Errorf("ha6: a tunnel for packets of %d octets does not carry IPv6: at least %d", c.MTU, inet.MinMTU6)
	}
	if err := c.Core.Check(); err != nil {
		return err
	}
	for _, p := range c.Core.Agent.Prefixes {
		if c.HomeInterface != "" && !p.Contains(c.Core.Agent.Address) {
			return fmt.Errorf("ha6: the home agent's address %v does not lie in the home network %v, whose link it answers on", c.Core.Agent.Address, p)
		}
	}
	return nil
}

// Agent is a running home agent. Make one with Open.
type Agent struct {
	// fixed after Open
	cfg     Config
	core    *Core
	host    host.IPv6
	tun     host.TUN
	home    *onlink.Link // nil without a home interface
	wake    chan struct{}
	signals chan []byte
	start   time.Time
	ctx     context.Context // ends probes
	cancel  context.CancelFunc

	probes sync.WaitGroup // Add while the core is not closed

	badSignals ha.Throttle
}

var _ World = (*Agent)(nil)

// Open opens everything, checks the kernel's settings, and makes the bindings that were kept
// stand again. Run must follow, or Close.
func Open(cfg Config) (a *Agent, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	a = &Agent{cfg: cfg, host: cfg.Host, wake: make(chan struct{}, 1), signals: make(chan []byte, signalQueue), start: time.Now()}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err = a.notOurs(); err != nil {
		return a, err
	}
	// With the outer header of what comes in by the tunnel, it is larger than what goes into it.
	if a.tun, err = a.host.OpenTUN(tun.Config{Name: cfg.Device, MTU: cfg.MTU + ipip.HeaderLen6}); err != nil {
		return a, fmt.Errorf("ha6: %w", err)
	}
	if err = a.host.SetSysctl("net/ipv6/conf/"+a.tun.Name()+"/disable_ipv6", "0"); err != nil {
		return a, fmt.Errorf("ha6: this kernel has no IPv6: %w", err)
	}
	if err = a.host.CheckRouter6(a.interfaces()...); err != nil {
		return a, fmt.Errorf("ha6: this host cannot be a home agent as it is set up: %w", err)
	}
	if err = a.openHome(); err != nil {
		return a, err
	}
	if err = a.host.SetRoute(a.route(cfg.Core.Agent.Address, 0)); err != nil {
		return a, fmt.Errorf("ha6: %w", err)
	}
	if a.core, err = NewCore(cfg.Core, a); err != nil {
		return a, err
	}
	return a, a.restore()
}

// notOurs makes sure that the kernel does not take the home agent's address for its own:
// then it would keep what is for the home agent, or answer it with errors.
func (a *Agent) notOurs() error {
	addr := a.cfg.Core.Agent.Address
	s, err := a.host.ListenUDP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return nil
	}
	return errors.Join(fmt.Errorf("ha6: %v is an address of this host, or net.ipv6.ip_nonlocal_bind is 1: the home agent for IPv6 needs an address that no interface has", addr), s.Close())
}

func (a *Agent) interfaces() []string {
	if a.cfg.HomeInterface == "" {
		return []string{a.tun.Name()}
	}
	return []string{a.cfg.HomeInterface, a.tun.Name()}
}

// openHome opens the home link, when there is one.
func (a *Agent) openHome() error {
	name := a.cfg.HomeInterface
	if name == "" {
		return nil
	}
	addr := a.cfg.Core.Agent.Address
	var err error
	if a.home, err = onlink.Open(a.host, name, addr, a.cfg.Log); err != nil {
		return fmt.Errorf("ha6: home link: %w", err)
	}
	if err := a.home.Add(addr); err != nil {
		return fmt.Errorf("ha6: home link: %w", err)
	}
	// What we say to a home address goes to the home link also while the node is away: we say
	// it only to a node that has asked from there.
	for _, p := range a.cfg.Core.Agent.Prefixes {
		if err := a.host.SetRoute(osnet.Route{Dst: p, Dev: name, Table: homeTable}); err != nil {
			return fmt.Errorf("ha6: home link: %w", err)
		}
		if err := a.host.AddRule(osnet.Rule{Priority: homePriority, IIF: a.tun.Name(), To: p, Table: homeTable}); err != nil {
			return fmt.Errorf("ha6: home link: %w", err)
		}
	}
	return nil
}

// Close undoes everything. Run calls it.
func (a *Agent) Close() error {
	var errs []error
	if a.core != nil {
		a.core.Close()
	}
	a.cancel()
	a.probes.Wait()
	if a.home != nil {
		errs = append(errs, a.home.Close())
		for _, p := range a.cfg.Core.Agent.Prefixes {
			errs = append(errs,
				a.host.DelRule(osnet.Rule{Priority: homePriority, IIF: a.tun.Name(), To: p, Table: homeTable}),
				a.host.DelRoute(osnet.Route{Dst: p, Dev: a.cfg.HomeInterface, Table: homeTable}))
		}
	}
	if a.tun != nil {
		errs = append(errs, a.host.DelRoute(a.route(a.cfg.Core.Agent.Address, 0)), a.tun.Close())
	}
	return errors.Join(errs...)
}

// Status is what the control socket shows.
type Status struct {
	Address  netip.Addr        `json:"address"`
	Started  time.Time         `json:"started"`
	Home     string            `json:"home_interface,omitempty"`
	Bindings []BindingStatus   `json:"bindings"`
	Updates  UpdateStatus      `json:"updates"`
	Counters map[string]uint64 `json:"counters"`
	Device   ha.DeviceStatus   `json:"tun"`
	Proxy    *neigh.Stats      `json:"neighbour_discovery,omitempty"`
}

// UpdateStatus counts Binding Updates.
type UpdateStatus struct {
	Received  uint64            `json:"received"`
	Accepted  uint64            `json:"accepted"`
	Denied    map[string]uint64 `json:"denied,omitempty"` // by status
	Discarded uint64            `json:"discarded"`        // messages that were not answered
}

// BindingStatus is one binding as status shows it.
type BindingStatus struct {
	HomeAddress netip.Addr      `json:"home_address"`
	Bound       bool            `json:"bound"`
	CareOf      *netip.Addr     `json:"care_of,omitempty"`
	Also        []netip.Addr    `json:"also,omitempty"` // further care-of addresses
	Since       *time.Time      `json:"since,omitempty"`
	Expires     *time.Time      `json:"expires,omitempty"`
	PathMarkers bool            `json:"path_markers,omitempty"`
	Previous    *netip.Addr     `json:"previous_care_of,omitempty"`
	Gate        path.GateStatus `json:"gate"`
}

// Status returns the present state. It may be called by several goroutines at once.
func (a *Agent) Status() Status {
	s := Status{Address: a.cfg.Core.Agent.Address, Started: a.start, Home: a.cfg.HomeInterface, Counters: a.core.Counters()}
	s.Bindings, s.Updates = a.core.Bindings(time.Now())
	if d, err := a.tun.Stats(); err == nil { // it fails when the device is closed, at the end
		s.Device = ha.DeviceStatus{Read: d.Read, ReadDropped: d.ReadDropped, Write: d.Write, WriteDropped: d.WriteDropped}
	}
	if a.home != nil {
		p := a.home.Stats()
		s.Proxy = &p
	}
	return s
}

// Bindings returns the state of every home address, in the order of configuration, and
// what became of Binding Updates.
func (c *Core) Bindings(now time.Time) (list []BindingStatus, u UpdateStatus) {
	c.signal.Lock()
	defer c.signal.Unlock()
	for _, cfg := range c.cfg.Agent.Nodes {
		s := BindingStatus{HomeAddress: cfg.Home}
		if list := c.agent.Bindings(cfg.Home); len(list) > 0 {
			b := list[0]
			s.Bound, s.CareOf, s.Since, s.Expires, s.PathMarkers = true, &b.Addr, &b.Since, &b.Expires, b.Path != 0
			s.Also = careOfs(list)[1:]
		}
		p := c.nodes[cfg.Home].path
		if old, end := p.Old(); len(old) > 0 && now.Before(end) {
			s.Previous = &old[0]
		}
		s.Gate = p.Gate()
		list = append(list, s)
	}
	stats := c.agent.Stats()
	u = UpdateStatus{Received: stats.Updates, Accepted: stats.Accepted, Discarded: stats.Discarded, Denied: mip6.Denials(stats.Denied)}
	return list, u
}
