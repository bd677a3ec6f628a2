package main

import (
	"context"
	"encoding/json"
	"fmt"

	"openmpa/internal/control"
)

type guardCmd struct {
	How string `arg:"" enum:"on,off,auto" help:"on, off, or auto: as the mobile node's configuration says."`
}

// Run tells the mobile node. What came of it is in its status.
func (g guardCmd) Run(a *app) error {
	c, err := a.mobileNode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
	defer cancel()
	var done json.RawMessage
	if err := c.Command(ctx, control.CommandGuard, control.GuardArgs{Guard: g.How}, &done); err != nil {
		return err
	}
	if a.cli.JSON {
		return writeJSON(a.stdout, done)
	}
	fmt.Fprintf(a.stdout, "guard %s: mpactl status says who keeps copies\n", g.How)
	return nil
}
