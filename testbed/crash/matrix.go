package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/matrix"
)

// Options of a matrix.
type Options = matrix.Options[Cell, Record]

// Book is a file of records.
type Book = matrix.Book[Cell, Record]

// Run plays the cells in labs with the options of b, of which Logs, Quick and Say are set for each. The list of points being out of
// date is an error.
func Run(ctx context.Context, b bed.Options, commit string, opt Options) ([]Record, error) {
	scratch, err := os.MkdirTemp("", "openmpa-crash-")
	if err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	defer os.RemoveAll(scratch)
	opt.Progress("crash: the points of a handover without a crash")
	known := make(map[How]bool)
	for _, c := range opt.Cells {
		how := How{IP: c.IP, Addresses: c.Addresses}
		if known[how] {
			continue
		}
		known[how] = true
		if err := learn(ctx, b, how, scratch); err != nil {
			return nil, err
		}
	}
	opt.Name = "crash"
	opt.Play = func(ctx context.Context, c Cell, logs string) Record {
		r := runCell(ctx, b, c, logs)
		r.Commit = commit
		return r
	}
	return matrix.Run(ctx, opt)
}

// learn has one handover without a crash, and compares its records with the
// list of points.
func learn(ctx context.Context, opt bed.Options, how How, logs string) (err error) {
	opt.Logs, opt.Quick, opt.IP, opt.Addresses = logs, true, how.IP, how.Addresses
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
	if problems := compare(how.Points(), seen); len(problems) > 0 {
		return fmt.Errorf("crash: the list of points is out of date:\n  %v\nthe timeline has %q", problems, seen)
	}
	return nil
}
