package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/topo"
)

// The cases of the scenario target-vanishes.
const (
	vanishDead    = "points dead"
	vanishRefuses = "points refuse"
	vanishRouter  = "router gone before the move"
	vanishStays   = "router gone, no move"
)

// vanishLimit is how long the node may take to find out; it is given a few seconds by its configuration.
const vanishLimit = 40 * time.Second

// targetVanishes prepares the next network whole, and takes it away.
func targetVanishes(ctx context.Context, r *run) error {
	r.opt.Probe = false
	opt := r.opt.bed(r.p)
	opt.Quick = true
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		for i := range r.opt.Repeat {
			for _, step := range []string{vanishDead, vanishRefuses, vanishRouter, vanishStays} {
				if err := r.vanish(ctx, b, fmt.Sprintf("target-vanishes %d, %s", i+1, step), step); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (r *run) vanish(ctx context.Context, b *bed.Bed, name, step string) error {
	to := topo.Other(r.at)
	if err := r.awaitClean(ctx, b, to); err != nil {
		return err
	}
	n, _ := topo.NetworkByName(to)
	fail := func(how linkctl.Failure) {
		for _, p := range n.Points {
			b.Link.Fail(p, how)
		}
	}
	from := r.at
	_, err := r.cutMove(ctx, b, name, step, to, func(ctx context.Context) (result control.HandoverResult, err error) {
		if _, err := prepare(ctx, b, to); err != nil {
			return result, err
		}
		switch step {
		case vanishDead:
			fail(linkctl.Dead)
		case vanishRefuses:
			fail(linkctl.Refuses)
		default:
			if _, err := b.Kill(to); err != nil {
				return result, err
			}
		}
		if step == vanishStays {
			return control.HandoverResult{Outcome: event.SwitchedBack, Reason: "bound where it is again"}, r.boundAgain(ctx, b, from)
		}
		return ordered(b, to)(ctx)
	}, event.SwitchedBack)
	fail(linkctl.Works)
	if err != nil {
		return err
	}
	if r.at != from {
		r.problem("%s: the node is at %s, expected %s, where it was", name, r.at, from)
	}
	if step == vanishRouter || step == vanishStays {
		if err := b.Restart(ctx, to); err != nil {
			return err
		}
	}
	return r.onlyAt(ctx, b, r.at, vanishLimit)
}

// boundAgain waits until nothing is prepared any more, and the node's binding is where it is.
func (r *run) boundAgain(ctx context.Context, b *bed.Bed, network string) error {
	type family struct {
		Bindings []struct {
			Bound  bool       `json:"bound"`
			CareOf netip.Addr `json:"care_of"`
		} `json:"bindings"`
	}
	n, _ := topo.NetworkByName(network)
	prefixes := []netip.Prefix{n.Prefix, topo.SixPrefix(n.Prefix).Masked()}
	var at netip.Addr
	var problem error
	err := await(ctx, vanishLimit, func() bool {
		var status struct {
			family
			IPv6 family `json:"ipv6"`
		}
		if problem = b.Client(topo.HA).Status(ctx, &status); problem != nil {
			return false
		}
		for _, x := range append(status.Bindings, status.IPv6.Bindings...) {
			if x.Bound {
				at = x.CareOf
			}
		}
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(at) })
	})
	if err != nil {
		return errors.Join(fmt.Errorf("scenario: the home agent has the node at %v, expected in network %s, where it is: %w", at, network, err), problem)
	}
	return nil
}
