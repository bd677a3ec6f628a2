package vhandover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"openmpa/internal/event"
	"openmpa/mn"
	"openmpa/testbed/topo"
)

// Limits of virtual time, generous: what takes longer hangs.
const (
	attachLimit   = 5 * time.Minute
	handoverLimit = 4 * time.Minute
	agreeLimit    = sessionTime + leaseTime
	promptly      = 15 * time.Second
	talkTime      = 2 * time.Second
	quietTime     = 3 * time.Second // what is under way, or waits for a marker, has come by then
)

// Outcome of one handover of a plan.
type Outcome struct {
	Kind   string // of fault
	Ended  string // completed, switched-back, failed, refused, crashed, followed, given back
	Reason string
}

// certain is how a handover ends where nothing is lost.
var certain = map[Fault]string{
	None: "completed", Twice: "completed", Conflict: "completed", DeadTarget: "switched-back", Unknown: "failed",
	Late: "completed", Unused: "given back", DeadLink: "followed", Strays: "failed",
}

// Result of a plan.
type Result struct {
	Plan     Plan
	Outcomes []Outcome
	Wrong    []string // nothing: all is well
	Trace    []string // when something is wrong
	Up, Down Flow
	Virtual  time.Duration
}

// Flow is what became of an application's packets. Late came behind a newer one.
type Flow struct{ Sent, Delivered, Doubled, Late int }

// Run carries out a plan, in a synctest bubble. log, which may be nil, gets every
// party's log as it is written.
func Run(plan Plan, creds *Credentials, log io.Writer) (r Result) {
	r.Plan = plan
	b, err := newBed(plan, creds, log)
	if err != nil {
		r.Wrong = append(r.Wrong, "the network could not be built: "+err.Error())
		return r
	}
	r.Outcomes, err = b.play()
	if err != nil {
		r.Wrong = append(r.Wrong, err.Error())
	}
	flows := b.ledger.flows()
	r.Up, r.Down = flows[up], flows[down]
	if plan.lossless() && plan.Prepared && err == nil {
		for i, o := range r.Outcomes {
			want := certain[plan.Moves[i].Fault]
			if plan.Moves[i].Fault == DeadTarget && plan.Second != NoSecond {
				want = "failed" // nothing has switched
			}
			if plan.Moves[i].Second.Fault == None && want != "" && o.Ended != want {
				r.Wrong = append(r.Wrong, fmt.Sprintf("nothing was lost on any cable, and handover %d, %s, ended %s (%s), expected %s", i+1, o.Kind, o.Ended, o.Reason, want))
			}
			if want == "" || plan.Moves[i].Second.Fault != None {
				break // what comes after it is anybody's guess
			}
		}
	}
	if plan.Clean() && err == nil {
		for dir, f := range flows {
			if f.Delivered < f.Sent || f.Doubled > 0 || f.Late > 0 {
				r.Wrong = append(r.Wrong, fmt.Sprintf("nothing was lost on any cable, and %v was %+v; %s", direction(dir), f, b.ledger.losses()))
			}
		}
	}
	b.close()
	for _, m := range b.machines {
		r.Wrong = append(r.Wrong, m.Left()...)
	}
	if b.second != nil && !b.second.IsDown() {
		r.Wrong = append(r.Wrong, "the node's second interface was down, and is left up")
	}
	r.Virtual = time.Since(b.began)
	if len(r.Wrong) > 0 {
		r.Trace = b.net.Trace()
	}
	return r
}

// play is a plan from the first attachment to the good-bye.
func (b *bed) play() (outcomes []Outcome, err error) {
	for _, n := range topo.Networks {
		if a := b.airs[n.Name]; a.at() == "" {
			if err := a.Attach(context.Background(), n.Points[0]); err != nil {
				return nil, err
			}
		}
	}
	if err := b.node.start(); err != nil {
		return nil, fmt.Errorf("the node does not start: %w", err)
	}
	for i, m := range b.plan.Moves {
		if err := b.attached(); err != nil {
			return outcomes, err
		}
		if i == 0 {
			if b.apps, err = newApps(b); err != nil {
				return outcomes, err
			}
			time.Sleep(300 * time.Millisecond)
			b.own = len(b.machines[topo.MN].Owned())
		}
		o, err := b.move(m)
		if err != nil {
			return outcomes, fmt.Errorf("handover %d, %s: %w", i+1, m.Kind(), err)
		}
		b.net.Note("OUTCOME of handover %d, %s: %s %s", i+1, m.Kind(), o.Ended, o.Reason)
		outcomes = append(outcomes, o)
		time.Sleep(m.Pause)
	}
	b.heal()
	if err := b.attached(); err != nil {
		return outcomes, err
	}
	return outcomes, b.part()
}

