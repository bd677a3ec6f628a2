package rundir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Base is the directory of all labs of this machine.
const Base = "/run/openmpa-lab"

const maxLabs = 64 // labs beside one another; far more than a machine carries

// A Dir is the run directory of a living lab.
type Dir struct {
	// ID is the lab's number, unique among the living labs of the machine.
	ID int
	// Path is the directory.
	Path string
	// Swept tells what dead labs had left and was removed at the start, a
	// line each.
	Swept []string

	prefix string
	lock   *os.File
}

// Open sweeps what dead labs left, takes the lowest free id and makes its
// directory. Close gives it back.
func Open() (*Dir, error) { return open(Base, "mpa-") }

// open is Open for labs below base, whose namespaces start with prefix.
func open(base, prefix string) (*Dir, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	all, err := lock(filepath.Join(base, ".lock"), true)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	swept, err := sweep(base, prefix)
	if err != nil {
		return nil, fmt.Errorf("rundir: remove what a dead lab left: %w", err)
	}
	for id := 1; id <= maxLabs; id++ {
		path := filepath.Join(base, strconv.Itoa(id))
		// What is there belongs to a living lab: sweep took the others.
		if err := os.Mkdir(path, 0o711); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("rundir: %w", err)
		}
		f, err := lock(filepath.Join(path, "lock"), true)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(path))
		}
		return &Dir{ID: id, Path: path, Swept: swept, prefix: prefix, lock: f}, nil
	}
	return nil, fmt.Errorf("rundir: %d labs are running already; end one of them", maxLabs)
}

// NamePrefix starts the name of each of the lab's namespaces.
func (d *Dir) NamePrefix() string { return fmt.Sprintf("%s%d-", d.prefix, d.ID) }

// File joins elements to a path in the directory.
func (d *Dir) File(elem ...string) string {
	return filepath.Join(append([]string{d.Path}, elem...)...)
}

// Close removes the directory and gives the id back. The children must have
// ended and the namespaces must be removed before.
func (d *Dir) Close() error {
	// Or a lab that starts now would look for a lock in what is half removed.
	all, err := lock(filepath.Join(filepath.Dir(d.Path), ".lock"), true)
	if err != nil {
		return errors.Join(err, d.lock.Close())
	}
	defer all.Close()
	err = os.RemoveAll(d.Path)
	return errors.Join(err, d.lock.Close())
}

// lock takes an exclusive flock on path. Without wait, a nil file says that
// somebody else holds it.
func lock(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) && !wait {
		f.Close()
		return nil, nil
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("rundir: lock %s: %w", path, err)
	}
	return f, nil
}
