package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/daemon"
	"openmpa/internal/osnet"
	"openmpa/paa/pana"
	"openmpa/par"
)

// open is the command that lets everybody pass again.
func open(_ context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("open: expected no argument, came %q", args[0])
	}
	if err := alone(env.Log); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return osnet.RemoveGate(osnet.OwnerAccessRouter)
}

// alone says that no other mpa-ar runs in this network namespace: the enforcement point is its.
func alone(log *slog.Logger) error {
	n, err := osnet.Open(log, osnet.OwnerAccessRouter)
	if err != nil {
		return err
	}
	return n.Close()
}

// enforcement is the enforcement point, if there is to be one.
type enforcement struct{ point *osnet.Gate }

// openGate stops what nodes send before they have authenticated. Those whom the router before
// this one let pass have the time until silence is noticed to authenticate again. Where nothing
// is to be stopped, what a router before has left goes.
func openGate(c configuration, log *slog.Logger) (e enforcement, err error) {
	if err = alone(log); err != nil {
		return e, err
	}
	if !c.Access.Enforce {
		return e, osnet.RemoveGate(osnet.OwnerAccessRouter)
	}
	var dhcp6 config.Addr
	if c.IPv6 != nil {
		dhcp6 = c.IPv6.DHCP
	}
	e.point, err = osnet.OpenGate(osnet.GateConfig{
		Owner: osnet.OwnerAccessRouter, Dev: c.Access.Interface, PANA: pana.Port, DHCP: c.DHCP.Server, DHCP6: dhcp6, Open: c.Access.Open, Grace: c.PANA.Ping.D(),
	})
	return e, err
}

// gate is what the router tells; nil: nothing.
func (e enforcement) gate() par.Gate {
	if e.point == nil {
		return nil
	}
	return e.point
}

// leave lets go of it.
func (e enforcement) leave(grace time.Duration, log *slog.Logger) {
	if e.point == nil {
		return
	}
	if err := e.point.Close(grace); err != nil {
		log.Error("the enforcement point stays as it is", "err", err)
	}
}
