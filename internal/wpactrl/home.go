package wpactrl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const homePrefix = "openmpa-wpactrl-"

// home is a directory of one client for its own sockets. Its lock tells the living from what the dead left.
type home struct {
	dir  string
	lock *os.File // of the directory
}

// newHome makes a directory below parent and removes those nobody holds.
func newHome(parent string) (*home, error) {
	for range 10 {
		h, err := tryHome(parent)
		if err != nil {
			return nil, fmt.Errorf("wpactrl: a directory for our own sockets: %w", err)
		}
		if h != nil {
			sweep(parent, h.dir)
			return h, nil
		}
	}
	return nil, fmt.Errorf("wpactrl: a directory for our own sockets: another process removes them from %s", parent)
}

// tryHome returns nil when another client's sweep came between making and locking.
func tryHome(parent string) (*home, error) {
	dir, err := os.MkdirTemp(parent, homePrefix) // mode 0700
	if err != nil {
		return nil, err
	}
	lock, err := locked(dir)
	if err != nil || lock == nil {
		_ = os.Remove(dir)
		return nil, err
	}
	return &home{dir: dir, lock: lock}, nil
}

// locked locks a directory, or returns nil when somebody else holds it, or has removed it.
func locked(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		var held, there os.FileInfo
		if held, err = f.Stat(); err == nil {
			if there, err = os.Lstat(dir); err == nil && os.SameFile(held, there) {
				return f, nil
			}
		}
	}
	f.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}

// sweep removes the directories of clients that died. What it cannot remove it leaves: others' leftovers are no error of ours.
func sweep(parent, own string) {
	dirs, err := filepath.Glob(filepath.Join(parent, homePrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if dir == own {
			continue
		}
		if f, err := locked(dir); err == nil && f != nil {
			_ = os.RemoveAll(dir)
			f.Close()
		}
	}
}

func (h *home) remove() error {
	err := os.RemoveAll(h.dir)
	h.lock.Close()
	if err != nil {
		return fmt.Errorf("wpactrl: remove our own sockets: %w", err)
	}
	return nil
}
