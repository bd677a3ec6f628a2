package main

import (
	"context"
	"errors"
	"fmt"

	"openmpa/internal/daemon"
	"openmpa/internal/osnet"
)

// clean is the command that removes what a router that was killed has left in the kernel:
// between two runs a host route may lead to where nobody is.
func clean(_ context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("clean: expected no argument, came %q", args[0])
	}
	n, err := osnet.OpenClean(env.Log, osnet.OwnerAccessRouter)
	if errors.Is(err, osnet.ErrOwned) {
		return fmt.Errorf("clean: mpa-ar runs here, and removes what it has made when it ends: %w", err)
	}
	if err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	return n.Close()
}
