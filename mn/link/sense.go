package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"
)

const (
	senseWithin = time.Second      // for an answer about signals: they are of no use later
	deafFor     = 10 * time.Second // until a controller that does not tell signals is asked again
	oldest      = time.Hour        // age of a sighting
	weakest     = -200             // dBm
	fastest     = 1e6              // Mbit/s
)

// ErrNoSignal: nobody tells the signal of this link.
var ErrNoSignal = errors.New("link: the link controller does not tell signals")

// seenPoint is a sighting as a controller tells it.
type seenPoint struct {
	Point  string  `json:"point"`
	Signal float32 `json:"signal_dbm"`
	Age    float64 `json:"age_ms"`
}

// checkSenses checks what an answer says of signals.
func (a answer) checkSenses(op string) error {
	switch {
	case op != opSignal && (a.Signal != nil || a.Loss != nil || a.Rate != nil):
		return fmt.Errorf("%w: a signal in the answer to %q", ErrProtocol, op)
	case op != opSeen && a.Seen != nil:
		return fmt.Errorf("%w: \"seen\" in the answer to %q", ErrProtocol, op)
	case len(a.Seen) > maxSeen:
		return fmt.Errorf("%w: %d points seen, expected %d at most", ErrProtocol, len(a.Seen), maxSeen)
	case a.Signal != nil && !heard(*a.Signal):
		return fmt.Errorf("%w: a signal of %v dBm: expected %d to less than 0", ErrProtocol, *a.Signal, weakest)
	case a.Loss != nil && !(*a.Loss >= 0 && *a.Loss <= 1):
		return fmt.Errorf("%w: a loss of %v: expected 0 to 1", ErrProtocol, *a.Loss)
	case a.Rate != nil && !(*a.Rate >= 0 && *a.Rate <= fastest):
		return fmt.Errorf("%w: a rate of %v Mbit/s: expected 0 to %g", ErrProtocol, *a.Rate, fastest)
	}
	for _, s := range a.Seen {
		if CheckPoint(s.Point) != nil || !heard(s.Signal) || !(s.Age >= 0 && s.Age <= float64(oldest/time.Millisecond)) {
			return fmt.Errorf("%w: it saw %.120q at %v dBm %v ms ago: expected the name of a point, %d to less than 0 dBm, and at most %v",
				ErrProtocol, s.Point, s.Signal, s.Age, weakest, oldest)
		}
	}
	return nil
}

func heard(dBm float32) bool { return dBm >= weakest && dBm < 0 }

// sense asks about signals. A controller that does not know the request is asked again after deafFor: it may be another one then.
func (e *External) sense(ctx context.Context, op string) (answer, error) {
	e.mu.Lock()
	s := e.senseOf[op]
	e.mu.Unlock()
	if !s.deaf.IsZero() && time.Since(s.deaf) < deafFor {
		return answer{}, ErrNoSignal
	}
	if err := e.orders.ready(ctx, e.closed); err != nil { // a controller that serves one connection at a time is to have that one first
		return answer{}, e.explain(ctx, request{Op: op}, err)
	}
	a, err := e.ask(ctx, e.senses, min(senseWithin, e.cfg.Timeout), request{Op: op})
	var refused *RefusedError
	switch {
	case err == nil:
		s = sense{told: true}
	case errors.As(err, &refused), !s.told && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) && !absent(err):
		s = sense{deaf: time.Now()}
		err = fmt.Errorf("%w: %w", ErrNoSignal, err)
	}
	e.mu.Lock()
	e.senseOf[op] = s
	e.mu.Unlock()
	return a, err
}

// sense is what is known of an op about signals.
type sense struct {
	told bool      // it has been answered
	deaf time.Time // when it was refused, or not answered though it never had been; zero: it was not
}

// Measure implements Meter. The point is the present one unless the controller says which it was.
func (e *External) Measure(ctx context.Context) (Quality, error) {
	a, err := e.sense(ctx, opSignal)
	if err != nil {
		return Quality{}, err
	}
	q := Quality{Loss: -1}
	if a.Point != nil {
		q.Point = *a.Point
	}
	if a.Signal != nil {
		q.Signal = *a.Signal
	}
	if a.Loss != nil {
		q.Loss = *a.Loss
	}
	if a.Rate != nil {
		q.Rate = *a.Rate
	}
	return q, nil
}

// Signal implements Scanner.
func (e *External) Signal(ctx context.Context) (int, error) {
	q, err := e.Measure(ctx)
	return whole(q.Signal), err
}

// Seen implements Scanner.
func (e *External) Seen(ctx context.Context) ([]Sighting, error) {
	a, err := e.sense(ctx, opSeen)
	if err != nil {
		return nil, err
	}
	out := make([]Sighting, 0, len(a.Seen))
	for _, s := range a.Seen {
		out = append(out, Sighting{Point: s.Point, Signal: whole(s.Signal), Age: time.Duration(s.Age * float64(time.Millisecond))})
	}
	return out, nil
}

// Scan implements Scanner: when to look is the controller's business.
func (e *External) Scan(context.Context, ...int) error { return nil }

// Look implements Scanner likewise.
func (e *External) Look(context.Context, ...string) error { return nil }

// Reported implements Scanner: nobody reports.
func (e *External) Reported(context.Context) ([]Sighting, error) { return nil, nil }

// whole is a signal in whole dBm, of which 0 is none.
func whole(dBm float32) int {
	n := int(math.Round(float64(dBm)))
	if n == 0 && dBm < 0 {
		return -1
	}
	return n
}
