package decision

import (
	"fmt"
	"math"
	"time"
)

// Engine decides. It has no clock and no I/O: the same calls give the same decisions. Its owner is one goroutine.
//
//	Know           networks and points, rarely
//	Step           a sample, and out comes a decision, ten times a second or so
//	Moved, Failed, Took, RTT   what came of it
type Engine struct {
	// fixed
	policy Policy
	window float32 // s
	fits   bool    // trends are of use

	// of Know
	networks []network // by NetworkID; the first is none
	points   []track   // by PointID; the first is none
	mapped   bool      // of some it is known where they are

	now      time.Duration
	here     PointID
	gone     PointID // where it was before it was nowhere
	before   PointID // where it was last, if not here
	since    time.Duration
	moved    bool          // since is known
	chose    bool          // of the last move it is counted who chose
	tried    bool          // it is not settled yet that to come here was no failure
	shaky    time.Duration // until then moves go there and back
	unrest   float32       // one for each return of late
	unrestAt time.Duration

	looking bool
	weak    span // below look
	faint   span // below leave
	wait    span // for what is being prepared
	waitFor NetworkID

	rate   float32
	loss   float32
	lossy  bool
	lossAt time.Duration

	sight   []PointID     // heard within Fresh
	dense   float32       // of other points that could be moved to, averaged
	denseAt time.Duration // first looked at
	crowdAt time.Duration
	far     [MaxRungs]candidate // the best of each network but the present one, the best first
	nfar    int
	ladder  [MaxRungs]Rung
	need    time.Duration // that the best candidate needed last

	counts Counts
}

// span is since when something is so.
type span struct {
	from time.Duration
	so   bool
}

func (s *span) set(so bool, now time.Duration) {
	if so && !s.so {
		s.from = now
	}
	s.so = so
}

// dwelt says whether it has been so for that long.
func (s *span) dwelt(now, d time.Duration) bool { return s.so && now-s.from >= d }

type network struct {
	Network
	known  bool
	stands Depth
	held   bool
	step   uint64 // of stands
	cap    Depth  // as far as it can be prepared while rest is not over
	part   rest
	wanted uint64                  // the last step whose ladder had it
	want   Depth                   // as far as it said then
	rest   rest                    // of a move there
	sums   [Bind + 1]time.Duration // what it takes to each depth from nothing
}

// sum has the sums right, where Times has changed.
func (n *network) sum() {
	for d := range n.sums {
		n.sums[d] = n.Times.To(None, Depth(d))
	}
}

// to is how long a preparation to a depth takes, and the switch.
func (n *network) to(from, to Depth) time.Duration {
	return max(n.sums[to]-n.sums[from], 0) + n.Times.Switch
}

// Counts are what an engine counts.
type Counts struct {
	Steps     uint64 `json:"steps"`
	Refused   uint64 `json:"refused"` // parts of samples that no receiver can have, or too many
	Looks     uint64 `json:"looks"`   // times that looking began
	Moves     uint64 `json:"moves"`   // of the point of attachment, by whomever
	Chosen    uint64 `json:"chosen"`  // of them by the engine
	Roams     uint64 `json:"roams"`   // of them within a network
	PingPongs uint64 `json:"ping_pongs"`
	Failed    uint64 `json:"failed"` // decisions that came to nothing
}

// New makes an engine for a policy that Check finds right.
func New(p Policy) *Engine {
	return &Engine{
		policy: p, window: float32(p.Window.Seconds()), fits: p.Style == Hybrid || p.Style == Predictive,
		networks: make([]network, 1), points: make([]track, 1), sight: make([]PointID, 0, maxSight), need: time.Second,
	}
}

// Policy returns what the engine was made with.
func (e *Engine) Policy() Policy { return e.policy }

// Counts returns what was counted so far.
func (e *Engine) Counts() Counts { return e.counts }

