package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := crashPath(); path != "" {
		crashChild(path)
	}
	goleak.VerifyTestMain(m)
}

// both runs a test on both stores, under virtual time.
func both(t *testing.T, f func(t *testing.T, s Store)) {
	t.Helper()
	for name, open := range map[string]func(t *testing.T) Store{
		"memory": func(*testing.T) Store { return NewMemory() },
		"file": func(t *testing.T) Store {
			s, err := Open(filepath.Join(t.TempDir(), "s.db"), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t)
				defer func() {
					if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
				}()
				f(t, s)
			})
		})
	}
}

func put(t *testing.T, s Store, key, value string, expires time.Time) uint64 {
	t.Helper()
	v, err := s.Put(key, []byte(value), expires)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func list(t *testing.T, s Store, prefix string) string {
	t.Helper()
	records, err := s.List(prefix)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range records {
		out = append(out, r.Key+"="+string(r.Value))
	}
	return strings.Join(out, " ")
}

func TestPutGetListDelete(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("nothing there: %v", err)
		}
		v1 := put(t, s, "lease/b", "1", time.Time{})
		v2 := put(t, s, "lease/a", "2", time.Time{})
		put(t, s, "other", "3", time.Time{})
		v3 := put(t, s, "lease/b", "4", time.Time{})
		if v1 >= v2 || v2 >= v3 {
			t.Errorf("versions %d %d %d do not grow", v1, v2, v3)
		}
		if got := list(t, s, "lease/"); got != "lease/a=2 lease/b=4" {
			t.Errorf("list: %s", got)
		}
		r, err := s.Get("lease/b")
		if err != nil || r.Version != v3 || string(r.Value) != "4" || !r.Expires.IsZero() {
			t.Errorf("got %+v, %v", r, err)
		}
		r.Value[0] = 'x' // our own
		for range 2 {
			if err := s.Delete("lease/a"); err != nil {
				t.Error(err)
			}
		}
		if got := list(t, s, ""); got != "lease/b=4 other=3" {
			t.Errorf("list: %s", got)
		}
	})
}

func TestCompareAndSet(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		v, err := s.CompareAndSet("k", []byte("1"), 0, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		var conflict *ConflictError
		if _, err := s.CompareAndSet("k", []byte("2"), 0, time.Time{}); !errors.As(err, &conflict) || conflict.Have != v {
			t.Errorf("exists: %v", err)
		}
		if _, err := s.CompareAndSet("k", []byte("2"), v+1, time.Time{}); !errors.As(err, &conflict) || conflict.Want != v+1 {
			t.Errorf("other version: %v", err)
		}
		w, err := s.CompareAndSet("k", []byte("2"), v, time.Now().Add(time.Second))
		if err != nil || w <= v {
			t.Errorf("version %d after %d, %v", w, v, err)
		}
		time.Sleep(time.Second)
		if _, err := s.CompareAndSet("k", nil, w, time.Time{}); !errors.As(err, &conflict) || conflict.Have != 0 {
			t.Errorf("expired: %v", err)
		}
		if _, err := s.CompareAndSet("k", []byte("3"), 0, time.Time{}); err != nil {
			t.Errorf("an expired one does not exist: %v", err)
		}
	})
}

// One of many wins each round, and the value is the winner's.
func TestCompareAndSetRace(t *testing.T) {
	s := NewMemory()
	defer s.Close()
	version := put(t, s, "k", "", time.Time{})
	for range 20 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := map[uint64]string{}
		for i := range 16 {
			wg.Go(func() {
				value := fmt.Sprint(i)
				if v, err := s.CompareAndSet("k", []byte(value), version, time.Time{}); err == nil {
					mu.Lock()
					winners[v] = value
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		r, err := s.Get("k")
		if err != nil || len(winners) != 1 || winners[r.Version] != string(r.Value) {
			t.Fatalf("winners %v, the value is %q of version %d, %v", winners, r.Value, r.Version, err)
		}
		version = r.Version
	}
}

func TestExpiry(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		changes := s.Watch(t.Context(), "")
		start := time.Now()
		put(t, s, "a", "1", start.Add(10*time.Second))
		put(t, s, "b", "2", start.Add(20*time.Second))
		put(t, s, "c", "3", time.Time{})
		time.Sleep(10*time.Second - 1)
		if got := list(t, s, ""); got != "a=1 b=2 c=3" {
			t.Errorf("before: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("expired: %v", err)
		}
		if got := list(t, s, ""); got != "b=2 c=3" {
			t.Errorf("after: %s", got)
		}
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		var seen []string
		for len(changes) > 0 {
			c := <-changes
			seen = append(seen, c.Kind.String()+" "+c.Record.Key)
		}
		if got := strings.Join(seen, ", "); got != "stored a, stored b, stored c, expired a, expired b" {
			t.Errorf("changes: %s", got)
		}
	})
}

func TestWatch(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		ctx, cancel := context.WithCancel(t.Context())
		changes := s.Watch(ctx, "k")
		put(t, s, "other", "", time.Time{})
		for i := range WatchBuffer + 10 {
			put(t, s, fmt.Sprintf("k%03d", i), "", time.Time{})
		}
		for i := range WatchBuffer {
			if c := <-changes; c.Missed || c.Record.Key != fmt.Sprintf("k%03d", i) {
				t.Fatalf("change %d is %+v", i, c)
			}
		}
		put(t, s, "k-behind the note", "", time.Time{})
		if c := <-changes; !c.Missed || len(changes) != 0 {
			t.Errorf("got %+v and %d more, want to be told that some are missing", c, len(changes))
		}
		if err := s.Delete("k001"); err != nil {
			t.Fatal(err)
		}
		if c := <-changes; c.Kind != Deleted || c.Record.Key != "k001" {
			t.Errorf("got %+v", c)
		}
		cancel()
		if c, ok := <-changes; ok {
			t.Errorf("after the end: %+v", c)
		}
		open := s.Watch(t.Context(), "")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if c, ok := <-open; ok {
			t.Errorf("after close: %+v", c)
		}
		if c, ok := <-s.Watch(t.Context(), ""); ok {
			t.Errorf("of a closed store: %+v", c)
		}
	})
}

