package mn

import (
	"context"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/mn/discover"
	"openmpa/paa/notify"
)

// neighboursWithin is how long one part of the router's answer is waited for.
const neighboursWithin = 3 * time.Second

// asker asks the serving router what there is around, inside its session (RFC 6252 section 7.1): the answer is as
// trustworthy as the router. One goroutine has it, that of package discover.
type asker struct {
	n       *Node
	network string // whose answer is in
	got     notify.Gathering
}

// Attached implements discover.Asker.
func (a *asker) Attached() <-chan struct{} { return a.n.attached }

// Neighbours implements discover.Asker. A move comes first: it is not asked while one is under way, nor goes on then.
func (a *asker) Neighbours(ctx context.Context) (string, []neighbourhood.Network, error) {
	for {
		if len(a.n.turn) > 0 {
			return "", nil, discover.ErrLater
		}
		a.n.mu.Lock()
		c := a.n.serving
		a.n.mu.Unlock()
		if c == nil {
			return "", nil, discover.ErrNobody
		}
		s := c.session.Load()
		if s == nil {
			return "", nil, discover.ErrNobody
		}
		if c.net.Name != a.network {
			a.network, a.got = c.net.Name, notify.Gathering{}
		}
		id, err := event.NewHandoverID(a.n.cfg.Rand)
		if err != nil {
			return "", nil, err
		}
		m, err := s.ask(ctx, a.got.Next(id), notify.KindNeighboursReply, neighboursWithin)
		if err != nil {
			return "", nil, err
		}
		if whole, err := a.got.Add(m.(*notify.NeighboursReply)); err != nil || whole {
			return a.network, a.got.Networks(), err
		}
	}
}
