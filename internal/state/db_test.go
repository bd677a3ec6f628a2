package state

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func openAt(t testing.TB, path string) (*DB, string) {
	t.Helper()
	var log bytes.Buffer
	s, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, log.String()
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "s.db")
	s, log := openAt(t, path)
	end := time.Now().Add(time.Hour).Round(0)
	put(t, s, "a", "1", end)
	put(t, s, "b", "2", time.Time{})
	put(t, s, "c", "3", time.Now().Add(time.Millisecond))
	put(t, s, "d", "4", time.Time{})
	last := put(t, s, "d", "5", time.Time{})
	if err := errors.Join(s.Delete("d"), s.Close()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s is %v, %v", name, info.Mode(), err)
		}
	}
	s, again := openAt(t, path)
	if log+again != "" {
		t.Errorf("logged: %s%s", log, again)
	}
	if got := list(t, s, ""); got != "a=1 b=2" {
		t.Errorf("there is %s", got)
	}
	if r, err := s.Get("a"); err != nil || !r.Expires.Equal(end) || r.Version != 1 {
		t.Errorf("got %+v, %v, want an end at %v", r, err, end)
	}
	if v := put(t, s, "d", "6", time.Time{}); v <= last {
		t.Errorf("version %d was given before: %d", v, last)
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	openAt(t, path)
	start := time.Now()
	_, err := Open(path, slog.Default())
	var locked *LockedError
	if !errors.As(err, &locked) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	t.Logf("refused after %v", time.Since(start))
}

func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "file", "s.db"), "/dev/null"} {
		if s, err := Open(path, slog.Default()); err == nil || !strings.Contains(err.Error(), dir) && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, s, err)
		}
	}
	if info, err := os.Lstat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatalf("/dev/null is %v, %v", info.Mode(), err)
	}
}

// sample is the content of a store with three quarters of n records, and free pages; 400
// make a tree of several levels.
func sample(t testing.TB, n int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.db")
	s, _ := openAt(t, path)
	s.bolt.NoSync = true
	r := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	for i := range n {
		key, value := fmt.Sprintf("%x-%d", r.Uint32(), i), bytes.Repeat([]byte("v"), r.IntN(2000))
		wg.Go(func() {
			if _, err := s.Put(key, value, time.Now().Add(24*365*time.Hour)); err != nil {
				t.Error(err)
			}
			if i%4 == 0 {
				if err := s.Delete(key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What bbolt leaves is found right, at every size, and so does bbolt itself.
func TestExamineAccepts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s, _ := openAt(t, path)
	s.bolt.NoSync = true
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 600 {
		key := fmt.Sprintf("%x", r.Uint32N(1<<12))
		var err error
		if r.IntN(3) == 0 {
			err = s.Delete(key)
		} else {
			_, err = s.Put(key, make([]byte, r.IntN(1<<(4+r.IntN(12)))), time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := examine(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatalf("after %d changes: %v", i+1, err)
		}
	}
	err := s.bolt.View(func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() {
			first = errors.Join(first, err)
		}
		return first
	})
	if err != nil {
		t.Error(err)
	}
}

// broken opens a file with this content, and then uses the store.
func broken(t testing.TB, content []byte) (records int, log string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := openAt(t, path)
	before, err := s.List("")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := s.Put(fmt.Sprint("new", i), make([]byte, 3000), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range before {
		if err := s.Delete(r.Key); err != nil {
			t.Fatal(err)
		}
		if len(before) > 5 {
			break // it is synced
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(aside) != strings.Count(log, "level=ERROR") {
		t.Fatalf("moved aside: %v, logged: %s", aside, log)
	}
	for _, name := range aside {
		kept, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(kept, content) || !strings.Contains(log, name) {
			t.Fatalf("%s has %d octets of %d, %v; logged: %s", name, len(kept), len(content), err, log)
		}
	}
	return len(before), log
}

func TestDamaged(t *testing.T) {
	good := sample(t, 400)
	n, log := broken(t, good)
	if n != 300 || log != "" {
		t.Fatalf("%d records, %s", n, log)
	}
	pages := len(good) / os.Getpagesize()
	m, err := newestMeta(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	used := int64(m.pages) * m.pageSize //nolint:gosec // of a file this small; bbolt makes it larger ahead of its need
	zeroed := bytes.Clone(good)
	clear(zeroed[2*os.Getpagesize():])
	for name, b := range map[string][]byte{
		"empty":     {},
		"one octet": {1},
		"text":      []byte(strings.Repeat("not a store\n", 1000)),
		"half":      good[:used/2],
		"last page": good[:used-m.pageSize],
		"two pages": good[:2*os.Getpagesize()],
		"zeroed":    zeroed,
		"no meta":   append(make([]byte, 2*os.Getpagesize()), good[2*os.Getpagesize():]...),
	} {
		if n, log := broken(t, b); n != 0 || !strings.Contains(log, "moved_to") {
			t.Errorf("%s: %d records, logged %q", name, n, log)
		}
	}
	// One meta page is enough: bbolt writes them in turn.
	one := bytes.Clone(good)
	clear(one[:os.Getpagesize()])
	if _, log := broken(t, one); log != "" {
		t.Logf("without the first of %d pages: %s", pages, log)
	}
}

// Whatever single octets of a file are changed, it opens, and what is read is right.
func TestFlipped(t *testing.T) {
	good := sample(t, 400)
	r := rand.New(rand.NewPCG(5, uint64(time.Now().UnixNano())))
	aside := 0
	for range 150 {
		b := bytes.Clone(good)
		var at []int
		for range 1 + r.IntN(3) {
			page := r.IntN(len(b) / os.Getpagesize())
			at = append(at, page*os.Getpagesize()+r.IntN(1<<(4+r.IntN(9)))) // most are near a page's beginning
			b[at[len(at)-1]] = byte(r.Uint32())
		}
		t.Logf("octets %v", at)
		if _, log := broken(t, b); log != "" {
			aside++
		}
	}
	t.Logf("%d of 150 were moved aside", aside)
}

func FuzzOpen(f *testing.F) {
	good := sample(f, 40)
	f.Add([]byte{}, 0, []byte{})
	f.Add([]byte("x"), 0, []byte{})
	f.Add(good[:8*os.Getpagesize()], 40, []byte{0xff})
	f.Add(good, 3*os.Getpagesize()+16+8, []byte{3, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte, at int, patch []byte) {
		for i, p := range patch {
			if j := at + i; j >= 0 && j < len(b) {
				b[j] = p
			}
		}
		broken(t, b)
	})
}

// A file that is cut while it is open makes errors, not the end of the process.
func TestCutWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	if err := os.WriteFile(path, sample(t, 400), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := openAt(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range 20 {
		if _, err := s.Put(fmt.Sprintf("%x", i*4999), make([]byte, 100), time.Time{}); err != nil {
			failed++
		}
	}
	records, err := s.List("")
	if err != nil || len(records) != 320-failed {
		t.Errorf("%d records, %v, %d puts failed", len(records), err, failed)
	}
	t.Logf("%d of 20 puts failed", failed)
}

func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			dir, err := os.MkdirTemp(".", "bench") // a real disk, where the temporary folder may be memory
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			s, _ := openAt(b, filepath.Join(dir, "s.db"))
			value := make([]byte, 512)
			var next sync.Mutex
			i := 0
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for {
						next.Lock()
						n := i
						i++
						next.Unlock()
						if n >= b.N {
							return
						}
						if _, err := s.Put(fmt.Sprint(n%1000), value, time.Time{}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
