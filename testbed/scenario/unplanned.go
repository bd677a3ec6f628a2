package scenario

import (
	"context"
	"fmt"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// The moves of the scenario unplanned.
const (
	carriedOrdered    = "ordered of mpa-mn"
	carriedPrepared   = "by somebody else, prepared"
	carriedInside     = "by somebody else, same network"
	carriedUnprepared = "by somebody else, not prepared"
)

// unplanned has the link moved behind mpa-mn's back, and once by mpa-mn to compare.
func unplanned(ctx context.Context, r *run) error {
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		s := &shover{b: b}
		for i := range r.opt.Repeat {
			for _, step := range []struct {
				name, to string
				point    int  // of the network
				prepare  bool // before
			}{
				{carriedOrdered, "a", 0, false},
				{carriedInside, "a", 1, false},
				{carriedPrepared, "b", 0, true},
				{carriedUnprepared, "a", 0, false},
				{carriedPrepared, "b", 0, true}, // where the next round begins
			} {
				r.p.Line("unplanned: %d of %d: %s, from %s to %s", i+1, r.opt.Repeat, step.name, r.at, step.to)
				name := fmt.Sprintf("unplanned %d, %s", i+1, step.name)
				if r.at != step.to {
					if err := r.awaitClean(ctx, b, step.to); err != nil {
						return err
					}
				}
				give := ordered(b, step.to)
				if step.name != carriedOrdered {
					network, _ := topo.NetworkByName(step.to)
					kept, err := s.ready(ctx, step.to, step.prepare)
					if err != nil {
						return err
					}
					give = func(ctx context.Context) (control.HandoverResult, error) {
						since := lastSeq(ctx, b.Client(topo.MN))
						result, err := s.follow(ctx, r.at, step.to, kept, func(ctx context.Context, _ string) error {
							_, err := b.Link.Attach(ctx, network.Points[step.point])
							return err
						})
						if err == nil && step.name != carriedUnprepared {
							err = r.nothingAsked(ctx, b, name, since)
						}
						return result, err
					}
				}
				m, err := r.attemptBy(ctx, b, r.at, step.to, give)
				if err != nil {
					return fmt.Errorf("scenario: %s: %w", step.name, err)
				}
				m.Case = step.name
				r.res.Handovers = append(r.res.Handovers, m.Handover)
				if step.name == carriedOrdered {
					r.judgeClean(name, m)
				} else {
					r.expectOutcome(name, m, event.Completed)
					r.expectQuiet(name, m, m.end)
				}
				if m.Outcome != string(event.Completed) {
					return nil // where it is then is anybody's guess
				}
				r.at = step.to
				if err := r.oneLease(ctx, b, r.at); err != nil {
					return err
				}
			}
		}
		r.compareCarried()
		return nil
	})
}

// nothingAsked notes what the node has asked for since a record although it had it.
func (r *run) nothingAsked(ctx context.Context, b *bed.Bed, name string, since uint64) error {
	return b.Client(topo.MN).Events(ctx, since, false, func(e event.Event) error {
		switch e.Phase {
		case event.PhaseAuth, event.PhaseConf, event.PhaseDHCP, event.PhaseBind:
			if e.Node == topo.MN && e.Kind == event.KindBegin {
				r.problem("%s: the node begins %s again", name, e.Phase)
			}
		default:
		}
		return nil
	})
}

// far is how much longer than an ordered move one that somebody else made may take until
// traffic is back; one that nobody prepared takes far longer still.
const far = 4

// compareCarried compares the medians of the time without traffic.
func (r *run) compareCarried() {
	back := report.Backs(r.res.Handovers)
	for _, c := range []string{carriedInside, carriedPrepared} {
		if back[c] > far*back[carriedOrdered] || back[c] >= back[carriedUnprepared] {
			r.problem("%s: traffic is back after %v, in a move by mpa-mn after %v, unprepared after %v (medians); expected at most %d times the first, and less than the last",
				c, back[c], back[carriedOrdered], back[carriedUnprepared], far)
		}
	}
}
