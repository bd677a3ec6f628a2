package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/link"
)

// departure is a move of the link that can begin at once.
type departure struct {
	point string
	move  link.Move
	going sync.WaitGroup
	stop  context.CancelFunc // ends what goes; nil: nothing does
	done  func()             // ends what goes, and does what could wait until packets flow again; to be called again does nothing

	seen    sight  // the link before, when
	changes uint32 // of its carrier were so many

	answer <-chan error // the adapter's, where the link came up before it; of switchLink
}

// departFor readies a move of the link to a point. Its done must be called.
func (p *port) departFor(ctx context.Context, point string) (*departure, error) {
	ctx, cancel := context.WithTimeout(ctx, p.linkWithin())
	defer cancel()
	d := &departure{point: point, seen: p.carrier.look()}
	l, err := p.n.net.LinkByName(p.name)
	if err != nil {
		return nil, err
	}
	d.changes = l.Changes
	if d.move, err = link.Ready(ctx, p.link, point); err != nil {
		return nil, err
	}
	d.done = sync.OnceFunc(func() {
		if d.stop != nil {
			d.stop()
		}
		d.going.Wait()
		d.move.Done()
	})
	return d, nil
}

// linkWithin is how long a move of the link may take.
func (p *port) linkWithin() time.Duration {
	if _, ok := p.link.(link.Keyer); ok {
		return max(p.n.cfg.Timers.LinkUp, p.n.cfg.Timers.LinkAuth)
	}
	return p.n.cfg.Timers.LinkUp
}

// switchLink leaves for a point of attachment and returns when the link came up there,
// which may be before the adapter has answered.
func (p *port) switchLink(ctx context.Context, id event.HandoverID, d *departure) (up time.Time, err error) {
	span := p.n.cfg.Recorder.Begin(id, event.PhaseL2, "point", d.point)
	defer func() { span.End(err) }()
	within := p.linkWithin()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	before := p.carrier.look()
	if before.ups != d.seen.ups || before.downs != d.seen.downs { // while that was made ready
		l, err := p.n.net.LinkByName(p.name)
		if err != nil {
			return time.Time{}, err
		}
		d.changes = l.Changes
	}
	// An adapter that knows several points may come up at another than it was told, and says so no later than the kernel.
	_, mayStray := p.link.(link.Strayer)
	if p.n.servingPort() == p {
		p.n.away.Store(true)
	}
	attached := make(chan error, 1)
	d.answer = attached
	going, stop := context.WithTimeout(context.WithoutCancel(ctx), within) // its answer may be wanted yet when the link is up
	d.stop = stop
	d.going.Go(func() { attached <- d.move.Go(going) })
	done := false
	for now := before; ; {
		select {
		case <-now.changed:
			if now = p.carrier.look(); now.ended {
				return time.Time{}, errNobodyWatches
			}
			if now.Up && now.ups > before.ups && (done || now.downs > before.downs && !mayStray) {
				p.seen = now
				return now.At, nil
			}
		case err := <-attached:
			d.answer = nil
			if err != nil {
				return time.Time{}, err
			}
			done = true
			switch now = p.carrier.look(); {
			case !now.Up:
				continue
			case now.ups > before.ups:
				p.seen = now
				return now.At, nil
			}
			// The link may not have gone down at all; if it has, that will be told.
			if l, err := p.n.net.LinkByName(p.name); err == nil && l.Carrier && l.Changes == d.changes {
				p.seen = now
				return time.Now(), nil
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return time.Time{}, ctx.Err()
			}
			return time.Time{}, fmt.Errorf("no link in %s", within)
		}
	}
}
