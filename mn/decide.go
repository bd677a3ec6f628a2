package mn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
	"openmpa/mn/link"
)

// Deciding has the node move by itself, as package decision says.
type Deciding struct {
	Policy   decision.Policy // its Hold is Timers.Hold, whatever it says
	Interval time.Duration   // between samples; default 500 ms
	Observe  bool            // it decides, and says so, and nothing is done
	// Trace takes what is decided by, and what; nil: nothing does. Points are looked for then now and then though nobody
	// needs to know, for other policies to be played over it. The node closes it.
	Trace *trace.Writer
}

const (
	defaultInterval = 500 * time.Millisecond
	lookPause       = 2 * time.Second        // between two looks, which take the link off its channel:
	lookShare       = 10                     // at most one part in so many of the time
	traceLook       = 10 * time.Second       // between two of those that only a trace wants
	sampleWithin    = 500 * time.Millisecond // for what is asked about the link
)

// spot is a point of attachment and its network.
type spot struct{ network, point string }

// mover is what a decider asks of the node.
type mover interface {
	// position returns the present point, none while nothing serves there; ErrBusy while somebody moves the link.
	position(ctx context.Context) (spot, error)
	places() []Network
	Standing() []Standing
	Want([]Wanted)
	SetBoth(both bool)
	// handoverTo is Handover to a point's network, or HandoverNow, and there to that point while it is in sight.
	handoverTo(to spot, now bool) (*Handover, error)
	// weaken says whether the signal is below the level look, or little above it since.
	weaken(weak bool)
	// roam moves within the serving network.
	roam(ctx context.Context, point string) (event.HandoverID, error)
}

// decider samples the link and has the node do what package decision says. One goroutine runs it.
type decider struct {
	cfg      Deciding
	n        mover
	scanner  link.Scanner
	around   surroundings
	recorder *event.Recorder
	log      *slog.Logger
	engine   *decision.Engine
	register register
	began    time.Time
	origin   *neighbourhood.Location // of the engine's map; nil: nothing is on it yet

	nextLook time.Time
	asked    string // the point that was asked for its neighbours
	last     decision.PointID
	rtts     map[decision.NetworkID]time.Duration // that the engine was told last
	networks []decision.Network                   // that the engine knows
	points   []decision.Point                     // likewise
	stood    []decision.Standing                  // when the last sample was taken
	chosen   decision.PointID                     // where the last move that was decided goes; 0: nowhere
	wanted   []Wanted

	mu       sync.Mutex
	measures []measure
	diary    diary
}

// measure is a step of a preparation that has ended.
type measure struct {
	network string
	step    decision.Depth
	took    time.Duration
	ok      bool
}

// maxMeasures bounds those that wait for the next sample.
const maxMeasures = 64

func newDecider(cfg Config, n mover, around surroundings, adapter link.Adapter) (*decider, error) {
	scanner, ok := adapter.(link.Scanner)
	if !ok {
		return nil, errors.New("decision: the link cannot tell its signal: leave decision out, and ask for handovers by mpactl, or have wpa_supplicant or a link controller that tells signals move the link")
	}
	policy := cfg.Deciding.Policy
	policy.Hold = cfg.Timers.Hold
	if err := policy.Check(); err != nil {
		return nil, fmt.Errorf("decision: %w", err)
	}
	d := &decider{
		cfg: *cfg.Deciding, n: n, scanner: scanner, around: around, recorder: cfg.Recorder, log: cfg.Log,
		engine: decision.New(policy), began: time.Now(), rtts: map[decision.NetworkID]time.Duration{},
	}
	if d.cfg.Interval == 0 {
		d.cfg.Interval = defaultInterval
	}
	return d, nil
}

// run samples until ctx ends.
func (d *decider) run(ctx context.Context) {
	defer func() {
		if err := d.cfg.Trace.Close(); err != nil {
			d.log.Warn("the trace is not whole", "err", err, "lost", d.cfg.Trace.Lost())
		}
	}()
	tick := time.NewTicker(d.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.step(ctx)
		}
	}
}

// at is the engine's time.
func (d *decider) at(t time.Time) time.Duration { return t.Sub(d.began) }

