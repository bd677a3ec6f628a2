package crash

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// A Record is what became of a cell. A field that does not apply is absent.
type Record struct {
	Commit  string `json:"commit"`
	Victim  Party  `json:"victim"`
	Point   Point  `json:"point"`
	DelayMS int64  `json:"delay_ms"`
	Hasty   bool   `json:"hasty,omitempty"`
	AAA     string `json:"aaa"`
	DHCP    string `json:"dhcp"`
	// Passed says that there are no problems.
	Passed   bool      `json:"passed"`
	Problems []string  `json:"problems,omitempty"`
	At       time.Time `json:"at"`
	TookS    float64   `json:"took_s"`

	// HitMS is how long after the point's record the victim got the signal and
	// did nothing any more, GoneMS when the kernel had ended it.
	HitMS  *float64 `json:"hit_ms,omitempty"`
	GoneMS *float64 `json:"gone_ms,omitempty"`
	// Outcome of the handover in which it died; absent when it was the mobile
	// node that did.
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// RecoveryMS runs from the death until everything stands and no packet is
	// lost any more, SettledMS until there is no lease but the one in use and
	// the kernel holds what it held before.
	RecoveryMS *float64 `json:"recovery_ms,omitempty"`
	SettledMS  *float64 `json:"settled_ms,omitempty"`
	// Network is where the node was after the recovery.
	Network string `json:"network,omitempty"`
	// Second is the outcome of the handover after the recovery.
	Second string `json:"second,omitempty"`

	Down *Flow `json:"down,omitempty"`
	Up   *Flow `json:"up,omitempty"`
}

// A Flow is one direction of the traffic over the whole cell.
type Flow struct {
	Sent       int     `json:"sent"`
	Lost       int     `json:"lost"`
	Duplicated int     `json:"duplicated"`
	Reordered  int     `json:"reordered"`
	SilenceMS  float64 `json:"silence_ms"`  // the longest at the receiver
	LostSecond int     `json:"lost_second"` // of Lost: during the handover after the recovery
}

// Cell is the cell of the record.
func (r *Record) Cell() Cell {
	return Cell{Victim: r.Victim, Point: r.Point, How: How{
		Delay: time.Duration(r.DelayMS) * time.Millisecond, Hasty: r.Hasty, AAA: r.AAA, DHCP: r.DHCP,
	}}
}

func (r *Record) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// A Book is a file of records, one a line. The nil Book keeps nothing.
type Book struct {
	mu   sync.Mutex
	file *os.File
	done map[Cell]Record
}

// OpenBook opens a file to append to, or makes it. Cells that it has a verdict
// of for this commit are done. What was built from changed sources has no name
// by which it could be recognised, and is never done.
func OpenBook(path, commit string) (*Book, error) {
	b := &Book{done: make(map[Cell]Record)}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("crash: %w", err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(old)))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			if !strings.HasSuffix(string(old), "\n") && strings.HasSuffix(string(old), lines.Text()) {
				old = old[:len(old)-len(lines.Text())] // the lab was killed while it wrote
				break
			}
			return nil, fmt.Errorf("crash: %s, line %d: expected a record of a cell: %w", path, n, err)
		}
		if r.Commit == commit && !strings.HasSuffix(commit, "-dirty") {
			b.done[r.Cell()] = r
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("crash: %s: %w", path, err)
	}
	if b.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	if err := b.file.Truncate(int64(len(old))); err != nil {
		return nil, errors.Join(fmt.Errorf("crash: %w", err), b.file.Close())
	}
	if _, err := b.file.Seek(0, 2); err != nil {
		return nil, errors.Join(fmt.Errorf("crash: %w", err), b.file.Close())
	}
	return b, nil
}

// Done is the record of a cell, if there is one.
func (b *Book) Done(c Cell) (Record, bool) {
	if b == nil {
		return Record{}, false
	}
	r, ok := b.done[c]
	return r, ok
}

// Add writes a record down.
func (b *Book) Add(r Record) error {
	if b == nil {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("crash: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("crash: %w", err)
	}
	return nil
}

// Close closes the file.
func (b *Book) Close() error {
	if b == nil {
		return nil
	}
	return b.file.Close()
}
