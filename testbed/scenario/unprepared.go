package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// The cases of the scenario unprepared.
const (
	cutNew  = "cut, to a new network"
	cutHeld = "cut, to the last network"
)

const (
	cutFor  = 300 * time.Millisecond
	cutHold = 10 * time.Second
)

// cutTo takes the link away, and has it come up elsewhere a while later.
func cutTo(b *bed.Bed) func(context.Context, string) error {
	return func(ctx context.Context, to string) error {
		if err := b.Link.Detach(); err != nil {
			return err
		}
		if err := bed.Sleep(ctx, cutFor); err != nil {
			return err
		}
		n, _ := topo.NetworkByName(to)
		_, err := b.Link.Attach(ctx, n.Points[0])
		return err
	}
}

// unprepared cuts the link, which comes up at a network in which the node has nothing; then at the last one, of which it
// holds what it had.
func unprepared(ctx context.Context, r *run) error {
	r.opt.Probe = false
	opt := r.opt.bed(r.p)
	opt.Further, opt.Return = len(topo.Further), cutHold
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		s := &shover{b: b}
		for i := range r.opt.Repeat {
			to := []string{"a", "c", "d", "e"}[i%4]
			if err := r.awaitClean(ctx, b, to); err != nil {
				return err
			}
			last := r.at
			for _, step := range []struct {
				name, to string
				not      []event.Phase // asked for
			}{
				{cutNew, to, nil},
				{cutHeld, last, []event.Phase{event.PhaseAuth, event.PhaseConf, event.PhaseDHCP}},
			} {
				since := lastSeq(ctx, b.Client(topo.MN))
				_, err := r.cutMove(ctx, b, fmt.Sprintf("unprepared %d, %s", i+1, step.name), step.name, step.to, func(ctx context.Context) (control.HandoverResult, error) {
					return s.follow(ctx, r.at, step.to, event.HandoverID{}, cutTo(b))
				})
				if err != nil {
					return err
				}
				begun, err := asked(ctx, b, since)
				if err != nil {
					return err
				}
				r.expectNotAsked(step.name, begun, step.not...)
			}
			if err := r.onlyAt(ctx, b, r.at, cutHold+cleanLimit); err != nil {
				return err
			}
		}
		return nil
	})
}

// cutMove measures a move that ends at another network, and after which traffic goes on. Outcomes are those of the moves that
// may be; without any it must have completed.
func (r *run) cutMove(ctx context.Context, b *bed.Bed, name, of, to string, give order, outcomes ...event.Outcome) (measured, error) {
	r.p.Line("%s, from %s to %s", name, r.at, to)
	m, err := r.attemptBy(ctx, b, r.at, to, give)
	if err != nil {
		return m, fmt.Errorf("scenario: %s: %w", name, err)
	}
	m.Case = of
	r.res.Handovers = append(r.res.Handovers, m.Handover)
	if len(outcomes) == 0 {
		outcomes = []event.Outcome{event.Completed}
	}
	if !slices.Contains(outcomes, event.Outcome(m.Outcome)) {
		r.problem("%s: the outcome is %q (%s), expected %q", name, m.Outcome, m.Reason, outcomes)
	}
	r.expectQuiet(name, m, m.end)
	r.at, err = serves(ctx, b)
	return m, err
}