// part lets everybody agree and talk a little, has the node say good-bye, and looks at what is left.
func (b *bed) part() error {
	var errs []error
	limit := agreeLimit
	if b.plan.Clean() && !b.plan.unheard() {
		limit = promptly // nobody has to wait until something expires
	}
	if wrong := b.until(limit, b.disagreement); wrong != "" {
		errs = append(errs, fmt.Errorf("%v after the last handover they do not agree: %s", limit, wrong))
	}
	first := b.ledger.next()
	time.Sleep(talkTime)
	b.apps.quiet()
	time.Sleep(quietTime)
	if wrong := b.ledger.silence(first); wrong != "" {
		errs = append(errs, fmt.Errorf("they agree, and nothing is lost on any cable any more, but %s", wrong))
	}
	for _, wrong := range b.ledger.check(b.swallowed(), b.again(), b.crashed) {
		errs = append(errs, errors.New(wrong))
	}
	b.node.stop()
	if wrong := b.until(limit, b.remains); wrong != "" {
		errs = append(errs, fmt.Errorf("%v after the node's good-bye there is left: %s", limit, wrong))
	}
	return errors.Join(errs...)
}

// until asks once a second what is wrong, at most for a time, and returns the last
// answer.
func (b *bed) until(limit time.Duration, ask func() string) string {
	for end := time.Now().Add(limit); ; time.Sleep(time.Second) {
		if wrong := ask(); wrong == "" || time.Now().After(end) {
			return wrong
		}
	}
}

// attached waits until the node is.
func (b *bed) attached() error {
	wrong := b.until(attachLimit, func() string {
		if s := b.node.node.Status(); s.State != "attached" || s.Bound == "" {
			return fmt.Sprintf("%s, bound %q: %s", s.State, s.Bound, s.Problem)
		}
		return ""
	})
	if wrong != "" {
		return fmt.Errorf("the node is not attached in %v: %s", attachLimit, wrong)
	}
	return nil
}

// move is one handover and its fault.
func (b *bed) move(m Move) (o Outcome, err error) {
	node, recorder := b.node.node, b.node.recorder // after a crash it is another
	from := node.Status().Network
	target := another(from)
	bad := map[string]badLink{}
	switch m.Fault {
	case DeadTarget:
		bad[target.Points[0]] = dead
	case Flapping:
		bad[target.Points[0]] = flaps
	case Strays:
		bad[target.Points[0]] = strays
		if b.second != nil { // which reaches one network
			bad[target.Points[0]] = dead
		}
	}
	for _, a := range b.airs {
		a.set(m.Gap, bad)
		defer a.set(m.Gap, nil)
	}
	for _, t := range []Trouble{m.Trouble, m.Second} {
		defer b.fault(t, from, target)()
	}
	o.Kind = m.Kind()
	switch m.Fault {
	case Carried:
		o.Ended = "followed"
		return o, b.shift(from, target)
	case Roams:
		o.Ended = "followed"
		points := network(from).Points
		return o, b.carry(from, points[len(points)-1])
	case Late, Unused, Arrives, DeadLink:
		if done := b.prepare(m, target.Name, &o); done {
			return o, nil
		}
	default:
	}
	if m.Fault == Arrives {
		o.Ended = "followed"
		kept := node.Status().Prepared
		err := b.shift(from, target)
		if err == nil && kept != nil && m.Second.Fault == None && b.plan.lossless() {
			err = atOnce(recorder.Events(kept.Handover), b.plan.Hold == mn.HoldPrevious, b.plan.Second == SecondAtMove)
		}
		return o, err
	}
	if m.Fault == DeadLink {
		o.Ended = "followed"
		b.net.Note("FAULT %s", m.Fault)
		b.airs[from].die(b.plan.Cables["air"])
		defer b.airs[from].revive()
		if m.Second.Fault == CrashNext { // the router there may be gone when it comes: then it goes back, and the link with it lives again
			return o, b.leaves(from)
		}
		return o, b.follows(target.Name)
	}
	to := target.Name
	if m.Fault == Unknown {
		to = "nowhere"
	}
	h, err := asked(func() (*mn.Handover, error) { return node.Handover(to) })
	if m.Fault == Twice && err == nil {
		if _, err := node.Handover(from); !errors.Is(err, mn.ErrBusy) {
			return o, fmt.Errorf("a second one at once: %w, expected that it is refused", err)
		}
	}
	if err != nil {
		o.Ended, o.Reason = "refused", err.Error()
		return o, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handoverLimit)
	defer cancel()
	if m.Fault == Cancelled {
		ctx, cancel = context.WithTimeout(context.Background(), m.At)
		defer cancel()
	}
	began := time.Now()
	outcome, why := h.Wait(ctx)
	o.Ended = string(outcome)
	switch {
	case time.Since(began) > handoverLimit:
		return o, fmt.Errorf("not at its end after %v, then %s: %w", handoverLimit, outcome, why)
	case m.Fault == CrashNode && why != nil && time.Since(began) >= m.At:
		o.Ended, o.Reason = "crashed", why.Error()
	case outcome == event.Completed && why != nil, outcome != event.Completed && (why == nil || why.Error() == ""):
		return o, fmt.Errorf("it ended %s with %v", outcome, why)
	case outcome != event.Completed && outcome != event.SwitchedBack && outcome != event.Failed:
		return o, fmt.Errorf("it ended %q", outcome)
	case why != nil:
		o.Reason = why.Error()
	}
	if o.Ended == "crashed" {
		return o, nil
	}
	return o, told(recorder.Events(h.ID), outcome)
}

