package bylevel

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Fresh is how old a sighting may be to move to its point.
const Fresh = 5 * time.Second

// What failed rests for restFirst, and twice as long each time, to restMost.
const (
	restFirst = 5 * time.Second
	restMost  = time.Minute
)

// Point is a point of attachment in its network.
type Point struct{ Network, Name string }

// Sighting is another point that was seen.
type Sighting struct {
	Point
	Signal int           // dBm
	Age    time.Duration // since then
}

// Sample is what is known at one moment.
type Sample struct {
	Here     Point      // the present point; zero: none
	Signal   int        // its signal in dBm; 0: not known
	Seen     []Sighting // in any order
	Prepared []string   // networks that a move can go to at once
}

// Action is what to do.
type Action uint8

// The actions.
const (
	Stay     Action = iota
	Prepare         // the network of To
	Roam            // to the point To, of the same network
	Handover        // to the network of To, which is prepared
)

// String names the action.
func (a Action) String() string {
	switch a {
	case Stay:
		return "stay"
	case Prepare:
		return "prepare"
	case Roam:
		return "roam"
	case Handover:
		return "handover"
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Decision is what to do, and why.
type Decision struct {
	Action Action
	To     Point // unless Action is Stay
	Look   bool  // sightings are wanted
	Reason string
}

// Trigger decides. Its owner is one goroutine.
type Trigger struct {
	levels  Levels
	here    Point
	looking bool
	weak    time.Time // since when the signal is below look; zero: it is not
	faint   time.Time // and below leave
	resting map[Point]*rest
}

type rest struct {
	until time.Time
	next  time.Duration
}

// New makes a trigger for levels that Check finds right.
func New(l Levels) *Trigger { return &Trigger{levels: l, resting: make(map[Point]*rest)} }

// Step takes a sample and decides.
func (t *Trigger) Step(now time.Time, s Sample) Decision {
	if s.Here != t.here {
		delete(t.resting, s.Here)
		delete(t.resting, Point{Network: s.Here.Network})
		t.here, t.looking, t.weak, t.faint = s.Here, false, time.Time{}, time.Time{}
	}
	switch {
	case s.Here == Point{}:
		return Decision{Reason: "attached nowhere"}
	case s.Signal == 0:
		return Decision{Look: t.looking, Reason: "the signal is not known"}
	}
	below(&t.weak, s.Signal < t.levels.Look, now)
	below(&t.faint, s.Signal < t.levels.Leave, now)
	t.looking = s.Signal < t.levels.Look || t.looking && s.Signal < t.levels.Look+Margin
	switch {
	case !t.looking:
		return Decision{Reason: fmt.Sprintf("%s has %d dBm, at or above look %d", s.Here.Name, s.Signal, t.levels.Look)}
	case t.weak.IsZero():
		return Decision{Look: true, Reason: fmt.Sprintf("%s has %d dBm, a little above look %d", s.Here.Name, s.Signal, t.levels.Look)}
	}
	return t.choose(now, s)
}

// below keeps since when something is so.
func below(since *time.Time, so bool, now time.Time) {
	if !so {
		*since = time.Time{}
	} else if since.IsZero() {
		*since = now
	}
}

// choose decides while the signal is below look.
func (t *Trigger) choose(now time.Time, s Sample) Decision {
	dwelt := now.Sub(t.weak) >= t.levels.Dwell
	leave := !t.faint.IsZero() && now.Sub(t.faint) >= t.levels.Dwell
	level, name, since := t.levels.Look, "look", t.weak
	if !t.faint.IsZero() {
		level, name, since = t.levels.Leave, "leave", t.faint
	}
	why := fmt.Sprintf("%s has %d dBm, below %s %d for %v", s.Here.Name, s.Signal, name, level, now.Sub(since).Round(time.Millisecond))
	decide := func(a Action, g Sighting, more string) Decision {
		return Decision{Action: a, To: g.Point, Look: true, Reason: fmt.Sprintf("%s; %s of %s has %d dBm, accept is %d%s", why, g.Name, g.Network, g.Signal, t.levels.Accept, more)}
	}
	if near, ok := t.best(now, s, true); ok {
		if dwelt {
			return decide(Roam, near, "")
		}
		return Decision{Look: true, Reason: fmt.Sprintf("%s; %s of the same network has %d dBm, and dwell is not over", why, near.Name, near.Signal)}
	}
	far, ok := t.best(now, s, false)
	switch {
	case !ok:
		return Decision{Look: true, Reason: fmt.Sprintf("%s; no other point in sight is at accept %d or above and better by %d dB", why, t.levels.Accept, Margin)}
	case !slices.Contains(s.Prepared, far.Network):
		return decide(Prepare, far, "")
	case leave:
		return decide(Handover, far, ", and is prepared")
	}
	return Decision{Look: true, Reason: fmt.Sprintf("%s; %s is prepared", why, far.Network)}
}

// best returns the best point of the same network, or of the others, that is worth a move. What is prepared is preferred unless
// another is better by Margin.
func (t *Trigger) best(now time.Time, s Sample, same bool) (Sighting, bool) {
	worth := slices.DeleteFunc(slices.Clone(s.Seen), func(g Sighting) bool {
		return g.Network == "" || g.Point == s.Here || (g.Network == s.Here.Network) != same || g.Age > Fresh ||
			g.Signal < t.levels.Accept || g.Signal >= 0 || g.Signal < s.Signal+Margin || t.rests(now, g.Point)
	})
	if len(worth) == 0 {
		return Sighting{}, false
	}
	rank := func(g Sighting) int {
		if slices.Contains(s.Prepared, g.Network) {
			return g.Signal + Margin
		}
		return g.Signal
	}
	return slices.MinFunc(worth, func(a, b Sighting) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(a.Network, b.Network), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Age, b.Age))
	}), true
}

// rests says whether a point, or its network, has failed lately.
func (t *Trigger) rests(now time.Time, p Point) bool {
	for _, key := range []Point{p, {Network: p.Network}} {
		if r := t.resting[key]; r != nil && now.Before(r.until) {
			return true
		}
	}
	return false
}

// Failed says that what was decided did not succeed: a roam to a point, or what else was to be done about a network.
func (t *Trigger) Failed(now time.Time, d Decision) {
	key := Point{Network: d.To.Network}
	if d.Action == Roam {
		key = d.To
	}
	r := t.resting[key]
	if r == nil {
		r = &rest{next: restFirst}
		t.resting[key] = r
	}
	r.until = now.Add(r.next)
	r.next = min(2*r.next, restMost)
}
