package scenario

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// The cases of the scenario ping-pong.
const (
	pongPrepared = "prepared"
	pongReturn   = "return"
)

const (
	pongHold  = 10 * time.Second
	pongEvery = time.Second // a move
	pongMoves = 20
	pongRate  = "500"
)

func adjustPingPong(o *Options, given func(string) bool) {
	if !given("repeat") {
		o.Repeat = pongMoves
	}
	if !given("rate") {
		o.Rate, _ = traffic.ParseRate(pongRate)
	}
}

// pingPong moves the node through five networks, each prepared, and then to and fro between the last two, each second.
func pingPong(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.Further, opt.Return = len(topo.Further), pongHold
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		if err := r.prepared(ctx, b); err != nil {
			return err
		}
		if err := r.toAndFro(ctx, b); err != nil {
			return err
		}
		r.compareReturns()
		return r.onlyAt(ctx, b, r.at, pongHold+cleanLimit)
	})
}

// prepared moves it through networks in which it was not before.
func (r *run) prepared(ctx context.Context, b *bed.Bed) error {
	j, err := r.setOut(ctx, b, pongPrepared)
	if err != nil {
		return err
	}
	for i, to := range []string{"a", "c", "d", "e"} {
		r.p.Line("ping-pong: prepared, %d of 4, from %s to %s", i+1, r.at, to)
		if _, err := prepare(ctx, b, to); err != nil {
			return err
		}
		if err := r.step(ctx, b, pongPrepared, to); err != nil {
			return err
		}
	}
	return r.journeyEnds(ctx, j)
}

// toAndFro moves it back, and forth.
func (r *run) toAndFro(ctx context.Context, b *bed.Bed) error {
	others := [2]string{"d", "e"} // it is at e
	since := lastSeq(ctx, b.Client(topo.MN))
	j, err := r.setOut(ctx, b, pongReturn)
	if err != nil {
		return err
	}
	begun := time.Now()
	for i := range r.opt.Repeat {
		if err := bed.Sleep(ctx, time.Until(begun.Add(time.Duration(i)*pongEvery))); err != nil {
			return err
		}
		to := others[i%2]
		r.p.Line("ping-pong: %d of %d, from %s to %s", i+1, r.opt.Repeat, r.at, to)
		if err := r.step(ctx, b, pongReturn, to); err != nil {
			return err
		}
	}
	if took, want := time.Since(begun), time.Duration(r.opt.Repeat)*pongEvery; took > want*3/2 {
		r.problem("%d moves took %v, expected %v", r.opt.Repeat, took.Round(time.Millisecond), want)
	}
	if err := r.journeyEnds(ctx, j); err != nil {
		return err
	}
	begunPhases, err := asked(ctx, b, since)
	if err != nil {
		return err
	}
	r.expectNotAsked(pongReturn, begunPhases, event.PhaseAuth, event.PhaseConf, event.PhaseDHCP, event.PhaseDAD)
	return nil
}

// step has the node move.
func (r *run) step(ctx context.Context, b *bed.Bed, name, to string) error {
	h := report.Handover{From: r.at, To: to, Case: name, Phases: map[string]float64{}}
	result, err := ordered(b, to)(ctx)
	if err != nil {
		return err
	}
	h.ID, h.Outcome, h.Reason = result.ID.String(), string(result.Outcome), result.Reason
	r.res.Handovers = append(r.res.Handovers, h)
	if result.Outcome != event.Completed {
		return fmt.Errorf("scenario: %s, from %s to %s: the outcome is %q: %s", name, r.at, to, result.Outcome, result.Reason)
	}
	r.at = to
	return nil
}

// journeyEnds ends it, and tells how long each of its moves interrupted it.
func (r *run) journeyEnds(ctx context.Context, j *journey) error {
	moves, err := j.end(ctx)
	if err != nil {
		return err
	}
	of := r.res.Handovers[len(r.res.Handovers)-min(len(moves), len(r.res.Handovers)):]
	for i := range of {
		of[i].Phases["l2_ms"], of[i].Phases["interrupted_ms"] = report.MS(moves[i].Gap()), report.MS(moves[i].silence)
	}
	return nil
}

// compareReturns compares the medians of the silences.
func (r *run) compareReturns() {
	r.res.SummarizeCases()
	var back, there report.Figures
	for _, c := range r.res.Cases {
		switch c.Name {
		case pongReturn:
			back = c.Summary["phases.interrupted_ms"]
		case pongPrepared:
			there = c.Summary["phases.interrupted_ms"]
		}
	}
	// A silence is from one packet to another: it is known to as much as lies between two, at either end.
	exact := 2 * report.MS(r.opt.Rate.Interval())
	if back.Count == 0 || there.Count == 0 || back.P50 > there.Max+exact {
		r.problem("a return interrupts for %.1f ms (median of %d), a prepared move for %.1f ms at most (of %d): expected no longer, to %.1f ms",
			back.P50, back.Count, there.Max, there.Count, exact)
	}
}
