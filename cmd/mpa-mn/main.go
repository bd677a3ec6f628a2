// Command mpa-mn is the mobile-node daemon of Media-independent
// Pre-Authentication (RFC 6252).
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/state"
	"openmpa/mn"
	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
	"openmpa/mn/link"
	"openmpa/tunnel/flow"
)

func main() {
	var (
		j join
		o options
	)
	daemon.Main(daemon.Spec{
		Name:    "mpa-mn",
		Summary: "mobile node of Media-independent Pre-Authentication (RFC 6252)",
		Doc: `Keeps the node's connections while it moves between networks: before a move it
authenticates at the next access router, gets an address there and a tunnel, and
moves its binding at the home agent; then it changes the link, and goes on.

It needs CAP_NET_ADMIN, CAP_NET_RAW and /dev/net/tun. A move is asked for with
"mpactl handover NETWORK"; "mpactl prepare NETWORK" does beforehand what can be
done, and keeps it for a minute. Where the link is moved by somebody else the node
follows at once. It removes from the kernel what it put there when it
ends, and after a crash when it starts again.`,
		Example: example,
		Files:   []daemon.File{{Path: "state", Purpose: "what is kept over a crash; one daemon, one file"}},
		Check: func(path string) error {
			c, err := load(path)
			if err == nil {
				_, err = c.EAP.peer()
			}
			return err
		},
		Flags: o.flags,
		Run:   o.run,
		Commands: map[string]daemon.Command{
			"join": {Summary: "become a node of a site, with a code of mpa-ar invite", Args: "ROUTER", Flags: j.flags, Run: j.run},
		},
	})
}

func load(path string) (configuration, error) {
	if err := config.CheckFiles[configuration](path); err != nil {
		return configuration{}, err
	}
	c, err := config.Load[configuration](path)
	return c.withDefaults(), err
}

// options are the daemon's own flags.
type options struct {
	observe bool
	record  string
}

func (o *options) flags(fs *flag.FlagSet) {
	fs.BoolVar(&o.observe, "observe", false, "decide, as the section decision says, and log it, but prepare and move nothing by oneself")
	fs.StringVar(&o.record, "record", "", "write what is decided by, and what, to `FILE`, for mpactl replay; points are looked for now and then on purpose")
}

// deciding is how the node moves by itself; nil: not at all.
func (o *options) deciding(c configuration) (*mn.Deciding, error) {
	d := c.deciding()
	if d == nil {
		if o.observe || o.record != "" {
			return nil, errors.New("--observe, --record: the configuration has no section decision, by which there would be something to see")
		}
		return nil, nil
	}
	if d.Observe = o.observe; o.record == "" {
		return d, nil
	}
	f, err := os.OpenFile(o.record, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--record: %w: expected the name of a file that can be made", err)
	}
	d.Trace = trace.NewWriter(f, trace.Header{Node: c.Node, Began: time.Now(), Policy: d.Policy})
	return d, nil
}

