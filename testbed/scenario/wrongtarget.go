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

// wrongPrepared is how long the node keeps what nobody has used.
const wrongPrepared = 10 * time.Second

// What the node has in the network where it turns up, and what it must not ask for there again.
var wrongDepths = []struct {
	depth string
	not   []event.Phase
}{
	{"", nil},
	{"authenticate", []event.Phase{event.PhaseAuth}},
	{"configure", []event.Phase{event.PhaseAuth, event.PhaseConf, event.PhaseDHCP}},
	{"tunnel", []event.Phase{event.PhaseAuth, event.PhaseConf, event.PhaseDHCP, event.PhaseTunnel}},
}

// wrongTarget prepares network a whole, and has the link come up elsewhere.
func wrongTarget(ctx context.Context, r *run) error {
	r.opt.Probe = false
	opt := r.opt.bed(r.p)
	opt.Further, opt.Kept = len(topo.Further), wrongPrepared
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		s := &shover{b: b}
		turn := 0
		for i := range r.opt.Repeat {
			for _, d := range wrongDepths {
				for _, byOrder := range []bool{false, true} {
					target, to := "a", topo.Further[turn%len(topo.Further)].Name // each time another one
					turn++
					if err := r.wrong(ctx, b, s, i+1, target, to, d.depth, d.not, byOrder); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

// wrong prepares the target whole, and where the link comes up as deep as that. It is moved by somebody else, or when the
// node was told to move to the target.
func (r *run) wrong(ctx context.Context, b *bed.Bed, s *shover, n int, target, to, depth string, not []event.Phase, byOrder bool) error {
	for _, network := range []string{target, to} {
		if err := r.awaitClean(ctx, b, network); err != nil {
			return err
		}
	}
	of := "not prepared there"
	if depth != "" {
		of = depth + " there"
	}
	word, outcomes := ", moved by somebody else", []event.Outcome{event.Completed}
	if byOrder {
		word, outcomes = ", ordered elsewhere", []event.Outcome{event.Failed, event.Completed}
	}
	of += word
	since := uint64(0)
	asks, there := topoPoints(target), topoPoints(to)[0]
	_, err := r.cutMove(ctx, b, fmt.Sprintf("wrong-target %d, %s", n, of), of, to, func(ctx context.Context) (result control.HandoverResult, err error) {
		if depth != "" {
			if err := prepareTo(ctx, b, to, depth); err != nil {
				return result, err
			}
		}
		if _, err := prepare(ctx, b, target); err != nil {
			return result, err
		}
		since = lastSeq(ctx, b.Client(topo.MN))
		if !byOrder {
			return s.follow(ctx, r.at, to, event.HandoverID{}, func(ctx context.Context, _ string) error {
				_, err := b.Link.Attach(ctx, there)
				return err
			})
		}
		for _, p := range asks {
			b.Link.Divert(p, there)
			defer b.Link.Divert(p, "")
		}
		if result, err = ordered(b, target)(ctx); err != nil {
			return result, err
		}
		_, err = serves(ctx, b)
		result.ID = event.HandoverID{} // it has ended before the node went on
		return result, err
	}, outcomes...)
	if err != nil {
		return err
	}
	if r.at != to {
		r.problem("wrong-target %d, %s: the node is at %s, expected %s, where its link came up", n, of, r.at, to)
	}
	begun, err := asked(ctx, b, since)
	if err != nil {
		return err
	}
	r.expectNotAsked(of, begun, not...)
	return r.onlyAt(ctx, b, r.at, wrongPrepared+cleanLimit)
}

func topoPoints(network string) []string {
	n, _ := topo.NetworkByName(network)
	return n.Points
}

// prepareTo prepares a network as deep as that.
func prepareTo(ctx context.Context, b *bed.Bed, network, depth string) error {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	var result control.HandoverResult
	err := b.Client(topo.MN).Command(ctx, control.CommandPrepare, control.HandoverArgs{Network: network, Depth: depth, Wait: true}, &result)
	if err == nil && result.Outcome != event.OK {
		err = fmt.Errorf("%s: %s", result.Outcome, result.Reason)
	}
	if err != nil {
		return fmt.Errorf("scenario: prepare %s, to %s: %w", network, depth, err)
	}
	return nil
}
