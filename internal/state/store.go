package state

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The bounds of a store.
const (
	MaxKey     = 256      // octets
	MaxValue   = 64 << 10 // octets
	MaxRecords = 1 << 16
	// MaxTotal bounds keys and values together, in octets.
	MaxTotal = 64 << 20
	// WatchBuffer is how many changes wait for a watcher.
	WatchBuffer = 64
)

// Record is a key with its value.
type Record struct {
	Key     string
	Value   []byte    // the caller's own
	Version uint64    // grows with every change of the store; never given twice
	Expires time.Time // by the wall clock; zero: never
}

// Store keeps records. All methods may be called by several goroutines at once; after
// Close they fail with ErrClosed.
type Store interface {
	// Get returns the record, or ErrNotFound.
	Get(key string) (Record, error)
	// Put makes or replaces a record. A zero expires: for ever.
	Put(key string, value []byte, expires time.Time) (version uint64, err error)
	// CompareAndSet is Put if the record still has this version, or does not exist if
	// version is 0. Otherwise the error is a *ConflictError.
	CompareAndSet(key string, value []byte, version uint64, expires time.Time) (uint64, error)
	// Delete removes the record; that there is none is no error.
	Delete(key string) error
	// List returns the records whose keys begin with prefix, sorted by key.
	List(prefix string) ([]Record, error)
	// Watch tells of changes from now on, until ctx is done or the store is closed; then
	// the channel is closed. See Change.Missed about watchers that are slow.
	Watch(ctx context.Context, prefix string) <-chan Change
	Close() error
}

// Kind says what happened to a record.
type Kind uint8

// The kinds of changes.
const (
	Stored  Kind = iota // made or replaced
	Deleted             // by Delete
	Expired             // its end came; told when it is deleted, which may be later
)

func (k Kind) String() string {
	switch k {
	case Stored:
		return "stored"
	case Deleted:
		return "deleted"
	case Expired:
		return "expired"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Change is what a watcher is told. The records are shared: do not change the values.
type Change struct {
	Kind   Kind
	Record Record // of Deleted and Expired: as it was
	// Missed: the watcher was too slow, and changes are missing here. The other
	// fields are zero; List says how things are.
	Missed bool
}

// What the methods of a Store fail with.
var (
	ErrNotFound = errors.New("state: no such record")
	ErrClosed   = errors.New("state: the store is closed")
)

// ConflictError says that a record is not as the caller of CompareAndSet thought.
type ConflictError struct {
	Key        string
	Want, Have uint64 // versions; 0: none
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("state: %q has version %d, expected %d (0: none): another changed it; read it again", e.Key, e.Have, e.Want)
}

// LimitError says that something does not fit into the store.
type LimitError struct {
	What      string
	Got, Most int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("state: %s: %d, at most %d are stored", e.What, e.Got, e.Most)
}

// LockedError says that another process uses the file.
type LockedError struct{ Path string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("state: %s is in use by another process: is the daemon running already? Stop it, or give each its own state file", e.Path)
}
