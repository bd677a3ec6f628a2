package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

const (
	// keyLife is the lifetime of sessions, and of the keys made of them, in the scenario key-expiry.
	keyLife = 20 * time.Second
	// keyLate is how much longer a key may be seen: daemons count whole seconds.
	keyLate = 5 * time.Second
)

// keyExpiry has the node prepare a network and die: nobody tells anybody that its keys are to go.
func keyExpiry(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.Lifetime = keyLife
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		a, _ := topo.NetworkByName("a")
		s := &shover{b: b}
		for i := range r.opt.Repeat {
			name := fmt.Sprintf("key-expiry %d", i+1)
			r.p.Line("%s: preparing network a", name)
			if _, err := s.ready(ctx, "a", true); err != nil {
				return err
			}
			left, err := keysOf(ctx, b, a)
			if err != nil {
				return err
			}
			if want := 2 * len(a.Points); len(left) != want {
				r.problem("%s: after the preparation the keys are %q, expected %d: one at each end for each access point", name, left, want)
			}
			died, err := b.Kill(topo.MN)
			if err != nil {
				return err
			}
			r.p.Line("%s: the node was killed; its keys are to go within %v", name, keyLife)
			gone := func() bool {
				left, err = keysOf(ctx, b, a)
				return err != nil || len(left) == 0
			}
			if late := await(ctx, keyLife+keyLate, gone); late != nil && err == nil {
				r.problem("%s: %v after the node's end there are: %s", name, keyLife+keyLate, strings.Join(left, "; "))
			}
			if err != nil {
				return err
			}
			took := time.Since(died)
			r.res.Handovers = append(r.res.Handovers, report.Handover{
				From: "b", To: "a", Outcome: "prepared", Phases: map[string]float64{"keys_gone_ms": report.MS(took)},
			})
			if err := b.Restart(ctx, topo.MN); err != nil {
				return err
			}
			if err := b.Attached(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}
