// Command mpa-lab-node is the nodes of benches, see package pac. The lab builds and starts it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"openmpa/testbed/bench/pac"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mpa-lab-node:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("expected what the nodes are to do, as JSON; benches start it")
	}
	var nodes pac.Nodes
	if err := json.Unmarshal([]byte(args[0]), &nodes); err != nil {
		return fmt.Errorf("%q: %w", args[0], err)
	}
	return nodes.Run(ctx, os.Stdout)
}