// step takes one sample and acts on it.
func (d *decider) step(ctx context.Context) {
	s, here, err := d.sample(ctx)
	if errors.Is(err, ErrBusy) {
		return // the levels' times go on
	}
	if err != nil {
		d.log.Debug("no sample of the link", "err", err)
	}
	d.cfg.Trace.Sample(&s)
	decided := d.engine.Step(&s)
	d.note(decided, s)
	if s.Signal != 0 && !d.cfg.Observe {
		d.n.weaken(decided.Look)
	}
	if may := time.Since(d.nextLook); may >= 0 && decided.Look || may >= traceLook-lookPause && d.cfg.Trace != nil && s.Here != 0 {
		d.look(ctx, here)
	}
	if d.cfg.Observe || s.Here == 0 { // where nothing serves the node attaches as it comes: see watch
		return
	}
	d.prepare(decided)
	if decided.Action == decision.Stay {
		return
	}
	to := d.register.spot(decided.To)
	reason := d.engine.Words(decided)
	d.log.Info("decided", "action", decided.Action, "to", to.point, "network", to.network, "reason", reason)
	d.chosen = decided.To
	switch err := d.act(ctx, decided, to, reason); {
	case err == nil, errors.Is(err, ErrBusy), ctx.Err() != nil:
	default:
		d.chosen = 0
		at := d.at(time.Now())
		d.engine.Failed(at, decided)
		d.cfg.Trace.Failed(at, decided)
		d.log.Warn("what was decided failed: another try must wait", "action", decided.Action, "to", to.point, "network", to.network, "err", err)
	}
}

// prepare has the node prepare what is wanted, in the background.
func (d *decider) prepare(decided decision.Decision) {
	d.wanted = d.wanted[:0]
	for _, r := range decided.Ladder {
		if name := d.register.network(r.Network); name != "" {
			d.wanted = append(d.wanted, Wanted{Network: name, Depth: r.Depth})
		}
	}
	d.n.Want(d.wanted)
	d.n.SetBoth(decided.Both)
}

// look has the points that are known looked for, on their channels only. The point we are at may know those.
func (d *decider) look(ctx context.Context, here spot) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if d.asked != here.point {
		d.asked = here.point
		if _, err := d.scanner.Reported(ctx); err != nil {
			d.log.Debug("no neighbour report", "point", here.point, "err", err)
		}
	}
	var points []string
	for _, n := range d.n.places() {
		for _, p := range n.Points {
			if p != here.point {
				points = append(points, p)
			}
		}
	}
	start := time.Now()
	if err := d.scanner.Look(ctx, points...); err != nil {
		d.log.Warn("other points are not looked for", "err", err)
	}
	end := time.Now()
	d.nextLook = end.Add(max(lookPause, lookShare*end.Sub(start)))
}

// act does what was decided, and waits for its end.
func (d *decider) act(ctx context.Context, decided decision.Decision, to spot, reason string) error {
	var (
		h   *Handover
		id  event.HandoverID
		err error
	)
	switch {
	case decided.Action == decision.Roam:
		id, err = d.n.roam(ctx, to.point)
	default:
		h, err = d.n.handoverTo(to, decided.Now)
	}
	if h != nil {
		id = h.ID
	}
	if !id.IsZero() {
		d.recorder.Point(id, event.PhaseDiscovery, "decision", "action", decided.Action.String(), "point", to.point, "reason", reason)
	}
	if h != nil {
		_, err = h.Wait(ctx)
	}
	return err
}

// position implements mover.
func (n *Node) position(ctx context.Context) (here spot, err error) {
	if !n.tryTurn() {
		return here, ErrBusy
	}
	n.endTurn()
	p := n.servingPort()
	if p != n.scanning() { // nobody sees what there is, nor how strong the link is that serves
		n.weaken(false)
		return here, nil
	}
	point, network, err := p.here(ctx)
	if err != nil {
		return here, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.serving == nil || n.serving.net.Name != network.Name || n.state != "attached" {
		return here, nil
	}
	return spot{network.Name, point}, nil
}

// measured tells the decider what a step of a preparation took.
func (n *Node) measured(network string, step decision.Depth, took time.Duration, ok bool) {
	d := n.decider
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.measures) < maxMeasures {
		d.measures = append(d.measures, measure{network, step, took, ok})
	}
}
