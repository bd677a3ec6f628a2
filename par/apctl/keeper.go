package apctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// access is how keys get to an access point that can be reached. Errors that wrap ErrRefused or ErrMismatch are final, after
// others nobody knows what was done.
type access interface {
	add(ctx context.Context, k Key) error
	remove(ctx context.Context, station wpactrl.MAC) error                // the key, and what was made of it
	ended(ctx context.Context, station wpactrl.MAC) error                 // what was made of a key whose life is over
	left(ctx context.Context, station wpactrl.MAC, since time.Time) error // the station, for another access point
	flush(ctx context.Context) error
}

const (
	retryAfter = 2 * time.Second        // between attempts to make an access point have what it should
	closeMax   = 2 * time.Second        // that Close waits for an access point
	leftAfter  = 100 * time.Millisecond // that an access point may keep a station that has left: the one it comes to has a handshake to do first
)

// errUp is why an access point is up.
var errUp = errors.New("reached")

// keeper makes an access point have what it should: what is the same for one on this machine and one on another. What it
// should have is changed at once, by anybody; one goroutine then does what there is to do, a station at a time, in the order
// of the changes, and again until it has succeeded. So a slow access point loses nothing, and whoever waits may go.
type keeper struct {
	// fixed
	info  Info
	where string
	to    access
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelFunc
	wake  chan struct{} // the loop has to look again
	wg    sync.WaitGroup

	mu       sync.Mutex
	want     book
	todo     tasks
	busy     bool      // a task, or the whole, is under way
	whole    bool      // it may have anything: flush, and all that it should have again
	wholeAt  time.Time // not before
	up       bool
	why      error // when not up
	watch    func(Seen)
	closed   bool
	restored int
}

func (k *keeper) init(info Info, where string, to access, log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k.info, k.where, k.to, k.log = info, where, to, log.With("point", info.Name)
	k.ctx, k.stop = context.WithCancel(context.Background())
	k.wake = make(chan struct{}, 1)
	k.want = make(book)
	k.why = fmt.Errorf("%w: not looked yet", ErrAway)
}

// Info implements Point.
func (k *keeper) Info() Info { return k.info }

// Status implements Point.
func (k *keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Info: k.info, Where: k.where, Up: k.up, Keys: len(k.want), Pending: k.whole || k.busy || len(k.todo) > 0, Restored: k.restored}
	if !k.up {
		s.Why = wpactrl.Printable(k.why.Error())
	}
	return s
}

// Watch implements Point.
func (k *keeper) Watch(f func(Seen)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watch = f
}

// saw tells the watcher of a station that has a key here.
func (k *keeper) saw(s Seen) {
	k.mu.Lock()
	f := k.watch
	if _, ok := k.want[s.Station]; !ok {
		f = nil
	}
	k.mu.Unlock()
	if f != nil {
		f(s)
	}
}

// Install implements Point.
func (k *keeper) Install(ctx context.Context, key Key) error {
	if err := key.check(); err != nil {
		return err
	}
	return k.change(ctx, "install the key of", key.Station, func() (bool, error) {
		if errors.Is(k.why, ErrMismatch) && !k.up {
			return false, k.why
		}
		return true, k.want.put(key, time.Now())
	})
}

// Remove implements Point.
func (k *keeper) Remove(ctx context.Context, station wpactrl.MAC) error {
	err := k.change(ctx, "remove the key of", station, func() (bool, error) { return k.want.drop(station), nil })
	if errors.Is(err, ErrAway) || errors.Is(err, ErrMismatch) {
		return nil // whatever it has is taken when it is there again
	}
	return err
}

// Left implements Point.
func (k *keeper) Left(station wpactrl.MAC, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.want[station]; !ok || !k.up || k.closed {
		return
	}
	t := k.todo.of(station)
	if t.left = since; !t.change && !t.ended {
		t.at = since.Add(leftAfter)
	}
	k.poke()
}

// change changes what is wanted of a station, by plan under the lock, which says whether it has, and waits until the access
// point has followed, or ctx ends.
func (k *keeper) change(ctx context.Context, what string, station wpactrl.MAC, plan func() (bool, error)) error {
	explain := func(err error) error {
		return fmt.Errorf("apctl: %s: %s %v: %w", k.info.Name, what, station, err)
	}
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return explain(ErrClosed)
	}
	changed, err := plan()
	if err != nil || !changed || !k.up {
		if err == nil && changed {
			err = k.why
		}
		k.mu.Unlock()
		k.poke() // a life may end earlier
		if err != nil {
			return explain(err)
		}
		return nil
	}
	done := make(chan error, 1)
	t := k.todo.of(station)
	t.change, t.waiting, t.at = true, append(t.waiting, done), time.Time{}
	k.mu.Unlock()
	k.poke()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return explain(err)
	}
	return nil
}

// poke makes the loop look again.
func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// reached says that the access point is there, and has nothing of ours or who knows what.
func (k *keeper) reached() {
	k.mu.Lock()
	k.up, k.why = true, errUp
	k.whole, k.wholeAt = true, time.Time{}
	k.mu.Unlock()
	k.log.Info("access point reached")
	k.poke()
}

