package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// A journey is traffic through several moves. Nobody waits between them until it is looked at: what is lost, is lost of
// the whole.
type journey struct {
	r       *run
	b       *bed.Bed
	name    string
	flows   *flows
	begun   time.Time
	routers map[string]routerDrops
	kernel  map[string]uint64
	node    map[string]uint64

	mu    sync.Mutex
	moves []linkctl.Move // guarded by mu
}

// setOut begins one: traffic goes when it returns.
func (r *run) setOut(ctx context.Context, b *bed.Bed, name string) (j *journey, err error) {
	j = &journey{r: r, b: b, name: name, begun: time.Now(), routers: askRouters(ctx, b)}
	if j.kernel, err = b.Drops(); err != nil {
		return nil, err
	}
	if j.node, err = nodeDrops(ctx, b); err != nil {
		return nil, err
	}
	if j.flows, err = r.openFlows(b); err != nil {
		return nil, err
	}
	b.OnMove(func(m linkctl.Move) {
		if m.Up.IsZero() { // it begins, or comes to nothing
			return
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.moves = append(j.moves, m)
	})
	j.flows.start()
	return j, bed.Sleep(ctx, r.opt.Lead)
}

// An interruption is the silence around a move of the link, in the direction in which it lasted longer.
type interruption struct {
	linkctl.Move
	silence time.Duration
}

// end ends the traffic, and has the result get the journey.
func (j *journey) end(ctx context.Context) (of []interruption, err error) {
	defer func() { err = errors.Join(err, j.flows.close()) }()
	if err := bed.Sleep(ctx, j.r.opt.Lead); err != nil {
		return nil, err
	}
	j.flows.stop()
	j.b.OnMove(nil)
	down, up, err := j.flows.stats()
	if err != nil {
		return nil, err
	}
	var m measured // of all of them together
	m.begun, m.Outcome = j.begun, string(event.Completed)
	if err := m.countRouters(ctx, j.b, j.routers); err != nil {
		return nil, err
	}
	x := report.Journey{
		Case: j.name, TookS: round(time.Since(j.begun).Seconds()), Flow: report.Flows{Down: report.FromStats(down), Up: report.FromStats(up)},
		ForcedFlips: m.forced(),
	}
	strips := j.flows.strips(time.Time{})
	x.Moves = len(j.moves)
	for _, move := range j.moves {
		silence := func(s report.Strip) time.Duration { return traffic.Silence(s.Sent, s.Arrivals, move.Lost, move.Up) }
		of = append(of, interruption{move, max(silence(strips.Down), silence(strips.Up))})
	}
	j.r.res.Journeys = append(j.r.res.Journeys, x)
	bad := len(j.r.res.Problems)
	for _, d := range []struct {
		word   string
		s      traffic.Stats
		forced int // the uplink has no flips
	}{{"to", down, x.ForcedFlips}, {"from", up, 0}} {
		if flaws := (tolerance{}).flaws(d.s, 0, d.forced); len(flaws) > 0 {
			j.r.problem("%s: of %d packets %s the mobile node %s%s", j.name, d.s.Sent, d.word, strings.Join(flaws, ", "), j.where(d.s))
		}
	}
	if len(j.r.res.Problems) > bad {
		return of, j.r.sayDropped(ctx, j.b, m, j.kernel, j.node)
	}
	return of, nil
}

// where says when packets were lost, after which move.
func (j *journey) where(s traffic.Stats) string {
	var lines []string
	for _, l := range s.Losses {
		last := "before the first move"
		for i, m := range j.moves {
			if m.Lost.Before(l.At) {
				last = fmt.Sprintf("%.3f ms after move %d began, %s to %s", float64(l.At.Sub(m.Lost))/1e6, i+1, m.From, m.To)
			}
		}
		if lines = append(lines, fmt.Sprintf("%d, sent %s", l.Last-l.First+1, last)); len(lines) == 5 {
			break
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "\n    lost: " + strings.Join(lines, "; ")
}

func round(x float64) float64 { return float64(int(x*1000+0.5)) / 1000 }

// onlyAt checks that within some time nothing of the node is left but in the network that serves it: no visitor at any
// other router, no lease there.
func (r *run) onlyAt(ctx context.Context, b *bed.Bed, serving string, within time.Duration) error {
	deadline := time.Now().Add(within)
	for _, name := range routersOf(b) {
		if name == serving {
			continue
		}
		if err := r.awaitCleanWithin(ctx, b, name, time.Until(deadline)); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.problem("%v", err)
		}
	}
	return r.oneLease(ctx, b, serving)
}

// asked are the phases of what the node has begun since a record.
func asked(ctx context.Context, b *bed.Bed, since uint64) (map[event.Phase]int, error) {
	begun := make(map[event.Phase]int)
	err := b.Client(topo.MN).Events(ctx, since, false, func(e event.Event) error {
		if e.Node == topo.MN && e.Kind == event.KindBegin {
			begun[e.Phase]++
		}
		return nil
	})
	return begun, err
}

// expectNotAsked notes what the node has begun although it had it.
func (r *run) expectNotAsked(name string, begun map[event.Phase]int, phases ...event.Phase) {
	for _, p := range slices.Sorted(maps.Keys(begun)) {
		if slices.Contains(phases, p) {
			r.problem("%s: the node begins %s again, %d times", name, p, begun[p])
		}
	}
}
