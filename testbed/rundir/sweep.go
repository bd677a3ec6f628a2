package rundir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// sweep removes what dead labs left below base, and their namespaces, which
// are named prefix, id, "-", name. The caller holds the lock of all labs.
func sweep(base, prefix string) (swept []string, err error) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	living := make(map[int]bool)
	var errs []error
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		path := filepath.Join(base, e.Name())
		f, err := lock(filepath.Join(path, "lock"), false)
		if err != nil {
			errs = append(errs, err)
			living[id] = true // unknown: leave it alone
			continue
		}
		if f == nil {
			living[id] = true
			continue
		}
		lines, err := sweepOne(path)
		swept = append(swept, lines...)
		errs = append(errs, err, os.RemoveAll(path), f.Close())
		swept = append(swept, "run directory "+path)
	}
	names, err := space.List(prefix)
	errs = append(errs, err)
	spaceName := regexp.MustCompile("^" + regexp.QuoteMeta(prefix) + "([0-9]+)-")
	for _, name := range names {
		m := spaceName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if id, err := strconv.Atoi(m[1]); err != nil || living[id] {
			continue
		}
		errs = append(errs, space.Remove(name))
		swept = append(swept, "namespace "+name)
	}
	return swept, errors.Join(errs...)
}

// sweepOne ends the children of a dead lab.
func sweepOne(path string) (swept []string, err error) {
	files, err := filepath.Glob(filepath.Join(path, "pids", "*"))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, file := range files {
		p, err := readProcess(file)
		if err != nil || !p.alive() {
			continue // half written by a lab that died just then, or gone
		}
		if err := p.kill(); err != nil {
			errs = append(errs, err)
			continue
		}
		swept = append(swept, fmt.Sprintf("process %d (%s)", p.pid, p.command))
	}
	return swept, errors.Join(errs...)
}

// kill ends the process and waits until it is gone. A descriptor of the
// process is opened before its start time is compared once more, so that the
// signal cannot reach a stranger with the same pid.
func (p process) kill() error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pid %d: %w", p.pid, err)
	}
	defer unix.Close(fd)
	if !p.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end orphan %d (%s): %w", p.pid, p.command, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		n, err := unix.Poll(poll, 200)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for orphan %d: %w", p.pid, err)
		}
	}
	return fmt.Errorf("orphan %d (%s) does not end", p.pid, p.command)
}