func TestClosed(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		put(t, s, "a", "", time.Now().Add(time.Hour))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, get := s.Get("a")
		_, put := s.Put("a", nil, time.Time{})
		_, cas := s.CompareAndSet("a", nil, 0, time.Time{})
		_, list := s.List("")
		for name, err := range map[string]error{
			"get": get, "put": put, "compare": cas, "list": list, "delete": s.Delete("a"), "close": s.Close(),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestLimits(t *testing.T) {
	both(t, func(t *testing.T, s Store) {
		put(t, s, strings.Repeat("k", MaxKey), strings.Repeat("v", MaxValue), time.Time{})
		for name, f := range map[string]func() (uint64, error){
			"empty key":  func() (uint64, error) { return s.Put("", nil, time.Time{}) },
			"long key":   func() (uint64, error) { return s.Put(strings.Repeat("k", MaxKey+1), nil, time.Time{}) },
			"long value": func() (uint64, error) { return s.CompareAndSet("k", make([]byte, MaxValue+1), 0, time.Time{}) },
		} {
			var limit *LimitError
			if _, err := f(); !errors.As(err, &limit) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A full store takes a new record when one has expired, and counts what is replaced.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		defer s.Close()
		put(t, s, "short", "", time.Now().Add(time.Second))
		for i := range MaxRecords - 1 {
			put(t, s, fmt.Sprint(i), "", time.Time{})
		}
		var limit *LimitError
		if _, err := s.Put("one more", nil, time.Time{}); !errors.As(err, &limit) || limit.Most != MaxRecords {
			t.Errorf("one too many: %v", err)
		}
		put(t, s, "0", "replaced", time.Time{})
		time.Sleep(time.Second)
		put(t, s, "one more", "", time.Time{})
		if s.size != octetsOf(t, s) {
			t.Errorf("counted %d octets, there are %d", s.size, octetsOf(t, s))
		}
	})
}

func TestFullOctets(t *testing.T) {
	s := NewMemory()
	defer s.Close()
	value := make([]byte, MaxValue)
	for i := range MaxTotal / (MaxValue + 4) {
		if _, err := s.Put(fmt.Sprintf("%04d", i), value, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	var limit *LimitError
	if _, err := s.Put("more", value, time.Time{}); !errors.As(err, &limit) || limit.Most != MaxTotal {
		t.Errorf("too much: %v", err)
	}
}

func octetsOf(t *testing.T, s Store) (n int) {
	t.Helper()
	records, err := s.List("")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		n += octets(r)
	}
	return n
}

func TestJSON(t *testing.T) {
	type lease struct{ MAC string }
	s := NewMemory()
	defer s.Close()
	v, err := PutJSON(s, "l/1", lease{"02:00"}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CompareAndSetJSON(s, "l/1", lease{"02:01"}, v, time.Time{}); err != nil {
		t.Fatal(err)
	}
	got, r, err := GetJSON[lease](s, "l/1")
	if err != nil || got.MAC != "02:01" || r.Version != v+1 {
		t.Errorf("got %+v of %+v, %v", got, r, err)
	}
	put(t, s, "l/2", "{", time.Time{})
	if _, _, err := GetJSON[lease](s, "l/2"); err == nil || !strings.Contains(err.Error(), `"l/2"`) {
		t.Errorf("unreadable: %v", err)
	}
	items, err := ListJSON[lease](s, "l/")
	if err == nil || !strings.Contains(err.Error(), `"l/2"`) || len(items) != 1 || items[0].Value.MAC != "02:01" {
		t.Errorf("list: %+v, %v", items, err)
	}
}

// What expires while nobody changes anything is deleted, also when the store was just opened.
func TestSweptByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.db")
		s, _ := openAt(t, path)
		put(t, s, "a", "1", time.Now().Add(time.Hour))
		put(t, s, "b", "2", time.Now().Add(2*time.Hour))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = openAt(t, path)
		changes := s.Watch(t.Context(), "")
		for _, want := range []string{"a", "b"} {
			time.Sleep(time.Hour + sweepEvery)
			synctest.Wait()
			select {
			case c := <-changes:
				if c.Kind != Expired || c.Record.Key != want {
					t.Errorf("got %+v, want that %s expired", c, want)
				}
			default:
				t.Errorf("%s is still there", want)
			}
		}
		if len(s.records) != 0 || s.size != 0 {
			t.Errorf("%d records of %d octets are left", len(s.records), s.size)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
