package apctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"openmpa/internal/wpactrl"
)

// access is how keys get to an access point that can be reached. Errors that wrap ErrRefused or ErrMismatch are final, after
// others nobody knows what was done.
type access interface {
	add(ctx context.Context, k Key) error
	remove(ctx context.Context, station wpactrl.MAC) error
	deauthenticate(ctx context.Context, station wpactrl.MAC) error
	left(ctx context.Context, station wpactrl.MAC) error
	flush(ctx context.Context) error
}

// retryAfter is the time between attempts to make an access point have what it should.
const retryAfter = 2 * time.Second

// errUp is why an access point is up.
var errUp = errors.New("reached")

// keeper makes an access point have what it should: what is the same for one on this machine and one on another.
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

	turn chan struct{} // holds one token: whose turn it is to talk to the access point

	mu       sync.Mutex
	want     book
	up       bool
	why      error  // when not up
	doubts   uint64 // times that it may not have had what it should, or have had what it should not
	settled  uint64 // of doubts: those that are repaired
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
	k.turn = make(chan struct{}, 1)
	k.turn <- struct{}{}
	k.want = make(book)
	k.why = fmt.Errorf("%w: not looked yet", ErrAway)
}

// Info implements Point.
func (k *keeper) Info() Info { return k.info }

// Status implements Point.
func (k *keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Info: k.info, Where: k.where, Up: k.up, Keys: len(k.want), Pending: k.doubts != k.settled, Restored: k.restored}
	if !k.up {
		s.Why = wpactrl.Printable(k.why.Error())
	}
	return s
}

// Install implements Point.
func (k *keeper) Install(ctx context.Context, key Key) error {
	if err := key.check(); err != nil {
		return err
	}
	return k.act(ctx, "install the key of", key.Station, func() (func() error, error) {
		if errors.Is(k.why, ErrMismatch) && !k.up {
			return nil, k.why
		}
		if err := k.want.put(key, time.Now()); err != nil {
			return nil, err
		}
		return func() error {
			err := k.to.add(ctx, key)
			if errors.Is(err, ErrRefused) || errors.Is(err, ErrMismatch) {
				k.mu.Lock()
				k.want.drop(key.Station)
				k.doubts++ // what was there before may still be
				k.mu.Unlock()
			}
			return err
		}, nil
	})
}

// Remove implements Point.
func (k *keeper) Remove(ctx context.Context, station wpactrl.MAC) error {
	err := k.act(ctx, "remove the key of", station, func() (func() error, error) {
		if !k.want.drop(station) {
			return nil, nil
		}
		return func() error {
			return errors.Join(k.to.remove(ctx, station), k.to.deauthenticate(ctx, station))
		}, nil
	})
	if errors.Is(err, ErrAway) || errors.Is(err, ErrMismatch) {
		return nil // whatever it has is taken when it is there again
	}
	return err
}

// Left implements Point.
func (k *keeper) Left(ctx context.Context, station wpactrl.MAC) error {
	return k.act(ctx, "tell the departure of", station, func() (func() error, error) {
		return func() error { return k.to.left(ctx, station) }, nil
	})
}

// act changes what is wanted, by plan under the lock, and then the access point, by what plan returns, in turn.
func (k *keeper) act(ctx context.Context, what string, station wpactrl.MAC, plan func() (func() error, error)) error {
	explain := func(err error) error {
		return fmt.Errorf("apctl: %s: %s %v: %w", k.info.Name, what, station, err)
	}
	select {
	case <-k.turn:
	case <-ctx.Done():
		return explain(ctx.Err())
	}
	defer func() { k.turn <- struct{}{} }()
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return explain(ErrClosed)
	}
	do, err := plan()
	up, why := k.up, k.why
	k.mu.Unlock()
	k.poke()
	switch {
	case err != nil:
		return explain(err)
	case do == nil:
		return nil
	case !up:
		return explain(why)
	}
	if err := do(); err != nil {
		k.doubt()
		return explain(err)
	}
	return nil
}

// doubt says that the access point may not have what it should.
func (k *keeper) doubt() {
	k.mu.Lock()
	k.doubts++
	k.mu.Unlock()
	k.poke()
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
	k.doubts++
	k.mu.Unlock()
	k.log.Info("access point reached")
	k.poke()
}

// lost says that it is not there, or not as it should be.
func (k *keeper) lost(why error) {
	k.mu.Lock()
	news := k.up || k.why.Error() != why.Error()
	k.up, k.why = false, why
	k.mu.Unlock()
	if news {
		k.log.Warn("access point lost", "error", why)
	}
}

// loop ends keys and repairs, until Close.
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
		wait := k.round()
		timer.Reset(wait)
	}
}

// round does what is due and returns when to look again.
func (k *keeper) round() time.Duration {
	select {
	case <-k.turn:
	case <-k.ctx.Done():
		return 0
	}
	defer func() { k.turn <- struct{}{} }()
	k.mu.Lock()
	ended, up := k.want.expire(time.Now()), k.up
	k.mu.Unlock()
	for _, station := range ended {
		k.log.Debug("key ended", "station", station.String())
		if up && k.to.deauthenticate(k.ctx, station) != nil {
			k.doubt()
		}
	}
	k.mu.Lock()
	doubts, clean := k.doubts, k.doubts == k.settled
	k.mu.Unlock()
	repaired := up && !clean && k.repair() == nil
	k.mu.Lock()
	defer k.mu.Unlock()
	if repaired {
		k.settled = doubts
	}
	wait := time.Hour
	if next := k.want.next(); !next.IsZero() {
		wait = max(0, time.Until(next))
	}
	if k.doubts != k.settled && k.up {
		wait = min(wait, retryAfter)
	}
	return wait
}

// repair makes the access point have exactly what it should.
func (k *keeper) repair() error {
	k.mu.Lock()
	all := k.want.all(time.Now())
	if len(all) > 0 {
		k.restored++
	}
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
	if err != nil && k.ctx.Err() == nil {
		k.log.Warn("access point not repaired", "error", err)
	}
	return err
}

// forget takes all keys from the access point.
func (k *keeper) forget() {
	k.mu.Lock()
	k.want.clear()
	k.mu.Unlock()
	k.doubt()
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
	<-k.turn
	defer func() { k.turn <- struct{}{} }()
	k.mu.Lock()
	flush := k.up && (len(k.want) > 0 || k.doubts != k.settled)
	k.want.clear()
	k.mu.Unlock()
	if flush {
		ctx, cancel := context.WithTimeout(context.Background(), retryAfter)
		defer cancel()
		err = k.to.flush(ctx)
	}
	return false, err
}
