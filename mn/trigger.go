package mn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision/bylevel"
	"openmpa/mn/link"
)

// Trigger has the node move by itself, by the signal.
type Trigger struct {
	Levels   bylevel.Levels
	Interval time.Duration // between samples; default 500 ms
}

const (
	defaultInterval = 500 * time.Millisecond
	lookPause       = 2 * time.Second        // between two looks, which take the link off its channel:
	lookShare       = 10                     // at most one part in so many of the time
	sampleWithin    = 500 * time.Millisecond // for what is asked about the link
	roamWithin      = 10 * time.Second
	renewAt         = 4 // what is prepared counts as that until this part of its time is left
)

// mover is what a trigger asks of the node.
type mover interface {
	// position returns the present point, none while nothing serves there, and what is prepared; ErrBusy while somebody moves the link.
	position(ctx context.Context) (here bylevel.Point, prepared []string, err error)
	Prepare(network string) (*Handover, error)
	Handover(network string) (*Handover, error)
	// weaken says whether the signal is below the level look, or little above it since.
	weaken(weak bool)
	// roam moves within the serving network.
	roam(ctx context.Context, point string) (event.HandoverID, error)
}

// TriggerStatus is what the trigger saw and decided last.
type TriggerStatus struct {
	Point  string      `json:"point,omitempty"`
	Signal int         `json:"signal_dbm,omitempty"`
	Action string      `json:"action"` // stay, prepare, roam or handover
	To     string      `json:"to,omitempty"`
	Reason string      `json:"reason"`
	Seen   []SeenPoint `json:"seen,omitempty"`
}

// SeenPoint is another point of the configuration that is in sight.
type SeenPoint struct {
	Point  string  `json:"point"`
	Signal int     `json:"signal_dbm"`
	Age    float64 `json:"age_s"`
}

// trigger samples the link and has the node do what package decision says. One goroutine runs it.
type trigger struct {
	cfg      Trigger
	n        mover
	scanner  link.Scanner
	networks []Network
	recorder *event.Recorder
	log      *slog.Logger
	core     *bylevel.Trigger

	nextLook time.Time
	asked    string // the point that was asked for its neighbours

	mu     sync.Mutex
	status TriggerStatus
}

func newTrigger(cfg Config, n mover, adapter link.Adapter) (*trigger, error) {
	scanner, ok := adapter.(link.Scanner)
	if !ok {
		return nil, errors.New("trigger: the link cannot tell its signal: leave trigger out, and ask for handovers by mpactl, or have wpa_supplicant move the link")
	}
	if err := cfg.Trigger.Levels.Check(); err != nil {
		return nil, fmt.Errorf("trigger: %w", err)
	}
	t := &trigger{
		cfg: *cfg.Trigger, n: n, scanner: scanner, networks: cfg.Networks, recorder: cfg.Recorder, log: cfg.Log,
		core: bylevel.New(cfg.Trigger.Levels), status: TriggerStatus{Action: bylevel.Stay.String(), Reason: "no sample yet"},
	}
	if t.cfg.Interval == 0 {
		t.cfg.Interval = defaultInterval
	}
	return t, nil
}

// run samples until ctx ends.
func (t *trigger) run(ctx context.Context) {
	tick := time.NewTicker(t.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.step(ctx)
		}
	}
}

// step takes one sample and acts on it.
func (t *trigger) step(ctx context.Context) {
	s, err := t.sample(ctx)
	if errors.Is(err, ErrBusy) {
		return // the levels' times go on
	}
	if err != nil {
		t.log.Debug("no sample of the link", "err", err)
	}
	now := time.Now()
	d := t.core.Step(now, s)
	t.tell(s, d)
	if s.Signal != 0 {
		t.n.weaken(d.Look)
	}
	if d.Look && !now.Before(t.nextLook) {
		t.look(ctx, s.Here)
	}
	if d.Action == bylevel.Stay {
		return
	}
	t.log.Info("decided", "action", d.Action, "to", d.To.Name, "network", d.To.Network, "reason", d.Reason)
	switch err := t.act(ctx, d); {
	case err == nil, errors.Is(err, ErrBusy), ctx.Err() != nil:
	default:
		t.core.Failed(time.Now(), d)
		t.log.Warn("what was decided failed: another try must wait", "action", d.Action, "to", d.To.Name, "network", d.To.Network, "err", err)
	}
}

