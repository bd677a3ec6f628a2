package aaa

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"openmpa/internal/state"
)

// How records are brought to the servers of one operator.
const (
	laneWidth  = 16 // at once
	minBackoff = time.Second
	maxBackoff = time.Minute // of an operator; a single session waits five times that
)

// lane is what waits for the servers of one operator. While they do not answer, one
// record at a time is tried. Guarded by books.mu.
type lane struct {
	ready   []*book
	busy    int
	down    bool
	backoff time.Duration
	again   time.Time // not before
	timer   *time.Timer
}

// touch says that a book differs from its page. mu is held.
func (b *books) touch(k *book) {
	if k.queued || k.gone {
		return
	}
	k.queued = true
	b.dirty = append(b.dirty, k)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run writes and delivers until ctx ends, and then for a moment more; after is the time
// of the carriers.
func (b *books) run(ctx, after context.Context) error {
	look, alive, retry := time.NewTicker(lookEvery), time.NewTicker(aliveEvery), time.NewTicker(writeAgain)
	defer look.Stop()
	defer alive.Stop()
	defer retry.Stop()
	deliver, stop := context.WithCancel(after)
	defer stop()
	var wg sync.WaitGroup
	var refused []*book // by the disk
	b.sayAlive()
	for ctx.Err() == nil && after.Err() == nil {
		select {
		case <-b.wake:
			refused = append(refused, b.write(deliver, &wg)...)
		case now := <-look.C:
			b.interims(now)
		case <-alive.C:
			b.sayAlive()
		case <-retry.C:
			b.mu.Lock()
			for _, k := range refused {
				b.touch(k)
			}
			b.mu.Unlock()
			refused = nil
		case <-ctx.Done():
		case <-after.Done():
		}
	}
	b.mu.Lock()
	b.closed = true // who is ended from now on has been by a crash, as it were
	for _, k := range refused {
		b.touch(k)
	}
	b.mu.Unlock()
	b.write(deliver, &wg)
	b.sayAlive()
	time.AfterFunc(lastMoment, stop)
	for b.under(deliver) {
		select {
		case <-b.wake:
			b.write(deliver, &wg)
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	b.mu.Lock()
	for _, l := range b.lanes {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	b.mu.Unlock()
	wg.Wait()
	b.write(deliver, &wg) // what has been delivered is not there any more
	return nil
}

// under says whether records are under way that may still arrive.
func (b *books) under(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	for _, l := range b.lanes {
		if l.busy > 0 || len(l.ready) > 0 && !l.down {
			return true
		}
	}
	return len(b.dirty) > 0
}

// sayAlive notes the time, if somebody would want to know it.
func (b *books) sayAlive() {
	b.mu.Lock()
	n := len(b.all)
	b.mu.Unlock()
	if n == 0 {
		return
	}
	if _, err := state.PutJSON(b.cfg.Store, aliveKey, time.Now(), time.Time{}); err != nil {
		b.cfg.Log.Warn("the time is not on the disk", "err", err)
	}
}

// write brings pages to the disk, and books with records to their lanes; it returns what
// the disk has refused.
func (b *books) write(deliver context.Context, wg *sync.WaitGroup) (refused []*book) {
	b.mu.Lock()
	list := b.dirty
	b.dirty = nil
	b.mu.Unlock()
	var (
		now   = make(chan struct{}, writers)
		mu    sync.Mutex
		these sync.WaitGroup
	)
	for _, k := range list {
		now <- struct{}{}
		these.Go(func() {
			defer func() { <-now }()
			if err := b.writeOne(k); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(refused) == 0 {
					b.cfg.Log.Error("accounting records are not on the disk: a crash would lose them", "err", err)
				}
				refused = append(refused, k)
			}
			b.offer(deliver, k, wg)
		})
	}
	these.Wait()
	return refused
}

// writeOne writes one page, or removes it when nothing is left to tell.
func (b *books) writeOne(k *book) error {
	k.disk.Lock()
	defer k.disk.Unlock()
	b.mu.Lock()
	k.queued = false
	if k.gone {
		b.mu.Unlock()
		return nil
	}
	if k.Ended && len(k.Queue) == 0 {
		k.gone = true
		delete(b.all, k.key)
		b.mu.Unlock()
		return b.cfg.Store.Delete(k.key)
	}
	b.lane(k).mark(k)
	text, err := json.Marshal(k.page)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = b.cfg.Store.Put(k.key, text, time.Time{})
	return err
}

// mark notes of the first record that it will be tried at once.
func (l *lane) mark(k *book) {
	if !l.down && len(k.Queue) > 0 {
		k.Queue[0].Tried = true
	}
}

// lane of a book. mu is held.
func (b *books) lane(k *book) *lane {
	l := b.lanes[k.Grant.Operator]
	if l == nil {
		l = &lane{}
		b.lanes[k.Grant.Operator] = l
	}
	return l
}

// offer puts a book into its lane, if it has something to tell.
func (b *books) offer(ctx context.Context, k *book, wg *sync.WaitGroup) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k.gone || k.waiting || len(k.Queue) == 0 {
		return
	}
	k.waiting = true
	l := b.lane(k)
	l.ready = append(l.ready, k)
	b.pump(ctx, l, wg)
}

// pump begins what a lane may do now. mu is held.
func (b *books) pump(ctx context.Context, l *lane, wg *sync.WaitGroup) {
	width := laneWidth
	if l.down {
		width = 1
	}
	now := time.Now()
	var later time.Time
	if now.Before(l.again) {
		width, later = 0, l.again
	}
	for i := 0; i < len(l.ready) && l.busy < width && ctx.Err() == nil; {
		k := l.ready[i]
		if len(k.Queue) == 0 { // it had to make room
			l.ready = append(l.ready[:i], l.ready[i+1:]...)
			k.waiting = false
			continue
		}
		if now.Before(k.due) {
			if later.IsZero() || k.due.Before(later) {
				later = k.due
			}
			i++
			continue
		}
		l.ready = append(l.ready[:i], l.ready[i+1:]...)
		l.busy++
		k.busy = true
		wg.Go(func() { b.tell(ctx, l, k, wg) })
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if !later.IsZero() && ctx.Err() == nil {
		l.timer = time.AfterFunc(later.Sub(now), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.pump(ctx, l, wg)
		})
	}
}

// tell delivers the first record of a book.
func (b *books) tell(ctx context.Context, l *lane, k *book, wg *sync.WaitGroup) {
	b.mu.Lock()
	tried := k.Queue[0].Tried
	k.Queue[0].Tried = true
	b.mu.Unlock()
	if !tried {
		if err := b.writeOne(k); err != nil {
			b.cfg.Log.Error("accounting record not on the disk", "session", k.Grant.Session, "err", err)
		}
	}
	b.mu.Lock()
	e := k.Queue[0]
	rec := Record{Grant: k.Grant, Kind: e.Kind, Number: e.Number, Time: e.Time, Cause: e.Cause, Usage: e.Usage}
	b.mu.Unlock()
	attempt, cancel := context.WithTimeout(ctx, accountTime)
	err := b.account(attempt, rec)
	cancel()

	b.mu.Lock()
	defer b.mu.Unlock()
	l.busy--
	k.busy, k.waiting = false, false
	switch refused := errors.Is(err, ErrRefused); {
	case err == nil || refused:
		if l.down {
			b.cfg.Log.Info("accounting goes on", "operator", rec.Grant.Operator)
		}
		l.down, l.backoff, l.again, b.count.LastError = false, 0, time.Time{}, ""
		k.due, k.backoff = time.Time{}, 0
		k.Queue = k.Queue[1:]
		if refused {
			b.count.Refused++
			b.cfg.Log.Warn("accounting record refused for good", "operator", rec.Grant.Operator, "session", rec.Grant.Session, "record", rec.Kind, "err", err)
		} else {
			b.count.Delivered++
		}
		if k.Ended && len(k.Queue) == 0 {
			b.touch(k)
		}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return
	default:
		if !l.down {
			b.cfg.Log.Warn("accounting record not delivered: it waits", "operator", rec.Grant.Operator, "session", rec.Grant.Session, "record", rec.Kind, "err", err)
		}
		b.count.LastError = err.Error()
		l.down, l.backoff = true, twice(l.backoff, maxBackoff)
		l.again = time.Now().Add(jitter(l.backoff))
		if !errors.Is(err, ErrTimeout) { // it may be this record's own fault
			k.backoff = twice(k.backoff, 5*maxBackoff)
			k.due = time.Now().Add(jitter(k.backoff))
		}
	}
	if len(k.Queue) > 0 {
		k.waiting = true
		l.ready = append(l.ready, k)
	}
	b.pump(ctx, l, wg)
}

func twice(d, most time.Duration) time.Duration { return min(max(2*d, minBackoff), most) }

// jitter spreads what would come at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) } //nolint:gosec // no secret
