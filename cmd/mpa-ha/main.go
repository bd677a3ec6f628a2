// Command mpa-ha is a Mobile IPv4 home agent (RFC 5944) with reverse tunnelling
// (RFC 3024) and path-end markers, and a Mobile IPv6 one (RFC 6275) beside it.
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
	"openmpa/internal/ha/ha6"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
)

func main() {
	daemon.Main(daemon.Spec{
		Name:    "mpa-ha",
		Summary: "Mobile IPv4 and IPv6 home agent (RFC 5944, RFC 6275)",
		Doc: `Keeps for each mobile node where it is (its care-of address), and tunnels what is
sent to its home address there, by IP in IP in user space; takes what the node sends
back through the same tunnel and forwards it. On the home link it answers ARP for the
nodes that are away. With mobile nodes of this project a change of care-of address
reorders nothing: each side ends the old path with a marker.

With a section ipv6 it is a home agent for Mobile IPv6 as well, by IPv6 in IPv6 in user
space and with neighbour discovery in place of ARP. Binding updates are authenticated
by the option of RFC 4285, not by IPsec. That needs IPv6 forwarding, and an address in the home network
that no interface has: the daemon answers for it.

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
	cfg, clear, err := c.agent()
	if err != nil {
		return err
	}
	defer clear()
	if err := cfg.Check(); err != nil || c.IPv6 == nil {
		return err
	}
	six, clear6, err := c.IPv6.agent()
	if err != nil {
		return err
	}
	defer clear6()
	return six.Check()
}

func run(ctx context.Context, env daemon.Env) error {
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		return err
	}
	cfg, clear, err := c.agent()
	if err != nil {
		return err
	}
	defer clear()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config.Default(&c.State, config.StateFile("ha"))
	store, err := state.Open(c.State.String(), env.Log)
	if err != nil {
		return err
	}
	defer store.Close()
	cfg.State = store
	cfg.Log = env.Log
	cfg.Recorder = event.NewRecorder(c.Node, env.Log, int(c.Records))
	machine, err := host.LinuxIPv6(env.Log, osnet.OwnerHomeAgent)
	if err != nil {
		return err
	}
	defer machine.Close()
	cfg.Host = func(*slog.Logger, string) (host.Host, error) { return shared{machine}, nil }
	agent, err := ha.Open(cfg)
	if err != nil {
		return err
	}
	status := func() any { return agent.Status() }
	g, ctx := errgroup.WithContext(ctx)
	if c.IPv6 != nil {
		six, end, err := openIPv6(*c.IPv6, cfg, machine)
		if err != nil {
			return errors.Join(err, agent.Close())
		}
		defer end()
		status = func() any { return both{agent.Status(), six.Status()} }
		g.Go(func() error { return six.Run(ctx) })
	}
	server, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: cfg.Recorder, Log: env.Log, Status: status,
	})
	if err != nil {
		cancel()
		return errors.Join(err, g.Wait(), agent.Close())
	}
	g.Go(func() error { return agent.Run(ctx) })
	g.Go(func() error { return server.Run(ctx) })
	env.Ready()
	return g.Wait()
}

// shared is the machine of both home agents: its opener closes it.
type shared struct{ host.Host }

func (shared) Close() error { return nil }

// both is the status of both home agents.
type both struct {
	ha.Status
	IPv6 ha6.Status `json:"ipv6"`
}

// openIPv6 opens the home agent for Mobile IPv6 beside that of cfg. end clears its keys.
func openIPv6(c ipv6, cfg ha.Config, machine host.IPv6) (a *ha6.Agent, end func(), err error) {
	six, end, err := c.agent()
	if err != nil {
		return nil, nil, err
	}
	six.Node, six.Host, six.State, six.Recorder, six.Log = cfg.Node, machine, cfg.State, cfg.Recorder, cfg.Log
	if a, err = ha6.Open(six); err != nil {
		end()
		return nil, nil, err
	}
	return a, end, nil
}
