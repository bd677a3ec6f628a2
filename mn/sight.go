package mn

import (
	"context"
	"errors"
	"slices"
	"time"

	"openmpa/mn/link"
)

// The time for a look at points of attachment: while there is time, and before a move.
const (
	lookWithin = 3 * time.Second
	lookBefore = 1500 * time.Millisecond // nothing is lost meanwhile
)

// lookFor has points looked for while the old link is there, so that the link layer
// need not look when it is gone. A move does without, and takes longer.
func (p *port) lookFor(ctx context.Context, within time.Duration, points ...string) {
	s, ok := p.link.(link.Scanner)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := s.Look(ctx, points...); err != nil && !errors.Is(err, link.ErrChannel) {
		p.n.cfg.Log.Info("points of attachment not looked for", "points", points, "err", err)
	}
}

// target is the point of a network to move to: the one that was decided for, while it is in sight, otherwise the best that is.
func (p *port) target(ctx context.Context, network Network) string {
	p.n.mu.Lock()
	wish := p.n.wish
	p.n.mu.Unlock()
	if wish != "" && slices.Contains(network.Points, wish) && link.InSightOf(ctx, p.link, wish) {
		return wish
	}
	return link.Best(ctx, p.link, network.Points)[0]
}
