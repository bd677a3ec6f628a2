package scenario

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/mn"
	"openmpa/mn/decision"
	"openmpa/testbed/bed"
	"openmpa/testbed/field"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// The signals of a passage, dBm: the next cell is there at once, as behind a corner, and the present one goes as the node goes on.
const (
	passStill  = -56 // of the present cell before: the node looks for others already
	passNext   = -50
	passCut    = -90
	passLead   = 700 * time.Millisecond
	passRejoin = 100 * time.Millisecond
	passEdge   = 10 * time.Millisecond // in which signals come and go
	passAfter  = time.Second
	passLimit  = 20 * time.Second
	// passDecision has the node stay as long as it can, prepare from the first moment on, and go by what it hears now.
	passDecision = "{policy: era, look: -54, leave: -84, accept: -70, lost: -90, margin: 3, dwell: 0s, window: 50ms, interval: 50ms, ping-pong: 0s}"
)

// Passing is a lab whose node passes from cell to cell, as fast as it is told, and decides itself when to go.
type Passing struct {
	b *bed.Bed
	r *run
}

// Passed is what became of a passage.
type Passed struct {
	// Depth is as far as the next network was prepared when the link went.
	Depth decision.Depth
	// Steps is what each step of the preparation took, of those that came to an end, whenever that was.
	Steps map[decision.Depth]time.Duration
	// Left says that the node went before it was cut off.
	Left bool
	// Lost and Sent are packets of both directions together.
	Lost, Sent int
	// Silence is the longest at either end around the time without a link.
	Silence time.Duration
}

// Pass runs fn in a lab. It returns what was not as it should be when the lab was taken apart.
func Pass(ctx context.Context, opt Options, p *Progress, fn func(*Passing) error) (problems []string, err error) {
	r := &run{p: p, res: &report.Result{Scenario: "speed"}, opt: opt}
	o := opt.bed(p)
	o.Decision = passDecision
	err = r.withBed(ctx, o, func(b *bed.Bed) error {
		g := &Passing{b, r}
		b.Link.SetAir(&linkctl.Air{Field: field.NewTrace(b.Link.Point()).Add(0, passNext)})
		if err := g.hears(ctx); err != nil {
			return err
		}
		return fn(g)
	})
	return r.res.Problems, err
}

// hears waits until the node knows how well it hears the point where it is.
func (g *Passing) hears(ctx context.Context) error {
	var s struct {
		Decision *mn.DecisionStatus `json:"decision"`
	}
	var err error
	if waited := await(ctx, passLimit, func() bool {
		err = g.b.Client(topo.MN).Status(ctx, &s)
		return err == nil && s.Decision != nil && s.Decision.Point == g.b.Link.Point() && s.Decision.Signal == passNext
	}); waited != nil {
		return errors.Join(err, fmt.Errorf("scenario: the node does not know that it hears %s with %d dBm: %w", g.b.Link.Point(), passNext, waited))
	}
	return nil
}

// passField has a node pass from one point to another within some time.
func passField(from, to string, within time.Duration) *field.Trace {
	nothing := math.NaN()
	return field.NewTrace(from, to).
		Add(0, passStill, nothing).
		Add(passLead, passStill, nothing).
		Add(passLead+passEdge, passStill, passNext).
		Add(passLead+passEdge+within, passCut-0.5, passNext).
		Add(passLead+2*passEdge+within, nothing, passNext)
}

// Pass has the node pass within some time from one cell to the other: from when the next one is heard until the present one is not
// any more. At the next network the node has no address from before.
func (g *Passing) Pass(ctx context.Context, within time.Duration) (p Passed, err error) {
	r, b := g.r, g.b
	to := topo.Other(r.at)
	if err := g.r.awaitClean(ctx, g.b, to); err != nil {
		return p, err
	}
	since := lastSeq(ctx, b.Client(topo.MN))
	flows, err := r.openFlows(b)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, flows.close()) }()
	var mu sync.Mutex
	var moves []linkctl.Move
	b.OnMove(func(m linkctl.Move) {
		mu.Lock()
		defer mu.Unlock()
		moves = append(moves, m)
	})
	defer b.OnMove(nil)
	flows.start()
	toward := pointOf(to)
	b.Link.SetAir(&linkctl.Air{Field: passField(b.Link.Point(), toward, within), Cut: passCut, Rejoin: passRejoin})
	if err := bed.Sleep(ctx, passLead+within); err != nil {
		return p, err
	}
	if err := await(ctx, passLimit, func() bool { return b.Link.Point() == toward }); err != nil {
		return p, fmt.Errorf("scenario: the node's link does not come to %s: %w", toward, err)
	}
	if err := errors.Join(g.served(ctx, to), g.hears(ctx)); err != nil {
		return p, err
	}
	if err := bed.Sleep(ctx, passAfter); err != nil {
		return p, err
	}
	flows.stop()
	down, up, err := flows.stats()
	if err != nil {
		return p, err
	}
	mu.Lock()
	defer mu.Unlock()
	lost, came := linkGone(moves)
	p.Left = len(moves) > 0 && moves[0].Failure == ""
	p.Lost, p.Sent = down.Lost+up.Lost, down.Sent+up.Sent
	strips := flows.strips(lost)
	for _, s := range []report.Strip{strips.Down, strips.Up} {
		p.Silence = max(p.Silence, traffic.Silence(s.Sent, s.Arrivals, lost, came))
	}
	p.Steps, p.Depth, err = g.steps(ctx, since, lost)
	return p, err
}

// served waits until a network serves the node, whatever it tried before.
func (g *Passing) served(ctx context.Context, network string) error {
	var at string
	deadline := time.Now().Add(passLimit)
	for at != network {
		var err error
		if at, err = serves(ctx, g.b); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("scenario: the node is served by %s for %v, and its link is at %s: expected %s", at, passLimit, g.b.Link.Point(), network)
		}
		if err := bed.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	g.r.at = network
	return nil
}

func pointOf(network string) string {
	n, _ := topo.NetworkByName(network)
	return n.Points[0]
}

// linkGone is from when to when there was no link.
func linkGone(moves []linkctl.Move) (lost, came time.Time) {
	for _, m := range moves {
		if lost.IsZero() {
			lost = m.Lost
		}
		if !m.Up.IsZero() {
			came = m.Up
		}
	}
	return lost, came
}

// steps are the preparation's, and as far as it was when the link went.
func (g *Passing) steps(ctx context.Context, since uint64, lost time.Time) (map[decision.Depth]time.Duration, decision.Depth, error) {
	of := map[event.Phase]decision.Depth{
		event.PhaseAuth: decision.Authenticate, event.PhaseConf: decision.Configure, event.PhaseTunnel: decision.Tunnel, event.PhaseBind: decision.Bind,
	}
	steps := map[decision.Depth]time.Duration{}
	had := map[decision.Depth]bool{}
	err := g.b.Client(topo.MN).Events(ctx, since, false, func(e event.Event) error {
		d, ok := of[e.Phase]
		if !ok || e.Node != topo.MN || e.Kind != event.KindEnd || e.Outcome != event.OK {
			return nil
		}
		if _, again := steps[d]; again {
			return nil
		}
		steps[d] = e.Duration
		had[d] = !e.Time.After(lost)
		return nil
	})
	depth := decision.None
	for depth < decision.Bind && had[depth+1] {
		depth++
	}
	return steps, depth, err
}
