package osnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Owners known to Open.
const (
	OwnerMobileNode   = "mn"
	OwnerAccessRouter = "ar"
	OwnerHomeAgent    = "ha"
	OwnerLab          = "lab"
)

// Protocol is the number below ours: the owners use Protocol+1 to Protocol+4, see the package comment.
const Protocol = 160

var ownerProtocols = map[string]uint8{
	OwnerMobileNode:   Protocol + 1,
	OwnerAccessRouter: Protocol + 2,
	OwnerHomeAgent:    Protocol + 3,
	OwnerLab:          Protocol + 4,
}

// ErrClosed is returned by every method of a closed Net.
var ErrClosed = errors.New("osnet: closed")

// ErrReader is returned by methods that would change something through a Net of OpenReader.
var ErrReader = errors.New("osnet: this adapter only reads")

// ErrOwned is returned (wrapped) by Open when another live Net has the same owner in the same namespace.
var ErrOwned = errors.New("another process owns this namespace's state")

// ForeignError says that an object exists and was made by somebody else, so it was left alone.
type ForeignError struct {
	Object   string // what exists, in the words of ip(8)
	Protocol uint8  // its protocol number
	Remedy   string // command that removes it
}

// Error implements error.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("osnet: %s exists already and is not ours (protocol %d): left alone; to free it run: %s",
		e.Object, e.Protocol, e.Remedy)
}

// Net changes the network namespace it was opened in. Its methods may be called from any goroutine, also from
// threads that are in other namespaces.
type Net struct {
	// Fixed after Open.
	log    *slog.Logger
	owner  string
	proto  uint8
	lock   int      // the owner's abstract socket
	change *request // socket for changes and look-ups of one object
	dump   *request // socket for dumps
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // watchers

	nsMu sync.RWMutex
	ns   *os.File // our namespace; guarded by nsMu against Close, nil after it

	// Guarded by mu.
	mu     sync.Mutex
	closed bool
	index  map[string]int // interface name to index
	undo   []undoEntry    // oldest first
	raised map[string]*raised
}

type undoEntry struct {
	key string
	fn  func() error
}

// Open opens an adapter for the network namespace of the calling thread. owner is one of the Owner constants; a second
// live owner of the same name in the same namespace is refused with ErrOwned. Needs CAP_NET_ADMIN for anything but
// reading. Call Reconcile next to remove what an owner that crashed left, or use OpenClean.
func Open(log *slog.Logger, owner string) (*Net, error) {
	proto, ok := ownerProtocols[owner]
	if !ok {
		return nil, fmt.Errorf("osnet: unknown owner %q: expected mn, ar, ha or lab", owner)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n, err := openNet(log, owner, proto)
	if err == nil && !kernelHasAddressProtocol() {
		log.Warn("this kernel is older than 5.18 and does not record who made an address: addresses will not be removed after a crash")
	}
	return n, err
}

// OpenReader opens an adapter that reads, beside any owner, and refuses to change anything with ErrReader.
func OpenReader() (*Net, error) { return openNet(slog.New(slog.DiscardHandler), "", 0) }

func openNet(log *slog.Logger, owner string, proto uint8) (*Net, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("osnet: open network namespace: %w", err)
	}
	n := &Net{log: log, owner: owner, proto: proto, ns: ns, lock: -1, index: make(map[string]int), raised: make(map[string]*raised)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	fail := func(err error) (*Net, error) {
		n.release()
		return nil, err
	}
	if owner != "" {
		if n.lock, err = lockOwner(owner); err != nil {
			return fail(fmt.Errorf("osnet: %w", err))
		}
	}
	if n.change, err = newRequest(); err != nil {
		return fail(fmt.Errorf("osnet: %w", err))
	}
	if n.dump, err = newRequest(); err != nil {
		return fail(fmt.Errorf("osnet: %w", err))
	}
	return n, nil
}

// lockOwner takes the owner's name in this namespace: abstract Unix sockets belong to the network namespace.
func lockOwner(owner string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("owner socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@openmpa/osnet/" + owner}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return -1, fmt.Errorf("owner %q: %w: stop the other daemon of this role, or run this one in a network namespace of its own", owner, ErrOwned)
		}
		return -1, fmt.Errorf("owner socket: %w", err)
	}
	return fd, nil
}

