package aaa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/state"
)

// ledger is a Carrier that takes records as its function says.
type ledger struct {
	take func(Record) error
	seen atomic.Int64 // attempts

	mu  sync.Mutex
	got []Record // that it has taken
}

func (l *ledger) Open(SessionInfo, string) (Conversation, error) {
	return nil, errors.New("it only keeps books")
}

func (l *ledger) Account(_ context.Context, r Record) error {
	l.seen.Add(1)
	if l.take != nil {
		if err := l.take(r); err != nil {
			return err
		}
	}
	l.note(r)
	return nil
}

func (l *ledger) note(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, r)
}

func (l *ledger) Run(ctx context.Context, _ Orders) error {
	<-ctx.Done()
	return nil
}

func (l *ledger) records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// of lists what the ledger has of one session, as "start 0".
func (l *ledger) of(session string) (out []string) {
	for _, r := range l.records() {
		if r.Grant.Session == session {
			s := fmt.Sprintf("%v %d", r.Kind, r.Number)
			if r.Kind == RecordStop {
				s += " " + r.Cause.String()
			}
			out = append(out, s)
		}
	}
	return out
}

// keep runs Realms with books in store until the test calls what it returns.
func keep(t *testing.T, l *ledger, store state.Store, usage func(Grant) (Usage, bool)) (*Realms, func()) {
	t.Helper()
	r, err := NewRealms(Operator{Name: "home", Carrier: l})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(BooksConfig{Store: store, Usage: usage}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, nil) }()
	return r, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func grant(session string) Grant {
	return Grant{Operator: "home", Session: session, Identity: "mn@home.example", Began: time.Now()}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}

// TestBooks: a session's records in their order, and nothing of it remains.
func TestBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.NewMemory()
		defer store.Close()
		l := &ledger{}
		l.take = func(r Record) error {
			if list, err := store.List(bookPrefix); err != nil || len(list) == 0 {
				t.Errorf("%v: told before it was on the disk (%v)", r.Kind, err)
			}
			return nil
		}
		octets := uint64(0)
		r, end := keep(t, l, store, func(Grant) (Usage, bool) { octets += 100; return Usage{OctetsIn: octets}, true })
		g := grant("s1")
		g.Interim = time.Minute
		r.Granted(g)
		time.Sleep(3*time.Minute + 30*time.Second)
		r.Granted(g) // authenticated again: no other start
		r.Ended(g, CauseUser, Usage{Time: 4 * time.Minute, OctetsIn: 500})
		r.Ended(g, CauseLost, Usage{})
		time.Sleep(time.Second)
		expect(t, l.of("s1"), "start 0", "interim 1", "interim 2", "interim 3", "stop 4 user")
		if u := l.records()[3].Usage; u.OctetsIn != 300 || u.Time < 3*time.Minute || l.records()[4].Usage.OctetsIn != 500 {
			t.Errorf("%+v, %+v", u, l.records()[4].Usage)
		}
		if s, ok := r.Books(); !ok || s.Sessions != 0 || s.Waiting != 0 || s.Delivered != 5 || s.Dropped != 0 {
			t.Errorf("%+v", s)
		}
		end()
		if list, err := store.List(bookPrefix); err != nil || len(list) != 0 {
			t.Errorf("%d books are left: %v", len(list), err)
		}
	})
}

// TestBooksServerAway: what cannot be told waits, interim records give way to later ones, and
// a silent server is not flooded.
func TestBooksServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.NewMemory()
		defer store.Close()
		var back atomic.Bool
		l := &ledger{take: func(Record) error {
			time.Sleep(time.Second)
			if !back.Load() {
				return ErrTimeout
			}
			return nil
		}}
		r, end := keep(t, l, store, nil)
		defer end()
		const sessions = 100
		for i := range sessions {
			g := grant(fmt.Sprint(i))
			g.Interim = 10 * time.Minute
			r.Granted(g)
		}
		time.Sleep(3 * time.Hour)
		if n := l.seen.Load(); n > 3*60*2+laneWidth {
			t.Errorf("%d attempts in three hours", n)
		}
		for i := range sessions / 2 {
			r.Ended(grant(fmt.Sprint(i)), CauseLost, Usage{})
		}
		time.Sleep(time.Second)
		if s, _ := r.Books(); s.Waiting != sessions*2 || s.Dropped < sessions*17 || s.LastError == "" || s.Sessions != sessions/2 {
			t.Errorf("%+v", s)
		}
		back.Store(true)
		time.Sleep(2 * time.Minute)
		if got := l.of("7"); len(got) != 2 || got[0] != "start 0" || !strings.HasSuffix(got[1], " lost") {
			t.Errorf("%q", got)
		}
		if s, _ := r.Books(); s.LastError != "" || s.Waiting > 0 && time.Since(s.Oldest) > time.Minute {
			t.Errorf("%+v", s)
		}
	})
}

// TestBooksPoison: a record that no server takes keeps none of the others.
func TestBooksPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.NewMemory()
		defer store.Close()
		l := &ledger{take: func(r Record) error {
			if r.Grant.Session == "bad" {
				return errors.New("5012")
			}
			return nil
		}}
		r, end := keep(t, l, store, nil)
		defer end()
		r.Granted(grant("bad"))
		time.Sleep(10 * time.Minute)
		for i := range 50 {
			r.Granted(grant(fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Minute)
		if n := len(l.records()); n != 50 {
			t.Errorf("%d of 50 sessions are told", n)
		}
	})
}

