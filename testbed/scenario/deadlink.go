package scenario

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/mn/decision"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

const (
	// underLoad is how long the watchdog is watched on a busy machine.
	underLoad = 10 * time.Second
	// loadRate is that of the uplink meanwhile. Nothing comes down, so that every sign of life has to be asked for.
	loadRate = "50M"
)

// deadLink has the link die with its carrier up, where the next network is prepared;
// and then has the machine so busy that a watchdog might take it for dead.
func deadLink(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.Count = true
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		s := &shover{b: b}
		for i := range r.opt.Repeat {
			to, name := topo.Other(r.at), fmt.Sprintf("dead-link %d", i+1)
			r.p.Line("%s of %d, at %s", name, r.opt.Repeat, r.at)
			if err := r.awaitClean(ctx, b, to); err != nil {
				return err
			}
			kept, err := s.ready(ctx, to, true)
			if err != nil {
				return err
			}
			var died time.Time
			m, err := r.attemptBy(ctx, b, r.at, to, func(ctx context.Context) (control.HandoverResult, error) {
				return s.follow(ctx, r.at, to, kept, func(context.Context, string) error {
					died = time.Now()
					return b.Link.Mute()
				})
			})
			if err != nil {
				return err
			}
			r.res.Handovers = append(r.res.Handovers, m.Handover)
			r.expectOutcome(name, m, event.Completed)
			r.expectQuiet(name, m, m.end)
			r.expectCounted(name, m)
			switch dead, err := r.deaths(ctx, b, died); {
			case err != nil:
				return err
			case len(dead) != 1:
				r.problem("%s: the link was found dead %d times, expected once", name, len(dead))
			default:
				took := dead[0].Sub(died)
				r.res.Handovers[i].Phases["noticed_ms"] = report.MS(took)
				if noticedWithin := 2 * decision.DefaultWatch().Within(); took > noticedWithin {
					r.problem("%s: the link was found dead after %v, expected at most %v", name, took, noticedWithin)
				}
			}
			if m.Outcome != string(event.Completed) {
				return nil // where it is then is anybody's guess
			}
			r.at = to
			if err := r.oneLease(ctx, b, r.at); err != nil {
				return err
			}
		}
		return r.falseAlarms(ctx, b)
	})
}

// deaths are the times at which the node found its link dead, since then.
func (r *run) deaths(ctx context.Context, b *bed.Bed, since time.Time) (at []time.Time, err error) {
	err = b.Client(topo.MN).Events(ctx, 0, false, func(e event.Event) error {
		if e.Node == topo.MN && e.Phase == event.PhaseL2 && e.Kind == event.KindPoint && e.Name == "dead" && e.Time.After(since) {
			at = append(at, e.Time)
		}
		return nil
	})
	return at, err
}

// falseAlarms keeps every processor twice as busy as it can be while packets go up
// and none comes down.
func (r *run) falseAlarms(ctx context.Context, b *bed.Bed) (err error) {
	r.flowID++
	rate, err := traffic.ParseRate(loadRate)
	if err != nil {
		return err
	}
	up, err := traffic.Open(traffic.Spec{Name: "up", ID: r.flowID, From: b.Endpoint(topo.MN), To: b.Endpoint(topo.CN), Port: flowPort, Rate: rate})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.Close()) }()
	began := time.Now()
	hctx, end := context.WithTimeout(ctx, underLoad)
	var busy []*exec.Cmd
	rest := sync.OnceFunc(func() {
		end()
		for _, hog := range busy {
			_ = hog.Wait() // ended by hctx
		}
	})
	defer rest()
	for range 2 * runtime.NumCPU() {
		hog := exec.CommandContext(hctx, "yes")
		if err := hog.Start(); err != nil {
			return fmt.Errorf("scenario: a program that keeps a processor busy: %w", err)
		}
		busy = append(busy, hog)
	}
	r.p.Line("dead-link: %v on a busy machine", underLoad)
	up.Start()
	<-hctx.Done()
	rest()
	up.Stop(stragglers)
	dead, err := r.deaths(ctx, b, began)
	if err == nil && len(dead) > 0 {
		r.problem("on a busy machine the link was found dead %d times, and it was not", len(dead))
	}
	if seen, sent := up.Seen(), up.Sent(); 2*seen < sent || sent == 0 {
		r.problem("on a busy machine %d of %d packets came up, expected half of them: less shows nothing", seen, sent)
	}
	return err
}
