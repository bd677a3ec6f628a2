package crash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/kstate"
	"openmpa/testbed/matrix"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

const (
	lead          = 200 * time.Millisecond // of traffic before the handover
	handoverLimit = time.Minute            // until a handover has an outcome
	recoverLimit  = time.Minute
	settleLimit   = time.Minute
	losslessFor   = time.Second
	look          = 20 * time.Millisecond // between two looks
)

// cellRun is a cell under way.
type cellRun struct {
	cell Cell
	bed  *bed.Bed
	rec  *Record
	died time.Time
	// before is what the kernel held before the handover, by namespace.
	before map[string]kstate.State
	// second is when the handover after the recovery was asked for.
	second time.Time
}

// runCell plays a cell in a lab of its own. logs gets the daemons' logs.
func runCell(ctx context.Context, opt bed.Options, cell Cell, logs string) Record {
	begun := time.Now()
	rec := Record{
		Victim: cell.Victim, Point: cell.Point, At: begun,
		DelayMS: cell.Delay.Milliseconds(), Hasty: cell.Hasty, AAA: cell.AAA, DHCP: cell.DHCP, Guard: cell.Guard, Enforce: cell.Enforce,
		IP: cell.IP, Addresses: cell.Addresses,
	}
	opt.Logs, opt.Quick, opt.AAA, opt.DHCP, opt.Guard, opt.Enforce = logs, true, cell.AAA, cell.DHCP, cell.Guard, cell.Enforce
	opt.IP, opt.Addresses = cell.IP, cell.Addresses
	b, err := bed.Start(ctx, opt)
	if err != nil {
		rec.problem("the lab does not start: %v", err)
		return rec
	}
	r := &cellRun{cell: cell, bed: b, rec: &rec}
	if err := r.play(ctx); err != nil {
		rec.problem("%v", err)
	}
	if err := b.Close(); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			rec.problem("at the end: %s", line)
		}
	}
	panics, err := matrix.Panics(logs)
	if err != nil {
		rec.problem("%v", err)
	}
	rec.Problems = append(rec.Problems, panics...)
	rec.Passed = len(rec.Problems) == 0
	rec.TookS = time.Since(begun).Seconds()
	return rec
}

func (r *cellRun) play(ctx context.Context) error {
	if !r.cell.Enforce {
		return r.moves(ctx)
	}
	s, err := r.openStrangers(ctx)
	if err != nil {
		return err
	}
	err = r.moves(ctx)
	if err == nil {
		err = r.cleaned(ctx)
	}
	if err = errors.Join(err, s.end(r.rec)); err == nil {
		err = r.opened(ctx)
	}
	return err
}

