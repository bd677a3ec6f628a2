package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
)

// Options of a matrix.
type Options struct {
	Bed    bed.Options // Logs, Quick and Say are set for each cell
	Commit string
	Cells  []Cell
	Jobs   int    // labs beside one another; 1 when 0
	Logs   string // gets a folder for each cell that fails; empty: none is kept
	Book   *Book  // nil: nothing is written down
	// Progress is told how far it is, Failed of each cell that fails.
	Progress func(format string, args ...any)
	Failed   func(Record)
}

// Run plays the cells, those the book has a verdict of excepted, and returns
// all records in the order of the cells. The error is for what kept the lab
// from doing its work; the list of points being out of date is one.
func Run(ctx context.Context, opt Options) ([]Record, error) {
	scratch, err := os.MkdirTemp("", "openmpa-crash-")
	if err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	defer os.RemoveAll(scratch)
	opt.Progress("crash: the points of a handover without a crash")
	if err := learn(ctx, opt.Bed, filepath.Join(scratch, "learn")); err != nil {
		return nil, err
	}
	m := &matrix{opt: opt, scratch: scratch, records: make(map[Cell]Record), begun: time.Now()}
	var todo []Cell
	for _, c := range opt.Cells {
		if r, ok := opt.Book.Done(c); ok {
			m.records[c] = r
			continue
		}
		todo = append(todo, c)
	}
	err = m.play(ctx, todo)
	var all []Record
	for _, c := range opt.Cells {
		if r, ok := m.records[c]; ok {
			all = append(all, r)
		}
	}
	return all, err
}

// matrix is a run under way.
type matrix struct {
	opt     Options
	scratch string
	begun   time.Time

	mu      sync.Mutex
	records map[Cell]Record
	played  int
	failed  int
	errs    []error
}

func (m *matrix) play(ctx context.Context, todo []Cell) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cells := make(chan Cell)
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
func (m *matrix) one(ctx context.Context, c Cell, of int) error {
	m.progress(c, of)
	logs := filepath.Join(m.scratch, c.file())
	r := runCell(ctx, m.opt.Bed, c, logs)
	if ctx.Err() != nil {
		return nil
	}
	r.Commit = m.opt.Commit
	m.mu.Lock()
	m.records[c] = r
	m.played++
	if !r.Passed {
		m.failed++
	}
	m.mu.Unlock()
	err := m.opt.Book.Add(r)
	if !r.Passed {
		if m.opt.Logs != "" {
			err = errors.Join(err, keep(logs, filepath.Join(m.opt.Logs, c.file())))
		}
		if m.opt.Failed != nil {
			m.opt.Failed(r)
		}
	}
	return errors.Join(err, os.RemoveAll(logs))
}

// keep copies a folder to where it stays.
func keep(from, to string) error {
	if err := os.RemoveAll(to); err != nil { // of a run before
		return fmt.Errorf("crash: %w", err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("crash: keep the logs: %w", err)
	}
	return nil
}

func (m *matrix) progress(c Cell, of int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := ""
	if m.played > 0 {
		each := time.Since(m.begun) / time.Duration(m.played)
		left = fmt.Sprintf(", %v left", (each * time.Duration(of-m.played)).Round(time.Second))
	}
	m.opt.Progress("crash: %d of %d done, %d failed%s: %v", m.played, of, m.failed, left, c)
}

// learn has one handover without a crash, and compares its records with the
// list of points.
func learn(ctx context.Context, opt bed.Options, logs string) (err error) {
	opt.Logs, opt.Quick = logs, true
	b, err := bed.Start(ctx, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := bed.Sleep(ctx, lead); err != nil { // the last records of the attachment may be on their way
		return err
	}
	since := make(map[string]uint64)
	for _, name := range b.Daemons() {
		err := b.Client(name).Events(ctx, 0, false, func(e event.Event) error { since[name] = e.Seq; return nil })
		if err != nil {
			return fmt.Errorf("crash: timeline of %s: %w", name, err)
		}
	}
	result, err := order(ctx, b, "a")
	if err != nil {
		return fmt.Errorf("crash: a handover without a crash: %w", err)
	}
	if result.Outcome != event.Completed {
		return fmt.Errorf("crash: a handover without a crash is %s: %s", result.Outcome, result.Reason)
	}
	var all []event.Event
	for _, name := range b.Daemons() {
		err := b.Client(name).Events(ctx, since[name], false, func(e event.Event) error {
			if e.Node == name { // the node has those of the router, too
				all = append(all, e)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("crash: timeline of %s: %w", name, err)
		}
	}
	slices.SortStableFunc(all, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
	var seen []Point
	for _, e := range all {
		if p := pointOf(e.Node, e); !slices.Contains(seen, p) {
			seen = append(seen, p)
		}
	}
	if problems := compare(seen); len(problems) > 0 {
		return fmt.Errorf("crash: the list of points is out of date:\n  %v\nthe timeline has %q", problems, seen)
	}
	return nil
}
