package flow

import "time"

// Move names a change of the point of attachment, as far as a router knows it: points
// or networks, by any names that stay the same. What is not known is "".
type Move struct {
	Node, From, To string
}

// Gaps remembers what moves were like: those of each node, and those of all nodes
// between the same places for a node that moves there for the first time. It keeps a
// bounded number of them, and each for a bounded time after it was seen last.
type Gaps struct {
	most int           // fixed after NewGaps
	life time.Duration // fixed after NewGaps
	of   map[Move]remembered
}

type remembered struct {
	gap  Gap
	last time.Time
}

// NewGaps makes a memory of so many moves, each kept for life after it was seen last.
func NewGaps(most int, life time.Duration) *Gaps {
	return &Gaps{most: most, life: life, of: map[Move]remembered{}}
}

// Add takes a measured gap.
func (g *Gaps) Add(now time.Time, m Move, d time.Duration) {
	if d < 0 || g.most <= 0 {
		return
	}
	g.add(now, m, d)
	if m.Node != "" && g.most > 1 {
		m.Node = ""
		g.add(now, m, d)
	}
}

func (g *Gaps) add(now time.Time, m Move, d time.Duration) {
	r, known := g.of[m]
	if known && now.Sub(r.last) > g.life {
		r = remembered{}
	}
	if !known && len(g.of) >= g.most {
		g.makeRoom(now)
	}
	r.gap.Add(d)
	r.last = now
	g.of[m] = r
}

// makeRoom forgets what is too old, or else what was not seen for the longest time.
func (g *Gaps) makeRoom(now time.Time) {
	var oldest Move
	first := true
	for m, r := range g.of {
		if now.Sub(r.last) > g.life {
			delete(g.of, m)
			continue
		}
		if first || r.last.Before(g.of[oldest].last) {
			oldest, first = m, false
		}
	}
	if len(g.of) >= g.most {
		delete(g.of, oldest)
	}
}

// Of returns what moves like m took: this node's, or all nodes'; the zero Gap when none
// is known.
func (g *Gaps) Of(now time.Time, m Move) Gap {
	for _, node := range []string{m.Node, ""} {
		m.Node = node
		if r, ok := g.of[m]; ok && now.Sub(r.last) <= g.life {
			return r.gap
		}
	}
	return Gap{}
}

// Len is how many moves are remembered.
func (g *Gaps) Len() int { return len(g.of) }