// moves is the crash in a handover, and another handover.
func (r *cellRun) moves(ctx context.Context) (err error) {
	t, err := openTraffic(r.bed)
	if err != nil {
		return err
	}
	defer func() {
		var e error
		r.rec.Down, r.rec.Up, e = t.end(r.second)
		err = errors.Join(err, e)
	}()
	if err := r.guarded(ctx, false); err != nil {
		return err
	}
	if r.before, err = r.bed.Kernel(); err != nil {
		return err
	}
	if err := r.guarded(ctx, true); err != nil {
		return err
	}
	if err := bed.Sleep(ctx, lead); err != nil {
		return err
	}
	if err := r.crash(ctx); err != nil {
		return err
	}
	if err := r.recovered(ctx, t); err != nil {
		return err
	}
	if !r.cell.Hasty {
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	if err := r.again(ctx); err != nil {
		return err
	}
	return r.settled(ctx)
}

// crash has the victim die in a handover, starts it again, and waits for the
// handover's outcome.
func (r *cellRun) crash(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	if r.cell.Point == Idle {
		if err := r.kill(time.Now()); err != nil {
			return err
		}
		return r.restart(ctx)
	}
	killed, disarm, err := r.arm(ctx)
	if err != nil {
		return err
	}
	defer disarm()
	answered := make(chan struct{})
	var result control.HandoverResult
	var answer error
	go func() {
		defer close(answered)
		result, answer = order(ctx, r.bed, other(topo.NetworkOf(r.bed.Link.Point())))
	}()
	defer func() { cancel(); <-answered }()
	select {
	case err = <-killed:
	case <-answered:
		select { // the last records come with the answer
		case err = <-killed:
		case <-time.After(2 * time.Second):
			err = fmt.Errorf("crash: the handover ended (%s, %w) and its timeline had no %q", result.Outcome, answer, r.cell.Point)
		}
	}
	if err != nil {
		return err
	}
	if err := r.restart(ctx); err != nil {
		return err
	}
	<-answered
	switch {
	case r.cell.Victim == MN:
		return nil // who was asked is gone
	case ctx.Err() != nil:
		return fmt.Errorf("crash: the handover hangs: no outcome in %v", handoverLimit)
	case answer != nil:
		return fmt.Errorf("crash: the handover has no outcome: %w", answer)
	}
	r.rec.Outcome, r.rec.Reason = string(result.Outcome), result.Reason
	switch {
	case result.Outcome == event.Completed:
	case result.Outcome != event.Failed && result.Outcome != event.SwitchedBack:
		r.rec.problem("the handover's outcome is %q", result.Outcome)
	case result.Reason == "" || strings.Contains(result.Reason, "\n"):
		r.rec.problem("the handover ended %s without one clear reason: %q", result.Outcome, result.Reason)
	}
	return nil
}

// kill ends the victim, because of what happened at a time.
func (r *cellRun) kill(at time.Time) (err error) {
	r.died, err = r.bed.Kill(r.cell.Victim.daemon())
	hit, gone := report.MS(r.died.Sub(at)), report.MS(time.Since(at))
	r.rec.HitMS, r.rec.GoneMS = &hit, &gone
	return err
}

func (r *cellRun) restart(ctx context.Context) error {
	if err := bed.Sleep(ctx, r.cell.Delay); err != nil {
		return err
	}
	if err := r.bed.Restart(ctx, r.cell.Victim.daemon()); err != nil {
		return fmt.Errorf("crash: %s does not start again: %w", r.cell.Victim, err)
	}
	return nil
}

// arm has the victim killed at the point. The channel says when it is dead;
// disarm must be called.
func (r *cellRun) arm(ctx context.Context) (killed <-chan error, disarm func(), err error) {
	dead := make(chan error, 1)
	kill := func(at time.Time) { dead <- r.kill(at) }
	if r.cell.Point.isMessage() {
		disarm, err = r.armWire(kill)
	} else {
		disarm, err = r.armTimeline(ctx, kill, dead)
	}
	return dead, disarm, err
}

// armWire waits for a message.
func (r *cellRun) armWire(kill func(at time.Time)) (disarm func(), err error) {
	t, err := openTap(r.bed, func(p Point, at time.Time) {
		if p == r.cell.Point {
			kill(at)
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = t.Close() }, nil
}

// armTimeline waits for a record. What keeps it from that goes to failed.
func (r *cellRun) armTimeline(ctx context.Context, kill func(at time.Time), failed chan<- error) (disarm func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	daemon := r.cell.Point.party().daemon()
	client := r.bed.Client(daemon)
	var last uint64
	if err := client.Events(ctx, 0, false, func(e event.Event) error { last = e.Seq; return nil }); err != nil {
		cancel()
		return nil, fmt.Errorf("crash: timeline of %s: %w", daemon, err)
	}
	armed := make(chan struct{})
	following := make(chan struct{})
	go func() {
		defer close(following)
		once := sync.OnceFunc(func() { close(armed) })
		err := client.Follow(ctx, last, once, func(e event.Event) error {
			if e.Node != daemon || pointOf(daemon, e) != r.cell.Point {
				return nil
			}
			kill(e.Time)
			return errFired
		})
		if !errors.Is(err, errFired) {
			failed <- fmt.Errorf("crash: timeline of %s, waiting for %q: %w", daemon, r.cell.Point, err)
		}
		once()
	}()
	<-armed
	return func() { cancel(); <-following }, nil
}

var errFired = errors.New("fired")

// order has the node move to a network.
func order(ctx context.Context, b *bed.Bed, to string) (control.HandoverResult, error) {
	var result control.HandoverResult
	err := b.Client(topo.MN).Command(ctx, control.CommandHandover, control.HandoverArgs{Network: to, Wait: true}, &result)
	return result, err
}

// recovered waits until everything stands and nothing is lost for a second.
func (r *cellRun) recovered(ctx context.Context, t *traffics) error {
	missing := "nothing was looked at"
	var whole time.Time // since when everything stands
	for time.Since(r.died) < recoverLimit {
		now := time.Now()
		good := t.lossless(now)
		if whole.IsZero() {
			if r.rec.Network, missing = standing(ctx, r.bed); missing == "" {
				whole = now
			}
		}
		if from := latest(whole, good); missing == "" && now.Sub(from) >= losslessFor+late {
			if _, missing = standing(ctx, r.bed); missing == "" { // still
				took := report.MS(max(0, from.Sub(r.died)))
				r.rec.RecoveryMS = &took
				return nil
			}
			whole = time.Time{}
		}
		if err := bed.Sleep(ctx, look); err != nil {
			return err
		}
	}
	if missing == "" {
		missing = "packets are lost all the time"
	}
	return fmt.Errorf("crash: not recovered within %v: %s", recoverLimit, missing)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// again moves once more, from where the node is.
func (r *cellRun) again(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	r.second = time.Now()
	result, err := order(ctx, r.bed, other(r.rec.Network))
	if err != nil {
		return fmt.Errorf("crash: the handover after the recovery: %w", err)
	}
	r.rec.Second = string(result.Outcome)
	if result.Outcome != event.Completed {
		return fmt.Errorf("crash: the handover after the recovery is %s: %s", result.Outcome, result.Reason)
	}
	return nil
}

// settled waits until nothing reminds of the crash: no lease is left but the
// one of the network where the node is, and the kernel holds what it held
// before the handover. What it holds on the node depends on where that is.
func (r *cellRun) settled(ctx context.Context) (err error) {
	if err := r.guarded(ctx, false); err != nil { // copies come by a host route
		return err
	}
	defer func() { err = errors.Join(err, r.guarded(ctx, true)) }()
	begun := time.Now()
	for {
		wrong, err := r.unsettled(ctx)
		if err != nil {
			return err
		}
		if len(wrong) == 0 {
			if r.rec.SettledMS == nil {
				took := report.MS(time.Since(r.died))
				r.rec.SettledMS = &took
			}
			return nil
		}
		if time.Since(begun) > settleLimit {
			return fmt.Errorf("crash: not settled within %v: %s", settleLimit, strings.Join(wrong, "; "))
		}
		if err := bed.Sleep(ctx, 5*look); err != nil {
			return err
		}
	}
}

func (r *cellRun) unsettled(ctx context.Context) (wrong []string, err error) {
	network, address, err := r.address(ctx)
	if err != nil {
		return []string{err.Error()}, nil // until it has one
	}
	now, err := r.bed.Kernel()
	if err != nil {
		return nil, err
	}
	for node, state := range now {
		if node == topo.MN || node == topo.Air {
			continue
		}
		for _, line := range kstate.Diff(r.before[node], state) {
			wrong = append(wrong, node+": "+line)
		}
	}
	if r.cell.Enforce {
		gates, err := r.gates(network, address)
		if err != nil {
			return nil, err
		}
		wrong = append(wrong, gates...)
	}
	slices.Sort(wrong)
	return wrong, nil
}
