package main

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/daemon"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

// TestOpen: the enforcement point of a router that has ended is removed, and not that of one
// that runs, which another start leaves alone, too.
func TestOpen(t *testing.T) {
	osnettest.Enter(t)
	env := daemon.Env{Log: slog.New(slog.DiscardHandler)}
	var c configuration
	c.Access.Interface, c.Access.Enforce, c.PANA.Ping = "lan0", true, 1e9
	e, err := openGate(c, env.Log)
	if err != nil {
		t.Fatal(err)
	}
	node := netip.MustParseAddr("10.2.0.100")
	if err := e.point.Permit(node, time.Hour); err != nil {
		t.Fatal(err)
	}
	n, err := osnet.Open(nil, osnet.OwnerAccessRouter) // as the router does that runs
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t.Context(), env, nil); !errors.Is(err, osnet.ErrOwned) {
		t.Errorf("beside a router that runs: error %v", err)
	}
	if _, err := openGate(c, env.Log); !errors.Is(err, osnet.ErrOwned) {
		t.Errorf("another router beside it: error %v", err)
	}
	c.Access.Enforce = false
	if _, err := openGate(c, env.Log); !errors.Is(err, osnet.ErrOwned) {
		t.Errorf("another router beside it, that enforces nothing: error %v", err)
	}
	if list, err := e.point.Permitted(); err != nil || len(list) != 1 {
		t.Errorf("%v may pass, %v, expected %v", list, err, node)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t.Context(), env, []string{"all"}); err == nil {
		t.Error("an argument: expected an error")
	}
	if err := open(t.Context(), env, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := e.point.Permitted(); err == nil {
		t.Error("the enforcement point is there still")
	}
}
