package sim

import (
	"time"

	"openmpa/mn/decision/virtual"
)

// drawnPaths is how many nodes are remembered for a picture, and keptEvery how often where they are.
const (
	drawnPaths = 8
	keptEvery  = time.Second
)

// Path is where a node went, and where each subject moved.
type Path struct {
	Number int
	Way    Way
	Every  time.Duration
	X, Y   []float32  // m
	Moves  [][]MoveAt // by subject
}

// MoveAt is a move, and the place at the time.
type MoveAt struct {
	At       time.Duration
	From, To int // cells; -1: none
	Failed   bool
	PingPong bool // back to where it had been shortly before
}

func (p *Path) add(block []virtual.Air) {
	p.Every = keptEvery
	for i := range block {
		if block[i].At%keptEvery == 0 {
			p.X, p.Y = append(p.X, block[i].Place.X), append(p.Y, block[i].Place.Y)
		}
	}
}

func (p *Path) moved(subject int, m virtual.Moving) {
	p.Moves[subject] = append(p.Moves[subject], MoveAt{
		At: m.At, From: int(m.From) - 1, To: int(m.To) - 1, Failed: m.Failed,
		PingPong: len(p.Moves[subject]) > 0 && last(p.Moves[subject]).From == int(m.To)-1 && m.At-last(p.Moves[subject]).At <= DefaultWithin,
	})
}

func last(m []MoveAt) MoveAt { return m[len(m)-1] }

// Where is where the node was at a time.
func (p *Path) Where(at time.Duration) (x, y float32) {
	if len(p.X) == 0 {
		return 0, 0
	}
	i := min(int(at/max(p.Every, 1)), len(p.X)-1)
	return p.X[i], p.Y[i]
}
