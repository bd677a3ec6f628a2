package matrix

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// A Cell is what names a combination.
type Cell interface {
	comparable
	// String is how it is written on the command line, and the same for no other
	// cell of a run.
	String() string
}

// A Record is what became of a cell, as JSON.
type Record[C Cell] interface {
	Cell() C
	Built() string // the commit of which it is a record
	Verdict() bool // whether it passed
}

// A Book is a file of records, one a line. The nil Book keeps nothing.
type Book[C Cell, R Record[C]] struct {
	mu   sync.Mutex
	file *os.File
	done map[C]R
}

// Unknown is the commit of a program that was built outside of a checkout.
const Unknown = "unknown"

// OpenBook opens a file to append to, or makes it. Cells that it has a verdict
// of for this commit are done. What was built from changed sources, or of nobody knows
// which commit, has no name by which it could be recognised, and is never done.
func OpenBook[C Cell, R Record[C]](path, commit string) (*Book[C, R], error) {
	b := &Book[C, R]{done: make(map[C]R)}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(old)))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r R
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			if !strings.HasSuffix(string(old), "\n") && strings.HasSuffix(string(old), lines.Text()) {
				old = old[:len(old)-len(lines.Text())] // the lab was killed while it wrote
				break
			}
			return nil, fmt.Errorf("matrix: %s, line %d: expected a record of a cell: %w", path, n, err)
		}
		if r.Built() == commit && commit != Unknown && !strings.HasSuffix(commit, "-dirty") {
			b.done[r.Cell()] = r
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("matrix: %s: %w", path, err)
	}
	if b.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	if err := b.file.Truncate(int64(len(old))); err != nil {
		return nil, errors.Join(fmt.Errorf("matrix: %w", err), b.file.Close())
	}
	if _, err := b.file.Seek(0, 2); err != nil {
		return nil, errors.Join(fmt.Errorf("matrix: %w", err), b.file.Close())
	}
	return b, nil
}

// Done is the record of a cell, if there is one.
func (b *Book[C, R]) Done(c C) (r R, ok bool) {
	if b == nil {
		return r, false
	}
	r, ok = b.done[c]
	return r, ok
}

// Add writes a record down.
func (b *Book[C, R]) Add(r R) error {
	if b == nil {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("matrix: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("matrix: %w", err)
	}
	return nil
}

// Close closes the file.
func (b *Book[C, R]) Close() error {
	if b == nil {
		return nil
	}
	return b.file.Close()
}
