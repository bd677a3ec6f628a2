package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"openmpa/internal/control"
	"openmpa/mn"
	"openmpa/mn/decision"
	"openmpa/testbed/bed"
	"openmpa/testbed/field"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// What the node walks through: points 60 m apart, in two rows, each of 20 dBm at 5 GHz; walls and people in between.
const (
	wanderPower    = -25 // dBm at 1 m
	wanderExponent = 3
	wanderSpeed    = 3 // m/s
	wanderCut      = -90
	wanderRejoin   = 500 * time.Millisecond
	wanderSweep    = 100 * time.Millisecond // beacons
	wanderWeak     = -80                    // dBm
	wanderLoud     = -60                    // dBm, above what any policy accepts
	wanderStuck    = 5 * time.Second        // more than any policy's dwell and preparation
	wanderSample   = 200 * time.Millisecond // of the node
	wanderLook     = 100 * time.Millisecond // ours at the link
	wanderAsk      = 2 * time.Second        // for its decisions
	wanderHold     = 10 * time.Second
	wanderKept     = 10 * time.Second
)

var wanderShadow = field.Shadow{Sigma: 4, Distance: 10}

var wanderCells = []field.Cell{
	cell("poa-b1", 0, 0), cell("poa-a1", 60, 0), cell("poa-c1", 120, 0), cell("poa-e1", 180, 0),
	cell("poa-b2", 30, 50), cell("poa-a2", 90, 50), cell("poa-d1", 150, 50),
}

func cell(point string, x, y float64) field.Cell {
	return field.Cell{Point: point, Place: field.Place{X: x, Y: y}, Power: wanderPower, Exponent: wanderExponent}
}

func adjustWander(o *Options, _ func(string) bool) { o.Probe = false }

// wanderWay goes to one place after another of the map, from the first point on.
func wanderWay(seed uint64, lasts time.Duration) (*field.Walk, error) {
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	path := []field.Place{{}}
	s := wanderShadow
	s.Seed = seed
	for {
		path = append(path, field.Place{X: rnd.Float64()*200 - 10, Y: rnd.Float64()*70 - 10})
		w, err := field.NewWalk(wanderCells, path, wanderSpeed, s)
		if err != nil || w.Lasts() >= lasts {
			return w, err
		}
	}
}

// wander has a node walk with each policy, beside one another.
func wander(ctx context.Context, r *run) error {
	lasts := r.opt.Walk
	if lasts == 0 {
		lasts = 10 * time.Minute
	}
	way, err := wanderWay(r.opt.WalkSeed, lasts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runs := make([]*run, len(decision.Styles()))
	errs := make([]error, len(runs))
	var all sync.WaitGroup
	for i, style := range decision.Styles() {
		one := &run{opt: r.opt, p: r.p.With(style.String() + ": "), res: &report.Result{Scenario: r.res.Scenario}}
		one.opt.Keep, one.opt.Logs = false, r.opt.Logs
		runs[i] = one
		all.Go(func() {
			if errs[i] = one.walkBy(ctx, style, way, lasts); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", style, errs[i])
				cancel()
			}
		})
	}
	all.Wait()
	for i, one := range runs {
		r.res.Journeys = append(r.res.Journeys, one.res.Journeys...)
		for _, p := range one.res.Problems {
			r.problem("%s: %s", decision.Styles()[i], p)
		}
	}
	return errors.Join(errs...)
}

// walkBy is a node with one policy, in a lab of its own.
func (r *run) walkBy(ctx context.Context, style decision.Style, way *field.Walk, lasts time.Duration) error {
	opt := r.opt.bed(r.p)
	opt.Further, opt.Return, opt.Kept, opt.LogLevel = len(topo.Further), wanderHold, wanderKept, "info"
	opt.Guard = bed.GuardWeak // within a network nobody holds packets while the link is gone
	opt.Site, opt.Cells, opt.Position = true, wanderCells, !r.opt.Unplaced
	opt.Decision = fmt.Sprintf("{policy: %s, interval: %v}", style, wanderSample)
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		j, err := r.setOut(ctx, b, style.String())
		if err != nil {
			return err
		}
		w := &wanderer{b: b, told: make(map[time.Time]mn.Decided)}
		b.Link.SetAir(&linkctl.Air{Field: way, Cut: wanderCut, Rejoin: wanderRejoin, Sweep: wanderSweep})
		r.p.Line("wander: the node walks for %v", lasts)
		if err := w.watch(ctx, way, lasts, func(at time.Duration) {
			r.p.Line("wander: %v of %v", at.Round(30*time.Second), lasts)
		}); err != nil {
			return err
		}
		// It stands still where it is, and hears nothing else.
		if err := w.tell(way, lasts, 0); err != nil {
			return err
		}
		at, err := serves(ctx, b)
		if err != nil {
			return err
		}
		b.Link.SetAir(&linkctl.Air{Field: field.NewTrace(b.Link.Point()).Add(0, -50)})
		if err := w.ask(ctx); err != nil {
			return err
		}
		if _, err := j.end(ctx); err != nil {
			return err
		}
		d, err := w.decided(ctx, style, j.moves)
		if err != nil {
			return err
		}
		if r.judgeDecided(d, j.moves, w); !r.opt.Tracks {
			d.Way = nil
		}
		r.res.Journeys[len(r.res.Journeys)-1].Policy = d
		if r.at, err = serves(ctx, b); err != nil {
			return err
		}
		if r.at != at {
			r.problem("the node is at %s, expected %s: it hears nothing else", r.at, at)
		}
		return r.onlyAt(ctx, b, r.at, wanderHold+wanderKept+cleanLimit)
	})
}

