package scenario

import (
	"context"
	"fmt"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// diverted has the node move to a network, and its link come up at the third.
// Back from there it moves as it is told.
func diverted(ctx context.Context, r *run, b *bed.Bed, n int, to string) (order, error) {
	asked, _ := topo.NetworkByName(to)
	for _, p := range asked.Points {
		b.Link.Divert(p, "")
	}
	if n%2 == 1 {
		return ordered(b, to), nil
	}
	for _, p := range asked.Points {
		b.Link.Divert(p, topo.Third.Points[0])
	}
	if err := awaitNode(ctx, b, "no tunnel stands by with the serving router", func(s moveStatus) bool { return s.Standby }); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (control.HandoverResult, error) {
		result, err := ordered(b, to)(ctx)
		if err != nil {
			return result, err
		}
		at, err := serves(ctx, b)
		if err == nil && at != topo.Third.Name {
			err = fmt.Errorf("scenario: the link came up at network %s, and %s serves the node", topo.Third.Name, at)
		}
		return result, err
	}, nil
}

// wentElsewhere is whether the link came up where it was not asked for.
func (m *measured) wentElsewhere() bool {
	return len(m.moves) > 0 && topo.NetworkOf(m.moves[0].To) == topo.Third.Name
}

// judgeElsewhere holds a move to its promise whose link came up elsewhere: what was
// ordered has not come to be, and the node has gone on there.
func (r *run) judgeElsewhere(name string, m measured) {
	if !m.wentElsewhere() {
		r.judgeClean(name, m)
		return
	}
	r.expectNotCompleted(name, m)
	r.expectFlaws(name, m, tolerance{}, tolerance{})
}

// judgeElsewhereStream is the same with a TCP connection. It may wait for a
// retransmission time-out: until the node has an address there, nothing can come.
func (r *run) judgeElsewhereStream(name string, m measured) {
	if !m.wentElsewhere() {
		r.judgeCleanStream(name, m)
		return
	}
	r.expectNotCompleted(name, m)
	r.expectNothingDropped(name, m)
}

// expectNotCompleted checks the outcome of a move that did not come to where it was to go.
func (r *run) expectNotCompleted(name string, m measured) {
	if m.Outcome != string(event.Failed) && m.Outcome != string(event.SwitchedBack) || m.Reason == "" {
		r.problem("%s: the outcome is %q (%s), expected %q or %q with a reason", name, m.Outcome, m.Reason, event.Failed, event.SwitchedBack)
	}
}
