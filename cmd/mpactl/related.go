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
	var out [][]event.Event
	err := a.each(func(ctx context.Context, client *control.Client) error {
		var found []event.Event
		err := client.Events(ctx, 0, false, func(e event.Event) error {
			if e.Handover.IsZero() && c.fit(e) {
				e.Handover = id
				found = append(found, e)
			}
			return nil
		})
		out = append(out, found)
		return err
	})
	return out, err
}

// clues are what a handover's records share with those of other nodes.
type clues struct {
	paths map[string]bool // identification of the registration
	auths []auth
}

type auth struct {
	node       string
	from       string // address and port
	begin, end time.Time
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
			c.auths = append(c.auths, auth{e.Node, from, e.Time.Add(-e.Duration), e.Time})
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
			if e.Node == a.node || e.Time.Before(a.begin.Add(-around)) || e.Time.After(a.end.Add(around)) {
				continue
			}
			// The router has seen the port, the AAA server the address.
			from, err := netip.ParseAddrPort(a.from)
			if text(e, "peer") == a.from || err == nil && text(e, "station") == from.Addr().String() {
				return true
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
