package scenario

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// The cases of the scenario router-reboots.
const (
	rebootNext     = "next, bound and not arrived"
	rebootNextBare = "next, and what it wrote down is lost"
	rebootHeld     = "last, held for a return"
	rebootHeldBare = "last, and what it wrote down is lost"
)

const rebootHold = 10 * time.Second

// routerReboots kills a router and starts it again, where the node relies on what it has there.
func routerReboots(ctx context.Context, r *run) error {
	r.opt.Probe = false
	opt := r.opt.bed(r.p)
	opt.Quick, opt.Return = true, rebootHold
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		for i := range r.opt.Repeat {
			for _, step := range []string{rebootNext, rebootNextBare, rebootHeld, rebootHeldBare} {
				if err := r.reboot(ctx, b, fmt.Sprintf("router-reboots %d, %s", i+1, step), step); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (r *run) reboot(ctx context.Context, b *bed.Bed, name, step string) error {
	to := topo.Other(r.at)
	if err := r.awaitClean(ctx, b, to); err != nil {
		return err
	}
	if step == rebootHeld || step == rebootHeldBare { // it returns
		if err := r.step(ctx, b, step+": first there", to); err != nil {
			return err
		}
		to = topo.Other(to)
	}
	_, err := r.cutMove(ctx, b, name, step, to, func(ctx context.Context) (result control.HandoverResult, err error) {
		if step == rebootNext || step == rebootNextBare {
			if _, err := prepare(ctx, b, to); err != nil {
				return result, err
			}
		}
		if _, err := b.Kill(to); err != nil {
			return result, err
		}
		if step == rebootNextBare || step == rebootHeldBare {
			if err := b.Forget(to); err != nil {
				return result, err
			}
		}
		if err := b.Restart(ctx, to); err != nil {
			return result, err
		}
		return ordered(b, to)(ctx)
	}, event.Completed, event.SwitchedBack)
	if err != nil {
		return err
	}
	return r.onlyAt(ctx, b, r.at, rebootHold+vanishLimit)
}
