package mn

import (
	"context"
	"errors"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/link"
)

// reachWithin bounds the test of a point: nothing is delivered meanwhile.
const reachWithin = 500 * time.Millisecond

// reach tests that the point answers before the old link is left, while both ends hold
// what is to be sent (RFC 6252 §7.6.3). Where nobody knows where to ask, and on a link
// that is dead already, the move goes on without.
func (n *Node) reach(ctx context.Context, id event.HandoverID, d *departure) error {
	r, ok := d.move.(link.Reacher)
	if !n.cfg.Reach || !ok || n.dead.Load() != nil {
		return nil
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseReach, "point", d.point)
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	err := r.Reach(ctx)
	if errors.Is(err, link.ErrChannel) {
		span.EndOutcome(event.OK, err.Error())
		return nil
	}
	span.End(err)
	return err
}
