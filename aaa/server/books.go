package server

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"openmpa/aaa"
)

const (
	maxEntry     = 16 << 10
	maxBooksRead = 64 << 20 // of the end of the file, at a start
	maxAccounts  = 1 << 16  // sessions whose records are remembered
)

// Entry is one line of the books, a JSON object.
type Entry struct {
	Time     time.Time     `json:"time"`   // when the record came
	Client   string        `json:"client"` // who sent it, as in Ask
	Kind     string        `json:"kind"`   // start, interim or stop
	Number   uint32        `json:"number"` // of the record
	At       time.Time     `json:"at"`     // of what it reports
	Session  string        `json:"session"`
	Identity string        `json:"identity"`
	Station  string        `json:"station,omitzero"`
	Called   string        `json:"called,omitzero"`
	NASPort  string        `json:"nas_port,omitzero"`
	Class    [][]byte      `json:"class,omitempty"`
	Handle   []byte        `json:"handle,omitempty"`
	Cause    string        `json:"cause,omitzero"` // of a stop
	Usage    aaa.Usage     `json:"usage"`
	Life     time.Duration `json:"life,omitzero"` // of the session from At on, as it was granted here; 0: not known
	Home     *aaa.Grant    `json:"home,omitzero"` // as the servers of another operator know the session
}

// Kinds of entries, as aaa.RecordKind names them.
const (
	kindStart   = "start"
	kindInterim = "interim"
	kindStop    = "stop"
)

// accountKey is a key in little room.
type accountKey [16]byte

// key is what the records of one session have in common. Who sends through a relay is
// the same router.
func (e Entry) key() string { return owner(e.Client) + "\x00" + e.Session }

func (e Entry) account() accountKey {
	sum := sha256.Sum256([]byte(e.key()))
	return accountKey(sum[:len(accountKey{})])
}

// owner is the router among clients, without how it came.
func owner(client string) string {
	out, _, _ := strings.Cut(client, " ")
	return out
}

// Books is a file of accounting records. A record is in it once: start and stop of a
// session, and interims whose numbers grow. It may be used by several goroutines at
// once, and be moved away at any time: a new file is begun then.
type Books struct {
	// fixed
	path string
	log  *slog.Logger

	// guarded by mu
	mu      sync.Mutex
	file    *os.File
	end     int64 // of what is whole in it
	known   map[accountKey]*account
	order   []accountKey // of known, oldest first
	next    *batch       // waits for the writer; nil: none
	writing bool
	closed  bool
}

// account is what the books know of one session; of one that has ended, only what tells a
// record that comes again.
type account struct {
	started, stopped bool
	interim          uint32 // the greatest number
	home             *aaa.Grant
	last             *Entry // for who starts anew; nil: it has ended, or nothing came yet
	under            *batch // with its newest record; nil: it is on the disk
}

// batch is what is written at once.
type batch struct {
	text []byte
	done chan struct{}
	err  error
}

// OpenBooks opens a file of books, or begins it, and reads what its end has.
func OpenBooks(path string, log *slog.Logger) (*Books, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Books{path: path, log: log, known: make(map[accountKey]*account)}
	if err := b.open(); err != nil {
		return nil, err
	}
	if err := b.read(); err != nil {
		return nil, errors.Join(err, b.file.Close())
	}
	return b, nil
}

func (b *Books) open() error {
	file, err := os.OpenFile(b.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("server: books: %w", err)
	}
	if b.end, err = file.Seek(0, io.SeekEnd); err != nil {
		return errors.Join(fmt.Errorf("server: books: %w", err), file.Close())
	}
	b.file = file
	return nil
}

// read learns what is in the file, and cuts a line that a crash has left unfinished:
// nobody was told that it was there.
func (b *Books) read() error {
	from := max(0, b.end-maxBooksRead)
	lines := bufio.NewReaderSize(io.NewSectionReader(b.file, from, b.end-from), 64<<10)
	at, bad := from, 0
	for first := from > 0; ; first = false {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				b.log.Warn("the books end in half a line, which is cut off", "path", b.path, "octets", len(line))
				if err := b.file.Truncate(at); err != nil {
					return fmt.Errorf("server: books: %w", err)
				}
				b.end = at
			}
			break
		}
		if err != nil {
			return fmt.Errorf("server: books: %s: %w", b.path, err)
		}
		at += int64(len(line))
		if first {
			continue // half a line, most likely
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil || e.Session == "" {
			bad++
			continue
		}
		if a := b.account(e.account()); a.isNew(e) {
			a.take(e)
		}
	}
	if bad > 0 {
		b.log.Error("lines of the books are not readable, and left as they are", "path", b.path, "lines", bad)
	}
	return nil
}

