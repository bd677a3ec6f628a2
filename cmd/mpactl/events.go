package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"openmpa/internal/control"
	"openmpa/internal/event"
)

type eventsCmd struct {
	Follow bool   `short:"f" help:"Go on with the records that come."`
	Since  uint64 `placeholder:"N" help:"Only records with a sequence number above N."`
}

// Run prints the records of every daemon; with --follow as they come.
func (x eventsCmd) Run(a *app) error {
	list, given, err := a.clients()
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards stdout and answered
	answered := false
	g, ctx := errgroup.WithContext(a.ctx)
	for _, c := range list {
		g.Go(func() error {
			err := c.Events(ctx, x.Since, x.Follow, func(e event.Event) error {
				mu.Lock()
				defer mu.Unlock()
				return a.printEvent(e)
			})
			if !given && errors.Is(err, control.ErrNoDaemon) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			answered = true
			return err
		})
	}
	err = g.Wait()
	switch {
	case errors.Is(err, context.Canceled) && a.ctx.Err() != nil:
		return nil //nolint:nilerr // Ctrl-C is how one leaves
	case err == nil && !answered:
		return fmt.Errorf("no daemon answers on the sockets in %s: is one running?", a.cli.RunDir)
	}
	return err
}

func (a *app) printEvent(e event.Event) error {
	if a.cli.JSON {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", line)
		return err
	}
	id := "-"
	if !e.Handover.IsZero() {
		id = e.Handover.String()[:8]
	}
	r := row{Name: e.Name, Reason: e.Reason, Attrs: e.Attrs}
	what := string(e.Kind)
	if e.Kind == event.KindEnd {
		what = fmt.Sprintf("end %s %s ms", e.Outcome, ms(e.Duration))
	}
	line := fmt.Sprintf("%s %6d %-8s %-8s %-12s %-22s %s", e.Time.Local().Format("15:04:05.000000"), e.Seq, clean(e.Node), id,
		clean(string(e.Phase)), clean(what), r.detail())
	_, err := fmt.Fprintln(a.stdout, strings.TrimRight(line, " "))
	return err
}
