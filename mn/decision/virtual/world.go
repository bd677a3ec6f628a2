package virtual

import (
	"fmt"
	"time"

	"openmpa/mn/decision"
)

// Config is what nodes of one world have in common.
type Config struct {
	// Networks and Points are what every engine is told. IDs are those of their places in the list, from 1 on.
	Networks []decision.Network
	Points   []decision.Point
	// Takes is what the steps really take, by network in that order; without it what Networks say. A step takes up to Jitter of
	// that longer or shorter, 0 to 0.9.
	Takes  []decision.Times
	Jitter float32

	Lost   float32       // dBm: below it the link carries nothing
	Serves float32       // dBm: a point that is at it or above would have served
	Hold   time.Duration // the last network is held for a return; 0: it is not
	Within time.Duration // a move back so soon is ping-pong
	Short  time.Duration // a stay that is shorter is a short one
	Drop   time.Duration // a time without service that long is a drop; default 500 ms
	Scan   time.Duration // between scans, while they are wanted; 0: what is in the air is always seen
	Gone   time.Duration // a link that carries nothing that long is no more; default 1 s
	Alone  time.Duration // a node that is attached nowhere goes somewhere by itself then; default 3 s
	// Learns has the engine be told from where to where the node went before (decision.Point.Follows).
	Learns bool
}

// Bounds and defaults.
const (
	maxJitter    = 0.9
	defaultDrop  = 500 * time.Millisecond
	defaultGone  = time.Second
	defaultAlone = 3 * time.Second
	mostLearned  = 128              // points that a history is kept of
	forgotten    = 10 * time.Second // what was seen so long ago is not told any more
)

// World is a Config that was found right. Nodes share it; it does not change.
type World struct {
	Config
	network []decision.NetworkID // by point
	takes   []decision.Times     // by network
	most    []decision.Depth     // by network
}

// NewWorld checks a configuration and fills in defaults. An error says what was expected.
func NewWorld(c Config) (*World, error) {
	if len(c.Networks) == 0 || len(c.Networks) > decision.MaxNetworks || len(c.Points) == 0 || len(c.Points) > decision.MaxPoints {
		return nil, fmt.Errorf("virtual: %d networks and %d points: expected 1 to %d, and 1 to %d", len(c.Networks), len(c.Points), decision.MaxNetworks, decision.MaxPoints)
	}
	if c.Takes != nil && len(c.Takes) != len(c.Networks) {
		return nil, fmt.Errorf("virtual: times of %d networks: expected as many as there are networks, %d", len(c.Takes), len(c.Networks))
	}
	if !(c.Jitter >= 0 && c.Jitter <= maxJitter) {
		return nil, fmt.Errorf("virtual: jitter %g: expected 0 to %g", c.Jitter, maxJitter)
	}
	if !(c.Lost < 0 && c.Serves < 0 && c.Serves >= c.Lost) {
		return nil, fmt.Errorf("virtual: lost %g, serves %g: expected signals in dBm, the second at or above the first", c.Lost, c.Serves)
	}
	for _, d := range []time.Duration{c.Hold, c.Within, c.Short, c.Drop, c.Scan, c.Gone, c.Alone} {
		if d < 0 || d > time.Hour {
			return nil, fmt.Errorf("virtual: a time of %v: expected 0s to 1h", d)
		}
	}
	for _, p := range []struct {
		t   *time.Duration
		def time.Duration
	}{{&c.Drop, defaultDrop}, {&c.Gone, defaultGone}, {&c.Alone, defaultAlone}} {
		if *p.t == 0 {
			*p.t = p.def
		}
	}
	w := &World{Config: c, network: []decision.NetworkID{0}, takes: make([]decision.Times, 1), most: make([]decision.Depth, 1)}
	for i, n := range c.Networks {
		if int(n.ID) != i+1 || n.Most > decision.Bind {
			return nil, fmt.Errorf("virtual: network %q is number %d of the list and has the ID %d, and can be prepared to %v: expected the number, and %v at most", n.Name, i+1, n.ID, n.Most, decision.Bind)
		}
		takes := n.Times
		if c.Takes != nil {
			takes = c.Takes[i]
		}
		if takes.To(decision.None, decision.Bind) < 0 || takes.Switch < 0 {
			return nil, fmt.Errorf("virtual: network %q: its steps take less than no time", n.Name)
		}
		w.takes, w.most = append(w.takes, takes), append(w.most, n.Most)
	}
	for i, p := range c.Points {
		if int(p.ID) != i+1 || p.Network == 0 || int(p.Network) > len(c.Networks) {
			return nil, fmt.Errorf("virtual: point %q is number %d of the list and has the ID %d and the network %d: expected the number, and a network of 1 to %d", p.Name, i+1, p.ID, p.Network, len(c.Networks))
		}
		w.network = append(w.network, p.Network)
	}
	return w, nil
}

// NetworkOf is the network of a point; 0 of a point that is not of this world.
func (w *World) NetworkOf(p decision.PointID) decision.NetworkID {
	if int(p) >= len(w.network) {
		return 0
	}
	return w.network[p]
}
