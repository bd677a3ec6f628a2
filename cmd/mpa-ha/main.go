// Command mpa-ha is a Mobile IPv4 home agent (RFC 5944) with reverse tunnelling
// (RFC 3024) and path-end markers, a Mobile IPv6 one (RFC 6275), and a correspondent.
package main

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/ha/cn"
	"openmpa/internal/ha/ha6"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
)

func main() {
	daemon.Main(daemon.Spec{
		Name:    "mpa-ha",
		Summary: "Mobile IPv4 and IPv6 home agent, and correspondent (RFC 5944, RFC 6275)",
		Doc: `Keeps for each mobile node where it is (its care-of address), and tunnels what is
sent to its home address there, by IP in IP in user space; takes what the node sends
back through the same tunnel and forwards it. On the home link it answers ARP for the
nodes that are away. With mobile nodes of this project a change of care-of address
reorders nothing: each side ends the old path with a marker.

With a section ipv6 it is a home agent for Mobile IPv6 as well, or alone, by IPv6 in IPv6 in user
space and with neighbour discovery in place of ARP. Binding updates are authenticated
by the option of RFC 4285, not by IPsec. That needs IPv6 forwarding, and an address in the home network
that no interface has: the daemon answers for it.

With a section correspondent it makes the host one that does route optimisation: mobile nodes that
test the way to it and bind there are spoken to directly, not by way of their home agents.

It runs on a router of the home network, needs CAP_NET_ADMIN, CAP_NET_RAW,
CAP_NET_BIND_SERVICE and /dev/net/tun, IPv4 forwarding, and no strict reverse path
filter. It removes from the kernel what it put there when it ends, and after a crash when
it starts again. Bindings it keeps in a file before it grants them: they stand again when it
starts, also after a crash.`,
		Example: example,
		Files: []daemon.File{
			{Path: "state", Purpose: "bindings, kept over a crash; one daemon, one file"},
			{Path: "key-file", Purpose: "key shared with a mobile node, 16 octets or more; see --example"},
		},
		Check: check,
		Run:   run,
	})
}

// check also reads the keys: a wrong one is a mistake in the configuration.
func check(path string) error {
	if err := config.CheckFiles[configuration](path); err != nil {
		return err
	}
	c, err := config.Load[configuration](path)
	if err != nil {
		return err
	}
	if len(c.Nodes) > 0 {
		cfg, clear, err := c.agent()
		if err != nil {
			return err
		}
		defer clear()
		if err := cfg.Check(); err != nil {
			return err
		}
	}
	if c.IPv6 != nil {
		cfg, clear, err := c.agent6()
		if err != nil {
			return err
		}
		defer clear()
		if err := cfg.Check(); err != nil {
			return err
		}
	}
	if c.Correspondent == nil {
		return nil
	}
	cfg := c.peer()
	return cfg.Check()
}

func run(ctx context.Context, env daemon.Env) error {
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		return err
	}
	config.Default(&c.State, config.StateFile("ha"))
	store, err := state.Open(c.State.String(), env.Log)
	if err != nil {
		return err
	}
	defer store.Close()
	machine, err := host.LinuxIPv6(env.Log, osnet.OwnerHomeAgent)
	if err != nil {
		return err
	}
	defer machine.Close()
	d := &agents{machine: machine, store: store, log: env.Log, recorder: event.NewRecorder(c.Node, env.Log, int(c.Records))}
	defer d.clear()
	if err := d.open(c); err != nil {
		return errors.Join(err, d.close())
	}
	server, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: d.recorder, Log: env.Log, Status: func() any { return d.status(c.Node) },
	})
	if err != nil {
		return errors.Join(err, d.close())
	}
	g, ctx := errgroup.WithContext(ctx)
	if d.four != nil {
		g.Go(func() error { return d.four.Run(ctx) })
	}
	if d.six != nil {
		g.Go(func() error { return d.six.Run(ctx) })
	}
	if d.peer != nil {
		g.Go(func() error { return d.peer.Run(ctx) })
	}
	g.Go(func() error { return server.Run(ctx) })
	env.Ready()
	return g.Wait()
}

// agents are the home agents of both families and a correspondent; each may be nil.
type agents struct {
	machine  host.IPv6
	store    state.Store
	log      *slog.Logger
	recorder *event.Recorder
	four     *ha.Agent
	six      *ha6.Agent
	peer     *cn.Agent
	keys     []func() // clear them
}

// open opens what is configured.
func (d *agents) open(c configuration) error {
	if len(c.Nodes) > 0 {
		cfg, clear, err := c.agent()
		if err != nil {
			return err
		}
		d.keys = append(d.keys, clear)
		cfg.State, cfg.Log, cfg.Recorder = d.store, d.log, d.recorder
		cfg.Host = func(*slog.Logger, string) (host.Host, error) { return shared{d.machine}, nil }
		if d.four, err = ha.Open(cfg); err != nil {
			d.four = nil
			return err
		}
	}
	if c.IPv6 != nil {
		cfg, clear, err := c.agent6()
		if err != nil {
			return err
		}
		d.keys = append(d.keys, clear)
		cfg.Host, cfg.State, cfg.Log, cfg.Recorder = d.machine, d.store, d.log, d.recorder
		if d.six, err = ha6.Open(cfg); err != nil {
			d.six = nil
			return err
		}
	}
	if c.Correspondent == nil {
		return nil
	}
	cfg := c.peer()
	cfg.Host, cfg.Log, cfg.Recorder = d.machine, d.log, d.recorder
	var err error
	if d.peer, err = cn.Open(cfg); err != nil {
		d.peer = nil
	}
	return err
}

// close ends those that do not run.
func (d *agents) close() error {
	var errs []error
	if d.four != nil {
		errs = append(errs, d.four.Close())
	}
	if d.six != nil {
		errs = append(errs, d.six.Close())
	}
	if d.peer != nil {
		errs = append(errs, d.peer.Close())
	}
	return errors.Join(errs...)
}

func (d *agents) clear() {
	for _, clear := range d.keys {
		clear()
	}
}

// status is that of all: that of the home agent for Mobile IPv4 as it stands.
type status struct {
	Node string `json:"node"`
	*ha.Status
	IPv6          *ha6.Status `json:"ipv6,omitempty"`
	Correspondent *cn.Status  `json:"correspondent,omitempty"`
}

func (d *agents) status(node string) status {
	s := status{Node: node}
	if d.four != nil {
		four := d.four.Status()
		s.Status = &four
	}
	if d.six != nil {
		six := d.six.Status()
		s.IPv6 = &six
	}
	if d.peer != nil {
		peer := d.peer.Status()
		s.Correspondent = &peer
	}
	return s
}

// shared is the machine of both home agents: its opener closes it.
type shared struct{ host.Host }

func (shared) Close() error { return nil }
