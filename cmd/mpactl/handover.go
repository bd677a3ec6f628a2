package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/mn/decision"
)

// order is what handover and prepare have in common.
type order struct {
	Network string        `arg:"" help:"Where to, as the mobile node's configuration names it."`
	Wait    bool          `default:"true" negatable:"" help:"Wait for the end, and show the phases meanwhile."`
	Timeout time.Duration `default:"60s" placeholder:"DURATION" help:"Stop waiting after this time; what was begun goes on (default 60s)."`
}

type handoverCmd struct {
	order
	Now bool `help:"Move with what stands already, and do the rest behind the link."`
}

// Run asks the mobile node to move. Its exit code is 0 only when the node moved.
func (h handoverCmd) Run(a *app) error {
	return h.give(a, errand{command: control.CommandHandover, args: control.HandoverArgs{Now: h.Now}, what: "the handover", last: event.PhaseHandover})
}

type prepareCmd struct {
	order
	Depth string `enum:"authenticate,configure,tunnel,bind" default:"bind" placeholder:"DEPTH" help:"As far as that: authenticate, configure, tunnel or bind (default bind). To less than bind several networks may stand at once."`
}

// Run asks the mobile node to prepare a move. Its exit code is 0 only when all is
// ready.
func (p prepareCmd) Run(a *app) error {
	return p.give(a, errand{command: control.CommandPrepare, args: control.HandoverArgs{Depth: p.Depth}, what: "the preparation", last: event.PhasePrepare})
}

// errand is what the node is asked to do.
type errand struct {
	command string
	args    control.HandoverArgs
	what    string
	last    event.Phase // the end of which is the end of it
	began   time.Time
}

// errEnded ends the stream of records: the last one has come.
var errEnded = errors.New("ended")

func (o order) give(a *app, e errand) error {
	if o.Timeout <= 0 {
		return fmt.Errorf("--timeout %v: expected more than zero", o.Timeout)
	}
	c, err := a.mobileNode()
	if err != nil {
		return err
	}
	var started control.HandoverResult
	e.args.Network, e.began = o.Network, time.Now()
	ask, cancel := context.WithTimeout(a.ctx, askTimeout)
	// Without Wait: who stops looking does not stop it.
	err = c.Command(ask, e.command, e.args, &started)
	cancel()
	if err != nil {
		return err
	}
	if !o.Wait {
		if a.cli.JSON {
			return writeJSON(a.stdout, started)
		}
		fmt.Fprintf(a.stdout, "%s %s to %s is under way: mpactl explain %s\n", e.command, started.ID, o.Network, started.ID.String()[:8])
		return nil
	}
	return o.follow(a, c, e, started.ID)
}

func (o order) follow(a *app, c *control.Client, e errand, id event.HandoverID) error {
	ctx, cancel := context.WithTimeout(a.ctx, o.Timeout)
	defer cancel()
	var show progress = &lines{w: a.stdout}
	switch {
	case a.cli.JSON:
		show = silent{}
	case a.screen.terminal:
		show = newBlock(a.stdout, a.screen)
	}
	var events []event.Event
	err := c.FollowHandover(ctx, id, func(r event.Event) error {
		events = append(events, r)
		show.update(events)
		// What stood before has come so far by preparations of its own.
		if r.Kind == event.KindEnd && (r.Phase == e.last && !r.Time.Before(e.began) || r.Phase == event.PhaseHandover) {
			return errEnded
		}
		return nil
	})
	show.end()
	switch {
	case errors.Is(err, errEnded):
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s is still under way after %v, and goes on: mpactl explain %s", e.what, o.Timeout, id.String()[:8])
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(a.stderr, "mpactl: no longer looking; %s goes on: mpactl explain %s\n", e.what, id.String()[:8])
		return err
	default:
		return err
	}
	if e.last == event.PhasePrepare {
		return o.prepared(a, c, e.args.Depth, events)
	}
	return o.conclude(a, c, events)
}

// prepared says how a preparation ended, which may have been done before.
func (o order) prepared(a *app, c *control.Client, depth string, events []event.Event) error {
	sum := control.Summarize(events)[0]
	if a.cli.JSON {
		if err := writeJSON(a.stdout, control.HandoverDetail{Handover: sum, Records: events}); err != nil {
			return err
		}
	}
	last := events[len(events)-1]
	switch ready := last.Outcome == event.OK; {
	case !ready && a.cli.JSON:
		return errReported
	case !ready:
		return fmt.Errorf("the preparation for %s ended as %s: %s (mpactl explain %s)", o.Network, last.Outcome, clean(last.Reason), sum.ID.String()[:8])
	case !a.cli.JSON && depth != decision.Bind.String():
		fmt.Fprintf(a.stdout, "%s: %s stands as far as %s, after %.1f ms (mpactl handover %s)\n",
			nameOf(c), clean(o.Network), depth, float64(last.Duration)/float64(time.Millisecond), clean(o.Network))
	case !a.cli.JSON:
		fmt.Fprintf(a.stdout, "%s: ready to move to %s, after %.1f ms (mpactl handover %s)\n",
			nameOf(c), clean(o.Network), float64(last.Duration)/float64(time.Millisecond), clean(o.Network))
	}
	return nil
}

// conclude says how it ended.
func (o order) conclude(a *app, c *control.Client, events []event.Event) error {
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
		return fmt.Errorf("the handover to %s ended as %s: %s (mpactl explain %s)", o.Network, sum.Outcome, clean(sum.Reason), sum.ID.String()[:8])
	}
	if !a.cli.JSON {
		fmt.Fprintf(a.stdout, "%s: now at %s, after %.1f ms (mpactl explain %s)\n", nameOf(c), clean(sum.To), sum.DurationMS, sum.ID.String()[:8])
	}
	return nil
}
