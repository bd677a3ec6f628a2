package mn

import (
	"context"
	"errors"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
)

// keepStandby has a tunnel with the router that serves stand by, from the session with
// it on: packets go on natively, and nobody uses it until the node departs by it, has
// its link guarded, or turns up elsewhere. It ends with the session. A router that refuses
// may do so for the moment only: it is asked again after retryMost.
func (c *candidate) keepStandby(ctx context.Context) {
	var (
		owner *session // of the tunnel, which ends with it
		asked *session
		told  bool // that its router refuses
		pause = retryFirst
		again <-chan time.Time
	)
	for {
		s := c.session.Load()
		if owner != nil && s != owner {
			c.leaveTunnel()
			owner = nil
		}
		if s != asked {
			asked, told, pause, again = s, false, retryFirst, nil
		}
		if s != nil && c.tunnel.Load() == nil && again == nil {
			err := c.openStandby(ctx, s)
			refusal := (*refusedError)(nil)
			switch {
			case err == nil:
				owner, pause = s, retryFirst
				c.n.reconsider()
			case ctx.Err() != nil:
				return
			case errors.As(err, &refusal):
				again = time.After(retryMost)
				if !told {
					c.n.cfg.Log.Info("no tunnel stands by", "paa", c.net.PAA, "err", err)
				}
				told = true
			default:
				again = time.After(pause)
				pause = min(2*pause, retryMost)
				c.n.cfg.Log.Debug("no tunnel stands by, trying again", "paa", c.net.PAA, "err", err)
			}
		}
		var ended, gone <-chan struct{}
		if s != nil && s.ended() == nil {
			ended = s.closed
		}
		if t := c.tunnel.Load(); owner != nil && t != nil {
			gone = t.Done()
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
		case <-gone: // its end, for whatever reason: the session stands, and another is made
			c.leaveTunnel()
		case <-c.standbyDue:
		case <-again:
			again = nil
		}
	}
}

// openStandby makes the tunnel.
func (c *candidate) openStandby(ctx context.Context, s *session) error {
	id, err := event.NewHandoverID(c.n.cfg.Rand) // tells this question from others
	if err != nil {
		return err
	}
	t, err := c.agree(ctx, s, c, &notify.TunnelRequest{Header: notify.Header{Handover: id}, Serving: true, MAC: c.port.mac})
	if err != nil {
		return err
	}
	if err := t.Refresh(); err != nil { // by which the router learns where this end is
		c.n.cfg.Log.Debug("nothing sent through the tunnel", "paa", c.net.PAA, "err", err)
	}
	c.path.besides(t)
	c.tunnel.Store(t)
	return nil
}

// pokeStandby has keepStandby look again: there is another session, or no tunnel any more.
func (c *candidate) pokeStandby() { poke(c.standbyDue) }
