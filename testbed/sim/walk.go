package sim

import (
	"math"
	"math/rand/v2"
)

// Way is how a node goes about.
type Way int

// The ways.
const (
	Waypoint    Way = iota // on foot: to a random place, a rest, to the next (random waypoint)
	GaussMarkov            // by bicycle: speed and heading change little by little, and go back to their means
	Road                   // by car: on a grid of roads, with turns and stops at crossings
	ways
)

// String says what it stands for.
func (w Way) String() string {
	switch w {
	case Waypoint:
		return "on foot"
	case GaussMarkov:
		return "by bicycle"
	case Road:
		return "by car"
	case ways:
	}
	return "Way(?)"
}

// walker goes about on a square.
type walker struct {
	way     Way
	width   float64
	roads   float64 // between them
	dice    *rand.Rand
	x, y    float64
	speed   float64 // m/s
	heading float64 // radians, anticlockwise from east
	dx, dy  float64 // of a unit, that is the heading
	rest    float64 // seconds yet
	left    float64 // m to the end of the leg
	brisk   float64 // its usual speed
	bearing float64 // its usual heading
	memory  drift   // of GaussMarkov
}

// drift is what a step of so many seconds keeps of speed and heading, and how much is added.
type drift struct{ of, speed, fresh, heading, turn float64 }

// newDrift has a memory of 10 s for the speed, with a standard deviation of 1 m/s, and of 20 s and 0.5 radians for the heading.
func newDrift(s float64) drift {
	a, b := math.Exp(-s/10), math.Exp(-s/20)
	return drift{of: s, speed: a, fresh: math.Sqrt(1 - a*a), heading: b, turn: 0.5 * math.Sqrt(1-b*b)}
}

func newWalker(way Way, width, roads float64, dice *rand.Rand) *walker {
	w := &walker{way: way, width: width, roads: roads, dice: dice, x: dice.Float64() * width, y: dice.Float64() * width}
	switch way {
	case Waypoint, ways:
	case GaussMarkov:
		w.brisk, w.bearing = 3+4*dice.Float64(), 2*math.Pi*dice.Float64()
		w.speed = w.brisk
		w.turn(w.bearing)
	case Road:
		w.brisk = 8 + 7*dice.Float64()
		w.x, w.y = w.roads*(0.5+float64(dice.IntN(w.lanes()))), w.roads*(0.5+float64(dice.IntN(w.lanes())))
	}
	return w
}

// lanes is how many roads there are each way.
func (w *walker) lanes() int { return max(int(w.width/w.roads), 1) }

func (w *walker) turn(heading float64) {
	w.heading = heading
	w.dy, w.dx = math.Sincos(heading)
}

// step goes on for so many seconds.
func (w *walker) step(s float64) {
	if w.rest > 0 {
		w.rest -= s
		return
	}
	switch w.way {
	case Waypoint, Road, ways:
		if w.left <= 0 {
			if w.way == Road {
				w.crossing()
			} else {
				w.leg()
			}
			return
		}
		d := min(w.speed*s, w.left)
		w.left -= d
		w.x, w.y = w.x+d*w.dx, w.y+d*w.dy
	case GaussMarkov:
		w.drift(s)
	}
	w.x, w.y = min(max(w.x, 0), w.width), min(max(w.y, 0), w.width)
}

// moving is its speed now.
func (w *walker) moving() float64 {
	if w.rest > 0 || w.left <= 0 && w.way != GaussMarkov {
		return 0
	}
	return w.speed
}

// leg begins another way on foot: 0.7 to 1.8 m/s, after a rest of up to a minute.
func (w *walker) leg() {
	x, y := w.dice.Float64()*w.width, w.dice.Float64()*w.width
	w.speed, w.rest = 0.7+1.1*w.dice.Float64(), 60*w.dice.Float64()
	w.left = math.Hypot(x-w.x, y-w.y)
	w.turn(math.Atan2(y-w.y, x-w.x))
}

// crossing goes on to the next one: straight on as often as round a corner, and back where there is no road.
func (w *walker) crossing() {
	if w.dice.Float64() < 0.2 {
		w.rest = 20 * w.dice.Float64() // a red light
	}
	quarter := int(math.Round(w.heading / (math.Pi / 2)))
	switch turn := w.dice.Float64(); {
	case turn < 0.25:
		quarter++
	case turn < 0.5:
		quarter--
	}
	for range 4 {
		dx, dy := [4]float64{1, 0, -1, 0}[quarter&3], [4]float64{0, 1, 0, -1}[quarter&3]
		x, y := w.x+dx*w.roads, w.y+dy*w.roads
		if x > 0 && y > 0 && x < w.width && y < w.width {
			w.heading, w.dx, w.dy = math.Mod(float64(quarter&3)*math.Pi/2, 2*math.Pi), dx, dy
			w.left = w.roads
			w.speed = w.brisk * (0.8 + 0.4*w.dice.Float64())
			return
		}
		quarter++
	}
	w.rest = 60 // there is one crossing only
}

// drift is a step of Gauss and Markov. At the border it turns back.
func (w *walker) drift(s float64) {
	w.x, w.y = w.x+w.speed*s*w.dx, w.y+w.speed*s*w.dy
	border := 0.05 * w.width
	switch {
	case w.x < border:
		w.bearing = math.Pi * (w.dice.Float64() - 0.5) * 0.8
	case w.x > w.width-border:
		w.bearing = math.Pi + math.Pi*(w.dice.Float64()-0.5)*0.8
	case w.y < border:
		w.bearing = math.Pi/2 + math.Pi*(w.dice.Float64()-0.5)*0.8
	case w.y > w.width-border:
		w.bearing = -math.Pi/2 + math.Pi*(w.dice.Float64()-0.5)*0.8
	}
	if w.memory.of != s {
		w.memory = newDrift(s)
	}
	m := &w.memory
	w.speed = max(0.5, m.speed*w.speed+(1-m.speed)*w.brisk+m.fresh*w.dice.NormFloat64())
	w.turn(w.heading + (1-m.heading)*math.Remainder(w.bearing-w.heading, 2*math.Pi) + m.turn*w.dice.NormFloat64())
}
