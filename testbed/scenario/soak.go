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

const (
	soakSamples = 20  // over the whole run
	soakRecords = 256 // that each daemon keeps of its timeline: so many that it has them all soon
)

func adjustSoak(o *Options, given func(string) bool) {
	if !given("repeat") {
		o.Repeat = 2000
	}
	o.Probe = false
}

// soak moves the node to and fro, with traffic all the time, and looks at what the
// daemons take each time it is back.
func soak(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.LogLevel = "info"
	opt.Records = soakRecords
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		s := &report.Soak{Flow: report.Flows{Down: &report.Flow{}, Up: &report.Flow{}}}
		r.res.Soak = s
		if err := r.sample(ctx, b); err != nil {
			return err
		}
		each := max(2, r.opt.Repeat/soakSamples/2*2) // the node is back after each two
		for s.Moves < r.opt.Repeat {
			if err := r.stretch(ctx, b, min(each, (r.opt.Repeat-s.Moves+1)/2*2)); err != nil {
				return err
			}
			if err := r.sample(ctx, b); err != nil {
				return err
			}
		}
		for _, line := range s.Grown() {
			r.problem("%s", line)
		}
		for _, d := range []struct {
			word string
			f    *report.Flow
		}{{"to", s.Flow.Down}, {"from", s.Flow.Up}} {
			forced := d.f == s.Flow.Down && s.ForcedFlips > 0 // the uplink has no flips
			if d.f.Lost+d.f.Duplicated > 0 || d.f.Reordered > 0 && !forced {
				r.problem("of %d packets %s the mobile node in %d moves %d were lost, %d duplicated and %d reordered, with %d forced flips",
					d.f.Sent, d.word, s.Moves, d.f.Lost, d.f.Duplicated, d.f.Reordered, s.ForcedFlips)
			}
		}
		return nil
	})
}

// stretch makes n moves with traffic of its own, which the lab would otherwise
// remember to the end.
func (r *run) stretch(ctx context.Context, b *bed.Bed, n int) error {
	flows, err := r.openFlows(b)
	if err != nil {
		return err
	}
	defer func() { _ = flows.close() }() // stopped, and looked at, by then
	flows.start()
	s := r.res.Soak
	for range n {
		to := topo.Other(r.at)
		if s.Moves%10 == 0 {
			r.p.Line("%s: %d of %d moves", r.res.Scenario, s.Moves, r.opt.Repeat)
		}
		if err := r.awaitClean(ctx, b, to); err != nil {
			return err
		}
		result, err := ordered(b, to)(ctx)
		if err != nil {
			return fmt.Errorf("scenario: move %d: %w", s.Moves+1, err)
		}
		s.Moves++
		if result.Outcome != event.Completed {
			return fmt.Errorf("scenario: move %d, to %s: the outcome is %q: %s", s.Moves, to, result.Outcome, result.Reason)
		}
		r.at = to
		if err := r.countForced(ctx, b, result.ID); err != nil {
			return err
		}
	}
	if err := r.oneLease(ctx, b, r.at); err != nil {
		return err
	}
	flows.stop()
	down, up, err := flows.stats()
	if err != nil {
		return err
	}
	s.Flow.Down.Add(report.FromStats(down))
	s.Flow.Up.Add(report.FromStats(up))
	return nil
}

// sample looks at all daemons and the kernel, when nothing of the last move is left at
// the other network.
func (r *run) sample(ctx context.Context, b *bed.Bed) error {
	if err := r.awaitClean(ctx, b, topo.Other(r.at)); err != nil {
		return err
	}
	x := report.Sample{Moves: r.res.Soak.Moves, Daemons: map[string]control.Resources{}, Kernel: map[string]int{}}
	for _, name := range b.Daemons() {
		if !b.Child(name).Ours() {
			continue
		}
		took, err := b.Client(name).Resources(ctx)
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", name, err)
		}
		x.Daemons[name] = took
	}
	held, err := b.Kernel()
	if err != nil {
		return err
	}
	for node, lines := range held {
		x.Kernel[node] = len(lines)
	}
	r.res.Soak.Samples = append(r.res.Soak.Samples, x)
	return nil
}

// countForced looks whether the router of the new network had to force the flip.
func (r *run) countForced(ctx context.Context, b *bed.Bed, id event.HandoverID) error {
	h, err := b.Client(topo.MN).Handover(ctx, id)
	if err != nil {
		return fmt.Errorf("scenario: timeline of the handover: %w", err)
	}
	for _, e := range h.Records {
		if e.Phase == event.PhaseFlip && e.Kind == event.KindEnd && e.Attrs["forced"] == true {
			r.res.Soak.ForcedFlips++
		}
	}
	return nil
}
