package scenario

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// readyLimit bounds how long the node takes until it stands by for a move.
const readyLimit = 15 * time.Second

// moveStatus is what is read of the mobile node's status before a move.
type moveStatus struct {
	State   string `json:"state"`
	Network string `json:"network"`
	Standby bool   `json:"standby"`
	Guard   *struct {
		By string `json:"by"`
	} `json:"guard"`
}

// serves waits until a network serves the node, which need not be the one where it was to go, and says which.
func serves(ctx context.Context, b *bed.Bed) (network string, err error) {
	err = awaitNode(ctx, b, "the node is attached nowhere", func(s moveStatus) bool {
		network = s.Network
		return s.State == "attached" && network != ""
	})
	return network, err
}

// awaitNode waits until the node's status is as wanted.
func awaitNode(ctx context.Context, b *bed.Bed, what string, good func(moveStatus) bool) error {
	var s moveStatus
	var err error
	e := await(ctx, readyLimit, func() bool {
		s = moveStatus{}
		err = b.Client(topo.MN).Status(ctx, &s)
		return err == nil && good(s)
	})
	if err != nil {
		return fmt.Errorf("scenario: status of the mobile node: %w", err)
	}
	if e != nil {
		return fmt.Errorf("scenario: %s: %w; the node says %+v", what, e, s)
	}
	return nil
}

// standsBy waits until the serving router has a tunnel for what it may hold, and
// then has the node move as it is told.
func standsBy(ctx context.Context, _ *run, b *bed.Bed, _ int, to string) (order, error) {
	err := awaitNode(ctx, b, "no tunnel stands by with the serving router", func(s moveStatus) bool { return s.Standby })
	return ordered(b, to), err
}

// judgePrevious holds a move to its promise in which the previous router holds.
func (r *run) judgePrevious(name string, m measured) {
	r.judgeClean(name, m)
	r.expectForwarded(name, m, r.sentAway(m))
}

// judgePreviousStream is the same with a TCP connection.
func (r *run) judgePreviousStream(name string, m measured) {
	r.judgeCleanStream(name, m)
	r.expectForwarded(name, m, 0) // its sender may have waited for acknowledgements
}

// expectForwarded checks that the case was played: the previous router says that it held, and sent to another
// place what it had; some of it, where packets came to it while there was no link.
func (r *run) expectForwarded(name string, m measured, came int) {
	held := -1
	for _, e := range m.records {
		if e.Node == m.From && e.Phase == event.PhaseHold && e.Kind == event.KindEnd && e.Outcome == event.SwitchedBack {
			held = max(held, int(attr(e, "packets")))
		}
	}
	switch {
	case held < 0:
		r.problem("%s: router %s does not say that it has forwarded what it held", name, m.From)
	case held == 0 && came > 1:
		r.problem("%s: %d packets came to router %s while there was no link, and it says that it held none", name, came, m.From)
	}
}
