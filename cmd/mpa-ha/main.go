// Command mpa-ha is a Mobile IPv4 home agent (RFC 5944) with reverse tunnelling
// (RFC 3024) and path-end markers.
package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/state"
)

func main() {
	daemon.Main(daemon.Spec{
		Name:    "mpa-ha",
		Summary: "Mobile IPv4 home agent (RFC 5944)",
		Doc: `Keeps for each mobile node where it is (its care-of address), and tunnels what is
sent to its home address there, by IP in IP in user space; takes what the node sends
back through the same tunnel and forwards it. On the home link it answers ARP for the
nodes that are away. With mobile nodes of this project a change of care-of address
reorders nothing: each side ends the old path with a marker.

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
	return cfg.Check()
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
	config.Default(&c.State, config.StateFile("ha"))
	store, err := state.Open(c.State.String(), env.Log)
	if err != nil {
		return err
	}
	defer store.Close()
	cfg.State = store
	cfg.Log = env.Log
	cfg.Recorder = event.NewRecorder(c.Node, env.Log, int(c.Records))
	agent, err := ha.Open(cfg)
	if err != nil {
		return err
	}
	server, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: cfg.Recorder, Log: env.Log, Status: func() any { return agent.Status() },
	})
	if err != nil {
		_ = agent.Close() // the first error is the one to report
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return agent.Run(ctx) })
	g.Go(func() error { return server.Run(ctx) })
	env.Ready()
	return g.Wait()
}
