package state

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// sweepEvery is the shortest time between two deletions of expired records.
const sweepEvery = time.Minute

// change is one step that is written and applied: Stored puts the record, the others
// remove it.
type change = Change

// op is one call that waits to be written.
type op struct {
	plan func(v *view) error // adds changes to the view
	done bool
	err  error
}

// table has the records in memory, and the semantics of both stores.
type table struct {
	// fixed after newTable
	write func(changes []change, seq uint64) error // nil: nothing to write to

	queueMu sync.Mutex
	queue   []*op

	commitMu sync.Mutex // held by the one who writes

	mu       sync.RWMutex // never held during a write; to change what follows, commitMu too
	records  map[string]Record
	size     int    // octets
	seq      uint64 // highest version
	closed   bool
	watchers map[*watcher]struct{}

	// guarded by commitMu
	sweep *time.Timer // nil: none armed
	swept time.Time
}

func newTable() *table {
	return &table{records: make(map[string]Record), watchers: make(map[*watcher]struct{})}
}

func expired(r Record, now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

// Get implements Store.
func (t *table) Get(key string) (Record, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return Record{}, ErrClosed
	}
	r, ok := t.records[key]
	if !ok || expired(r, time.Now()) {
		return Record{}, ErrNotFound
	}
	r.Value = bytes.Clone(r.Value)
	return r, nil
}

// List implements Store.
func (t *table) List(prefix string) ([]Record, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, ErrClosed
	}
	now := time.Now()
	var out []Record
	for key, r := range t.records {
		if strings.HasPrefix(key, prefix) && !expired(r, now) {
			r.Value = bytes.Clone(r.Value)
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

// Put implements Store.
func (t *table) Put(key string, value []byte, expires time.Time) (uint64, error) {
	return t.set(key, value, expires, func(Record, bool) error { return nil })
}

// CompareAndSet implements Store.
func (t *table) CompareAndSet(key string, value []byte, version uint64, expires time.Time) (uint64, error) {
	return t.set(key, value, expires, func(was Record, ok bool) error {
		if was.Version != version {
			return &ConflictError{Key: key, Want: version, Have: was.Version}
		}
		return nil
	})
}

func (t *table) set(key string, value []byte, expires time.Time, allowed func(was Record, ok bool) error) (uint64, error) {
	switch {
	case key == "" || len(key) > MaxKey:
		return 0, &LimitError{What: "octets of a key", Got: len(key), Most: MaxKey}
	case len(value) > MaxValue:
		return 0, &LimitError{What: "octets of the value of " + key, Got: len(value), Most: MaxValue}
	}
	next := Record{Key: key, Value: bytes.Clone(value), Expires: expires.Round(0)} // wall clock only
	err := t.do(func(v *view) error {
		if err := allowed(v.get(key)); err != nil {
			return err
		}
		next.Version = v.seq + 1
		return v.store(next)
	})
	if err != nil {
		return 0, err
	}
	return next.Version, nil
}

// Delete implements Store.
func (t *table) Delete(key string) error {
	return t.do(func(v *view) error {
		if was, ok := v.get(key); ok {
			v.remove(was, Deleted)
		}
		return nil
	})
}

// do plans, writes and applies one call, along with others that wait at the time.
func (t *table) do(plan func(v *view) error) error {
	o := &op{plan: plan}
	t.queueMu.Lock()
	t.queue = append(t.queue, o)
	t.queueMu.Unlock()

	t.commitMu.Lock()
	defer t.commitMu.Unlock()
	if !o.done { // nobody wrote it while we waited
		t.commit()
	}
	return o.err
}

// commit writes everything that waits. commitMu is held.
func (t *table) commit() {
	t.queueMu.Lock()
	ops := t.queue
	t.queue = nil
	t.queueMu.Unlock()

	now := time.Now()
	v := t.view(now)
	if now.Sub(t.swept) >= sweepEvery {
		v.removeExpired()
		t.swept = now
	}
	for _, o := range ops {
		if o.done = true; t.closed { // closed changes with commitMu held only
			o.err = ErrClosed
			continue
		}
		o.err = o.plan(v)
	}
	if t.closed {
		return
	}
	if err := t.finish(v); err != nil {
		for _, o := range ops { // also those refused: what they were compared with is not there
			o.err = err
		}
	}
}

// finish writes and applies a view. commitMu is held.
func (t *table) finish(v *view) error {
	if len(v.changes) > 0 && t.write != nil {
		if err := t.write(v.changes, v.seq); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var first time.Time
	for _, c := range v.changes {
		if c.Kind == Stored {
			t.records[c.Record.Key] = c.Record
			first = earlier(first, c.Record.Expires)
		} else {
			delete(t.records, c.Record.Key)
		}
		for w := range t.watchers {
			w.tell(c)
		}
	}
	t.seq, t.size = v.seq, v.size
	t.arm(first)
	return nil
}

// earlier is the first of two ends; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// arm sets the timer that deletes expired records, if it is not set and there are some that
// end: at first, or later. commitMu is held.
func (t *table) arm(first time.Time) {
	if t.sweep == nil && !first.IsZero() {
		t.sweep = time.AfterFunc(max(time.Until(first), time.Until(t.swept.Add(sweepEvery))), t.onSweep)
	}
}

// armForAll is arm for all records there are. commitMu is held.
func (t *table) armForAll() {
	var first time.Time
	for _, r := range t.records {
		first = earlier(first, r.Expires)
	}
	t.arm(first)
}

func (t *table) onSweep() {
	t.commitMu.Lock()
	defer t.commitMu.Unlock()
	if t.sweep = nil; t.closed {
		return
	}
	v := t.view(time.Now())
	v.removeExpired()
	t.swept = v.now
	// What cannot be written stays, unseen, and goes another time.
	_ = t.finish(v)
	t.armForAll()
}

// close ends all calls and watchers; end, if not nil, closes what is behind.
func (t *table) close(end func() error) error {
	t.commitMu.Lock()
	defer t.commitMu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.sweep != nil {
		t.sweep.Stop()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for w := range t.watchers {
		close(w.ch)
	}
	t.watchers = nil
	if end == nil {
		return nil
	}
	return end()
}

// watcher is one who is told of changes. Its channel has one place more than it is
// filled to: the last is for the note that some are missing, behind which nothing comes
// until the watcher has read it.
type watcher struct {
	prefix string
	ch     chan Change
	missed bool // the note is in the channel, or was the last read from it
}

// tell never blocks. The table's mu is held.
func (w *watcher) tell(c change) {
	if !strings.HasPrefix(c.Record.Key, w.prefix) {
		return
	}
	switch waiting := len(w.ch); {
	case w.missed && waiting > 0:
		return
	case waiting < WatchBuffer:
		w.missed = false
		w.ch <- c
	default:
		w.missed = true
		w.ch <- Change{Missed: true}
	}
}

// Watch implements Store.
func (t *table) Watch(ctx context.Context, prefix string) <-chan Change {
	w := &watcher{prefix: prefix, ch: make(chan Change, WatchBuffer+1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		close(w.ch)
		return w.ch
	}
	t.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if _, ok := t.watchers[w]; ok {
			delete(t.watchers, w)
			close(w.ch)
		}
	})
	return w.ch
}