// sample asks the node and the link. What the link does not tell is left out.
func (t *trigger) sample(ctx context.Context) (s bylevel.Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleWithin)
	defer cancel()
	s.Here, s.Prepared, err = t.n.position(ctx)
	if err != nil || s.Here == (bylevel.Point{}) {
		return s, err
	}
	if s.Signal, err = t.scanner.Signal(ctx); err != nil {
		return s, err
	}
	seen, err := t.scanner.Seen(ctx)
	for _, g := range seen {
		for _, n := range t.networks {
			if g.Point != s.Here.Name && g.Signal < 0 && slices.Contains(n.Points, g.Point) {
				s.Seen = append(s.Seen, bylevel.Sighting{Point: bylevel.Point{Network: n.Name, Name: g.Point}, Signal: g.Signal, Age: g.Age})
			}
		}
	}
	return s, err
}

// tell keeps a decision for the status.
func (t *trigger) tell(s bylevel.Sample, d bylevel.Decision) {
	status := TriggerStatus{Point: s.Here.Name, Signal: s.Signal, Action: d.Action.String(), To: d.To.Name, Reason: d.Reason}
	for _, g := range s.Seen {
		status.Seen = append(status.Seen, SeenPoint{Point: g.Name, Signal: g.Signal, Age: g.Age.Seconds()})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status = status
}

// report returns what is kept for the status; nil without a trigger.
func (t *trigger) report() *TriggerStatus {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	return &s
}

// look has the points of the configuration looked for, on their channels only. The point we are at may know those.
func (t *trigger) look(ctx context.Context, here bylevel.Point) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if t.asked != here.Name {
		t.asked = here.Name
		if _, err := t.scanner.Reported(ctx); err != nil {
			t.log.Debug("no neighbour report", "point", here.Name, "err", err)
		}
	}
	var points []string
	for _, n := range t.networks {
		for _, p := range n.Points {
			if p != here.Name {
				points = append(points, p)
			}
		}
	}
	start := time.Now()
	if err := t.scanner.Look(ctx, points...); err != nil {
		t.log.Warn("other points are not looked for", "err", err)
	}
	end := time.Now()
	t.nextLook = end.Add(max(lookPause, lookShare*end.Sub(start)))
}

// act does what was decided, and waits for its end.
func (t *trigger) act(ctx context.Context, d bylevel.Decision) error {
	var (
		h   *Handover
		id  event.HandoverID
		err error
	)
	switch d.Action {
	case bylevel.Prepare:
		h, err = t.n.Prepare(d.To.Network)
	case bylevel.Handover:
		h, err = t.n.Handover(d.To.Network)
	case bylevel.Roam:
		id, err = t.n.roam(ctx, d.To.Name)
	}
	if h != nil {
		id = h.ID
	}
	if !id.IsZero() {
		t.recorder.Point(id, event.PhaseDiscovery, "decision", "action", d.Action.String(), "point", d.To.Name, "reason", d.Reason)
	}
	if h != nil {
		_, err = h.Wait(ctx)
	}
	return err
}

// position implements mover.
func (n *Node) position(ctx context.Context) (here bylevel.Point, prepared []string, err error) {
	if !n.tryTurn() {
		return here, nil, ErrBusy
	}
	n.endTurn()
	p := n.servingPort()
	if p != n.scanning() { // nobody sees what there is, nor how strong the link is that serves
		n.weaken(false)
		return here, nil, nil
	}
	point, network, err := p.here(ctx)
	if err != nil {
		return here, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.serving == nil || n.serving.net.Name != network.Name || n.state != "attached" {
		return here, nil, nil
	}
	if k := n.kept; k != nil && k.usable(k.c.net.Name) && time.Until(k.until) > n.cfg.Timers.Prepared/renewAt {
		prepared = []string{k.c.net.Name}
	}
	return bylevel.Point{Network: network.Name, Name: point}, prepared, nil
}

// roam implements mover. What comes of it is followed as any other change of the point.
func (n *Node) roam(ctx context.Context, point string) (id event.HandoverID, err error) {
	if !n.tryTurn() {
		return id, ErrBusy
	}
	n.endTurn()
	if id, err = event.NewHandoverID(n.cfg.Rand); err != nil {
		return id, err
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseL2, "point", point, "roam", true)
	ctx, cancel := context.WithTimeout(ctx, roamWithin)
	defer cancel()
	err = n.servingPort().link.Attach(ctx, point)
	span.End(err)
	return id, err
}
