package virtual

import (
	"math/rand/v2"
	"time"

	"openmpa/mn/decision"
)

// Decider is what decides: a *decision.Engine.
type Decider interface {
	Know(networks []decision.Network, points []decision.Point) error
	Step(s *decision.Sample) decision.Decision
	Moved(at time.Duration, m decision.Move)
	Failed(at time.Duration, d decision.Decision)
	Took(at time.Duration, n decision.NetworkID, d decision.Depth, took time.Duration, ok bool)
}

// Air is what could be heard at one moment, wherever the node is attached.
type Air struct {
	At time.Duration // never earlier than that of the step before
	// Heard are all points that can be heard, each once; at most decision.MaxSeen are looked at. Their ages are taken where World.Scan
	// is 0.
	Heard   []decision.Sighting
	Place   decision.Place
	Speed   float32 // m/s; less than 0: not known
	Heading float32 // radians, anticlockwise from east
}

// phase is what the node does.
type phase uint8

const (
	nowhere phase = iota
	attached
	moving
)

// A Moving is a move that has come about, or has failed.
type Moving struct {
	decision.Move
	At     time.Duration
	Signal float32 // dBm, of To when the node came
	Failed bool
}

// Node is one mobile node. Its owner is one goroutine.
type Node struct {
	world *World
	eng   Decider
	dice  *rand.Rand
	pcg   rand.PCG
	// Log, if it is there, is called for each move that came about or failed.
	Log func(Moving)

	begun  bool
	last   time.Duration // of the last step
	phase  phase
	here   decision.PointID // the point it is attached to, or was
	since  time.Duration    // it is there, or nowhere
	mute   time.Duration    // since when it carries nothing, while isMute
	isMute bool
	late   time.Duration // until then what was not prepared is being done

	move  Moving // while moving
	why   decision.Decision
	began time.Duration // the move did
	until time.Duration // while moving

	before      decision.PointID // the point before the present one; 0: none
	beforeGood  bool             // it was at Serves all the time since
	dry         time.Duration    // without service, for a drop
	wet         time.Duration    // with it since
	dropped     bool
	stands      []stand
	told        []decision.Standing // as they are told
	scanned     time.Duration       // the last time, if hasScanned
	hasScanned  bool
	look        bool
	sample      decision.Sample
	seen        []decision.Sighting
	points      []decision.Point // as the engine is told
	followed    []uint16         // moves from one point to another, from*len+to
	counts      Counts
	staleLadder bool
}

// NewNode makes a node that is attached nowhere. Its engine is told what there is.
func NewNode(w *World, e Decider, seed uint64) (*Node, error) {
	n := &Node{
		world: w, seen: make([]decision.Sighting, 0, decision.MaxSeen), stands: make([]stand, 0, mostStands), told: make([]decision.Standing, 0, mostStands),
		points: append([]decision.Point(nil), w.Points...),
	}
	n.dice = rand.New(&n.pcg)
	if w.Learns && len(w.Points) <= mostLearned {
		n.followed = make([]uint16, (len(w.Points)+1)*(len(w.Points)+1))
	}
	return n, n.Reset(e, seed)
}

// Reset has it be another node, with another engine.
func (n *Node) Reset(e Decider, seed uint64) error {
	*n = Node{world: n.world, dice: n.dice, eng: e, Log: n.Log, seen: n.seen[:0], stands: n.stands[:0], told: n.told[:0], points: n.points, followed: n.followed}
	n.pcg.Seed(seed, 0x6e6f6465)
	n.dice = rand.New(&n.pcg)
	clear(n.followed)
	for i := range n.points {
		n.points[i].Follows = -1
	}
	return e.Know(n.world.Networks, n.points)
}

// Here is the point it is attached to; 0: none.
func (n *Node) Here() decision.PointID {
	if n.phase != attached {
		return 0
	}
	return n.here
}

// Counts are what became of it so far; preparations that stand are not in them.
func (n *Node) Counts() Counts { return n.counts }

// End has what stands be given back, and returns the counts.
func (n *Node) End() Counts {
	for len(n.stands) > 0 {
		n.drop(0, false)
	}
	return n.counts
}

