package sim

import (
	"math/rand/v2"
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/virtual"
)

// blockSteps is how many steps are made at once: what they hear fits a processor's cache.
const blockSteps = 600

// nodeWorld is where one node goes and what could be heard there.
type nodeWorld struct {
	m     *Map
	walk  *walker
	pcg   rand.PCG
	every time.Duration
	at    time.Duration
	air   []virtual.Air
	heard []decision.Sighting
	reach [mostReach + 1]int64 // steps in reach of so many cells
}

func newNodeWorld(m *Map, every time.Duration) *nodeWorld {
	w := &nodeWorld{m: m, every: every, air: make([]virtual.Air, blockSteps), heard: make([]decision.Sighting, blockSteps*mostReach)}
	for i := range w.air {
		w.air[i].Heard = w.heard[i*mostReach : i*mostReach : (i+1)*mostReach]
	}
	return w
}

// begin has another node begin.
func (w *nodeWorld) begin(way Way, seed, number uint64) {
	w.pcg.Seed(seed, number)
	w.walk = newWalker(way, w.m.Width, w.m.Spec.Spacing, rand.New(&w.pcg)) //nolint:gosec // a seed has the same walk
	w.at = 0
}

// block makes the next steps, at most so many.
func (w *nodeWorld) block(steps int) []virtual.Air {
	steps = min(steps, blockSteps)
	m, seconds := w.m, w.every.Seconds()
	least, lost := float32(m.Spec.Lost-audible), float32(m.Spec.Lost)
	for i := range steps {
		a := &w.air[i]
		w.walk.step(seconds)
		x, y := w.walk.x, w.walk.y
		a.At, a.Place, a.Speed, a.Heading = w.at, decision.Place{X: float32(x), Y: float32(y), Known: true}, float32(w.walk.moving()), float32(w.walk.heading)
		w.at += w.every
		a.Heard = a.Heard[:0]
		gx, gy := float32(x/gridStep), float32(y/gridStep)
		random := w.pcg.Uint64()
		inReach := 0
		for _, c := range m.near[int(y/tileStep)*m.tiles+int(x/tileStep)] {
			signal := m.signal(int(c), gx, gy)
			if signal >= lost {
				inReach++
			}
			signal += m.noise[random&(noises-1)]
			random >>= noiseBits
			if signal >= least {
				a.Heard = append(a.Heard, decision.Sighting{Point: decision.PointID(c) + 1, Signal: signal})
			}
		}
		w.reach[inReach]++
	}
	return w.air[:steps]
}
