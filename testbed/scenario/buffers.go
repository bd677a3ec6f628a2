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

// A BufferMove is a planned move with traffic to the node.
type BufferMove struct {
	Gap  time.Duration // the node has no link
	Rate traffic.Rate
}

// BufferMoved is what became of one.
type BufferMoved struct {
	BufferMove
	report.Handover
	Sent []int64 // when each packet to the node was sent, ns of the wall clock
}

// Buffers has a node make moves one after the other, in a lab whose routers hold so many
// packets for it at most; 0: as many as they find right themselves. It tells each of
// them, and returns what else was not as it should be.
func Buffers(ctx context.Context, bin, logs string, packets int, moves []BufferMove, p *Progress, tell func(BufferMoved)) (problems []string, err error) {
	r := &run{p: p, res: &report.Result{Scenario: "buffers"}, opt: Options{Bin: bin, Logs: logs, DAD: bed.DADFast, Lead: deliveryLead, Direction: Down}}
	opt := r.opt.bed(p)
	opt.BufferPackets = packets
	err = r.withBed(ctx, opt, func(b *bed.Bed) error {
		for _, want := range moves {
			from, to := r.at, topo.Other(r.at)
			if err := r.awaitClean(ctx, b, to); err != nil {
				return err
			}
			b.Link.SetGap(want.Gap)
			r.opt.Rate = want.Rate
			m, err := r.attempt(ctx, b, from, to)
			if err != nil {
				return fmt.Errorf("scenario: a move with %s, %v without a link: %w", want.Rate, want.Gap, err)
			}
			if m.Outcome != string(event.Completed) {
				return fmt.Errorf("scenario: a move with %s, %v without a link: %s: %s", want.Rate, want.Gap, m.Outcome, m.Reason)
			}
			tell(BufferMoved{BufferMove: want, Handover: m.Handover, Sent: m.strips.Down.Sent})
			r.at = to
			if err := r.oneLease(ctx, b, r.at); err != nil {
				return err
			}
		}
		return nil
	})
	return r.res.Problems, err
}
