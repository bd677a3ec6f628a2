package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
)

type handoverCmd struct {
	Network string        `arg:"" help:"Where to, as the mobile node's configuration names it."`
	Wait    bool          `default:"true" negatable:"" help:"Wait for the end, and show the phases meanwhile."`
	Timeout time.Duration `default:"60s" placeholder:"DURATION" help:"Stop waiting after this time; the handover goes on (default 60s)."`
}

// errEnded ends the stream of records: the handover's last one has come.
var errEnded = errors.New("ended")

// Run asks the mobile node to move. Its exit code is 0 only when the node moved.
func (h handoverCmd) Run(a *app) error {
	if h.Timeout <= 0 {
		return fmt.Errorf("--timeout %v: expected more than zero", h.Timeout)
	}
	c, err := a.mobileNode()
	if err != nil {
		return err
	}
	var started control.HandoverResult
	ask, cancel := context.WithTimeout(a.ctx, askTimeout)
	// Without Wait: who stops looking does not stop the handover.
	err = c.Command(ask, control.CommandHandover, control.HandoverArgs{Network: h.Network}, &started)
	cancel()
	if err != nil {
		return err
	}
	if !h.Wait {
		if a.cli.JSON {
			return writeJSON(a.stdout, started)
		}
		fmt.Fprintf(a.stdout, "handover %s to %s is under way: mpactl explain %s\n", started.ID, h.Network, started.ID.String()[:8])
		return nil
	}
	return h.follow(a, c, started.ID)
}

func (h handoverCmd) follow(a *app, c *control.Client, id event.HandoverID) error {
	ctx, cancel := context.WithTimeout(a.ctx, h.Timeout)
	defer cancel()
	var show progress = &lines{w: a.stdout}
	switch {
	case a.cli.JSON:
		show = silent{}
	case a.screen.terminal:
		show = newBlock(a.stdout, a.screen)
	}
	var events []event.Event
	err := c.FollowHandover(ctx, id, func(e event.Event) error {
		events = append(events, e)
		show.update(events)
		if e.Phase == event.PhaseHandover && e.Kind == event.KindEnd {
			return errEnded
		}
		return nil
	})
	show.end()
	switch {
	case errors.Is(err, errEnded):
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the handover is still under way after %v, and goes on: mpactl explain %s", h.Timeout, id.String()[:8])
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(a.stderr, "mpactl: no longer looking; the handover goes on: mpactl explain %s\n", id.String()[:8])
		return err
	default:
		return err
	}
	return h.conclude(a, c, events)
}

// conclude says how it ended.
func (h handoverCmd) conclude(a *app, c *control.Client, events []event.Event) error {
	sum := control.Summarize(events)[0]
	if a.cli.JSON {
		if err := writeJSON(a.stdout, control.HandoverDetail{Handover: sum, Records: events}); err != nil {
			return err
		}
	}
	if sum.Outcome != event.Completed {
		if a.cli.JSON {
			return errReported
		}
		return fmt.Errorf("the handover to %s ended as %s: %s (mpactl explain %s)", h.Network, sum.Outcome, clean(sum.Reason), sum.ID.String()[:8])
	}
	if !a.cli.JSON {
		fmt.Fprintf(a.stdout, "%s: now at %s, after %.1f ms (mpactl explain %s)\n", nameOf(c), clean(sum.To), sum.DurationMS, sum.ID.String()[:8])
	}
	return nil
}
