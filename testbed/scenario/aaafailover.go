package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

const (
	// backLimit is how long routers may take to find that a server is back.
	backLimit = 60 * time.Second
	// recordsLead is how long the first record of a session may be on its way.
	recordsLead = time.Second
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

	failed int // handovers
}

// leastMessages is what an authentication has at least: identity, what begins TLS, the
// certificate, and what acknowledges the end. Behind them come a session's records, where they
// go the same way.
const leastMessages = 4

// mostMessages bounds the cases.
const mostMessages = 20

func (k *killing) each(ctx context.Context) error {
	kills := 0
	for n := 1; n <= mostMessages; n++ {
		killed, err := k.at(ctx, n)
		if err != nil {
			return fmt.Errorf("scenario: %s, killed at message %d: %w", k.name, n, err)
		}
		if !killed {
			break
		}
		kills++
	}
	if kills < leastMessages {
		k.problem("%s: a server was killed at %d messages, expected %d or more", k.name, kills, leastMessages)
	}
	if !k.spare && k.failed < leastMessages {
		k.problem("%s: of %d handovers with the server killed %d failed, expected those of %d messages or more", k.name, kills, k.failed, leastMessages)
	}
	k.opt.AAADown = 0
	return k.booksOf(ctx, k.b, k.name)
}

// at kills the server when message n is on its way to it, if there is one.
func (k *killing) at(ctx context.Context, n int) (killed bool, err error) {
	k.opt.AAADown = n
	from, to := k.run.at, topo.Other(k.run.at)
	k.p.Line("%s: killed at message %d, from %s to %s", k.name, n, from, to)
	if err := k.serversBack(ctx, k.b, k.name); err != nil {
		return false, err
	}
	if err := k.awaitClean(ctx, k.b, to); err != nil {
		return false, err
	}
	m, err := k.attemptBy(ctx, k.b, from, to, func(ctx context.Context) (control.HandoverResult, error) {
		result, err := ordered(k.b, to)(ctx)
		if err == nil && result.Outcome == event.Completed {
			err = bed.Sleep(ctx, recordsLead)
		}
		return result, err
	})
	if err != nil {
		return false, err
	}
	m.Case = fmt.Sprintf("%s, killed at message %d", k.name, n)
	if killed = m.AAADown.Killed != ""; !killed {
		m.Case = k.name + ", nobody killed"
		k.opt.AAADown = 0
	}
	k.res.Handovers = append(k.res.Handovers, m.Handover)
	k.judge(m)
	if m.Outcome == string(event.Completed) {
		k.run.at = to
		return killed, k.oneLease(ctx, k.b, to)
	}
	k.failed++
	return killed, nil
}

func (k *killing) judge(m measured) {
	auths := 0
	for _, e := range ofNode(m.records, topo.MN) {
		if e.Phase == event.PhaseAuth && e.Kind == event.KindEnd {
			auths++
		}
	}
	if k.spare || m.AAADown.Killed == "" {
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
