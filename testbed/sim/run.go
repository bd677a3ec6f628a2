package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/virtual"
)

// A Subject is a policy that is compared.
type Subject struct {
	Name   string
	Policy decision.Policy
	Blind  bool // it is not told where the node is
	// Engine makes what decides; nil: decision.New of the policy.
	Engine func() virtual.Decider
}

// Subjects are the styles as they come, on maps whose links carry nothing below lost, dBm. The last one is what the others are compared
// to.
func Subjects(lost float64) []Subject {
	var list []Subject
	for _, s := range decision.Styles() {
		p := decision.DefaultPolicy(s)
		p.Lost = float32(lost)
		if s == decision.Predictive {
			list = append(list, Subject{Name: s.String() + "-blind", Policy: p, Blind: true})
		}
		list = append(list, Subject{Name: s.String(), Policy: p})
	}
	return list
}

// Options say how much is simulated.
type Options struct {
	Spec     Spec
	Nodes    int
	Time     time.Duration // virtual, of each node
	Every    time.Duration // between samples
	Subjects []Subject
	Workers  int // goroutines; 0: as many as there are processors
	// Judged the same for all subjects: see virtual.Config.
	Within, Short time.Duration
	// Progress, if not nil, is told how many nodes are done, now and then.
	Progress func(done, of int)
}

// Defaults of Options.
const (
	DefaultEvery  = 100 * time.Millisecond
	DefaultWithin = 10 * time.Second
	DefaultShort  = 5 * time.Second
	scanEvery     = 2 * time.Second // while sightings are wanted
	jitter        = 0.3
	above         = 6 // dB above Lost: a point there would have served
)

func (o Options) check() error {
	const mostNodes = 1_000_000
	if o.Nodes < 1 || o.Nodes > mostNodes || o.Time < time.Second || o.Time > 24*time.Hour || o.Every < time.Millisecond || o.Every > time.Second {
		return fmt.Errorf("sim: %d nodes for %v, a sample every %v: expected 1 to %d nodes, 1s to 24h, 1ms to 1s", o.Nodes, o.Time, o.Every, mostNodes)
	}
	if len(o.Subjects) == 0 {
		return fmt.Errorf("sim: no policy: expected one at least")
	}
	for _, s := range o.Subjects {
		if err := s.Policy.Check(); err != nil {
			return fmt.Errorf("sim: %s: %w", s.Name, err)
		}
	}
	return nil
}

// Run simulates all nodes of one map.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Within == 0 {
		o.Within = DefaultWithin
	}
	if o.Short == 0 {
		o.Short = DefaultShort
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	m, err := NewMap(o.Spec)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := newResult(m, o)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, o.Workers)
	for i := range o.Workers {
		wg.Go(func() {
			w, err := newWorker(m, o, r)
			for n := next.Add(1) - 1; err == nil && n < int64(o.Nodes) && ctx.Err() == nil; n = next.Add(1) - 1 {
				if err = w.node(ctx, int(n)); o.Progress != nil {
					o.Progress(int(done.Add(1)), o.Nodes)
				}
			}
			if errs[i] = err; err == nil {
				w.hand(r)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	r.settle(time.Since(began))
	return r, nil
}

// worker simulates node after node, with one virtual node for each subject.
type worker struct {
	o      Options
	world  *nodeWorld
	nodes  []*virtual.Node
	result *Result

	airTook time.Duration
	took    []time.Duration // by subject
	paths   []Path
}

func newWorker(m *Map, o Options, r *Result) (*worker, error) {
	w := &worker{o: o, world: newNodeWorld(m, o.Every), took: make([]time.Duration, len(o.Subjects)), result: r}
	for _, s := range o.Subjects {
		vw, err := virtual.NewWorld(virtual.Config{
			Networks: m.Networks, Points: m.Points, Jitter: jitter,
			Lost: float32(m.Spec.Lost), Serves: float32(m.Spec.Lost + above), Hold: s.Policy.Hold, Within: o.Within, Short: o.Short, Scan: scanEvery, Learns: true,
		})
		if err != nil {
			return nil, err
		}
		n, err := virtual.NewNode(vw, s.engine(), 0)
		if err != nil {
			return nil, fmt.Errorf("sim: %s: %w", s.Name, err)
		}
		w.nodes = append(w.nodes, n)
	}
	return w, nil
}

func (s *Subject) engine() virtual.Decider {
	if s.Engine != nil {
		return s.Engine()
	}
	return decision.New(s.Policy)
}

// wayOf is how a node goes about: half of them walk.
func wayOf(number int) Way {
	return [...]Way{Waypoint, GaussMarkov, Waypoint, Road}[number%4]
}

// node simulates one, with all policies.
func (w *worker) node(ctx context.Context, number int) error {
	way := wayOf(number)
	w.world.begin(way, w.o.Spec.Seed, uint64(number)+1) //nolint:gosec // not negative
	var path *Path
	if number < drawnPaths {
		path = &Path{Number: number, Way: way, Moves: make([][]MoveAt, len(w.nodes))}
	}
	for i, n := range w.nodes {
		n.Log = nil
		if path != nil {
			n.Log = func(m virtual.Moving) { path.moved(i, m) }
		}
		if err := n.Reset(w.o.Subjects[i].engine(), rand.New(rand.NewPCG(w.o.Spec.Seed, uint64(number))).Uint64()); err != nil { //nolint:gosec // likewise
			return fmt.Errorf("sim: %s: %w", w.o.Subjects[i].Name, err)
		}
	}
	for left := int(w.o.Time / w.o.Every); left > 0 && ctx.Err() == nil; left -= blockSteps {
		began := time.Now()
		block := w.world.block(left)
		if path != nil {
			path.add(block)
		}
		for i, n := range w.nodes {
			now := time.Now()
			if i == 0 {
				w.airTook += now.Sub(began)
			} else {
				w.took[i-1] += now.Sub(began)
			}
			began = now
			if w.o.Subjects[i].Blind {
				for k := range block {
					a := block[k]
					a.Place, a.Speed = decision.Place{}, -1
					n.Step(&a)
				}
				continue
			}
			for k := range block {
				n.Step(&block[k])
			}
		}
		w.took[len(w.nodes)-1] += time.Since(began)
	}
	for i, n := range w.nodes {
		w.result.counts[i][number] = n.End()
	}
	if path != nil {
		w.paths = append(w.paths, *path)
	}
	return nil
}

// hand gives what a worker has to the result.
func (w *worker) hand(r *Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.airTook += w.airTook
	for i, t := range w.took {
		r.took[i] += t
	}
	for k, n := range w.world.reach {
		r.reach[k] += n
	}
	r.Paths = append(r.Paths, w.paths...)
}