// wanderer notes what a node hears and decides.
type wanderer struct {
	b     *bed.Bed
	told  map[time.Time]mn.Decided // by when they began
	way   []report.Heard
	weak  time.Duration
	stuck time.Duration // of that, with a point in sight that any policy would take
	cut   time.Duration
}

// watch looks at the link, and asks the node why, until the walk is over.
func (w *wanderer) watch(ctx context.Context, way *field.Walk, lasts time.Duration, say func(time.Duration)) error {
	tick := time.NewTicker(wanderLook)
	defer tick.Stop()
	var looked, asked time.Duration
	for begun := time.Now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		at := time.Since(begun)
		if at >= lasts {
			return nil
		}
		if err := w.tell(way, at, 1); err != nil {
			return err
		}
		h := report.Heard{AtS: round(at.Seconds()), Point: w.b.Link.Point()}
		heard := way.At(at)
		if len(heard) > 0 {
			h.Best = round(heard[0].DBm)
		}
		dBm, ok := field.Of(heard, h.Point)
		switch {
		case h.Point == "":
			w.cut += at - looked
		case !ok || dBm < wanderWeak:
			w.weak += at - looked
			if len(heard) > 0 && heard[0].DBm >= wanderLoud {
				w.stuck += at - looked
			}
		}
		if ok {
			h.Signal = round(dBm)
		}
		w.way = append(w.way, h)
		if looked = at; at-asked >= wanderAsk {
			asked = at
			say(at)
			if err := w.ask(ctx); err != nil {
				return err
			}
		}
	}
}

// tell has the node know where it is, and its speed, times so much.
func (w *wanderer) tell(way *field.Walk, at time.Duration, times float64) error {
	here, speed, heading := way.Where(at)
	return w.b.SetPlace(here, times*speed, heading)
}

// ask has the node tell what it has decided lately.
func (w *wanderer) ask(ctx context.Context) error {
	var list []mn.Decided
	if err := w.b.Client(topo.MN).Command(ctx, control.CommandDecisions, nil, &list); err != nil {
		return fmt.Errorf("scenario: decisions of the mobile node: %w", err)
	}
	for _, d := range list {
		w.told[d.From] = d
	}
	return nil
}

// decided counts.
func (w *wanderer) decided(ctx context.Context, style decision.Style, moves []linkctl.Move) (*report.Decided, error) {
	var status struct {
		Preparations struct {
			Prepared map[string]int `json:"prepared"`
			Used     map[string]int `json:"used"`
			Vain     map[string]int `json:"vain"`
		} `json:"preparations"`
	}
	if err := w.b.Client(topo.MN).Status(ctx, &status); err != nil {
		return nil, fmt.Errorf("scenario: status of the mobile node: %w", err)
	}
	within := decision.DefaultPolicy(style).Within
	d := &report.Decided{
		Style: style.String(), Decisions: len(w.told), WithinS: within.Seconds(), WeakDBm: wanderWeak,
		WeakS: round(w.weak.Seconds()), CutS: round(w.cut.Seconds()), Way: w.way,
		Prepared: status.Preparations.Prepared, Used: status.Preparations.Used, Vain: status.Preparations.Vain,
	}
	for _, t := range w.told {
		if t.Reason == "" {
			d.Unworded++
		}
	}
	for i, m := range moves {
		if topo.NetworkOf(m.From) != topo.NetworkOf(m.To) {
			d.Handovers++
		} else {
			d.Roams++
		}
		if w.decision(m) == nil {
			d.Unplanned++
		}
		if i > 0 && m.To == moves[i-1].From && m.Up.Sub(moves[i-1].Up) <= within {
			d.PingPongs++
		}
	}
	return d, nil
}

// decision is what the node had decided when the link moved; nil: nothing of that.
func (w *wanderer) decision(m linkctl.Move) *mn.Decided {
	var last *mn.Decided
	for _, d := range w.told {
		if d.To == m.To && d.From.Before(m.Lost) && (last == nil || d.From.After(last.From)) {
			last = &d
		}
	}
	if last == nil || m.Lost.Sub(last.Until) > handoverLimit {
		return nil
	}
	return last
}

// decisions are the last ones that began before then, a line each.
func (w *wanderer) decisions(before time.Time) string {
	var list []mn.Decided
	for _, d := range w.told {
		if d.From.Before(before) {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b mn.Decided) int { return a.From.Compare(b.From) })
	var text strings.Builder
	for _, d := range list[max(len(list)-6, 0):] {
		fmt.Fprintf(&text, "\n    from %.1f to %.1f s before, at %s: %s %s: %s", before.Sub(d.From).Seconds(), before.Sub(d.Until).Seconds(), d.Point, d.Action, d.To, d.Reason)
	}
	return text.String()
}

// judgeDecided holds a walk to what is promised of decisions.
func (r *run) judgeDecided(d *report.Decided, moves []linkctl.Move, w *wanderer) {
	if d.Decisions == 0 || d.Unworded > 0 {
		r.problem("%d decisions, %d of them without a reason in words; expected some, each with one", d.Decisions, d.Unworded)
	}
	for i, m := range moves {
		if w.decision(m) == nil {
			r.problem("move %d, from %s to %s: the node has decided nothing of that%s", i+1, m.From, m.To, w.decisions(m.Lost))
		}
	}
	if len(moves) == 0 && w.stuck > wanderStuck {
		r.problem("the node has not moved, and was below %d dBm for %v s while it heard another point above %d dBm%s",
			wanderWeak, round(w.stuck.Seconds()), wanderLoud, w.decisions(time.Now()))
	}
}