// Step takes what is in the air, has the engine decide and does it. The decision is the engine's, until the next step; none while the node
// moves.
func (n *Node) Step(a *Air) decision.Decision {
	took := a.At - n.last
	if !n.begun {
		n.begun, took, n.since = true, 0, a.At
	}
	n.last = a.At
	n.counts.Time += took
	signal := heard(a.Heard, n.here)
	carries := n.phase == attached && signal >= n.world.Lost
	n.judge(a, took, carries)
	n.raise(a.At, took, carries)
	switch n.phase {
	case moving:
		if n.here != 0 {
			n.counts.Away += took
		}
		if a.At < n.until {
			return decision.Decision{}
		}
		n.arrive(a)
		signal = heard(a.Heard, n.here)
	case attached:
		n.counts.Attached += took
		n.listen(a.At, took, carries)
	case nowhere:
	}
	d := n.eng.Step(n.observe(a, signal))
	n.act(a, &d, signal >= n.world.Lost)
	return d
}

// heard is the signal of a point; less than any where it cannot be heard.
func heard(list []decision.Sighting, p decision.PointID) float32 {
	for i := range list {
		if list[i].Point == p {
			return list[i].Signal
		}
	}
	return nothing
}

const nothing = -200 // dBm

// listen finds out whether the link is gone.
func (n *Node) listen(now, took time.Duration, carries bool) {
	switch {
	case carries:
		n.isMute = false
	case !n.isMute:
		n.isMute, n.mute = true, now-took
	case now-n.mute >= n.world.Gone:
		n.phase, n.since, n.isMute = nowhere, now, false
	}
}

// observe makes a sample.
func (n *Node) observe(a *Air, signal float32) *decision.Sample {
	s := &n.sample
	*s = decision.Sample{At: a.At, Loss: -1, Place: a.Place, Speed: a.Speed, Heading: a.Heading}
	here := n.Here()
	if here != 0 {
		s.Here, s.Signal = here, max(signal, lowest)
		s.Rate, s.Loss = Carried(signal, n.world.Lost)
	}
	n.see(a, here)
	s.Seen = n.seen
	if n.staleLadder {
		n.tell()
	}
	s.Stands = n.told
	return s
}

const lowest = -120 // dBm, that a receiver tells

// see has what was seen be as old as it is, or sees.
func (n *Node) see(a *Air, here decision.PointID) {
	w := n.world
	age := a.At - n.scanned
	if w.Scan > 0 && (n.hasScanned && age < w.Scan || !n.look && here != 0) {
		if age > forgotten {
			n.seen = n.seen[:0]
		}
		for i := range n.seen {
			n.seen[i].Age = age
		}
		return
	}
	n.seen = n.seen[:0]
	for _, g := range a.Heard {
		if g.Point == here || len(n.seen) == decision.MaxSeen || n.world.NetworkOf(g.Point) == 0 {
			continue
		}
		if w.Scan > 0 {
			g.Age = 0
		}
		n.seen = append(n.seen, g)
	}
	n.scanned, n.hasScanned = a.At, true
	n.counts.Scans++
}

// act does what was decided.
func (n *Node) act(a *Air, d *decision.Decision, carries bool) {
	n.look = d.Look
	ahead := decision.NetworkID(0) // the network that a move waits for
	target := n.world.NetworkOf(d.To)
	if d.Action != decision.Stay && target != 0 && (d.To != n.here || n.phase == nowhere) {
		depth, most := n.depth(target), n.world.most[target]
		whole := depth >= min(decision.Bind, most) || !carries && depth >= min(decision.Tunnel, most) // nothing can be bound ahead any more
		if d.Now || whole || n.phase == nowhere || target == n.world.NetworkOf(n.here) {
			n.depart(a, d, true)
			return
		}
		ahead = target
	}
	if n.phase == nowhere && a.At-n.since >= n.world.Alone {
		if p := best(a.Heard); heard(a.Heard, p) >= n.world.Lost {
			n.depart(a, &decision.Decision{Action: decision.Handover, To: p}, false)
			return
		}
	}
	n.want(a.At, d.Ladder, ahead)
}

// best is the point that is heard best.
func best(list []decision.Sighting) (p decision.PointID) {
	signal := float32(nothing)
	for _, g := range list {
		if g.Signal > signal || g.Signal == signal && g.Point < p {
			p, signal = g.Point, g.Signal
		}
	}
	return p
}
