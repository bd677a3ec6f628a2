package matrix

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type cell string

func (c cell) String() string { return string(c) }

type record struct {
	Of     cell   `json:"of"`
	Commit string `json:"commit"`
	Wrong  string `json:"wrong,omitempty"`
}

func (r record) Cell() cell    { return r.Of }
func (r record) Built() string { return r.Commit }
func (r record) Verdict() bool { return r.Wrong == "" }

func open(t *testing.T, path, commit string) *Book[cell, record] {
	t.Helper()
	b, err := OpenBook[cell, record](path, commit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestBookResumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cells.json")
	b := open(t, path, "c1")
	for _, r := range []record{{"one", "c1", ""}, {"two", "c1", "broken"}, {"three", "c2", ""}} {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, path, "c1")
	if r, ok := b.Done("one"); !ok || !r.Verdict() {
		t.Errorf("%+v, %v", r, ok)
	}
	if r, ok := b.Done("two"); !ok || r.Wrong != "broken" {
		t.Errorf("%+v, %v", r, ok)
	}
	if _, ok := b.Done("three"); ok {
		t.Error("the verdict of another commit is taken")
	}
	if err := b.Add(record{Of: "three", Commit: "c1-dirty"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, path, "c1-dirty").Done("three"); ok {
		t.Error("changed sources are recognised")
	}
	if err := b.Add(record{Of: "three", Commit: Unknown}); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, path, Unknown).Done("three"); ok {
		t.Error("sources of nobody knows which commit are recognised")
	}
	// A line that was cut short is written again.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text[:len(text)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, path, "c2")
	if _, ok := b.Done("three"); !ok {
		t.Error("the line before the one that was cut is lost")
	}
	if err := b.Add(record{Of: "one", Commit: "c2"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, path, "c2").Done("one"); !ok {
		t.Error("what came after the line that was cut cannot be read")
	}
	if err := os.WriteFile(path, append([]byte("no record\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBook[cell, record](path, "c1"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a file of something else: %v", err)
	}
}

// play writes a log, and fails what begins with "bad".
func play(_ context.Context, c cell, logs string) record {
	r := record{Of: c, Commit: "c1"}
	if strings.HasPrefix(string(c), "bad") {
		r.Wrong = "is bad"
	}
	if err := os.MkdirAll(logs, 0o700); err != nil {
		r.Wrong = err.Error()
	}
	if err := os.WriteFile(filepath.Join(logs, "x.log"), []byte(c), 0o600); err != nil {
		r.Wrong = err.Error()
	}
	return r
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	book := open(t, filepath.Join(dir, "book"), "c1")
	if err := book.Add(record{Of: "b", Commit: "c1"}); err != nil {
		t.Fatal(err)
	}
	book = open(t, filepath.Join(dir, "book"), "c1")
	var mu sync.Mutex
	var played, failed []cell
	opt := Options[cell, record]{
		Name: "test", Cells: []cell{"a", "b", "bad one", "c"}, Jobs: 2, Logs: filepath.Join(dir, "logs"), Book: book,
		Play: func(ctx context.Context, c cell, logs string) record {
			mu.Lock()
			played = append(played, c)
			mu.Unlock()
			return play(ctx, c, logs)
		},
		Failed: func(r record) { failed = append(failed, r.Of) },
	}
	all, err := Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]record{{"a", "c1", ""}, {"b", "c1", ""}, {"bad one", "c1", "is bad"}, {"c", "c1", ""}}, all); d != "" {
		t.Error(d)
	}
	if len(played) != 3 || len(failed) != 1 || failed[0] != "bad one" {
		t.Errorf("played %v, failed %v", played, failed)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "logs", "bad-one", "x.log")); err != nil || string(b) != "bad one" {
		t.Errorf("logs of what failed: %q, %v", b, err)
	}
	if kept, err := os.ReadDir(filepath.Join(dir, "logs")); err != nil || len(kept) != 1 {
		t.Errorf("logs are kept of %v, %v", kept, err)
	}
	if _, ok := open(t, filepath.Join(dir, "book"), "c1").Done("c"); !ok {
		t.Error("the record of a cell is not in the book")
	}
}

func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	opt := Options[cell, record]{Name: "test", Cells: []cell{"a", "b", "c"}}
	opt.Play = func(ctx context.Context, c cell, logs string) record {
		if c == "b" {
			cancel()
		}
		return play(ctx, c, logs)
	}
	all, err := Run(ctx, opt)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff([]record{{"a", "c1", ""}}, all); d != "" {
		t.Error(d)
	}
}

func TestPairwise(t *testing.T) {
	for _, x := range []struct {
		sizes []int
		most  int
	}{{[]int{7, 3, 3, 2}, 21}, {[]int{1, 3, 3, 2}, 9}, {[]int{2, 2}, 4}, {[]int{3, 3, 3}, 11}} {
		rows := Pairwise(x.sizes)
		if len(rows) > x.most {
			t.Errorf("%v: %d rows, expected %d or less", x.sizes, len(rows), x.most)
		}
		met := make(map[[4]int]bool)
		for _, r := range rows {
			for f := range r {
				for g := range r {
					met[[4]int{f, r[f], g, r[g]}] = true
				}
			}
		}
		for f, n := range x.sizes {
			for g, m := range x.sizes {
				for v := range n {
					for w := range m {
						if f != g && !met[[4]int{f, v, g, w}] {
							t.Errorf("%v: value %d of factor %d does not meet value %d of factor %d", x.sizes, v, f, w, g)
						}
					}
				}
			}
		}
		if d := cmp.Diff(rows, Pairwise(x.sizes)); d != "" {
			t.Errorf("other rows the next time: %s", d)
		}
	}
}

func TestSpread(t *testing.T) {
	values := []float64{9, 1, 5, 2, 3, 4, 6, 7, 8, 10, 0}
	if got := Spread("%.0f", values); got != "0 5 9 10" || values[0] != 9 {
		t.Errorf("%s, %v", got, values)
	}
	if got := Spread("%.0f", nil); got != "-" {
		t.Errorf("%s", got)
	}
}

func TestPanics(t *testing.T) {
	dir := t.TempDir()
	if _, err := Panics(dir); err == nil {
		t.Error("no logs are as good as clean ones")
	}
	if err := os.Mkdir(filepath.Join(dir, "lab-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, "lab-1", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.log", "level=INFO msg=ready\nlevel=WARN msg=\"do not panic: x\"\n")
	if p, err := Panics(dir); err != nil || p != nil {
		t.Errorf("%q, %v", p, err)
	}
	write("b.log", "x\npanic: runtime error: index out of range\n")
	write("c.log", "time=1 level=ERROR msg=panic value=nil stack=\"...\"\n")
	if p, err := Panics(dir); err != nil || len(p) != 2 {
		t.Errorf("%q, %v", p, err)
	}
}

func TestFolder(t *testing.T) {
	if got := folder(cell("mn@wire next PAR[S] 1/2")); got != "mn@wire-next-PAR-S-1-2" {
		t.Errorf("%q", got)
	}
}
