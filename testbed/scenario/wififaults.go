package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// A radioFault is something that goes wrong with the daemons of 802.11 while the
// node is at b and has prepared a move to a.
type radioFault struct {
	name string
	// strike makes it go wrong.
	strike func(ctx context.Context, f *faulty) error
	// seen says who knows of it, and in what words; empty: nobody yet.
	seen func(ctx context.Context, f *faulty) (string, error)
	// heal makes it right again, and is done before the move; nil: only after.
	heal func(ctx context.Context, f *faulty) error
	// healed says whether everybody has recovered, before the move if it is
	// healed by then.
	healed func(ctx context.Context, f *faulty) (bool, error)
	// late heals after the move and the way back.
	late func(ctx context.Context, f *faulty) error
	// outcomes are those the move may have.
	outcomes []event.Outcome
	// eap: the move may need 802.1X.
	eap bool
}

// A faulty is one fault under way.
type faulty struct {
	*run
	bed   *bed.Bed
	fault radioFault
	// Where the node's timeline and log were before the fault.
	since uint64
	logAt map[string]int
}

const (
	forgotLimit = 2 * time.Minute  // until a router has given up a session that nobody answers in
	seenLimit   = 15 * time.Second // until a fault is known
	healedLimit = 40 * time.Second // until everybody has recovered; daemons are asked and dialled every few seconds
)

func wifiFaults(ctx context.Context, r *run) error {
	r.opt.Probe = false
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		list := radioFaults()
		for i, f := range list {
			r.p.Line("%s: %d of %d, %s", r.res.Scenario, i+1, len(list), f.name)
			if err := (&faulty{run: r, bed: b, fault: f}).whole(ctx); err != nil {
				return fmt.Errorf("scenario: %s: %w", f.name, err)
			}
		}
		return nil
	})
}

// whole goes through one fault, with traffic all the time, and ends at b with
// nothing wrong.
func (f *faulty) whole(ctx context.Context) error {
	if err := f.awaitCleanWithin(ctx, f.bed, "a", forgotLimit); err != nil {
		return err
	}
	flows, err := f.openFlows(f.bed)
	if err != nil {
		return err
	}
	defer flows.close()
	flows.start()
	h, err := f.moves(ctx)
	if err != nil {
		return err
	}
	quiet := time.Now() // from here on nothing may be lost
	if err := bed.Sleep(ctx, f.opt.Lead); err != nil {
		return err
	}
	flows.stop()
	m := measured{Handover: h}
	if m.down, m.up, err = flows.stats(); err != nil {
		return err
	}
	m.Flow = report.Flows{Down: report.FromStats(m.down), Up: report.FromStats(m.up)}
	m.strips = flows.strips(time.Time{})
	m.Case = f.fault.name
	f.res.Handovers = append(f.res.Handovers, m.Handover)
	f.expectQuiet(f.fault.name, m, quiet)
	return nil
}

// moves prepares, has it go wrong, and moves to a and back.
func (f *faulty) moves(ctx context.Context) (h report.Handover, err error) {
	if _, err := prepare(ctx, f.bed, "a"); err != nil {
		return h, err
	}
	f.since = lastSeq(ctx, f.bed.Client(topo.MN))
	log, err := os.Stat(f.bed.Run.File(topo.MN + ".log"))
	if err != nil {
		return h, fmt.Errorf("scenario: %w", err)
	}
	f.logAt = map[string]int{topo.MN: int(log.Size())}
	struck := time.Now()
	if err := f.fault.strike(ctx, f); err != nil {
		return h, err
	}
	said, err := f.untilSeen(ctx)
	if err != nil {
		return h, err
	}
	seen := time.Since(struck)
	var recovered time.Duration
	if f.fault.heal != nil {
		if recovered, err = f.heal(ctx, f.fault.heal); err != nil {
			return h, err
		}
	}
	m := measured{Handover: report.Handover{From: "b", To: "a"}}
	if f.run.at, err = f.serving(ctx); err != nil {
		return h, err
	}
	if f.run.at == "a" { // wpa_supplicant has looked for something else, and the node has followed
		m.Outcome, m.Phases = string(event.Completed), make(map[string]float64)
		said += "; moved to a by itself"
	} else if err := f.order(ctx, &m); err != nil {
		return h, err
	}
	if f.fault.late != nil && f.run.at == "b" { // what is wrong would be in the way of the next one
		if recovered, err = f.heal(ctx, f.fault.late); err != nil {
			return h, err
		}
	}
	if err := f.back(ctx); err != nil {
		return h, err
	}
	if f.fault.late != nil && recovered == 0 {
		if recovered, err = f.heal(ctx, f.fault.late); err != nil {
			return h, err
		}
	}
	if m.Reason != "" {
		said += "; the handover: " + m.Reason
	}
	m.Reason = said
	m.Phases["seen_ms"], m.Phases["recovered_ms"] = report.MS(seen), report.MS(recovered)
	return m.Handover, f.noKeyLeft(ctx)
}

