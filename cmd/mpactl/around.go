package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"openmpa/internal/control"
	"openmpa/mn"
	"openmpa/mn/discover"
	"openmpa/par/info"
)

// ofRouter is what the access router of this machine knows of networks; nil: there is none that answers and tells nodes of any.
func (a *app) ofRouter() *info.Status {
	var found *info.Status
	if err := a.each(func(ctx context.Context, c *control.Client) error {
		var s struct {
			Around *info.Status `json:"neighbourhood"`
		}
		if err := c.Status(ctx, &s); err == nil && s.Around != nil && found == nil {
			found = s.Around
		}
		return nil
	}); err != nil {
		return nil
	}
	return found
}

// writeAround prints the tables of a router: networks, what was not believed, and the routers that tell it.
func writeAround(w io.Writer, s *info.Status, now time.Time) error {
	known := discover.Status{Contradictions: s.Contradictions, Counts: s.Table}
	for _, n := range s.Networks {
		left := 0.0
		if !n.Until.IsZero() {
			left = max(1, n.Until.Sub(now).Seconds())
		}
		known.Networks = append(known.Networks, discover.NetworkStatus{Network: n.Network, From: n.From, Left: left})
	}
	if err := writeNetworks(w, mn.Surroundings{Status: known}); err != nil || len(s.Neighbours) == 0 {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nROUTER OF\tCALLED\tAT\tHEARD\tTELLS OF")
	for _, n := range s.Neighbours {
		at, heard := n.Address, "never"
		if at == "" {
			at = n.From
		}
		if !n.Heard.IsZero() {
			heard = now.Sub(n.Heard).Truncate(time.Second).String() + " ago"
		}
		tells := fmt.Sprintf("%d networks", n.Networks)
		if n.Why != "" {
			tells = n.Why
		}
		cells := []string{n.Network, n.Identity, at, heard, tells}
		for i := range cells {
			if cells[i] = clean(cells[i]); cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}
