package discover

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/internal/state"
)

// kept returns a history that writes at once.
func kept(t *testing.T, store state.Store) *history {
	t.Helper()
	h := openHistory(store, quiet)
	t.Cleanup(h.flush)
	return h
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.005 }

// TestFollows: shares of what followed, by how often, how long ago and where.
func TestFollows(t *testing.T) {
	h, now := kept(t, state.NewMemory()), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if f := h.follows(now, "a", nil); f != nil {
		t.Errorf("without moves: %v", f)
	}
	door, gate := &neighbourhood.Location{Plan: "site"}, &neighbourhood.Location{Plan: "site", X: 1000}
	for range 3 {
		h.moved(now, "a", "b", door)
	}
	h.moved(now, "a", "c", gate)
	h.moved(now, "a", "a", nil)
	h.moved(now, "", "b", nil)
	if f := h.follows(now, "a", nil); !near(f["b"], 0.75) || !near(f["c"], 0.25) || len(f) != 2 {
		t.Errorf("%v, expected 3 to 1", f)
	}
	if f := h.follows(now, "a", gate); !near(f["c"], 1/(1+3*elsewhere)) {
		t.Errorf("at the gate %v, expected moves at the door to count a quarter", f)
	}
	if f := h.follows(now, "a", &neighbourhood.Location{Plan: "other"}); !near(f["b"], 0.75) {
		t.Errorf("of another plan %v, expected places to play no part", f)
	}
	for range 2 {
		h.moved(now.Add(2*halfLife), "a", "c", nil)
	}
	if f := h.follows(now.Add(2*halfLife), "a", nil); !near(f["b"], 0.75/3) {
		t.Errorf("later %v, expected the three of before as 0.75, beside 2.25", f)
	}
}

// TestHistoryBounds: whatever the node does, what is kept is bounded, and the newest stays.
func TestHistoryBounds(t *testing.T) {
	store := state.NewMemory()
	h, now := kept(t, store), time.Now()
	for i := range 3 * maxFrom {
		now = now.Add(time.Second)
		for j := range 3 * maxAfter {
			h.moved(now, fmt.Sprint("p", i), fmt.Sprint("q", j), &neighbourhood.Location{X: float64(j % 90)})
		}
		if i%50 == 0 {
			h.flush()
		}
	}
	for range 3 * maxMarks {
		h.moved(now, fmt.Sprint("p", 3*maxFrom-1), "q0", &neighbourhood.Location{})
	}
	for i := range 3 * maxSeen {
		h.proven(now.Add(time.Duration(i)), neighbourhood.Network{Name: fmt.Sprint("n", i), Points: make([]neighbourhood.Point, 100)})
	}
	h.flush()
	for _, prefix := range []string{keyAfter, keyProven} {
		if r, err := store.List(prefix); err != nil || len(r) != map[string]int{keyAfter: maxFrom, keyProven: maxSeen}[prefix] {
			t.Errorf("%d records below %s, %v", len(r), prefix, err)
		}
	}
	if f := h.follows(now, "p0", nil); f != nil {
		t.Errorf("the oldest is there: %v", f)
	}
	last := h.from[fmt.Sprint("p", 3*maxFrom-1)]
	if last == nil || len(last.After) != maxAfter {
		t.Fatalf("the newest: %+v", last)
	}
	for _, a := range last.After {
		if len(a.Marks) > maxMarks {
			t.Errorf("%d marks", len(a.Marks))
		}
	}
	if st := h.statement(now); len(st.Networks) != maxSeen {
		t.Errorf("%d networks", len(st.Networks))
	}
	if again := openHistory(store, quiet); len(again.from) != maxFrom || len(again.seen) != maxSeen {
		t.Errorf("read again: %d points, %d networks", len(again.from), len(again.seen))
	}
}

// TestHistoryKept: what is kept is there in the next run; what is damaged is not, and nothing else is lost for it.
func TestHistoryKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mn.db")
	open := func() *state.DB {
		db, err := state.Open(path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	s := New(Config{State: db, Log: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	s.Moved("a", "b", time.Now())
	s.Moved("c", "d", time.Now())
	s.Proven(neighbourhood.Network{Name: "x", Agents: paa("10.3.0.1:716"), Points: points("02:00:00:00:0c:01")})
	cancel()
	<-done
	for key, value := range map[string]string{
		keyAfter + "c":   `{"from":"c","after":`,
		keyAfter + "e":   `{"from":"c","after":[{"to":"x","weight":1}]}`,
		keyAfter + "f":   `{"from":"f","after":[{"to":"x","weight":-1}]}`,
		keyAfter + "g":   `{"from":"g","after":[{"to":"x","weight":1,"marks":[{"x":1e300}]}]}`,
		keyProven + "y":  `{"name":"z"}`,
		keyProven + "yy": `[]`,
	} {
		if _, err := db.Put(key, []byte(value), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open()
	defer db.Close()
	s = New(Config{State: db, Log: quiet})
	if f := s.Follows("a"); f["b"] != 1 {
		t.Errorf("behind a: %v", f)
	}
	for _, from := range []string{"c", "e", "f", "g"} {
		if f := s.Follows(from); f != nil {
			t.Errorf("behind %s: %v", from, f)
		}
	}
	known := s.Known()
	if len(known) != 1 || known[0].Name != "x" || known[0].Agents[0].Addr != netip.MustParseAddrPort("10.3.0.1:716") || known[0].From[0].Kind != neighbourhood.History {
		t.Errorf("known: %+v", known)
	}
}

// TestHistoryKilled: a move that was noted is there after a kill: it is written at once, not at the end.
func TestHistoryKilled(t *testing.T) {
	dir := t.TempDir()
	db, err := state.Open(filepath.Join(dir, "mn.db"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := New(Config{State: db, Log: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	written := db.Watch(t.Context(), keyAfter)
	s.Moved("a", "b", time.Now())
	<-written
	file, err := os.ReadFile(filepath.Join(dir, "mn.db")) // as a killed daemon leaves it
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "left.db"), file, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	left, err := state.Open(filepath.Join(dir, "left.db"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	if f := New(Config{State: left, Log: quiet}).Follows("a"); f["b"] != 1 {
		t.Errorf("behind a: %v", f)
	}
	cancel()
	<-done
}
