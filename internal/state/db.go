package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	lockWait  = 500 * time.Millisecond // for another process to let go of the file
	lockRetry = 20 * time.Millisecond
	// maxFile bounds the file: the records, and room for bbolt to write them anew.
	maxFile = 4 * MaxTotal
)

var bucketName = []byte("records")

// DB is a Store in a file, synced at every change.
type DB struct {
	*table
	bolt   *bbolt.DB
	broken error // guarded by commitMu: bbolt panicked, and may hold its locks for ever
}

var _ Store = (*DB)(nil)

// Open opens the store at path; it is made if it is not there, and so is its folder.
// A damaged one is moved aside. Another process that uses the file is a *LockedError.
func Open(path string, log *slog.Logger) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	f, isNew, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	if !isNew {
		d, err := open(f, false)
		if err == nil {
			return d, f.Close() // bbolt's descriptor keeps the lock
		}
		if f, err = replace(f, path, err, log); err != nil {
			return nil, err
		}
	}
	d, err := open(f, true)
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		return nil, fmt.Errorf("state: begin %s: %w", path, errors.Join(err, f.Close()))
	}
	return d, f.Close()
}

// open reads the whole file. f stays the caller's, and is locked unless an error came late.
func open(f *os.File, isNew bool) (d *DB, err error) {
	if !isNew {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, errors.New("expected a file, found something else")
		}
		if err := examine(f, info.Size()); err != nil {
			return nil, &damagedError{err}
		}
	}
	d = &DB{table: newTable()}
	d.write = d.commitFile
	err = guard(func() (err error) {
		d.bolt, err = bbolt.Open(f.Name(), 0o600, &bbolt.Options{OpenFile: func(string, int, os.FileMode) (*os.File, error) {
			fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			return os.NewFile(uintptr(fd), f.Name()), err //nolint:gosec // a descriptor is no negative number
		}})
		if err != nil {
			return err
		}
		if err = d.load(); err != nil {
			return errors.Join(err, d.bolt.Close())
		}
		d.commitMu.Lock() // the timer may be over at once
		defer d.commitMu.Unlock()
		d.armForAll()
		return nil
	})
	return d, err
}

// load reads all records; the bucket is made if it is not there.
func (d *DB) load() error {
	return d.bolt.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketName)
		if err != nil {
			return err
		}
		d.seq = b.Sequence()
		return b.ForEach(func(k, v []byte) error {
			r, err := decodeRecord(k, v)
			if err != nil {
				return &damagedError{err}
			}
			d.records[r.Key] = r
			d.size += octets(r)
			return nil
		})
	})
}

// commitFile writes changes in one synced transaction.
func (d *DB) commitFile(changes []change, seq uint64) error {
	if d.broken != nil {
		return d.broken
	}
	err := guard(func() error {
		return d.bolt.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketName)
			for _, c := range changes {
				var err error
				if c.Kind == Stored {
					err = b.Put([]byte(c.Record.Key), appendRecord(nil, c.Record))
				} else {
					err = b.Delete([]byte(c.Record.Key))
				}
				if err != nil {
					return err
				}
			}
			return b.SetSequence(seq)
		})
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("state: write %s: %w", d.bolt.Path(), err)
	if damaged := new(damagedError); errors.As(err, &damaged) {
		d.broken = fmt.Errorf("%w: nothing more is stored until the daemon is started again", err)
		return d.broken
	}
	return err
}

// Close implements Store. It writes nothing.
func (d *DB) Close() error {
	return d.close(func() error {
		if d.broken != nil {
			return d.broken // the end of the process gives the file free
		}
		return d.bolt.Close()
	})
}

// guard turns a panic of bbolt, and a fault in the file's memory (cut while it is open),
// into an error.
func guard(f func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(was)
		if v := recover(); v != nil {
			err = &damagedError{fmt.Errorf("its content is inconsistent: %v", v)}
		}
	}()
	return f()
}

// damagedError says that the content of a file is wrong, not the access to it.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// replace moves a damaged file aside and opens an empty one in its place.
func replace(f *os.File, path string, why error, log *slog.Logger) (*os.File, error) {
	var damaged *damagedError
	if !errors.As(why, &damaged) {
		return nil, fmt.Errorf("state: open %s: %w", path, errors.Join(why, f.Close()))
	}
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Rename(path, aside); err != nil { // the lock is held: it is still ours
		return nil, fmt.Errorf("state: %s is damaged (%w) and cannot be moved aside: %w", path, why, errors.Join(err, f.Close()))
	}
	_ = f.Close() // only read so far
	log.Error("the state file was damaged: it was moved aside and an empty one begun; what was promised before is forgotten",
		"file", path, "moved_to", aside, "err", why)
	f, isNew, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	if !isNew {
		return nil, errors.Join(&LockedError{Path: path}, f.Close()) // another daemon began it
	}
	return f, nil
}

// openLocked opens or makes the file and locks it.
func openLocked(path string) (f *os.File, isNew bool, err error) {
	for end := time.Now().Add(lockWait); ; time.Sleep(lockRetry) {
		isNew = false
		f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			isNew = true
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, os.ErrExist) {
				continue // another was quicker
			}
		}
		if err != nil {
			return nil, false, fmt.Errorf("state: %w", err)
		}
		if err = lock(f); err == nil && sameFile(f, path) {
			return f, isNew, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, fmt.Errorf("state: lock %s: %w", path, err)
		}
		if time.Now().After(end) {
			return nil, false, &LockedError{Path: path}
		}
	}
}

func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// sameFile reports whether f is still what path names: its last user may have moved it.
func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: this file system has nothing to sync
		return fmt.Errorf("state: %w", err)
	}
	return nil
}
