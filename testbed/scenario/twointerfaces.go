package scenario

import (
	"context"
	"fmt"
	"net"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/topo"
)

// The cases of the scenario two-interfaces.
const (
	oneInterface = "one interface"
	bothUp       = "two, both up"
	setUpToMove  = "two, one set up for the move"
	cutBothUp    = "two, the serving one cut"
)

// twoInterfaces moves between two interfaces, and to compare with one.
func twoInterfaces(ctx context.Context, r *run) error {
	r.opt.Probe = false // it measures from link up, and both may be up all the time
	for _, c := range []struct{ name, second string }{
		{oneInterface, ""}, {bothUp, bed.SecondUp}, {setUpToMove, bed.SecondAtMove},
	} {
		opt := r.opt.bed(r.p)
		opt.Second, opt.Count = c.second, true
		if err := r.withBed(ctx, opt, func(b *bed.Bed) error {
			r.caseName = c.name
			err := r.repeat(ctx, b, func(name string, m measured) {
				r.judgeClean(name+", "+c.name, m)
				if n := len(m.moves); c.second != "" && n > 0 {
					r.problem("%s, %s: a link was moved %d times, expected that each stays where it is", name, c.name, n)
				}
			})
			if err != nil || c.second != bed.SecondUp {
				return err
			}
			return r.cuts(ctx, b)
		}); err != nil {
			return err
		}
	}
	opt := r.opt.bed(r.p)
	opt.Second, opt.Quick = bed.SecondAtMove, true // the router misses the node soon
	return r.withBed(ctx, opt, func(b *bed.Bed) error { return r.killedAway(ctx, b) })
}

// killedAway kills the node where the interface serves that was set up for the move.
// Started again it has to be where it is without it, and nothing may be left.
func (r *run) killedAway(ctx context.Context, b *bed.Bed) error {
	r.p.Line("two-interfaces: the node is killed at the interface that was set up for the move")
	m, err := r.move(ctx, b, "b", "a")
	if err != nil {
		return err
	}
	m.Case = setUpToMove
	r.res.Handovers = append(r.res.Handovers, m.Handover)
	r.judgeClean("two-interfaces, before the node is killed", m)
	if _, err := b.Kill(topo.MN); err != nil {
		return err
	}
	if err := b.Restart(ctx, topo.MN); err != nil {
		return err
	}
	if err := b.Attached(ctx); err != nil {
		return err
	}
	l, err := b.Top.Space(topo.MN).Netlink().LinkByName(topo.SecondIf)
	if err != nil {
		return err
	}
	if l.Attrs().Flags&net.FlagUp != 0 {
		r.problem("the node was killed and started again, and %s, which it had set up, is left up", topo.SecondIf)
	}
	r.at = "b"
	return r.oneLease(ctx, b, r.at)
}

// cuts has the link that serves be lost, while the other interface is up and the network
// there is prepared.
func (r *run) cuts(ctx context.Context, b *bed.Bed) error {
	s := &shover{b: b}
	links := map[string]*linkctl.Controller{"b": b.Link, "a": b.Second}
	for i := range r.opt.Repeat {
		from, to := r.at, topo.Other(r.at)
		r.p.Line("two-interfaces: %s, %d of %d, from %s to %s", cutBothUp, i+1, r.opt.Repeat, from, to)
		name := fmt.Sprintf("two-interfaces %d (%s to %s), %s", i+1, from, to, cutBothUp)
		if err := r.awaitClean(ctx, b, to); err != nil {
			return err
		}
		kept, err := s.ready(ctx, to, true)
		if err != nil {
			return err
		}
		m, err := r.attemptBy(ctx, b, from, to, func(ctx context.Context) (control.HandoverResult, error) {
			return s.follow(ctx, from, to, kept, func(context.Context, string) error { return links[from].Detach() })
		})
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", name, err)
		}
		m.Case = cutBothUp
		r.res.Handovers = append(r.res.Handovers, m.Handover)
		r.expectOutcome(name, m, event.Completed)
		r.expectQuiet(name, m, m.end)
		r.expectCounted(name, m)
		if m.Outcome != string(event.Completed) {
			return nil // where it is then is anybody's guess
		}
		r.at = to
		if err := r.oneLease(ctx, b, to); err != nil {
			return err
		}
		network, _ := topo.NetworkByName(from)
		if _, err := links[from].Attach(ctx, network.Points[0]); err != nil {
			return err
		}
	}
	return nil
}
