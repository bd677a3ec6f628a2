package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options of a matrix.
type Options[C Cell, R Record[C]] struct {
	Name  string // of the matrix, for what is said
	Cells []C
	// Play plays a cell in a lab of its own; the daemons' logs go to a folder.
	Play func(ctx context.Context, c C, logs string) R
	Jobs int         // labs beside one another; 1 when 0
	Logs string      // gets a folder for each cell that fails; empty: none is kept
	Book *Book[C, R] // nil: nothing is written down
	// Progress is told how far it is, Failed of each cell that fails; either may
	// be nil.
	Progress func(format string, args ...any)
	Failed   func(R)
}

// Run plays the cells, those the book has a verdict of excepted, and returns
// all records in the order of the cells. The error is for what kept the lab
// from doing its work.
func Run[C Cell, R Record[C]](ctx context.Context, opt Options[C, R]) ([]R, error) {
	scratch, err := os.MkdirTemp("", "openmpa-"+opt.Name+"-")
	if err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	defer os.RemoveAll(scratch)
	m := &matrix[C, R]{opt: opt, scratch: scratch, records: make(map[C]R), begun: time.Now()}
	var todo []C
	for _, c := range opt.Cells {
		if r, ok := opt.Book.Done(c); ok {
			m.records[c] = r
			continue
		}
		todo = append(todo, c)
	}
	err = m.play(ctx, todo)
	var all []R
	for _, c := range opt.Cells {
		if r, ok := m.records[c]; ok {
			all = append(all, r)
		}
	}
	return all, err
}

// matrix is a run under way.
type matrix[C Cell, R Record[C]] struct {
	opt     Options[C, R]
	scratch string
	begun   time.Time

	mu      sync.Mutex
	records map[C]R
	played  int
	failed  int
	errs    []error
}

func (m *matrix[C, R]) play(ctx context.Context, todo []C) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cells := make(chan C)
	var workers sync.WaitGroup
	for range max(1, m.opt.Jobs) {
		workers.Go(func() {
			for c := range cells {
				if err := m.one(ctx, c, len(todo)); err != nil {
					m.mu.Lock()
					m.errs = append(m.errs, err)
					m.mu.Unlock()
					cancel()
				}
			}
		})
	}
feed:
	for _, c := range todo {
		select {
		case cells <- c:
		case <-ctx.Done():
			break feed
		}
	}
	close(cells)
	workers.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.errs) == 0 {
		return ctx.Err()
	}
	return errors.Join(m.errs...)
}

// one plays a cell and writes it down; one that was interrupted is forgotten.
func (m *matrix[C, R]) one(ctx context.Context, c C, of int) error {
	m.progress(c, of)
	logs := filepath.Join(m.scratch, folder(c))
	r := m.opt.Play(ctx, c, logs)
	if ctx.Err() != nil {
		return nil
	}
	passed := r.Verdict()
	m.mu.Lock()
	m.records[c] = r
	m.played++
	if !passed {
		m.failed++
	}
	m.mu.Unlock()
	err := m.opt.Book.Add(r)
	if !passed {
		if m.opt.Logs != "" {
			err = errors.Join(err, keep(logs, filepath.Join(m.opt.Logs, folder(c))))
		}
		if m.opt.Failed != nil {
			m.opt.Failed(r)
		}
	}
	return errors.Join(err, os.RemoveAll(logs))
}

// folder is a name for a cell's folder, without what has a meaning in patterns.
func folder[C Cell](c C) string {
	return strings.NewReplacer(" ", "-", "[", "-", "]", "", "/", "-", "*", "-", "?", "-").Replace(c.String())
}

// keep copies a folder to where it stays. There is none when the lab did not start.
func keep(from, to string) error {
	if err := os.RemoveAll(to); err != nil { // of a run before
		return fmt.Errorf("matrix: %w", err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("matrix: keep the logs: %w", err)
	}
	return nil
}

func (m *matrix[C, R]) progress(c C, of int) {
	if m.opt.Progress == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	left := ""
	if m.played > 0 {
		each := time.Since(m.begun) / time.Duration(m.played)
		left = fmt.Sprintf(", %v left", (each * time.Duration(of-m.played)).Round(time.Second))
	}
	m.opt.Progress("%s: %d of %d done, %d failed%s: %s", m.opt.Name, m.played, of, m.failed, left, c.String())
}

// Panics looks for panics in the logs that labs left in a folder.
func Panics(dir string) (problems []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	if err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("matrix: there are no logs in %s", dir)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return problems, fmt.Errorf("matrix: %w", err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.Contains(line, "msg=panic") {
				problems = append(problems, fmt.Sprintf("%s: %.300s", filepath.Base(f), line))
			}
		}
	}
	return problems, nil
}
