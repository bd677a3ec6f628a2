package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk runs f on a thread of its own where dir is a disk of the given size.
func smallDisk(t *testing.T, size int, f func(dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a disk in a namespace of its own")
	}
	dir, done := t.TempDir(), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)))
		if err != nil {
			t.Error(err)
			return
		}
		f(dir)
	}()
	<-done
}

// A full disk refuses what is new, loses nothing of what was acknowledged, and takes
// records again when there is room.
func TestDiskFull(t *testing.T) {
	smallDisk(t, 1<<20, func(dir string) {
		path, ballast := filepath.Join(dir, "s.db"), filepath.Join(dir, "ballast")
		s, _ := openAt(t, path)
		value := bytes.Repeat([]byte("v"), 4000)
		if err := os.WriteFile(ballast, make([]byte, 600<<10), 0o600); err != nil {
			t.Error(err)
		}
		acknowledged := 0
		var full error
		for full == nil && acknowledged < 300 {
			if _, full = s.Put(fmt.Sprintf("%03d", acknowledged), value, time.Time{}); full == nil {
				acknowledged++
			}
		}
		if !errors.Is(full, unix.ENOSPC) || acknowledged == 0 {
			t.Errorf("after %d: %v", acknowledged, full)
		}
		check := func(s *DB, when string) {
			if records, err := s.List(""); err != nil || len(records) != acknowledged {
				t.Errorf("%s: %d records of %d, %v", when, len(records), acknowledged, err)
			}
		}
		check(s, "full")
		if _, err := s.Put("000", []byte("small"), time.Time{}); err != nil {
			t.Logf("a small one is refused, too: %v", err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
		for range 10 {
			if _, err := s.Put(fmt.Sprintf("%03d", acknowledged), value, time.Time{}); err != nil {
				t.Errorf("with room: %v", err)
				return
			}
			acknowledged++
		}
		check(s, "with room")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s, log := openAt(t, path)
		if log != "" {
			t.Error(log)
		}
		check(s, "opened again")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
