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
// until it succeeds. Where the link goes on without a handover, after a loss
// nobody foresaw, the node follows and attaches anew.
func (n *Node) Run(ctx context.Context, ready func()) error {
	ups, err := n.link.Watch(ctx)
	if err != nil {
		return fmt.Errorf("mn: %w", err)
	}
	wait := retryFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for attached, tried := false, (time.Time{}); ; {
		select {
		case <-ctx.Done():
			return nil
		case s, ok := <-ups:
			if !ok && ctx.Err() == nil {
				return errors.New("mn: nobody watches the link any more")
			}
			if !s.Up || s.At.Before(tried) {
				continue
			}
		case <-timer.C:
		case <-n.wake:
		}
		tried = time.Now()
		switch err := n.follow(ctx); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrBusy): // the handover moves the link; what it leaves is looked at after it
			timer.Reset(retryFirst)
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

// follow makes the network where the link is the serving one, if it is not: with
// nothing prepared, as there was no time for it.
func (n *Node) follow(ctx context.Context) (err error) {
	if ok, err := n.settledHere(ctx); ok || err != nil {
		return n.problem(err)
	}
	if !n.busy.CompareAndSwap(false, true) {
		return ErrBusy
	}
	defer n.busy.Store(false)
	defer func() { err = n.problem(err) }()
	point, err := n.link.Current(ctx) // it may have moved on
	if err != nil {
		return err
	}
	network, err := n.networkOf(point)
	if err != nil {
		return err
	}
	n.mu.Lock()
	old := n.serving
	n.mu.Unlock()
	if old != nil && old.voided.Load() != nil {
		n.discard(old)
		old = nil
	}
	if old == nil {
		return n.first(ctx, network)
	}
	if old.net.Name == network.Name {
		return n.returned(ctx, old)
	}
	return n.unplanned(ctx, old, network)
}

// first attaches a node that has nothing to hand over from.
func (n *Node) first(ctx context.Context, network Network) error {
	n.setState("attaching")
	c, err := n.resume(ctx, network)
	if c == nil && err == nil {
		c, err = n.attach(ctx, event.HandoverID{}, network)
	}
	if err != nil {
		return &attachError{network.Name, err}
	}
	n.away.Store(false)
	n.serve(c)
	n.elsewhere.Do(func() { n.releaseElsewhere(c) })
	return nil
}

// settledHere reports whether the node is at the network that serves it, and has
// nothing to do.
func (n *Node) settledHere(ctx context.Context) (bool, error) {
	point, err := n.link.Current(ctx)
	if err != nil {
		return false, err
	}
	network, err := n.networkOf(point)
	if err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serving != nil && n.serving.net.Name == network.Name && n.state == "attached" && n.serving.voided.Load() == nil, nil
}

// returned goes on at the network that serves, after the link was lost. The home
// agent may have had no answer to it for as long, or another address.
func (n *Node) returned(ctx context.Context, c *candidate) error {
	if err := n.arp.SendGratuitous(c.address.addr()); err != nil {
		return err
	}
	n.away.Store(false)
	if err := n.bind(ctx, event.HandoverID{}, c, false); err != nil {
		return err
	}
	n.setState("attached")
	return nil
}

// unplanned is a handover after the fact.
func (n *Node) unplanned(ctx context.Context, old *candidate, network Network) error {
	id, err := event.NewHandoverID(n.cfg.Rand)
	if err != nil {
		return err
	}
	span := n.cfg.Recorder.Begin(id, event.PhaseHandover, "from", old.net.Name, "to", network.Name, "prepared", false, "planned", false)
	old.keeper.endProbe()
	n.away.Store(true)
	n.setState("attaching to " + network.Name)
	c, err := n.attach(ctx, id, network)
	if err != nil {
		n.setState("lost")
		err = &attachError{network.Name, err}
		span.EndOutcome(event.Failed, err.Error())
		return err
	}
	n.away.Store(false)
	n.serve(c)
	n.takeLeave(id, old, c.address.addr())
	span.EndOutcome(event.Completed, "")
	return nil
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
