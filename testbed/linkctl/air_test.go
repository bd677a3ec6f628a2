package linkctl

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"openmpa/mn/link"
	"openmpa/testbed/field"
)

// TestAir has the product's adapter ask what the emulated field is like.
func TestAir(t *testing.T) {
	_, c := lab(t, 0)
	path := filepath.Join(t.TempDir(), "link.sock")
	s, err := Serve(c, path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, err := link.NewExternal(link.ExternalConfig{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Measure(t.Context()); !errors.Is(err, link.ErrNoSignal) {
		t.Errorf("without a field: %v", err)
	}
	e2, err := link.NewExternal(link.ExternalConfig{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer e2.Close()
	c.SetAir(&Air{Field: field.NewTrace("p1", "p2").Add(0, -50, -60.4), Sweep: time.Hour})
	if q, err := e2.Measure(t.Context()); q != (link.Quality{Loss: -1}) || err != nil {
		t.Errorf("nowhere: %+v %v", q, err)
	}
	if _, err := c.Attach(context.Background(), "p1"); err != nil {
		t.Fatal(err)
	}
	q, err := e2.Measure(t.Context())
	if q.Point != "p1" || q.Signal != -50 || !(q.Loss >= 0 && q.Loss < 0.01) || q.Rate != 54 || err != nil {
		t.Errorf("%+v %v", q, err)
	}
	seen, err := e2.Seen(t.Context())
	if len(seen) != 1 || seen[0].Point != "p2" || seen[0].Signal != -60 || seen[0].Age <= 0 || seen[0].Age > time.Minute || err != nil {
		t.Errorf("%+v %v", seen, err)
	}
}

// TestAirCuts: the link goes with the signal, comes back where it is heard, and a move to where nothing is heard is refused.
func TestAirCuts(t *testing.T) {
	node, c := lab(t, 0)
	var told []Move
	c.OnMove(func(m Move) { told = append(told, m) })
	if _, err := c.Attach(context.Background(), "p1"); err != nil {
		t.Fatal(err)
	}
	c.SetAir(&Air{
		Field: field.NewTrace("p1", "p2").Add(0, -50, math.NaN()).Add(300*time.Millisecond, -50, math.NaN()).
			Add(400*time.Millisecond, -94, -50),
		Cut: -90, Rejoin: 100 * time.Millisecond,
	})
	if _, err := c.Attach(context.Background(), "p2"); !errors.Is(err, ErrRefused) {
		t.Errorf("a point that is not heard: %v", err)
	}
	if _, err := c.Attach(context.Background(), "p1"); err != nil || !carrier(t, node) {
		t.Fatalf("%v", err)
	}
	eventually(t, func() bool { return c.Point() == "p2" && carrier(t, node) })
	moves := c.Moves()
	faded := slices.IndexFunc(moves, func(m Move) bool { return m.Failure == Faded && m.To == "" })
	if faded < 0 || moves[faded].From != "p1" || !moves[faded].Up.IsZero() {
		t.Fatalf("no cut: %+v", moves)
	}
	if back := moves[faded+1]; back.To != "p2" || back.Up.IsZero() || back.Gap() < 100*time.Millisecond || back.Lost.Before(moves[faded].Lost) {
		t.Errorf("came back by %+v", back)
	}
	c.SetAir(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(told) != 2*len(c.moves) {
		t.Errorf("told of %d, moved %d times", len(told), len(c.moves))
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}