// order has the node move to a.
func (f *faulty) order(ctx context.Context, m *measured) error {
	before, err := authentications(f.bed)
	if err != nil {
		return err
	}
	moves, err := f.command(ctx, f.bed, "a", ordered(f.bed, "a"), m)
	if err != nil {
		return err
	}
	if last := len(moves) - 1; last >= 0 && !moves[last].Up.IsZero() {
		if m.Radio, err = needed(f.bed, before, moves[last].To, moves[0].Lost, moves[last].Up); err != nil {
			return err
		}
	}
	f.judge(*m)
	f.run.at, err = f.serving(ctx)
	return err
}

// serving is the network that the node says it is attached to.
func (f *faulty) serving(ctx context.Context) (string, error) {
	var node struct {
		Network string `json:"network"`
	}
	if err := f.bed.Client(topo.MN).Status(ctx, &node); err != nil {
		return "", fmt.Errorf("scenario: status of the node: %w", err)
	}
	return node.Network, nil
}

// poll is await for what is asked of other programs, which need the processor.
func poll(ctx context.Context, limit time.Duration, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !cond() {
		if err := bed.Sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
	return nil
}

// untilSeen waits until somebody knows of the fault.
func (f *faulty) untilSeen(ctx context.Context) (said string, err error) {
	known := func() bool {
		said, err = f.fault.seen(ctx, f)
		return err != nil || said != ""
	}
	if poll(ctx, seenLimit, known) != nil && ctx.Err() == nil {
		f.problem("%s: nobody has said so after %v", f.fault.name, seenLimit)
		return "", nil
	}
	return said, errors.Join(err, ctx.Err())
}

// heal makes it right, and waits until everybody has recovered.
func (f *faulty) heal(ctx context.Context, heal func(context.Context, *faulty) error) (took time.Duration, err error) {
	if err := heal(ctx, f); err != nil {
		return 0, err
	}
	began := time.Now()
	well := false
	done := func() bool {
		well, err = f.fault.healed(ctx, f)
		return err != nil || well
	}
	if poll(ctx, healedLimit, done) != nil && ctx.Err() == nil {
		f.problem("%s: not recovered %v after it was made right", f.fault.name, healedLimit)
	}
	return time.Since(began), errors.Join(err, ctx.Err())
}

// judge holds the move to its promise.
func (f *faulty) judge(m measured) {
	good := false
	for _, o := range f.fault.outcomes {
		good = good || m.Outcome == string(o)
	}
	if !good {
		f.problem("%s: the outcome is %q, expected one of %v: %s", f.fault.name, m.Outcome, f.fault.outcomes, m.Reason)
	}
	if m.Outcome != string(event.Completed) && m.Reason == "" {
		f.problem("%s: the handover's end has no reason", f.fault.name)
	}
	if m.Outcome == string(event.Completed) && m.Radio != nil && m.Radio.EAP > 0 && !f.fault.eap {
		f.problem("%s: %d authentications at %s, where the key had been installed", f.fault.name, m.Radio.EAP, m.Radio.Point)
	}
}

// back moves to b where the node is at a, and otherwise to a and back: with
// nothing wrong on the way.
func (f *faulty) back(ctx context.Context) error {
	way := []string{"b"}
	if f.run.at == "b" {
		way = []string{"a", "b"}
	}
	for _, to := range way {
		if err := f.oneLease(ctx, f.bed, f.run.at); err != nil {
			return err
		}
		if err := f.awaitCleanWithin(ctx, f.bed, to, forgotLimit); err != nil {
			return err
		}
		m := measured{Handover: report.Handover{From: f.run.at, To: to}}
		if _, err := f.command(ctx, f.bed, to, ordered(f.bed, to), &m); err != nil {
			return err
		}
		name := f.fault.name + ", then to " + to
		f.expectOutcome(name, m, event.Completed)
		if m.Outcome != string(event.Completed) {
			return fmt.Errorf("%s: %s: %s", name, m.Outcome, m.Reason)
		}
		f.run.at = to
	}
	return f.oneLease(ctx, f.bed, f.run.at)
}

// noKeyLeft waits until the access points of a, which the node has left, have
// no key of it, by hostapd's own word, and its router agrees.
func (f *faulty) noKeyLeft(ctx context.Context) error {
	n, _ := topo.NetworkByName("a")
	var left []string
	var err error
	gone := func() bool {
		left, err = f.keysAt(ctx, n)
		return err != nil || len(left) == 0
	}
	if poll(ctx, cleanLimit, gone) != nil && ctx.Err() == nil {
		f.problem("%s: keys that should be gone: %v", f.fault.name, left)
	}
	return errors.Join(err, ctx.Err())
}

// keysAt lists the keys of the node that a network's access points have, or
// that its router thinks they should have.
func (f *faulty) keysAt(ctx context.Context, n topo.Network) (left []string, err error) {
	status, err := f.points(ctx, n.Name)
	if err != nil {
		return nil, err
	}
	for _, name := range n.Points {
		p := f.bed.Radio.AP(name)
		list, err := pmksa(ctx, p.Control)
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			if k.Addr == f.bed.Radio.Address {
				left = append(left, fmt.Sprintf("%s has one for %v", name, k.Expires))
			}
		}
		if n := status[name].Keys; n > 0 {
			left = append(left, fmt.Sprintf("the router counts %d of %s", n, name))
		}
	}
	return left, nil
}
