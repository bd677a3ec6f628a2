package mn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"openmpa/internal/event"
)

// The pause before the next attempt to attach, which doubles each time.
const (
	retryFirst = time.Second
	retryMost  = 15 * time.Second
)

// Run attaches the node to the network it finds itself at and keeps it until ctx
// ends; ready is called when the node is attached for the first time. It tries
// until it succeeds. Where the link goes without a handover, the node follows at once:
// as an arrival where that network is prepared, else it attaches anew.
func (n *Node) Run(ctx context.Context, ready func()) error {
	wait := retryFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	seen := make([]sight, len(n.ports))
	for i, p := range n.ports {
		seen[i] = p.carrier.look()
	}
	for attached := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed:
			news := false
			for i, p := range n.ports {
				now := p.carrier.look()
				if now.ended && ctx.Err() == nil {
					return fmt.Errorf("mn: %w", errNobodyWatches)
				}
				up, down := now.Up && now.ups != seen[i].ups, !now.Up && now.downs != seen[i].downs
				news = news || up || down && len(n.ports) > 1
				seen[i] = now
			}
			if !news {
				continue
			}
			wait = retryFirst
		case <-timer.C:
		case <-n.wake:
		}
		timer.Stop()
		switch err := n.follow(ctx); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errMovedOn):
			timer.Reset(0)
		case errors.Is(err, errNoLink): // its return is told
			n.cfg.Log.Info("not attached", "err", err)
			if len(n.ports) > 1 { // there is another
				timer.Reset(wait)
				wait = min(2*wait, retryMost)
			}
		case err != nil:
			level := slog.LevelWarn
			if told := new(attachError); errors.As(err, &told) {
				level = slog.LevelInfo // the timeline has told
			}
			n.cfg.Log.Log(ctx, level, "not attached, trying again", "in", wait, "err", err)
			timer.Reset(wait)
			wait = min(2*wait, retryMost)
		default:
			if wait = retryFirst; !attached {
				attached = true
				ready()
			}
		}
	}
}

// attachError is a failure of attach, which is in the timeline already.
type attachError struct {
	network string
	err     error
}

func (e *attachError) Error() string { return fmt.Sprintf("attach to %s: %v", e.network, e.err) }
func (e *attachError) Unwrap() error { return e.err }

// follow makes the network where the link is the serving one, if it is not. What is
// under way ends before: the link is the affair of a handover that moves it.
func (n *Node) follow(ctx context.Context) (err error) {
	select {
	case n.turn <- struct{}{}:
	case <-n.ending:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
	defer n.endTurn()
	defer n.rest()
	defer func() { err = n.problem(err) }()
	n.mu.Lock()
	old, state, closing := n.serving, n.state, n.closing
	n.mu.Unlock()
	if closing {
		return errEnding
	}
	w, err := n.linked(ctx, old)
	if err != nil {
		return err
	}
	p, point, network, carrier := w.port, w.point, w.network, w.since
	again := carrier.ups != p.seen.ups
	p.seen = carrier
	ctx, stop := p.whileAt(ctx, network.Name, carrier)
	defer stop()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	if old != nil && old.voided.Load() != nil {
		n.discard(old)
		old = nil
	}
	switch {
	case old == nil:
		return n.first(ctx, network)
	case old.net.Name != network.Name:
		return n.carriedTo(ctx, old, network, point, carrier.At)
	case again || state != "attached":
		return n.returned(ctx, old, point)
	}
	return nil
}

// first attaches a node that has nothing to hand over from.
func (n *Node) first(ctx context.Context, network Network) error {
	n.setState("attaching")
	c, err := n.anew(ctx, event.HandoverID{}, network, nil)
	if err != nil {
		return &attachError{network.Name, err}
	}
	n.away.Store(false)
	n.serve(c)
	n.endSessions(c)
	n.elsewhere.Do(func() { n.releaseElsewhere(c) })
	return nil
}

// anew makes a candidate of the network where the link is: with the address that the
// node has had there, if that is so, else with another. via is as in attach.
func (n *Node) anew(ctx context.Context, id event.HandoverID, network Network, via *candidate) (*candidate, error) {
	c, err := n.resume(ctx, id, network, via)
	if c == nil && err == nil {
		c, err = n.attach(ctx, id, network, nil, via, false)
	}
	return c, err
}

// problem keeps why the node is not attached for its status; nil when it is.
func (n *Node) problem(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.why = ""; err != nil {
		n.why = err.Error()
	}
	return err
}
