// Command mpa-ar is the access-router service of Media-independent
// Pre-Authentication (RFC 6252): PANA authentication agent, configuration agent
// and end of the proactive handover tunnel.
package main

import (
	"context"
	"crypto/rand"
	"errors"

	"openmpa/aaa"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
	"openmpa/internal/operators"
	"openmpa/internal/state"
	"openmpa/paa"
	"openmpa/paa/notify"
	"openmpa/par"
	"openmpa/par/info"
)

func main() {
	var init initialise
	var inv invite
	daemon.Main(daemon.Spec{
		Name:    "mpa-ar",
		Summary: "access router of Media-independent Pre-Authentication (RFC 6252)",
		Doc: `Lets mobile nodes that are still at another network authenticate (PANA, EAP over
RADIUS or Diameter), get an address (DHCP, duplicate address detection) and a tunnel, holds
their packets while they move and delivers them when they have arrived.

It runs on the router of an access network, needs CAP_NET_ADMIN, CAP_NET_RAW and
/dev/net/tun, IPv4 forwarding, and no strict reverse path filter. It removes from
the kernel what it put there when it ends, and after a crash when it starts again, or
with "mpa-ar clean". Only an enforcement point stays, so that no restart opens the
link: "mpa-ar open" removes it, as does a start without "enforce".`,
		Example: example,
		Files:   []daemon.File{{Path: "state", Purpose: "what is kept over a crash; one daemon, one file"}},
		Check:   config.CheckFiles[configuration],
		Run:     run,
		Commands: map[string]daemon.Command{
			"init":     {Summary: "write the configuration of a router: the first of a site, or one that joins", Flags: init.flags, Run: init.run},
			"ap-agent": {Daemon: &apAgent},
			"clean":    {Summary: "remove from the kernel what a router that was killed has left there", Run: clean},
			"open":     {Summary: "remove the enforcement point that a router has left in the kernel", Run: open},
			"invite":   {Summary: "let a node or router join the site", Args: "node|router", Flags: inv.flags, Run: inv.run},
		},
	})
}

func run(ctx context.Context, env daemon.Env) error {
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		return err
	}
	c = c.withDefaults()
	recorder := event.NewRecorder(c.Node, env.Log, int(c.Records))
	store, err := state.Open(c.State.String(), env.Log)
	if err != nil {
		return err
	}
	defer store.Close()
	backend, err := operators.Open(c.AAA, operators.Options{Node: c.Node, Rand: rand.Reader, Log: env.Log})
	if err != nil {
		return err
	}
	defer func() {
		if err := backend.Close(); err != nil {
			env.Log.Warn("authentication servers", "err", err)
		}
	}()
	if err := backend.Realms.Keep(aaa.BooksConfig{Store: store, Log: env.Log}); err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	backend.Start(fail)
	points, err := openPoints(ctx, c, env.Log)
	if err != nil {
		return err
	}
	defer func() {
		if err := points.Close(); err != nil {
			env.Log.Warn("keys may be left in access points", "err", err)
		}
	}()
	var access par.AccessPoints
	if len(c.Points) > 0 {
		access = points
	}
	gate, err := openGate(c, env.Log)
	if err != nil {
		return err
	}
	defer gate.leave(2*c.PANA.Ping.D(), env.Log) // until the next router is there, and then its grace
	around, err := openInformation(ctx, c, env.Log)
	if err != nil {
		return err
	}
	defer around.Close()
	router, err := par.Open(par.Config{
		Access: c.Access.Interface, Address: c.Address, Port: c.Tunnel.Port, Device: c.Tunnel.Device, Fence: c.Tunnel.Address,
		MTU: c.Tunnel.MTU, Offload: c.Tunnel.Offload == nil || *c.Tunnel.Offload, Suites: config.Transforms(c.Tunnel.Suites), Rekey: c.Tunnel.Rekey.Limits(), Plain: c.Tunnel.Encapsulation.Plain(), DHCPServer: c.DHCP.Server, IPv6: c.IPv6.router(), DHCPTimeout: c.DHCP.Timeout.D(), DAD: c.DAD.Timers(), Ahead: c.Ahead.ahead(),
		Buffer: c.Buffer.buffer(), Classes: c.classes(), Link: c.Access.link(), Gate: gate.gate(), Points: access, Information: around.router(),
		Unused: c.Tunnel.Unused.D(), State: store, Rand: rand.Reader, Recorder: recorder, Log: env.Log,
	})
	if err != nil {
		return err
	}
	defer router.Close()
	agent, err := paa.Open(paa.Config{
		Listen: c.listen(), Listen6: c.listen6(), Identities: notify.Identities{CA: c.Identity.CA, AR: c.Identity.AR},
		Lifetime: c.PANA.Lifetime.D(), AuthTimeout: c.PANA.Auth.D(), MaxSessions: c.PANA.Sessions, PerNode: c.PANA.PerNode, Ping: c.PANA.Ping.D(), Allow: c.PANA.Allow, Links: router.Prefixes(),
		Backend: backend.Realms, Bind: func(s *paa.Service) { router.Bind(s); backend.Bind(s) }, Rand: rand.Reader, Recorder: recorder, Log: env.Log,
	}, router)
	if err != nil {
		return err
	}
	defer agent.Close()
	server, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: recorder, Log: env.Log, Status: func() any { return status{router.Status(), backend.Status(), around.status()} },
	})
	if err != nil {
		return err
	}
	env.Ready()
	err = server.Run(ctx)
	if why := context.Cause(ctx); err == nil && !errors.Is(why, context.Canceled) {
		return why
	}
	return err
}

// status is the router's, with what is known of AAA.
type status struct {
	par.Status
	AAA    operators.Status `json:"aaa"`
	Around *info.Status     `json:"neighbourhood,omitempty"`
}
