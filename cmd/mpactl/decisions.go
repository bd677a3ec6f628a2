package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/mn"
)

// decisions asks the mobile node what it has decided lately; nothing where it decides nothing by itself, or there is none.
func (a *app) decisions() ([]mn.Decided, error) {
	c, err := a.mobileNode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
	defer cancel()
	var list []mn.Decided
	err = c.Command(ctx, control.CommandDecisions, nil, &list)
	var refused *control.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound { // another daemon
		return nil, nil
	}
	return list, err
}

// latest is the newest decision, where no handover is asked for by its name; nil: there is none.
func (a *app) latest(id string) (*mn.Decided, error) {
	if id != "" {
		return nil, nil
	}
	if _, err := a.mobileNode(); err != nil { // routers only
		return nil, nil
	}
	list, err := a.decisions()
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[len(list)-1], nil
}

// listDecisions prints them all, the newest last.
func (a *app) listDecisions() error {
	list, err := a.decisions()
	if err != nil {
		return err
	}
	if a.cli.JSON {
		if list == nil {
			list = []mn.Decided{}
		}
		return writeJSON(a.stdout, list)
	}
	if len(list) == 0 {
		return errNoDecisions
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FROM\tFOR s\tAT\tdBm\tDECIDED\tPREPARING\tWHY")
	for _, d := range list {
		fmt.Fprintf(tw, "%s\t%.1f\t%s\t%.0f\t%s\t%s\t%s\n", d.From.Local().Format("15:04:05.000"), d.Until.Sub(d.From).Seconds(), orDash(d.Point), d.Signal,
			clean(strings.TrimSpace(d.Action+" "+d.To)), orDash(rungs(d.Ladder)), clean(d.Reason))
	}
	return tw.Flush()
}

var errNoDecisions = errors.New("the mobile node decides nothing by itself: its configuration has no section decision, or it has taken no sample yet")

// rungs are networks and how far each was to be prepared.
func rungs(list []mn.Rung) string {
	var out []string
	for _, r := range list {
		out = append(out, r.Network+":"+r.Depth)
	}
	return strings.Join(out, " ")
}

// now says in words what the mobile node does at present, and why.
func now(d mn.Decided) string {
	s := fmt.Sprintf("now, since %s (%v): %s", d.From.Local().Format("15:04:05"), d.Until.Sub(d.From).Round(100*time.Millisecond), clean(d.Reason))
	if len(d.Ladder) > 0 && !strings.Contains(d.Reason, "prepared: ") {
		s += "; to be prepared: " + clean(rungs(d.Ladder))
	}
	return s
}

// decided is why a handover was begun, in the node's words; empty: a person asked for it, or the link was moved by others.
func decided(events []event.Event) string {
	for _, e := range events {
		if e.Phase == event.PhaseDiscovery && e.Kind == event.KindPoint && e.Attrs["reason"] != nil {
			return fmt.Sprint(e.Attrs["reason"])
		}
	}
	return ""
}