// TestBooksRefused: what a server refuses for good is let go of.
func TestBooksRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.NewMemory()
		defer store.Close()
		l := &ledger{take: func(r Record) error {
			if r.Kind == RecordStart {
				return fmt.Errorf("5012: %w", ErrRefused)
			}
			return nil
		}}
		r, end := keep(t, l, store, nil)
		defer end()
		r.Granted(grant("a"))
		r.Ended(grant("a"), CauseUser, Usage{})
		r.Ended(Grant{Operator: "home", Session: "b", Stateful: true}, CauseError, Usage{}) // accepted, never in use
		r.Ended(grant("c"), CauseError, Usage{})
		time.Sleep(time.Second)
		expect(t, l.of("a"), "stop 1 user")
		expect(t, l.of("b"), "stop 0 error")
		expect(t, l.of("c"))
		if s, _ := r.Books(); s.Refused != 1 || s.Delivered != 2 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestBooksEnd: a daemon that ends waits a moment, and the next one tells the rest.
func TestBooksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.NewMemory()
		defer store.Close()
		l := &ledger{}
		var away atomic.Bool
		l.take = func(Record) error {
			if away.Load() {
				return ErrTimeout
			}
			return nil
		}
		r, end := keep(t, l, store, nil)
		r.Granted(grant("a"))
		time.Sleep(time.Second)
		away.Store(true)
		r.Granted(grant("b"))
		time.Sleep(time.Second)
		r.Ended(grant("a"), CauseShutdown, Usage{})
		before := time.Now()
		end()
		if d := time.Since(before); d > lastMoment+time.Second {
			t.Errorf("it took %v", d)
		}
		time.Sleep(time.Hour)
		next := &ledger{}
		_, end = keep(t, next, store, nil)
		time.Sleep(time.Second)
		end()
		expect(t, next.of("a"), "stop 1 shutdown")
		expect(t, next.of("b"), "stop 1 crash") // its start was perhaps told
		if u := next.records()[slices.IndexFunc(next.records(), func(r Record) bool { return r.Grant.Session == "b" })].Usage; u.Time > 2*time.Second {
			t.Errorf("the session is said to have lasted %v", u.Time)
		}
	})
}

// crashing is a store that fails from the n-th change on, as its process would.
type crashing struct {
	state.Store
	left *atomic.Int64
}

var errCrashed = errors.New("crashed")

func (c *crashing) Put(key string, value []byte, expires time.Time) (uint64, error) {
	if c.left.Add(-1) < 0 {
		return 0, errCrashed
	}
	return c.Store.Put(key, value, expires)
}

func (c *crashing) Delete(key string) error {
	if c.left.Add(-1) < 0 {
		return errCrashed
	}
	return c.Store.Delete(key)
}

// TestBooksCrash kills the daemon at each change of its disk: no server has two starts of a
// session, and what it has a start of, it has a stop of.
func TestBooksCrash(t *testing.T) {
	for at := range 24 {
		for _, lossy := range []int64{0, 2, 3} {
			synctest.Test(t, func(t *testing.T) {
				disk := state.NewMemory()
				defer disk.Close()
				c := &crashing{Store: disk, left: new(atomic.Int64)}
				c.left.Store(int64(at))
				l := &ledger{}
				l.take = func(r Record) error {
					if c.left.Load() < 0 {
						return errCrashed // the process is no more
					}
					if lossy > 0 && l.seen.Load()%lossy == 0 {
						l.note(r) // it is there, but its answer is lost
						return ErrTimeout
					}
					return nil
				}
				r, end := keep(t, l, c, nil)
				for i := range 4 {
					r.Granted(grant(fmt.Sprint(i)))
					time.Sleep(time.Duration(i) * time.Second)
				}
				for i := range 3 {
					r.Ended(grant(fmt.Sprint(i)), CauseUser, Usage{})
					time.Sleep(10 * time.Second)
				}
				crashed := c.left.Load() < 0
				c.left.Store(-1)
				end()
				next := &ledger{}
				_, end = keep(t, next, disk, nil)
				time.Sleep(time.Minute)
				end()
				for i := range 4 {
					first, second := l.of(fmt.Sprint(i)), next.of(fmt.Sprint(i))
					starts := 0
					if slices.Contains(first, "start 0") {
						starts++
					}
					if slices.Contains(second, "start 0") {
						starts++
					}
					all := slices.Concat(first, second)
					stop := slices.ContainsFunc(all, func(s string) bool { return s[:4] == "stop" })
					if starts > 1 || starts == 1 && !stop {
						t.Errorf("crash at %d (%v), every %d-th answer lost, session %d: %q, then %q", at, crashed, lossy, i, first, second)
					}
				}
				if list, err := disk.List(bookPrefix); err != nil || len(list) != 0 {
					t.Errorf("crash at %d: %d books are left: %v", at, len(list), err)
				}
			})
		}
	}
}