// Know replaces what is known of the neighbourhood. Numbers of what goes on hold (see NetworkID). Numbers beyond the bounds, or
// used twice, and points of unknown networks are an error, and nothing is changed; a number that cannot be, such as a load of 7,
// counts as not known.
func (e *Engine) Know(networks []Network, points []Point) error {
	if len(networks) > MaxNetworks || len(points) > MaxPoints {
		return fmt.Errorf("decision: %d networks and %d points: expected at most %d and %d", len(networks), len(points), MaxNetworks, MaxPoints)
	}
	var has [MaxNetworks + 1]bool
	for _, n := range networks {
		if n.ID == 0 || n.ID > MaxNetworks || has[n.ID] {
			return fmt.Errorf("decision: network %q has number %d: expected one from 1 to %d that no other has", n.Name, n.ID, MaxNetworks)
		}
		has[n.ID] = true
	}
	var taken [MaxPoints + 1]bool
	for _, p := range points {
		if p.ID == 0 || p.ID > MaxPoints || taken[p.ID] {
			return fmt.Errorf("decision: point %q has number %d: expected one from 1 to %d that no other has", p.Name, p.ID, MaxPoints)
		}
		if taken[p.ID] = true; p.Network > MaxNetworks || !has[p.Network] {
			return fmt.Errorf("decision: point %q is of network %d, which is not known", p.Name, p.Network)
		}
	}
	for i := range e.networks {
		e.networks[i].known = false
	}
	for _, n := range networks {
		for int(n.ID) >= len(e.networks) {
			e.networks = append(e.networks, network{})
		}
		was := &e.networks[n.ID]
		if was.Name != n.Name {
			*was = network{}
		}
		times := was.Times
		if was.ID == 0 {
			times = n.Times
		}
		n.Cost = within(n.Cost, -maxDB, maxDB, 0)
		n.Most = min(n.Most, Bind)
		was.Network, was.known = n, true
		was.Times = times.sane()
		was.sum()
	}
	for i := range e.points {
		e.points[i].known = false
	}
	e.mapped = false
	for _, p := range points {
		for int(p.ID) >= len(e.points) {
			e.points = append(e.points, track{})
		}
		was := &e.points[p.ID]
		if was.Name != p.Name || was.Network != p.Network {
			listed := was.listed // it is taken off the list when it is stepped over
			*was = track{listed: listed}
		}
		p.Load = within(p.Load, 0, 1, -1)
		p.Follows = within(p.Follows, 0, 1, -1)
		p.Reach = within(p.Reach, 0, 1e6, 0)
		p.Place = p.Place.sane()
		e.mapped = e.mapped || p.onMap()
		was.Point, was.known = p, true
		was.worth = -e.networks[p.Network].Cost - loadIsDB*max(p.Load, 0)
	}
	if e.point(e.here) == nil {
		e.here = 0
	}
	if e.point(e.before) == nil {
		e.before = 0
	}
	return nil
}

// within returns x, or other where x is not a number from lo to hi.
func within(x, lo, hi, other float32) float32 {
	if x >= lo && x <= hi {
		return x
	}
	return other
}

// far from everything: metres that a place may have.
const widest = 1e8

func (p Place) sane() Place {
	if !(math.Abs(float64(p.X)) <= widest && math.Abs(float64(p.Y)) <= widest) {
		return Place{}
	}
	return p
}

// slowStep is the most that a step counts as.
const slowStep = time.Minute

func (t Times) sane() Times {
	for _, d := range []*time.Duration{&t.RTT, &t.Auth, &t.Configure, &t.Tunnel, &t.Bind, &t.Switch} {
		*d = min(max(*d, 0), slowStep)
	}
	t.Rounds = within(t.Rounds, 0, 100, 0)
	return t
}

// Step takes a sample and decides. It allocates nothing; the decision's ladder is the engine's until the next Step.
func (e *Engine) Step(s *Sample) Decision {
	e.counts.Steps++
	e.tick(s.At)
	if s.Here != e.here {
		e.arrive(s.Here, false)
	}
	e.hear(s)
	for i := range s.Stands {
		g := &s.Stands[i]
		if int(g.Network) >= len(e.networks) || g.Network == 0 || g.Depth > Bind {
			e.counts.Refused++
			continue
		}
		n := &e.networks[g.Network]
		if n.step == e.counts.Steps && g.Depth < n.stands {
			continue
		}
		n.step, n.stands, n.held = e.counts.Steps, g.Depth, g.Held
	}
	h := e.point(e.here)
	switch {
	case h == nil:
		return e.stranded()
	case !h.heard || e.now-h.at > Fresh:
		return Decision{Look: e.looking, Both: e.both(), Left: -1, Reason: Reason{Code: Unheard, Left: -1}}
	}
	if e.tried && e.now-e.since >= e.policy.RestFirst { // it was no failure to come here
		n := &e.networks[h.Network]
		e.tried, h.rest, n.rest, n.part = false, rest{}, rest{}, rest{}
	}
	v := e.view(h, s)
	e.watch(&v)
	return e.choose(h, &v)
}

// stood returns how far a network is prepared.
func (e *Engine) stood(n *network) Depth {
	if n.step == e.counts.Steps {
		return n.stands
	}
	return None
}

// watch keeps since when levels are passed.
func (e *Engine) watch(v *view) {
	e.weak.set(v.here < v.look, e.now)
	e.faint.set(v.here < v.leave, e.now)
	looking := e.weak.so || e.looking && v.here < v.look+e.policy.Margin
	if looking && !e.looking {
		e.counts.Looks++
	}
	e.looking = looking
}

// both says whether moves go there and back.
func (e *Engine) both() bool {
	return e.now < e.shaky && e.before != 0 && e.here != 0 && e.points[e.before].Network != e.points[e.here].Network
}

// names of what a decision speaks of.
func (e *Engine) pointName(id PointID) string {
	if t := e.point(id); t != nil {
		return t.Name
	}
	return fmt.Sprintf("point %d", id)
}

func (e *Engine) networkName(id NetworkID) string {
	if int(id) < len(e.networks) && e.networks[id].known {
		return e.networks[id].Name
	}
	return fmt.Sprintf("network %d", id)
}