// account is what is known under a key, from now on if nothing was.
func (b *Books) account(key accountKey) *account {
	a := b.known[key]
	if a == nil {
		for len(b.order) >= maxAccounts {
			delete(b.known, b.order[0])
			b.order = b.order[1:]
		}
		a = &account{}
		b.known[key] = a
		b.order = append(b.order, key)
	}
	return a
}

func (a *account) isNew(e Entry) bool {
	switch e.Kind {
	case kindStart:
		return !a.started
	case kindStop:
		return !a.stopped
	}
	return !a.stopped && e.Number > a.interim
}

func (a *account) take(e Entry) {
	switch e.Kind {
	case kindStart:
		a.started = true
	case kindStop:
		a.stopped = true
	default:
		a.interim = e.Number
	}
	if e.Life == 0 && a.last != nil {
		e.Life = a.last.Life
	}
	if e.Home == nil {
		e.Home = a.home
	}
	a.home, a.last = e.Home, nil
	if !a.stopped {
		a.last = &e
	}
}

// untake has an entry be new when it comes again.
func (a *account) untake(e Entry, before account) {
	switch e.Kind {
	case kindStart:
		a.started = false
	case kindStop:
		a.stopped = false
	default:
		a.interim = min(a.interim, e.Number-1)
	}
	a.home, a.last = before.home, before.last
}

// Add puts an entry into the books and returns when it is on the disk: once, however
// often it comes.
func (b *Books) Add(e Entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("server: books: %w", err)
	}
	if len(text) > maxEntry {
		return fmt.Errorf("server: books: record of %d octets, at most %d", len(text), maxEntry)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return errors.New("server: books: closed")
	}
	a := b.account(e.account())
	if !a.isNew(e) {
		under := a.under
		b.mu.Unlock()
		if under == nil {
			return nil
		}
		<-under.done
		return under.err
	}
	before := *a
	a.take(e)
	if b.next == nil {
		b.next = &batch{done: make(chan struct{})}
	}
	mine := b.next
	mine.text = append(append(mine.text, text...), '\n')
	a.under = mine
	lead := !b.writing
	b.writing = true
	b.mu.Unlock()
	if lead {
		b.write()
	}
	<-mine.done
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.under == mine {
		a.under = nil
	}
	if mine.err != nil {
		a.untake(e, before)
	}
	return mine.err
}

// write writes batches until none is left; its caller is the only one who does.
func (b *Books) write() {
	for {
		b.mu.Lock()
		one := b.next
		b.next = nil
		b.writing = one != nil
		b.mu.Unlock()
		if one == nil {
			return
		}
		if one.err = b.put(one.text); one.err != nil {
			b.log.Error("the books cannot be written: routers keep their records, and send them again", "err", one.err)
		}
		close(one.done)
	}
}

// put appends lines, all of them or none.
func (b *Books) put(text []byte) error {
	here, err := b.file.Stat()
	if err != nil {
		return fmt.Errorf("server: books: %w", err)
	}
	if there, err := os.Stat(b.path); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(here, there) {
		old := b.file
		if err := b.open(); err != nil {
			return err
		}
		_ = old.Close() // all that it has is synced
	}
	if _, err = b.file.WriteAt(text, b.end); err == nil {
		err = b.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("server: books: %w", err), b.file.Truncate(b.end))
	}
	b.end += int64(len(text))
	return nil
}

// remind gives an entry what others of its session had, and it has not. A nil Books
// knows nothing.
func (b *Books) remind(e *Entry) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.known[e.account()]; a != nil {
		e.Home = a.home
	}
}

// Open are the sessions that have not ended, as their last record has them.
func (b *Books) Open() []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Entry
	for _, key := range b.order {
		if a := b.known[key]; !a.stopped && a.last != nil {
			out = append(out, *a.last)
		}
	}
	return out
}

// Close closes the file. What comes after is refused.
func (b *Books) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return b.file.Close()
}

// entryOf is a record as the books have it.
func entryOf(client string, r aaa.Record, now time.Time) Entry {
	g := r.Grant
	e := Entry{
		Time: now, Client: client, Kind: r.Kind.String(), Number: r.Number, At: r.Time, Session: g.Session, Identity: g.Identity,
		Station: g.Station, Called: g.Called, NASPort: g.NASPort, Class: g.Class, Handle: g.Handle, Usage: r.Usage,
	}
	if r.Kind == aaa.RecordStop {
		e.Cause = r.Cause.String()
	}
	return e
}
