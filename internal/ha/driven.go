package ha

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Closed turns the error of a reader whose socket was closed into nil.
func Closed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("ha: %w", err)
}

// Timer calls due at each deadline, until ctx is done. What comes by wake has it look at
// the deadline again.
func Timer(ctx context.Context, wake <-chan struct{}, deadline func() (time.Time, bool), due func(now time.Time)) error {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		wait := time.Hour
		if at, ok := deadline(); ok {
			wait = time.Until(at)
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-t.C:
			due(time.Now())
		}
	}
}

// Throttle lets one thing a second through and counts the others.
type Throttle struct {
	mu      sync.Mutex
	last    time.Time
	skipped uint64
}

// Allow reports whether this one may pass, and how many did not since the last that did.
func (t *Throttle) Allow(now time.Time) (skipped uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last) < time.Second {
		t.skipped++
		return 0, false
	}
	skipped, t.last, t.skipped = t.skipped, now, 0
	return skipped, true
}