func kernelHasAddressProtocol() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return true
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major > 5 || major == 5 && minor >= 18
}

// Owner returns the role given to Open.
func (n *Net) Owner() string { return n.owner }

// Protocol returns the number that marks this owner's state in the kernel.
func (n *Net) Protocol() uint8 { return n.proto }

// Close undoes everything this Net did and has not deleted, newest first, and ends its watchers. It carries on after a
// failure and returns all of them. A second Close does nothing.
func (n *Net) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	var errs []error
	for _, u := range slices.Backward(n.undo) {
		if err := u.fn(); err != nil {
			errs = append(errs, err)
		}
	}
	n.undo = nil
	n.mu.Unlock()

	n.cancel()
	n.wg.Wait()
	n.release()
	return errors.Join(errs...)
}

// release frees what Open took and leaves the kernel's state as it is.
func (n *Net) release() {
	n.cancel()
	if n.change != nil {
		n.change.close()
	}
	if n.dump != nil {
		n.dump.close()
	}
	if n.lock >= 0 {
		unix.Close(n.lock)
	}
	n.nsMu.Lock()
	defer n.nsMu.Unlock()
	n.ns.Close()
	n.ns = nil
}

// namespace calls fn with the descriptor of our namespace.
func (n *Net) namespace(fn func(fd int) error) error {
	n.nsMu.RLock()
	defer n.nsMu.RUnlock()
	if n.ns == nil {
		return ErrClosed
	}
	return fn(int(n.ns.Fd()))
}

// Do runs fn on a thread in this Net's namespace: for sockets and files that are opened by other packages. fn must not
// start goroutines that depend on the namespace.
func (n *Net) Do(fn func() error) error {
	runtime.LockOSThread()
	here := false
	err := n.namespace(func(fd int) (err error) { here, err = currentNamespace(fd); return err })
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	if here {
		defer runtime.UnlockOSThread()
		return fn()
	}
	runtime.UnlockOSThread()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := n.namespace(func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) }); err != nil {
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		result <- fn()
	}()
	return <-result
}

// currentNamespace says whether the thread is in the namespace fd.
func currentNamespace(fd int) (bool, error) {
	var ours, current unix.Stat_t
	if err := unix.Fstat(fd, &ours); err != nil {
		return false, fmt.Errorf("stat network namespace: %w", err)
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &current); err != nil {
		return false, fmt.Errorf("stat network namespace: %w", err)
	}
	return ours.Ino == current.Ino && ours.Dev == current.Dev, nil
}

// begin locks the Net for one change.
func (n *Net) begin() error {
	n.mu.Lock()
	switch {
	case n.closed:
		n.mu.Unlock()
		return ErrClosed
	case n.owner == "":
		n.mu.Unlock()
		return ErrReader
	}
	return nil
}

// owns reports whether this Net made key. Caller holds mu.
func (n *Net) owns(key string) bool {
	return slices.ContainsFunc(n.undo, func(u undoEntry) bool { return u.key == key })
}

// record notes how to undo key, in place if it was noted before. Caller holds mu.
func (n *Net) record(key string, fn func() error) {
	for i := range n.undo {
		if n.undo[i].key == key {
			n.undo[i].fn = fn
			return
		}
	}
	n.undo = append(n.undo, undoEntry{key, fn})
}

// remove undoes key if this Net made it. If the kernel refuses, the key stays noted for Close. Caller holds mu.
func (n *Net) remove(key string) (known bool, err error) {
	for i := range n.undo {
		if n.undo[i].key == key {
			if err := n.undo[i].fn(); err != nil {
				return true, err
			}
			n.undo = slices.Delete(n.undo, i, i+1)
			return true, nil
		}
	}
	return false, nil
}

// request is one netlink socket; its requests are serialised by the library's lock.
type request struct {
	sockets map[int]*nl.SocketHandle
}
