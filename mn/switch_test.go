package mn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/mn/link"
)

// lateAdapter is an adapter that answers when the link has long been up.
type lateAdapter struct {
	*adapter
	answers time.Duration // how long after that

	mu       sync.Mutex
	asked    chan struct{} // told of a question where the link is, which gets no answer; nil: it does
	given    int           // answers to Attach
	canceled int           // that nobody wanted any more
}

func (a *lateAdapter) Attach(ctx context.Context, point string) error {
	if err := a.adapter.Attach(ctx, point); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		a.mu.Lock()
		defer a.mu.Unlock()
		a.canceled++
		return ctx.Err()
	case <-time.After(a.answers):
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.given++
	return nil
}

func (a *lateAdapter) Current(ctx context.Context) (string, error) {
	a.mu.Lock()
	asked := a.asked
	a.mu.Unlock()
	if asked == nil {
		return a.adapter.Current(ctx)
	}
	poke(asked)
	<-ctx.Done()
	return "", ctx.Err()
}

// ask has questions told from now on; nil: answered.
func (a *lateAdapter) ask(asked chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = asked
}

// late starts a bed with a as its link.
func late(t *testing.T, a *lateAdapter) *bed {
	t.Helper()
	return start(t, func(c *Config) {
		inner := c.Interfaces[0].Link
		c.Interfaces[0].Link = func(h host.Host) (link.Adapter, error) {
			l, err := inner(h)
			if err == nil {
				a.adapter = l.(*adapter)
			}
			return a, err
		}
	})
}

// TestAnswersLate: the link is up before the adapter has answered. The node goes on, and
// has the answer all the same.
func TestAnswersLate(t *testing.T) {
	a := &lateAdapter{answers: 200 * time.Millisecond}
	b := late(t, a)
	stop := b.flow()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Errorf("%s, %v", o, err)
	}
	stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.given != 1 || a.canceled != 0 {
		t.Errorf("%d answers, %d canceled", a.given, a.canceled)
	}
}

// TestAnswersWrong: the adapter says that the move failed, and then nothing. The arrival
// does not wait for it.
func TestAnswersWrong(t *testing.T) {
	a := &lateAdapter{}
	b := late(t, a)
	asked := make(chan struct{}, 1)
	a.ask(asked)
	ack, answer, done := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	answer <- errors.New("connection lost")
	go func() {
		done <- b.serving().acknowledgedArrival(t.Context(), ack, answer, func() { t.Error("the uplink goes on") })
	}()
	<-asked
	ack <- nil
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it waits for the adapter")
	}
	a.ask(nil)
}

// rekeying is an adapter of a link whose keys are made anew for as long as it is asked: it says that it is at no point.
type rekeying struct {
	*adapter
	now atomic.Bool
}

func (r *rekeying) Current(ctx context.Context) (string, error) {
	if r.now.Load() {
		return "", nil
	}
	return r.adapter.Current(ctx)
}

func (r *rekeying) Associated(ctx context.Context) (string, error) { return r.adapter.Current(ctx) }

// TestRekeyedInAMove: keys that are made anew, at the old point or at the new one while the router has not answered yet, are no
// move of the link.
func TestRekeyedInAMove(t *testing.T) {
	r := &rekeying{}
	b := start(t, func(c *Config) {
		inner := c.Interfaces[0].Link
		c.Interfaces[0].Link = func(h host.Host) (link.Adapter, error) {
			l, err := inner(h)
			if err == nil {
				r.adapter = l.(*adapter)
			}
			return r, err
		}
	})
	r.adapter.opens = 3 * lookAfter // the router cannot answer before the link is looked at
	r.onLeave(func(string) { r.now.Store(true) })
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Errorf("at the new point: %s, %v", o, err)
	}
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Errorf("at both: %s, %v", o, err)
	}
}
