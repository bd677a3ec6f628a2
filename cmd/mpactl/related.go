package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
)

// around is how far beyond the node's own record another node's may lie: their
// clocks may differ a little.
const around = 100 * time.Millisecond

// related finds what nodes that know nothing of handovers recorded of one: the
// router and the AAA server of its authentication, the home agent of its binding.
func (a *app) related(id event.HandoverID, known []event.Event) ([][]event.Event, error) {
	c := cluesOf(known)
	var all [][]event.Event
	err := a.each(func(ctx context.Context, client *control.Client) error {
		var own []event.Event
		err := client.Events(ctx, 0, false, func(e event.Event) error {
			if e.Handover.IsZero() && (e.Phase == event.PhaseBind || e.Phase == event.PhaseAuth) {
				own = append(own, e)
			}
			return nil
		})
		all = append(all, own)
		return err
	})
	c.follow(all)
	out := make([][]event.Event, len(all))
	for i, own := range all {
		for _, e := range own {
			if c.fit(e) {
				e.Handover = id
				out[i] = append(out[i], e)
			}
		}
	}
	return out, err
}

// clues are what a handover's records share with those of other nodes.
type clues struct {
	paths map[string]bool // identification of the registration
	auths []auth
}

type auth struct {
	node       string
	session    string   // of PANA; empty when it was not opened
	from       []string // addresses and ports: its own, and what a router has seen instead
	begin, end time.Time
}

// at reports whether a record is of another node and of that time.
func (a auth) at(e event.Event) bool {
	return e.Node != a.node && !e.Time.Before(a.begin.Add(-around)) && !e.Time.After(a.end.Add(around))
}

// follow adds the addresses under which routers have seen the node: the AAA
// server knows no other if there is a translator between them.
func (c *clues) follow(all [][]event.Event) {
	for _, own := range all {
		for _, e := range own {
			for i, a := range c.auths {
				if peer := text(e, "peer"); peer != "" && a.session != "" && text(e, "session") == a.session && a.at(e) {
					c.auths[i].from = append(a.from, peer)
				}
			}
		}
	}
}

func cluesOf(events []event.Event) clues {
	c := clues{paths: map[string]bool{}}
	for _, e := range events {
		if e.Kind != event.KindEnd {
			continue
		}
		switch path, from := text(e, "path"), text(e, "from"); {
		case e.Phase == event.PhaseBind && strings.Trim(path, "0") != "":
			c.paths[path] = true
		case e.Phase == event.PhaseAuth && from != "":
			c.auths = append(c.auths, auth{e.Node, text(e, "session"), []string{from}, e.Time.Add(-e.Duration), e.Time})
		}
	}
	return c
}

// fit reports whether a record of another node's belongs to the handover.
func (c clues) fit(e event.Event) bool {
	switch e.Phase {
	case event.PhaseBind:
		return c.paths[text(e, "path")]
	case event.PhaseAuth:
		for _, a := range c.auths {
			if !a.at(e) {
				continue
			}
			// The router has seen the port, the AAA server the address.
			for _, seen := range a.from {
				from, err := netip.ParseAddrPort(seen)
				if text(e, "peer") == seen || err == nil && text(e, "station") == from.Addr().String() {
					return true
				}
			}
		}
	}
	return false
}

func text(e event.Event, attr string) string {
	if v, ok := e.Attrs[attr]; ok {
		return fmt.Sprint(v)
	}
	return ""
}
