package space

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named network namespaces are bound, as iproute2 does it.
const Dir = "/run/netns"

// ErrClosed is returned by Do after Close.
var ErrClosed = errors.New("space: the namespace is closed")

// A Space is one network namespace with a thread inside.
type Space struct {
	// Fixed after start.
	name   string // empty for the namespace the lab was started in
	handle netns.NsHandle
	nl     *netlink.Handle
	jobs   chan job
	done   chan struct{} // closed when the worker has ended

	// Guarded by mu.
	mu     sync.RWMutex
	closed bool
}

type job struct {
	fn  func() error
	err chan error
}

// Create makes a new network namespace, binds it to /run/netns/NAME and
// starts its thread. It fails when the name is taken.
func Create(name string) (*Space, error) {
	if err := shareDir(); err != nil {
		return nil, err
	}
	path := filepath.Join(Dir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, fmt.Errorf("space: the name %q for a namespace is taken or not allowed: %w", name, err)
	}
	f.Close()
	s, err := start(name, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("space: new namespace %q (root is needed): %w", name, err)
		}
		own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(own, path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("space: bind namespace to %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, Remove(name))
	}
	return s, nil
}

// Current returns the namespace the calling process was started in. Closing
// it leaves the namespace alone.
func Current() (*Space, error) { return start("", func() error { return nil }) }

// Open enters an existing named namespace. Closing it leaves it in place.
func Open(name string) (*Space, error) {
	h, err := netns.GetFromPath(filepath.Join(Dir, name))
	if err != nil {
		return nil, fmt.Errorf("space: no namespace %q: %w", name, err)
	}
	defer h.Close()
	return start(name, func() error {
		if err := unix.Setns(int(h), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("space: enter %q: %w", name, err)
		}
		return nil
	})
}

// start runs the worker; enter runs first on its thread.
func start(name string, enter func() error) (*Space, error) {
	s := &Space{name: name, jobs: make(chan job), done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(s.done)
		// Never unlocked: the runtime ends the thread with the goroutine, so
		// nobody inherits a thread in a foreign namespace.
		runtime.LockOSThread()
		if err := enter(); err != nil {
			ready <- err
			return
		}
		h, err := netns.Get()
		if err != nil {
			ready <- fmt.Errorf("space: handle of %q: %w", name, err)
			return
		}
		s.handle = h
		ready <- nil
		for j := range s.jobs {
			j.err <- j.fn()
		}
	}()
	if err := <-ready; err != nil {
		<-s.done
		return nil, err
	}
	nl, err := netlink.NewHandleAt(s.handle, unix.NETLINK_ROUTE)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("space: netlink socket in %q: %w", name, err)
	}
	s.nl = nl
	return s, nil
}

// Name is the name under /run/netns, or "" for the one the lab started in.
func (s *Space) Name() string { return s.name }

// Netlink is a route netlink handle inside the namespace, usable from any
// goroutine.
func (s *Space) Netlink() *netlink.Handle { return s.nl }

// NewNetlink opens another handle, for a caller that must not wait for
// somebody else's request on the shared one.
func (s *Space) NewNetlink() (*netlink.Handle, error) {
	nl, err := netlink.NewHandleAt(s.handle, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("space: netlink socket in %q: %w", s.name, err)
	}
	return nl, nil
}

// FD is the descriptor of the namespace, valid until Close.
func (s *Space) FD() int { return int(s.handle) }

// Do runs fn on the thread inside the namespace and returns its error. fn
// must not call Do of the same space, nor block for long: everybody else
// waits.
func (s *Space) Do(fn func() error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	j := job{fn: fn, err: make(chan error, 1)}
	s.jobs <- j
	return <-j.err
}

// StayOn has the thread, and every process that is started on it from now on, run on one processor: number n of those that
// this process may use, counted on from the first after the last.
//
// A pair of Ethernet devices in the kernel is no wire: what comes out is worked on by the processor on which the sender
// happens to run, now or later. A sender that moves to another one while the first is busy overtakes itself.
func (s *Space) StayOn(n int) error {
	return s.Do(func() error {
		var may unix.CPUSet
		if err := unix.SchedGetaffinity(os.Getpid(), &may); err != nil {
			return fmt.Errorf("space: %s: processors: %w", s.name, err)
		}
		n %= may.Count()
		for cpu := 0; ; cpu++ {
			if !may.IsSet(cpu) {
				continue
			}
			if n--; n < 0 {
				var one unix.CPUSet
				one.Set(cpu)
				if err := unix.SchedSetaffinity(0, &one); err != nil {
					return fmt.Errorf("space: %s: stay on processor %d: %w", s.name, cpu, err)
				}
				return nil
			}
		}
	})
}

// Sysctl writes a value below /proc/sys inside the namespace. The path uses
// slashes: "net/ipv4/ip_forward".
func (s *Space) Sysctl(path, value string) error {
	return s.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
			return fmt.Errorf("space: %s: sysctl %s=%s: %w", s.name, path, value, err)
		}
		return nil
	})
}

// Close ends the thread. The namespace stays until [Remove] and until the
// last process in it is gone.
func (s *Space) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.jobs)
	<-s.done
	if s.nl != nil {
		s.nl.Close()
	}
	return s.handle.Close()
}
