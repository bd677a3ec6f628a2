package ha

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/tun"
)

// Defaults of Config.
const (
	DefaultDevice = "mpa0"
	DefaultMTU    = 1400
)

// DefaultTunnelAddress is link-local and names nobody: the kernel's reverse path filter
// wants the TUN to have an address.
var DefaultTunnelAddress = netip.MustParsePrefix("169.254.62.54/31")

// Config of a home agent. Zero fields but Core take defaults.
type Config struct {
	Node string // name in status
	Core CoreConfig
	Host host.Opener // the machine; nil: host.Linux
	// HomeInterface is the interface of the home link, where home addresses are answered
	// for. Empty: the home network is a virtual one, nothing is answered.
	HomeInterface string
	// HomePrefix is the home network; the home addresses must lie in it, if it is given.
	HomePrefix netip.Prefix

	Device        string       // TUN
	TunnelAddress netip.Prefix // of the TUN
	MTU           int          // octets of an inner packet

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
	if !c.TunnelAddress.IsValid() {
		c.TunnelAddress = DefaultTunnelAddress
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.State == nil {
		c.State = state.NewMemory()
	}
	if c.Host == nil {
		c.Host = host.Linux
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.Core.Check(); err != nil {
		return err
	}
	if !c.HomePrefix.IsValid() {
		return nil
	}
	if !c.HomePrefix.Addr().Is4() {
		return fmt.Errorf("ha: the home network %v is not IPv4", c.HomePrefix)
	}
	for _, n := range c.Core.Nodes {
		if !c.HomePrefix.Contains(n.HomeAddress) {
			return fmt.Errorf("ha: home address %v does not lie in the home network %v", n.HomeAddress, c.HomePrefix)
		}
	}
	return nil
}

// Agent is a running home agent. Make one with Open.
type Agent struct {
	// fixed after Open
	cfg   Config
	core  *Core
	host  host.Host
	tun   host.TUN
	ipip  host.IPIP
	udp   host.UDP
	home  *homeLink // nil without a home interface
	index int       // of the home interface, 0 without
	wake  chan struct{}
	start time.Time

	badRequests Throttle
}

// Open opens everything, by default in the network namespace of the calling thread, removes what a
// home agent before this one left in the kernel, checks the kernel's settings, and makes the
// bindings that were kept stand again. Run must follow, or Close.
func Open(cfg Config) (a *Agent, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	a = &Agent{cfg: cfg, wake: make(chan struct{}, 1), start: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.host, err = cfg.Host(cfg.Log, osnet.OwnerHomeAgent); err != nil {
		return a, fmt.Errorf("ha: %w", err)
	}
	addr := netip.AddrPortFrom(cfg.Core.Address, mip4.Port)
	if a.udp, err = a.host.ListenUDP(addr); err != nil {
		return a, fmt.Errorf("ha: listen for registrations: %w: is %v an address of this host, and no other home agent running?", err, cfg.Core.Address)
	}
	if a.ipip, err = a.host.OpenIPIP(cfg.Core.Address, bind.Options{}); err != nil {
		return a, fmt.Errorf("ha: %w", err)
	}
	if a.tun, err = a.host.OpenTUN(tun.Config{Name: cfg.Device, MTU: cfg.MTU}); err != nil {
		return a, fmt.Errorf("ha: %w", err)
	}
	if err = a.host.AddAddress(a.tun.Name(), cfg.TunnelAddress, osnet.AddrOptions{NoPrefixRoute: true}); err != nil {
		return a, fmt.Errorf("ha: %w", err)
	}
	if err := a.host.SetSysctl("net/ipv6/conf/"+a.tun.Name()+"/disable_ipv6", "1"); err != nil {
		cfg.Log.Debug("the TUN speaks IPv6, too; what it says is dropped", "err", err)
	}
	if err = a.openHome(); err != nil {
		return a, err
	}
	if err = a.host.CheckRouter(cfg.HomeInterface, a.tun.Name()); err != nil {
		return a, fmt.Errorf("ha: this host cannot be a home agent as it is set up: %w", err)
	}
	if a.core, err = NewCore(cfg.Core, a); err != nil {
		return a, err
	}
	return a, a.restore()
}

// openHome opens the home link, when there is one.
func (a *Agent) openHome() error {
	name := a.cfg.HomeInterface
	if name == "" {
		return nil
	}
	link, err := a.host.LinkByName(name)
	if err != nil {
		return fmt.Errorf("ha: home link: %w", err)
	}
	a.index = link.Index
	arp, err := a.host.OpenARP(name)
	if err != nil {
		return fmt.Errorf("ha: home link: %w", err)
	}
	a.home, err = newHomeLink(arp, a.host, a.cfg.Log)
	return err
}

// Close undoes everything. Run calls it.
func (a *Agent) Close() error {
	var errs []error
	if a.core != nil {
		a.core.Close()
	}
	if a.home != nil {
		errs = append(errs, a.home.close())
	}
	if a.udp != nil {
		if err := a.udp.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.ipip != nil {
		errs = append(errs, a.ipip.Close())
	}
	if a.host != nil {
		if err := a.host.Close(); !errors.Is(err, osnet.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.tun != nil {
		errs = append(errs, a.tun.Close())
	}
	return errors.Join(errs...)
}

// Status is what the control socket shows.
type Status struct {
	Node      string            `json:"node"`
	Address   netip.Addr        `json:"address"`
	Started   time.Time         `json:"started"`
	Home      string            `json:"home_interface,omitempty"`
	Bindings  []BindingStatus   `json:"bindings"`
	Counters  map[string]uint64 `json:"counters"`
	Tunnel    TunnelStatus      `json:"ipip"`
	Device    DeviceStatus      `json:"tun"`
	ARPAnswer uint64            `json:"arp_answers"`
}

// TunnelStatus counts packets at the IP in IP socket.
type TunnelStatus struct {
	Sent        uint64 `json:"sent"`
	SendErrors  uint64 `json:"send_errors"`
	Received    uint64 `json:"received"`
	Malformed   uint64 `json:"dropped_malformed"`
	Truncated   uint64 `json:"dropped_truncated"`
	KernelDrops uint64 `json:"dropped_by_kernel"` // receive buffer full
}

// DeviceStatus counts packets at the TUN; see tun.Stats.
type DeviceStatus struct {
	Read         uint64 `json:"read"`
	ReadDropped  uint64 `json:"read_dropped"`
	Write        uint64 `json:"write"`
	WriteDropped uint64 `json:"write_dropped"`
}

// Status returns the present state. It may be called by several goroutines at once.
func (a *Agent) Status() Status {
	s := Status{
		Node: a.cfg.Node, Address: a.cfg.Core.Address, Started: a.start, Home: a.cfg.HomeInterface,
		Bindings: a.core.Bindings(), Counters: a.core.Counters(),
	}
	t := a.ipip.Stats()
	s.Tunnel = TunnelStatus{
		Sent: t.Sent, SendErrors: t.SendErrors, Received: t.Received,
		Malformed: t.Malformed, Truncated: t.Truncated, KernelDrops: t.KernelDrops,
	}
	if d, err := a.tun.Stats(); err == nil { // it fails when the device is closed, at the end
		s.Device = DeviceStatus{Read: d.Read, ReadDropped: d.ReadDropped, Write: d.Write, WriteDropped: d.WriteDropped}
	}
	if a.home != nil {
		s.ARPAnswer = a.home.answers.Load()
	}
	return s
}
