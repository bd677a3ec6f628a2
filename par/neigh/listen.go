package neigh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"openmpa/internal/acd"
)

// readAll hands every packet to packet, until ctx ends or the socket is closed.
func readAll[P any](ctx context.Context, log *slog.Logger, what string, read func(context.Context) (P, error), packet func(P)) {
	for {
		a, err := read(ctx)
		switch {
		case err == nil:
			packet(a)
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, net.ErrClosed):
			log.Error(what+" proxy ended: its socket was closed", "error", err)
			return
		}
		log.Warn(what+" proxy cannot read", "error", err)
		t := time.NewTimer(retryRead)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// listener gives one question the packets a proxy reads.
type listener[P any] struct {
	in         chan P
	done       <-chan struct{} // of the proxy
	visitor    acd.MAC
	hasVisitor bool
}

func listen[P any](done <-chan struct{}) listener[P] {
	return listener[P]{in: make(chan P, probeQueue), done: done}
}

// except leaves out what the visitor sends; nil: it is not known.
func (l *listener[P]) except(visitor net.HardwareAddr) (err error) {
	if len(visitor) == 0 {
		return nil
	}
	if l.visitor, err = acd.MACFrom(visitor); err != nil {
		return fmt.Errorf("visitor: %w", err)
	}
	l.hasVisitor = true
	return nil
}

// offer reports false if the queue is full.
func (l *listener[P]) offer(from acd.MAC, p P) bool {
	if l.hasVisitor && from == l.visitor {
		return true
	}
	select {
	case l.in <- p:
		return true
	default:
		return false
	}
}

func (l *listener[P]) next(ctx context.Context) (p P, err error) {
	select {
	case p = <-l.in:
		return p, nil
	case <-ctx.Done():
		return p, ctx.Err()
	case <-l.done:
		return p, net.ErrClosed
	}
}
