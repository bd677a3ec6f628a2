package main

import (
	"errors"
	"log/slog"
	"testing"

	"openmpa/internal/daemon"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

// TestClean: what a router that was killed during a flip has left is removed, and nothing of
// one that runs, or of others.
func TestClean(t *testing.T) {
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	osnettest.Veth(t, "v0", "v1")
	osnettest.IP(t, "address add 10.77.0.1/24 dev v0")
	osnettest.IP(t, "route add 10.78.0.2/32 dev v0 proto static")
	before := osnettest.Snapshot(t) + osnettest.IP(t, "neigh show")
	osnettest.IP(t, "neigh add 240.1.2.3 dev v0 nud incomplete protocol 162")
	osnettest.IP(t, "route add 10.77.0.2/32 via 240.1.2.3 dev v0 onlink proto 162")
	env := daemon.Env{Log: slog.New(slog.DiscardHandler)}
	left := osnettest.Snapshot(t)
	n, err := osnet.Open(nil, osnet.OwnerAccessRouter)
	if err != nil {
		t.Fatal(err)
	}
	if err := clean(t.Context(), env, nil); !errors.Is(err, osnet.ErrOwned) {
		t.Errorf("beside a router that runs: error %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if now := osnettest.Snapshot(t); now != left {
		t.Errorf("beside a router that runs something was changed:\n%s\nbefore\n%s", now, left)
	}
	if err := clean(t.Context(), env, []string{"all"}); err == nil {
		t.Error("an argument: expected an error")
	}
	if err := clean(t.Context(), env, nil); err != nil {
		t.Fatal(err)
	}
	if now := osnettest.Snapshot(t) + osnettest.IP(t, "neigh show"); now != before {
		t.Errorf("left:\n%s\nbefore\n%s", now, before)
	}
}
