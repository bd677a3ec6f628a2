package aaa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"openmpa/internal/state"
)

// Bounds and times of books.
const (
	maxBooks    = 1 << 14          // sessions with something to tell, at once
	minInterim  = time.Minute      // RFC 2869 section 2.1
	lookEvery   = 10 * time.Second // for interim records that are due
	aliveEvery  = time.Minute      // what is known of a crash's time
	writeAgain  = 10 * time.Second // after the disk has refused
	lastMoment  = 2 * time.Second  // for delivery, when the daemon ends
	accountTime = time.Minute      // for one attempt; carriers give up before
	writers     = 32               // at once: the store writes for all that wait
)

// The keys in the store.
const (
	bookPrefix = "aaa/books/"
	aliveKey   = "aaa/alive"
)

// BooksConfig is where Realms keeps books.
type BooksConfig struct {
	Store state.Store
	Usage func(Grant) (Usage, bool) // of an open session, for interim records; nil: times only
	Log   *slog.Logger              // nil: none
}

// BooksStatus is what there is still to tell, and what became of the rest.
type BooksStatus struct {
	Sessions  int       `json:"sessions"`            // open
	Waiting   int       `json:"waiting"`             // records that no server has yet
	Oldest    time.Time `json:"oldest,omitzero"`     // of those
	Delivered uint64    `json:"delivered"`           // records
	Dropped   uint64    `json:"dropped,omitzero"`    // interim records that a later one has replaced
	Refused   uint64    `json:"refused,omitzero"`    // records that a server takes neither now nor ever
	Lost      uint64    `json:"lost,omitzero"`       // sessions of which no server will hear the end: there were too many
	LastError string    `json:"last_error,omitzero"` // why the last attempt failed; empty after one that did not
}

// books brings accounting records to servers: for each session in order, again and again
// until a server has them, and over a crash.
//
//	Granted, Ended --> book (memory) --> page (disk) --> lane of the operator --> Carrier.Account
//
// A page is on the disk before its first record is sent, with a note that it may have
// been: after a crash a start that was perhaps sent is not sent again, and a session that
// was open then gets its stop. What the disk refuses is delivered all the same.
type books struct {
	// fixed
	cfg     BooksConfig
	account func(context.Context, Record) error
	wake    chan struct{} // something is to be written

	mu     sync.Mutex // guards what follows
	all    map[string]*book
	dirty  []*book
	lanes  map[string]*lane
	count  BooksStatus
	closed bool
}

// page is a book as it is on disk.
type page struct {
	Grant Grant   `json:"grant"`
	Next  uint32  `json:"next"` // number of the next record
	Queue []entry `json:"queue,omitempty"`
	Ended bool    `json:"ended,omitzero"`
	Usage Usage   `json:"usage,omitzero"` // as of the last record
}

// entry is a record that no server has yet.
type entry struct {
	Kind   RecordKind `json:"kind"`
	Number uint32     `json:"number"`
	Time   time.Time  `json:"time"`
	Cause  Cause      `json:"cause,omitzero"`
	Usage  Usage      `json:"usage,omitzero"`
	Tried  bool       `json:"tried,omitzero"` // perhaps a server has it
}

// book is one session's. Guarded by books.mu, but for disk.
type book struct {
	page
	key     string
	queued  bool          // it is in books.dirty
	waiting bool          // it is in its lane, or being delivered
	busy    bool          // its first record is being delivered
	interim time.Time     // when the next interim record is due; zero: never
	due     time.Time     // not to be delivered before
	backoff time.Duration // until the next attempt, if that fails
	gone    bool          // nothing is left of it

	disk sync.Mutex // taken before mu: pages come to the disk in their order
}

func bookKey(g Grant) string {
	sum := sha256.Sum256([]byte(g.Operator + "\x00" + g.Session))
	return bookPrefix + hex.EncodeToString(sum[:16])
}

// Keep has the books kept: sessions that a crash has ended are closed there. Call it
// before Run.
func (r *Realms) Keep(cfg BooksConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &books{
		cfg: cfg, account: r.Account, wake: make(chan struct{}, 1),
		all: map[string]*book{}, lanes: map[string]*lane{},
	}
	items, err := state.ListJSON[page](cfg.Store, bookPrefix)
	if err != nil && items == nil {
		return err
	}
	if err != nil {
		cfg.Log.Error("some accounting records cannot be read", "err", err)
	}
	alive, _, err := state.GetJSON[time.Time](cfg.Store, aliveKey)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		cfg.Log.Error("it is not known when this router has ended", "err", err)
	}
	for _, item := range items {
		k := &book{page: item.Value, key: item.Record.Key}
		b.all[k.key] = k
		k.afterCrash(alive)
		b.touch(k)
	}
	r.books = b
	return nil
}

