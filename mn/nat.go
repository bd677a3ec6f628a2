package mn

import (
	"context"
	"sync"
	"time"

	"openmpa/paa/pana"
)

// mappingInterval is how often a NAT's mappings are seen to while the node waits.
const mappingInterval = time.Second

// mapping keeps a NAT's mappings on the way to a candidate's router.
type mapping struct {
	ctx    context.Context // ends with it
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// keepMapping has the router learn it soon when a NAT on the way to it changes its
// mappings while the node waits: it sends something authenticated on both ports,
// PANA and ESP, until it is stopped.
func (c *candidate) keepMapping() {
	m := &mapping{}
	ctx, cancel := context.WithCancel(c.n.ctx)
	m.ctx, m.cancel = ctx, cancel
	m.wg.Go(func() {
		for ticker := time.NewTicker(mappingInterval); ; {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-ticker.C:
			}
			if t := c.tunnel.Load(); t != nil {
				if err := t.Refresh(); err != nil {
					c.n.cfg.Log.Debug("ESP port not refreshed", "peer", c.net.PAA, "err", err)
				}
			}
			had := c.packets()
			c.session.Load().ping(ctx, func() { c.suspect(ctx, had) })
		}
	})
	c.mapping = m
}

// ended says whether nobody keeps them; nil: nobody does.
func (m *mapping) ended() bool { return m == nil || m.ctx.Err() != nil }

// stop ends it; then nothing of it is outstanding. A nil mapping does nothing.
func (m *mapping) stop() {
	if m != nil {
		m.cancel()
		m.wg.Wait()
	}
}

// cancelled ends it without waiting: what is outstanding may have no answer. A nil
// mapping does nothing.
func (m *mapping) cancelled() {
	if m != nil {
		m.cancel()
	}
}

// ping sends an empty notification and waits for the answer; after the end of ctx
// only as long as one may still come. It calls late once, if that takes longer than that of a
// router which is there.
func (s *session) ping(ctx context.Context, late func()) {
	ack := make(chan error, 1)
	err := s.client.Post(func(now time.Time, p *pana.PaC) {
		token, err := p.Notify(now, nil, pana.NotifyOptions{Urgent: true})
		if err != nil {
			ack <- err
			return
		}
		s.acks[token] = ack
	})
	if err != nil {
		return
	}
	patience := time.NewTimer(s.answersWithin())
	defer patience.Stop()
	select {
	case <-ack:
		return
	case <-ctx.Done():
	case <-patience.C:
		late()
	}
	select {
	case <-ack:
	case <-ctx.Done():
		select {
		case <-ack:
		case <-time.After(courtesy + 4*s.rtt()):
		}
	}
}
