package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"openmpa/aaa"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

const (
	// backLimit is how long routers may take to find that a server is back.
	backLimit = 60 * time.Second
	// booksLimit is how long the last record may be on its way to a server.
	booksLimit = 60 * time.Second
)

func aaaFailover(ctx context.Context, r *run) error {
	r.opt.Probe = false
	for _, spare := range []bool{true, false} {
		opt := r.opt.bed(r.p)
		opt.Spare, opt.AAADown = spare, true
		err := r.withBed(ctx, opt, func(b *bed.Bed) error {
			k := &killing{run: r, b: b, spare: spare, name: "no second server"}
			if spare {
				k.name = "a second server"
			}
			return k.each(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A killing has the server that the routers ask be killed at each of its messages in turn.
type killing struct {
	*run
	b     *bed.Bed
	spare bool // another stands by
	name  string

	completed, failed int
}

func (k *killing) each(ctx context.Context) error {
	messages, err := k.count(ctx)
	if err != nil || messages == 0 {
		return err
	}
	for n := 1; n <= messages; n++ {
		if err := k.at(ctx, n, messages); err != nil {
			return fmt.Errorf("scenario: %s, killed at message %d: %w", k.name, n, err)
		}
	}
	if k.spare && k.failed > 0 || !k.spare && k.failed == 0 {
		k.problem("%s: of %d handovers with the server killed %d failed", k.name, messages, k.failed)
	}
	k.opt.AAADown = 0
	r := k.run
	if err := r.booksOf(ctx, k.b, k.name); err != nil {
		return err
	}
	return nil
}

// count has the node move with all servers alive, and counts the messages to them.
func (k *killing) count(ctx context.Context) (messages int, err error) {
	k.opt.AAADown = 0
	from, to := k.run.at, topo.Other(k.run.at)
	k.p.Line("%s: from %s to %s with nothing wrong", k.name, from, to)
	if err := k.b.ArmAAADown(to, 0); err != nil {
		return 0, err
	}
	m, err := k.move(ctx, k.b, from, to)
	d := k.b.DisarmAAADown()
	if err != nil {
		return 0, err
	}
	m.Case = k.name + ", nothing wrong"
	k.res.Handovers = append(k.res.Handovers, m.Handover)
	k.judgeClean(m.Case, m)
	if m.Outcome != string(event.Completed) {
		return 0, nil // noted; the cases would not be what they say
	}
	k.run.at = to
	for _, n := range d.Turns {
		messages += n
	}
	if len(d.Turns) != 1 {
		k.problem("%s: with nothing wrong %s, expected one server to be asked", k.name, counted(d.Turns))
	}
	return messages, nil
}

// at kills the server when message n is on its way to it.
func (k *killing) at(ctx context.Context, n, of int) error {
	k.opt.AAADown = n
	from, to := k.run.at, topo.Other(k.run.at)
	k.p.Line("%s: killed at message %d of %d, from %s to %s", k.name, n, of, from, to)
	if err := k.back(ctx); err != nil {
		return err
	}
	m, err := k.move(ctx, k.b, from, to)
	if err != nil {
		return err
	}
	m.Case = fmt.Sprintf("%s, killed at message %d of %d", k.name, n, of)
	k.res.Handovers = append(k.res.Handovers, m.Handover)
	k.judge(m)
	if m.Outcome == string(event.Completed) {
		k.completed++
		k.run.at = to
		return k.oneLease(ctx, k.b, to)
	}
	k.failed++
	return nil
}

func (k *killing) judge(m measured) {
	auths := 0
	for _, e := range ofNode(m.records, topo.MN) {
		if e.Phase == event.PhaseAuth && e.Kind == event.KindEnd {
			auths++
		}
	}
	if k.spare {
		k.judgeClean(m.Case, m)
		if auths < 1 || auths > 2 {
			k.problem("%s: the node has authenticated %d times, expected one more at most", m.Case, auths)
		}
		return
	}
	k.expectDown(m.Case, m)
	if !m.Flow.Down.Clean() || !m.Flow.Up.Clean() {
		k.problem("%s: on the connection %d lost, %d duplicated, %d reordered to the node, %d, %d, %d from it", m.Case,
			m.Flow.Down.Lost, m.Flow.Down.Duplicated, m.Flow.Down.Reordered, m.Flow.Up.Lost, m.Flow.Up.Duplicated, m.Flow.Up.Reordered)
	}
	if m.Outcome == string(event.Completed) {
		return // the server had decided before it was killed
	}
	k.expectOutcome(m.Case, m, event.Failed)
	switch {
	case auths != 1:
		k.problem("%s: the node has authenticated %d times, expected once where nobody else stands by", m.Case, auths)
	case m.Reason == "" || strings.Contains(m.Reason, "\n"):
		k.problem("%s: the reason is %q, expected one, in a line", m.Case, m.Reason)
	case len(m.moves) > 0:
		k.problem("%s: the node left its link", m.Case)
	}
}

// back waits until each router has found every server alive.
func (k *killing) back(ctx context.Context) error {
	var missing string
	for _, name := range routersOf(k.b) {
		var last error
		err := await(ctx, backLimit, func() bool {
			var status struct {
				AAA struct {
					Servers []aaa.ServerStatus `json:"servers"`
				} `json:"aaa"`
			}
			if last = k.b.Client(name).Status(ctx, &status); last != nil {
				return true
			}
			missing = ""
			for _, s := range status.AAA.Servers {
				if !s.Alive {
					missing = s.Server + ": " + s.Why
				}
			}
			return missing == ""
		})
		if last != nil || ctx.Err() != nil {
			return errors.Join(last, ctx.Err())
		}
		if err != nil {
			k.problem("%s: router %s does not find its servers alive again %v: %s", k.name, name, err, missing)
		}
	}
	return nil
}