// afterCrash brings a page of the process before to its end.
func (k *book) afterCrash(alive time.Time) {
	var keep []entry
	for _, e := range k.Queue {
		if e.Kind == RecordStop || e.Kind == RecordStart && !e.Tried {
			keep = append(keep, e)
		}
	}
	k.Queue = keep
	if k.Ended {
		return
	}
	end := k.Grant.Began
	if alive.After(end) {
		end = alive
	}
	k.Usage.Time = end.Sub(k.Grant.Began)
	k.end(end, CauseCrash)
}

// end appends the stop.
func (k *book) end(at time.Time, c Cause) {
	k.Ended, k.interim = true, time.Time{}
	k.add(entry{Kind: RecordStop, Time: at, Cause: c, Usage: k.Usage})
}

func (k *book) add(e entry) {
	e.Number = k.Next
	k.Next++
	k.Queue = append(k.Queue, e)
}

// Granted implements Backend.
func (r *Realms) Granted(g Grant) {
	if r.books != nil {
		r.books.granted(g)
	}
}

// Ended implements Backend.
func (r *Realms) Ended(g Grant, cause Cause, u Usage) {
	if r.books != nil {
		r.books.ended(g, cause, u)
	}
}

// Books says how the books are; ok is false where none are kept.
func (r *Realms) Books() (s BooksStatus, ok bool) {
	if r.books == nil {
		return s, false
	}
	return r.books.status(), true
}

func (b *books) granted(g Grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := bookKey(g)
	k := b.all[key]
	switch {
	case b.closed:
		return
	case k == nil:
		b.makeRoom()
		k = &book{key: key, page: page{Grant: g}}
		b.all[key] = k
		k.add(entry{Kind: RecordStart, Time: g.Began})
	case k.Ended:
		b.cfg.Log.Error("a session that has ended is granted again; its server hears of one", "session", g.Session)
		return
	default:
		k.Grant = g
	}
	k.interim = time.Time{}
	if g.Interim > 0 {
		k.interim = time.Now().Add(max(g.Interim, minInterim))
	}
	b.touch(k)
}

func (b *books) ended(g Grant, c Cause, u Usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.all[bookKey(g)]
	if k == nil && g.Stateful && g.Session != "" { // accepted, but never in use
		b.makeRoom()
		k = &book{key: bookKey(g), page: page{Grant: g}}
		b.all[k.key] = k
	}
	if b.closed || k == nil || k.Ended {
		return
	}
	k.Usage = u
	k.dropInterims(b)
	k.end(time.Now(), c)
	b.touch(k)
}

// dropInterims removes interim records that nobody is being told: a later record says
// more.
func (k *book) dropInterims(b *books) {
	keep := k.Queue[:0:0]
	for i, e := range k.Queue {
		if e.Kind == RecordInterim && !(i == 0 && k.busy) {
			b.count.Dropped++
			continue
		}
		keep = append(keep, e)
	}
	k.Queue = keep
}

// interims makes the records that are due.
func (b *books) interims(now time.Time) {
	b.mu.Lock()
	var due []*book
	for _, k := range b.all {
		if !k.interim.IsZero() && !now.Before(k.interim) {
			due = append(due, k)
		}
	}
	b.mu.Unlock()
	for _, k := range due { // the grant is only replaced under mu; a copy will do
		b.mu.Lock()
		g := k.Grant
		b.mu.Unlock()
		u, ok := Usage{}, false
		if b.cfg.Usage != nil {
			u, ok = b.cfg.Usage(g)
		}
		b.mu.Lock()
		if !k.Ended && !k.interim.IsZero() {
			if !ok {
				u = k.Usage
			}
			u.Time = now.Sub(g.Began)
			k.Usage = u
			k.dropInterims(b)
			k.add(entry{Kind: RecordInterim, Time: now, Usage: u})
			k.interim = now.Add(max(k.Grant.Interim, minInterim))
			b.touch(k)
		}
		b.mu.Unlock()
	}
}

// makeRoom lets go of the session that has ended first, where there are too many.
func (b *books) makeRoom() {
	if len(b.all) < maxBooks {
		return
	}
	var oldest *book
	for _, k := range b.all {
		if k.Ended && !k.busy && len(k.Queue) > 0 && (oldest == nil || k.last().Before(oldest.last())) {
			oldest = k
		}
	}
	if oldest == nil {
		return // all are open: somebody else bounds these
	}
	b.count.Lost++
	b.cfg.Log.Error("no server will hear the end of a session: too many wait", "session", oldest.Grant.Session, "identity", oldest.Grant.Identity, "waiting", len(b.all))
	oldest.Queue = nil
	b.touch(oldest)
}

func (k *book) last() time.Time { return k.Queue[len(k.Queue)-1].Time }

func (b *books) status() BooksStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.count
	for _, k := range b.all {
		if !k.Ended {
			s.Sessions++
		}
		s.Waiting += len(k.Queue)
		if len(k.Queue) > 0 && (s.Oldest.IsZero() || k.Queue[0].Time.Before(s.Oldest)) {
			s.Oldest = k.Queue[0].Time
		}
	}
	return s
}
