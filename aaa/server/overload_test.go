package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"openmpa/aaa"
)

// TestOverload has more ask than the server can compute for: new ones are told to try
// later while those under way go on, and afterwards all is as before.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(c *Config) { c.Workers = 1 })
		s.server.slots <- struct{}{} // the processor is busy
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var refused, left atomic.Int32
		ask := func(begun bool) {
			wg.Go(func() {
				switch err := s.server.enter(ctx, begun); {
				case errors.Is(err, ErrOverload):
					refused.Add(1)
				case errors.Is(err, context.Canceled):
					left.Add(1)
				case err == nil:
					s.server.leave()
				}
			})
		}
		for range queueSize / 2 {
			ask(false)
		}
		synctest.Wait()
		ask(false)
		synctest.Wait()
		if refused.Load() != 1 {
			t.Errorf("%d refused, expected the one too many", refused.Load())
		}
		for range queueSize / 2 {
			ask(true)
		}
		synctest.Wait()
		ask(true)
		synctest.Wait()
		if n := s.server.Counters().Overload; refused.Load() != 2 || n != 2 {
			t.Errorf("%d refused, %d counted", refused.Load(), n)
		}
		cancel()
		wg.Wait()
		if left.Load() != queueSize {
			t.Errorf("%d left, expected %d", left.Load(), queueSize)
		}
		s.server.leave()
		if _, r, err := authenticate(t, s.backend, s.node); err != nil || r.Decision != aaa.Accept {
			t.Errorf("afterwards: %v, %v", r.Decision, err)
		}
	})
}
