package bench

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"openmpa/testbed/sim"
)

// Sim compares the styles of decision on maps of cells.
func Sim() Bench {
	return Bench{
		Name: "sim", Doc: "ways to decide when to move: nodes on a map of 25 cells, simulated; each round is another map",
		Rounds: 1, Seconds: 3600, Nodes: 10_000, Virtual: true, Measure: measureSim,
	}
}

// lostInSim is below what a link of the simulation carries nothing, dBm.
const lostInSim = -85

func measureSim(ctx context.Context, o Options, a *Adder) error {
	var subjects []sim.Subject
	for _, s := range sim.Subjects(lostInSim) {
		if o.Wants(s.Name) {
			subjects = append(subjects, s)
		}
	}
	if len(subjects) == 0 {
		return fmt.Errorf("bench: no policy has the words that were asked for: there are %s", names(sim.Subjects(lostInSim)))
	}
	spec, ok := sim.Specs[o.Map]
	if !ok {
		return fmt.Errorf("bench: there is no kind of map %q: there are %q", o.Map, slices.Sorted(maps.Keys(sim.Specs)))
	}
	if spec.Lost = lostInSim; o.Map != "" {
		a.Note("map: %s", o.Map)
	}
	var results []*sim.Result
	for round := range o.Rounds {
		began, cpu := time.Now(), processTime()
		var told atomic.Int64         // seconds since
		spec.Seed = uint64(round) + 1 //nolint:gosec // not negative
		r, err := sim.Run(ctx, sim.Options{
			Spec: spec, Nodes: o.Nodes, Time: o.Duration(), Subjects: subjects,
			Progress: func(done, of int) {
				if s := int64(time.Since(began).Seconds()); s > told.Swap(s) {
					o.Say.Line("map %d of %d: %d of %d nodes, %s", round+1, o.Rounds, done, of, time.Since(began).Round(time.Second))
				}
			},
		})
		if err != nil {
			return err
		}
		addSim(a, r, subjects, processTime()-cpu)
		if round == 0 {
			p, err := r.Picture("sim-map", subjects)
			if err != nil {
				return err
			}
			a.Draw(p)
		}
		results = append(results, r)
	}
	compareSim(a, results, subjects)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	a.Note("memory: %.0f MB from the system, %.0f MB of it in use at the end", float64(memory.Sys)/1e6, float64(memory.HeapInuse)/1e6)
	return nil
}

func names(list []sim.Subject) string {
	var s []string
	for _, x := range list {
		s = append(s, x.Name)
	}
	return strings.Join(s, ", ")
}

// processTime is the processor time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// addSim adds what one map gave.
func addSim(a *Adder, r *sim.Result, subjects []sim.Subject, cpu time.Duration) {
	last := subjects[len(subjects)-1].Name
	for _, f := range sim.Figures() {
		for i, s := range subjects {
			a.Add(Row{Name: f.Name, Unit: f.Unit, Better: Less, Base: last}, s.Name, sim.Mean(r.Values(i, f)).Mean)
		}
	}
	var sum time.Duration
	for _, t := range r.Took {
		sum += t
	}
	share := float64(cpu) / float64(max(sum+r.Air, 1))
	for i, s := range subjects {
		a.Add(Row{Name: "processor time", Unit: "ns a step", Better: Less}, s.Name, share*float64(r.Took[i])/float64(r.Steps))
	}
	a.Add(Row{Name: "processor time", Unit: "ns a step", Better: Less}, "the world, once for all", share*float64(r.Air)/float64(r.Steps))
	a.Note("map of seed %d: %d nodes for %v of their time, %.0f million samples for each policy: %.1f s, %.1f s of processor time",
		r.Map.Spec.Seed, r.Nodes, r.Time, float64(r.Steps)/1e6, r.Wall.Seconds(), cpu.Seconds())
	var reach []string
	for _, part := range r.Reach {
		reach = append(reach, fmt.Sprintf("%.1f", 100*part))
	}
	a.Note("  in reach of none, one, ... six cells: %s %% of the time; mean stay at a point: on foot %v, by bicycle %v, by car %v (%s)", strings.Join(reach, ", "),
		r.Stay[sim.Waypoint].Round(time.Second), r.Stay[sim.GaussMarkov].Round(time.Second), r.Stay[sim.Road].Round(time.Second), last)
}

// compareSim compares pair by pair: node by node on one map, else map by map, since nodes of one map have its shadows in common.
func compareSim(a *Adder, results []*sim.Result, subjects []sim.Subject) {
	last := len(subjects) - 1
	for _, f := range sim.Figures() {
		values := make([][]float64, len(subjects))
		for i := range subjects {
			for _, r := range results {
				v := r.Values(i, f)
				if len(results) > 1 {
					v = []float64{sim.Mean(v).Mean}
				}
				values[i] = append(values[i], v...)
			}
		}
		for i, s := range subjects {
			var more *Estimate
			if d := sim.Paired(values[i], values[last]); i != last {
				more = &Estimate{d.Mean, d.Low, d.High}
			}
			m := sim.Mean(values[i])
			a.Compare(f.Name, s.Name, Estimate{m.Mean, m.Low, m.High}, more)
		}
	}
	pairs := "node by node: it is true of this map"
	if len(results) > 1 {
		pairs = fmt.Sprintf("map by map, of %d", len(results))
	}
	a.Note("differences to %s with 95 %% confidence, %s", subjects[last].Name, pairs)
}
