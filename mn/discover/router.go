package discover

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"openmpa/internal/neighbourhood"
)

// Asker asks the serving router, in its session.
type Asker interface {
	// Attached brings something when another router serves, or the same one in another session, or says that what it
	// knows has changed. It holds one.
	Attached() <-chan struct{}
	// Neighbours are what the router that serves network says of it and of those around, each with its lifetime.
	// ErrNobody: none serves; ErrLater: it can not be asked now.
	Neighbours(ctx context.Context) (network string, around []neighbourhood.Network, err error)
}

// What an Asker answers when there is nothing to ask.
var (
	ErrNobody = errors.New("discover: no router serves")
	ErrLater  = errors.New("discover: the node is busy with a move")
)

// The times between two questions.
const (
	askAfter  = 300 * time.Millisecond // an arrival: what it has left to do comes first
	askWithin = 10 * time.Second       // for an answer, all of its parts
	askLeast  = 5 * time.Second        // between two questions, whatever lifetime the answer has
	askMost   = 10 * time.Minute
	askFirst  = 2 * time.Second // after a failure, twice as long each time, up to askMost
	answerFor = time.Hour       // what has no lifetime of its own holds
)

// Router asks the serving router, when another one serves and before what it has said is over.
type Router struct {
	Asker Asker
	Log   *slog.Logger
}

// Run implements Source.
func (r Router) Run(ctx context.Context, say func(Statement)) {
	rest, last, told, due := askFirst, time.Time{}, false, time.Now().Add(askAfter)
	timer := time.NewTimer(askAfter)
	defer timer.Stop()
	next := func(in time.Duration) {
		due = time.Now().Add(in)
		timer.Reset(in)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.Asker.Attached():
			rest = askFirst
			if soon := max(askAfter, time.Until(last.Add(askFirst))); time.Until(due) > soon {
				next(soon)
			}
			continue
		case <-timer.C:
		}
		last = time.Now()
		network, around, err := r.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNobody):
			next(askMost) // Attached comes before
		case errors.Is(err, ErrLater):
			next(askFirst)
		case err != nil:
			if !told {
				r.Log.Info("the serving router tells nothing of its neighbourhood", "err", err, "again_in", rest)
			}
			told = true
			next(rest)
			rest = min(2*rest, askMost)
		default:
			rest, told = askFirst, false
			say(Statement{From: neighbourhood.Source{Kind: neighbourhood.Router, Name: network}, Networks: around, Lifetime: answerFor})
			in := min(max(shortest(around)/2, askLeast), askMost)
			next(in - rand.N(in/8)) //nolint:gosec // so that not all nodes ask at once
		}
	}
}

// shortest is the least lifetime of networks.
func shortest(list []neighbourhood.Network) time.Duration {
	least := answerFor
	for _, n := range list {
		if n.Lifetime > 0 {
			least = min(least, n.Lifetime)
		}
	}
	return least
}

func (r Router) ask(ctx context.Context) (string, []neighbourhood.Network, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return r.Asker.Neighbours(ctx)
}