// told says what is wrong with the node's record of a handover, or nil: it ends once,
// as the handover did, and every phase that has begun has ended before.
func told(events []event.Event, outcome event.Outcome) error {
	open := map[event.Phase]int{}
	for _, e := range events {
		if e.Node != "mn" || e.Phase == event.PhaseCleanup {
			continue // a router's, which came with its report; the good-bye to a router, which goes on
		}
		if open == nil {
			return fmt.Errorf("a record of %s follows its end", e.Phase)
		}
		switch e.Kind {
		case event.KindBegin:
			open[e.Phase]++
		case event.KindEnd:
			open[e.Phase]--
		}
		if e.Phase != event.PhaseHandover || e.Kind != event.KindEnd {
			continue
		}
		if e.Outcome != outcome || outcome != event.Completed && e.Reason == "" {
			return fmt.Errorf("it ended %s, and its record says %s (%q)", outcome, e.Outcome, e.Reason)
		}
		for phase, n := range open {
			if n != 0 {
				return fmt.Errorf("its record ends with %d phases %s that have not", n, phase)
			}
		}
		open = nil
	}
	if open != nil {
		return fmt.Errorf("its record has no end: %+v", events)
	}
	return nil
}

// prepare prepares a move and waits for its time; done says that there is no move, for
// what was prepared is given back, or there was nothing.
func (b *bed) prepare(m Move, network string, o *Outcome) (done bool) {
	node := b.node.node
	h, err := asked(func() (*mn.Handover, error) { return node.Prepare(network) })
	if err != nil {
		o.Ended, o.Reason = "refused", err.Error()
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), handoverLimit)
	defer cancel()
	outcome, why := h.Wait(ctx)
	if outcome != event.OK {
		o.Ended, o.Reason = string(outcome), fmt.Sprint(why)
		return true
	}
	if m.Fault != Unused {
		time.Sleep(min(m.At, keptTime*3/4))
		return false
	}
	o.Ended = "given back"
	if wrong := b.until(handoverLimit, func() string {
		if s := b.node.node.Status(); s.Prepared != nil {
			return "kept"
		}
		return ""
	}); wrong != "" {
		o.Ended, o.Reason = wrong, "after its time"
	}
	return true
}

// atOnce says what an arrival without the node's doing has taken that was not needed:
// everything was there. The previous router forwards where it holds, and an interface that is
// down between its moves is set up.
func atOnce(events []event.Event, forwards, raises bool) error {
	arrived, left := false, false
	for _, e := range events {
		switch {
		case e.Node != "mn":
		case e.Phase == event.PhaseL2 && e.Kind == event.KindPoint:
			left = true
		case e.Phase == event.PhaseArrival && e.Kind == event.KindEnd && e.Outcome == event.OK:
			arrived = true
		case left && !arrived && e.Phase != event.PhaseArrival && !(forwards && e.Phase == event.PhaseForward) &&
			!(raises && e.Phase == event.PhaseAttach && e.Attrs["raised"] == true):
			return fmt.Errorf("the link is at what was prepared, and the node does %s", e.Phase)
		}
	}
	if !arrived {
		return fmt.Errorf("the link was at what was prepared, and the node has not arrived: %+v", events)
	}
	return nil
}

// carry has the link move without a handover, and the node follow it.
func (b *bed) carry(network, point string) error {
	if err := b.airs[network].Attach(context.Background(), point); err != nil {
		return err
	}
	return b.follows(network)
}

// shift has the node go on at the other network without a handover: the link is carried
// there, or is cut where the other interface has its own.
func (b *bed) shift(from string, target topo.Network) error {
	if b.second == nil {
		return b.carry(target.Name, target.Points[0])
	}
	defer b.airs[from].cut()()
	return b.follows(target.Name)
}

// follows waits until the node is attached to a network.
func (b *bed) follows(network string) error {
	wrong := b.until(attachLimit, func() string {
		if s := b.node.node.Status(); s.Network != network || s.State != "attached" {
			return fmt.Sprintf("%s at %s: %s", s.State, s.Network, s.Problem)
		}
		return ""
	})
	if wrong != "" {
		return fmt.Errorf("the node does not follow its link to %s in %v: %s", network, attachLimit, wrong)
	}
	return nil
}

// leaves waits until the node is attached, and not by a link that is dead.
func (b *bed) leaves(from string) error {
	wrong := b.until(attachLimit, func() string {
		if s := b.node.node.Status(); s.State != "attached" || s.Network == from && b.airs[from].dead() {
			return fmt.Sprintf("%s at %s: %s", s.State, s.Network, s.Problem)
		}
		return ""
	})
	if wrong != "" {
		return fmt.Errorf("the node stays on a dead link for %v: %s", attachLimit, wrong)
	}
	return nil
}

// asked asks for a handover; the node may be about to follow its link, or to look.
func asked(ask func() (*mn.Handover, error)) (h *mn.Handover, err error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if h, err = ask(); !errors.Is(err, mn.ErrBusy) || time.Now().After(end) {
			return h, err
		}
	}
}
