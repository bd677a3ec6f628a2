package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what sockaddr_un holds, without the closing zero.
const maxSocketPath = 107

// listen binds the socket at path with mode 0600, whatever the umask, in place
// of one that nobody answers on. A lock on the directory keeps two daemons that
// start at the same time from replacing each other's socket.
func listen(path string) (net.Listener, error) {
	if path == "" {
		return nil, errors.New("control: no socket path is given (key control)")
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control: socket path %s has %d octets: the system allows %d, choose a shorter one", path, len(path), maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("control: socket directory: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("control: socket directory: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := flock(lock); err != nil {
		return nil, fmt.Errorf("control: lock %s: %w", dir, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("control: socket %s: %w", path, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		// The mode set before bind is the mode of the file that bind makes.
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return l, nil
}

// flock waits for the lock for a second, far longer than anybody holds it.
func flock(f *os.File) error {
	for try := 0; ; try++ {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK) && try < 100:
			time.Sleep(10 * time.Millisecond)
		default:
			return err
		}
	}
}

// removeStale removes the socket of a daemon that is gone.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != os.ModeSocket:
		return errors.New("something that is no socket is in its place: it is left alone, choose another path or remove it")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return ErrInUse
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, syscall.ENOENT):
		return nil
	case errors.Is(err, syscall.EAGAIN): // its queue is full: somebody listens
		return ErrInUse
	}
	return err
}

// limitListener bounds the connections under way at the same time.
type limitListener struct {
	net.Listener
	places chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			return &limitedConn{Conn: conn, places: l.places}, nil
		default:
			conn.Close() // refused, not queued: an operator sees at once
		}
	}
}

// limitedConn gives its place back when it closes.
type limitedConn struct {
	net.Conn
	once   sync.Once
	places chan struct{}
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.once.Do(func() { <-c.places })
	return c.Conn.Close()
}