// run is the daemon.
func (o *options) run(ctx context.Context, env daemon.Env) error {
	c, err := load(env.ConfigPath)
	if err != nil {
		return err
	}
	deciding, err := o.deciding(c)
	if err != nil {
		return err
	}
	newEAP, err := c.EAP.peer()
	if err != nil {
		return err
	}
	store, err := state.Open(c.State.String(), env.Log)
	if err != nil {
		return err
	}
	defer store.Close()
	recorder := event.NewRecorder(c.Node, env.Log, int(c.Records))
	cfg := mn.Config{
		Device: c.Tunnel.Device, MTU: c.Tunnel.MTU, Offload: c.Tunnel.Offload == nil || *c.Tunnel.Offload, Suites: config.Transforms(c.Tunnel.Suites), Rekey: c.Tunnel.Rekey.Limits(), Plain: c.Tunnel.Encapsulation.Plain(), Networks: c.networks(), Discovery: c.discovery(env.Log), ClientID: c.ClientID,
		NewEAP: newEAP,
		Family: c.Family, Identifier: c.identifier(), DAD6: c.IPv6.DAD.Timers(),
		DAD: c.DAD.Timers(), Timers: c.timers(), Ping: c.PANA.Ping.D(), Await: c.PANA.Await, Buffer: flow.Limits{Packets: c.Buffer.Packets, Bytes: int(c.Buffer.Bytes)},
		Prepare: c.Prepare == nil || *c.Prepare, Deciding: deciding, Watch: c.watchdog(), Reach: c.Reach,
		Hold: c.Moves.Hold, Guard: c.Moves.Guard, State: store, Rand: rand.Reader, Recorder: recorder, Log: env.Log,
	}
	for _, i := range c.interfaces() {
		cfg.Interfaces = append(cfg.Interfaces, mn.Interface{
			Name: i.Name, Points: i.Points, AtMove: i.Raise == raiseMove,
			Link: func(net host.Host) (link.Adapter, error) { return c.adapter(i, os.DirFS("/"), net, store, env.Log) },
		})
	}
	if err := c.Mobility.into(&cfg); err != nil {
		return err
	}
	node, err := mn.Open(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	server, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: recorder, Log: env.Log,
		Status: func() any { return node.Status() },
		Commands: map[string]control.Command{
			control.CommandHandover:  command(func(a control.HandoverArgs) (*mn.Handover, error) { return handover(node, a) }),
			control.CommandPrepare:   command(func(a control.HandoverArgs) (*mn.Handover, error) { return prepare(node, a) }),
			control.CommandGuard:     guard(node),
			control.CommandDecisions: func(context.Context, json.RawMessage) (any, error) { return node.Decisions(), nil },
			control.CommandNetworks:  func(ctx context.Context, _ json.RawMessage) (any, error) { return node.Surroundings(ctx), nil },
		},
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return node.Run(ctx, env.Ready) })
	return g.Wait()
}

// guard is the command by which a person has copies kept, or not.
func guard(node *mn.Node) control.Command {
	return func(_ context.Context, raw json.RawMessage) (any, error) {
		var args control.GuardArgs
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, fmt.Errorf(`expected {"guard": "on", "off" or "auto"}: %w`, err)
		}
		return struct{}{}, node.Guard(mn.GuardWhen(args.Guard))
	}
}

func handover(node *mn.Node, a control.HandoverArgs) (*mn.Handover, error) {
	switch {
	case a.Depth != "":
		return nil, errors.New("depth: of a preparation only")
	case a.Now:
		return node.HandoverNow(a.Network)
	}
	return node.Handover(a.Network)
}

func prepare(node *mn.Node, a control.HandoverArgs) (*mn.Handover, error) {
	to := decision.Bind
	if a.Depth != "" {
		for to = decision.Bind; to > decision.None && to.String() != a.Depth; {
			to--
		}
	}
	switch {
	case a.Now:
		return nil, errors.New("now: of a handover only")
	case to == decision.None:
		return nil, fmt.Errorf("depth %q: expected authenticate, configure, tunnel or bind", a.Depth)
	}
	return node.PrepareTo(a.Network, to)
}

// command is one of the control socket's, which begin something with a network.
func command(begin func(control.HandoverArgs) (*mn.Handover, error)) control.Command {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args control.HandoverArgs
		if err := json.Unmarshal(raw, &args); err != nil || args.Network == "" {
			return nil, errors.Join(errors.New(`expected {"network": NAME}`), err)
		}
		h, err := begin(args)
		if err != nil {
			return nil, err
		}
		if !args.Wait {
			return control.HandoverResult{ID: h.ID}, nil
		}
		outcome, err := h.Wait(ctx)
		r := control.HandoverResult{ID: h.ID, Outcome: outcome}
		if err != nil {
			r.Reason = fmt.Sprint(err)
		}
		return r, nil
	}
}
