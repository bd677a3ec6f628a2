package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
	"openmpa/par/apctl"
)

// agentConfiguration is the file's form; agentExample is a complete one.
type agentConfiguration struct {
	Control     config.Path     `yaml:"control"`
	Listen      config.AddrPort `yaml:"listen"`
	CA          config.File     `yaml:"ca"`
	Certificate config.File     `yaml:"certificate"`
	Key         config.File     `yaml:"key"`
	Routers     []string        `yaml:"routers"`
	Hold        config.Duration `yaml:"hold"`
	Points      []agentPoint    `yaml:"access-points"`
}

type agentPoint struct {
	ID     pointID     `yaml:",inline"`
	Socket config.Path `yaml:"socket"`
}

const agentExample = `control: /run/openmpa/ap-agent.sock
listen: 10.2.0.5:7160                # TCP, for the router
ca: ca.pem                           # who signs routers' certificates
certificate: ap-agent.pem            # this machine's, with the DNS name that the router's file calls identity
key: ap-agent.key
routers: [ar.a.example]              # DNS names; a router's certificate must have one of them
hold: 1m                             # keys of a router that is not heard for so long are taken from the access points
access-points:                       # as in the router's file, with hostapd's control socket here
  - {name: poa-a2, bssid: "02:00:00:00:01:01", akm: WPA-EAP, socket: /run/hostapd/wlan0}
`

// Check implements the hook of package config.
func (p *agentPoint) Check() error {
	if err := p.ID.check(); err != nil {
		return err
	}
	if p.Socket == "" {
		return config.Errorf("socket", "missing: hostapd's control socket, as /run/hostapd/wlan0")
	}
	return nil
}

// Check implements the hook of config.Load.
func (c agentConfiguration) Check() error {
	switch {
	case c.Control == "":
		return config.Errorf("control", "missing: where to make the control socket")
	case !c.Listen.IsValid():
		return config.Errorf("listen", "missing: address and TCP port to wait for the router on")
	case c.CA == "" || c.Certificate == "" || c.Key == "":
		return config.Errorf("certificate", "expected ca, certificate and key: router and agent show each other who they are")
	case len(c.Routers) == 0:
		return config.Errorf("routers", "missing: the DNS names of the routers that may put keys into these access points")
	case c.Hold < 0:
		return config.Errorf("hold", "%v: expected more than 0", c.Hold)
	case len(c.Points) == 0:
		return config.Errorf("access-points", "missing: at least one access point")
	}
	ids := make([]pointID, len(c.Points))
	for i, p := range c.Points {
		ids[i] = p.ID
	}
	return differ("access-points", ids)
}

// apAgent is the daemon beside hostapd on an access point.
var apAgent = daemon.Spec{
	Name:    "mpa-ar ap-agent",
	Summary: "puts a router's keys into the access points of another machine",
	Doc: `Takes the keys of mobile nodes from an access router on another machine, over TLS
with certificates on both sides, and gives them to hostapd here before the nodes
come. It needs to reach hostapd's control sockets, and no privileges besides.
Keys of before are taken from hostapd when it starts, and all when it ends.`,
	Example: agentExample,
	Check:   config.CheckFiles[agentConfiguration],
	Run:     runAgent,
}

func runAgent(ctx context.Context, env daemon.Env) (err error) {
	c, err := config.Load[agentConfiguration](env.ConfigPath)
	if err != nil {
		return err
	}
	pair, roots, err := credentials(c.CA, c.Certificate, c.Key)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen.String())
	if err != nil {
		return fmt.Errorf("listen on %v: %w; is the address on this machine and the port free?", c.Listen, err)
	}
	var points []*apctl.Local
	agent := (*apctl.Agent)(nil)
	defer func() {
		if agent != nil {
			err = errors.Join(err, agent.Close())
			return
		}
		err = errors.Join(err, listener.Close())
		for _, p := range points {
			err = errors.Join(err, p.Close())
		}
	}()
	for i, p := range c.Points {
		one, err := apctl.OpenLocal(ctx, apctl.LocalConfig{
			Info: p.ID.info(), Socket: p.Socket.String(), Dir: filepath.Dir(c.Control.String()), Log: env.Log,
		})
		if err != nil {
			return config.At(fmt.Sprintf("access-points[%d]", i), err)
		}
		points = append(points, one)
		if s := one.Status(); !s.Up {
			env.Log.Warn("access point not reached yet", "point", s.Name, "err", s.Why)
		}
	}
	if agent, err = apctl.Serve(apctl.AgentConfig{
		Listener: listener, Certificate: pair, Roots: roots, PAAs: c.Routers, Points: points, Hold: c.Hold.D(), Log: env.Log,
	}); err != nil {
		return err
	}
	server, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: event.NewRecorder("ap-agent", env.Log, event.DefaultSize), Log: env.Log,
		Status: func() any { return agentStatus{Listen: c.Listen.String(), Points: agent.Status()} },
	})
	if err != nil {
		return err
	}
	env.Ready()
	return server.Run(ctx)
}

// agentStatus is what the control socket gives.
type agentStatus struct {
	Listen string         `json:"listen"`
	Points []apctl.Status `json:"access_points"`
}