// lost says that it is not there, or not as it should be.
func (k *keeper) lost(why error) {
	k.mu.Lock()
	news := k.up || k.why.Error() != why.Error()
	k.up, k.why = false, why
	k.todo.fail(why) // all of it is done anew when it is there again
	k.mu.Unlock()
	if news {
		k.log.Warn("access point lost", "error", why)
	}
}

// loop ends keys and does what is to do, until Close.
func (k *keeper) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.wake:
		case <-timer.C:
		}
		for k.step() && k.ctx.Err() == nil {
		}
		k.mu.Lock()
		timer.Reset(k.wait(time.Now()))
		k.mu.Unlock()
	}
}

// wait is how long there is nothing to do. The caller holds mu.
func (k *keeper) wait(now time.Time) time.Duration {
	at := k.want.next()
	if k.up {
		for _, t := range k.todo {
			at = earlier(at, t.at)
		}
		if k.whole {
			at = earlier(at, k.wholeAt)
		}
	}
	if at.IsZero() {
		return time.Hour
	}
	return max(0, at.Sub(now))
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// step does one thing, and says whether there was one to do.
func (k *keeper) step() bool {
	now := time.Now()
	k.mu.Lock()
	for _, station := range k.want.expire(now) {
		k.log.Debug("key ended", "station", station.String())
		if k.up {
			t := k.todo.of(station)
			t.ended, t.at = true, time.Time{}
		}
	}
	if !k.up {
		k.mu.Unlock()
		return false
	}
	if k.whole && !k.wholeAt.After(now) {
		k.busy = true
		k.mu.Unlock()
		k.repair()
		return true
	}
	t := k.todo.take(now)
	if t == nil {
		k.mu.Unlock()
		return false
	}
	k.busy = true
	e, wanted := k.want[t.station]
	var key Key
	if wanted {
		key = Key{Station: t.station, PMK: e.pmk.Clone(), Lifetime: e.end.Sub(now)}
	}
	k.mu.Unlock()
	defer key.PMK.Clear()
	k.settle(t, e.pmk, k.do(t, key))
	return true
}

// do carries a task out; a key without a station: there is to be none.
func (k *keeper) do(t *task, key Key) error {
	var errs []error
	wanted := !key.Station.IsZero()
	if t.change && wanted {
		errs = append(errs, k.to.add(k.ctx, key))
	} else if t.change {
		errs = append(errs, k.to.remove(k.ctx, t.station))
	}
	if t.ended && !wanted {
		errs = append(errs, k.to.ended(k.ctx, t.station))
	}
	if !t.left.IsZero() {
		if err := k.to.left(k.ctx, t.station, t.left); err != nil { // it notices by itself, later
			k.log.Debug("departure not told", "station", t.station.String(), "error", err)
		}
	}
	return errors.Join(errs...)
}

// settle takes note of how a task went for the key pmk.
func (k *keeper) settle(t *task, pmk *keys.Secret, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy = false
	switch {
	case err == nil:
	case errors.Is(err, ErrRefused) || errors.Is(err, ErrMismatch):
		if e, ok := k.want[t.station]; ok && e.pmk == pmk {
			k.want.drop(t.station)
		}
		k.whole, k.wholeAt = true, time.Time{} // what was there before may still be
	case k.up:
		again := k.todo.of(t.station)
		if !again.change { // nobody has changed it meanwhile
			again.at = time.Now().Add(retryAfter)
		}
		again.change, again.ended = again.change || t.change, again.ended || t.ended
		k.log.Warn("access point does not follow, trying again", "station", t.station.String(), "error", err)
	}
	t.tell(err)
}

// repair makes the access point have exactly what it should.
func (k *keeper) repair() {
	k.mu.Lock()
	all := k.want.all(time.Now())
	if len(all) > 0 {
		k.restored++
	}
	waiting := k.todo.changes()
	k.whole = false
	k.mu.Unlock()
	err := k.to.flush(k.ctx)
	for _, key := range all {
		if err == nil {
			if e := k.to.add(k.ctx, key); errors.Is(e, ErrRefused) {
				k.log.Error("access point refuses a key", "station", key.Station.String(), "error", e)
			} else {
				err = e
			}
		}
		key.PMK.Clear()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy = false
	for _, t := range waiting {
		t.tell(err)
	}
	if err != nil && k.ctx.Err() == nil {
		k.whole, k.wholeAt = true, time.Now().Add(retryAfter)
		k.log.Warn("access point not repaired", "error", err)
	}
}

// forget takes all keys from the access point.
func (k *keeper) forget() {
	k.mu.Lock()
	k.want.clear()
	k.whole, k.wholeAt = true, time.Time{}
	k.mu.Unlock()
	k.poke()
}

// close ends the loop and takes the keys from the access point. done says whether it was closed before.
func (k *keeper) close() (done bool, err error) {
	k.mu.Lock()
	done, k.closed = k.closed, true
	k.mu.Unlock()
	if done {
		return true, nil
	}
	k.stop()
	k.wg.Wait()
	k.mu.Lock()
	flush := k.up && (len(k.want) > 0 || k.whole || len(k.todo) > 0)
	k.want.clear()
	k.todo.fail(ErrClosed)
	k.mu.Unlock()
	if flush {
		ctx, cancel := context.WithTimeout(context.Background(), closeMax)
		defer cancel()
		err = k.to.flush(ctx)
	}
	return false, err
}
